"""Architectures of today: skips, gates, groups, attention, recurrence, token ids."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.network import Lambda, Network, network, normal, seeded


def _u_shape(down: nn.Module, bottom: nn.Module, up: nn.Module, last: nn.Module, x: Tensor):
    high = F.relu(down(x))
    low = F.relu(bottom(F.max_pool2d(high, 2)))
    joined = torch.cat([high, up(low)], dim=1)
    return last(joined).mean((2, 3))


@network
def u_shape() -> Network:
    """A U-Net in small: pooling, a transposed convolution, and a skip by concatenation."""
    model = Lambda(
        _u_shape,
        down=seeded(nn.Conv2d(2, 3, 3, padding=1, bias=False)),
        bottom=seeded(nn.Conv2d(3, 4, 3, padding=1, bias=False), 1),
        up=seeded(nn.ConvTranspose2d(4, 3, 2, stride=2, bias=False), 2),
        last=seeded(nn.Conv2d(6, 3, 1, bias=False), 3),
    )
    inputs = normal(2, 2, 6, 6, seed=3)
    return Network(model=model, inputs=inputs, maps=True, pooled=True, biased=False)


def _dense(first: nn.Module, second: nn.Module, last: nn.Module, x: Tensor) -> Tensor:
    h = torch.cat([x, F.relu(first(x))], dim=1)
    h = torch.cat([h, F.relu(second(h))], dim=1)
    return last(h.flatten(2).mean(2))


@network
def densely_connected() -> Network:
    """Every layer reads all before it, as in a DenseNet, on a signal."""
    model = Lambda(
        _dense,
        first=seeded(nn.Conv1d(2, 3, 3, padding=1, bias=False)),
        second=seeded(nn.Conv1d(5, 3, 3, padding=1, bias=False), 1),
        last=seeded(nn.Linear(8, 3, bias=False), 2),
    )
    inputs = normal(2, 2, 9, seed=3)
    return Network(model=model, inputs=inputs, maps=True, pooled=True, biased=False)


@network
def grouped() -> Network:
    """Depthwise, grouped and dilated convolutions; the twin has one group, and zeros."""
    depthwise = seeded(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4))
    halves = seeded(nn.Conv2d(4, 6, 1, groups=2), 1)
    rest = seeded(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)))
    stem = seeded(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU()), 2)
    twins = [_ungrouped(depthwise), _ungrouped(halves)]
    return Network(
        model=nn.Sequential(*stem, depthwise, nn.ReLU6(), halves, *rest),
        twin=nn.Sequential(*stem, twins[0], nn.ReLU6(), twins[1], *rest),
        inputs=normal(2, 2, 6, 6, seed=3),
        maps=True,
        pooled=True,
    )


def _ungrouped(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution with one group."""
    whole = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding,
        dilation=conv.dilation,
    ).double()  # fmt: skip
    whole.weight.data.zero_()
    inner, outer = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    for g in range(conv.groups):
        rows = slice(g * outer, (g + 1) * outer)
        whole.weight.data[rows, g * inner : (g + 1) * inner] = conv.weight.data[rows]
    whole.bias.data.copy_(conv.bias.data)
    return whole


@network
def volume() -> Network:
    """Convolutions over three axes, of which no two are alike."""
    layers = nn.Sequential(
        nn.Conv3d(1, 3, 2, bias=False), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(3, 2, bias=False),
    )  # fmt: skip
    inputs = normal(2, 1, 4, 5, 6, seed=3)
    return Network(model=seeded(layers), inputs=inputs, maps=True, pooled=True, biased=False)


def _gated(body: nn.Module, squeeze: nn.Module, last: nn.Module, x: Tensor) -> Tensor:
    h = F.relu(body(x))
    gate = torch.sigmoid(squeeze(h.mean((2, 3))))
    return last((h * gate[:, :, None, None]).mean((2, 3)))


@network
def gated() -> Network:
    """Squeeze and excite: channels times a gate that reads all of them."""
    model = Lambda(
        _gated,
        body=seeded(nn.Conv2d(2, 4, 3)),
        squeeze=seeded(nn.Linear(4, 4), 1),
        last=seeded(nn.Linear(4, 2), 2),
    )
    return Network(model=model, inputs=normal(2, 2, 6, 6, seed=3), maps=True)


class Attention(nn.Module):
    """The encoder layer written out, with the weights of torch's."""

    def __init__(self, layer: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, heads = self.layer, self.layer.self_attn.num_heads
        packed = F.linear(x, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)
        query, key, value = (
            part.unflatten(2, (heads, -1)).transpose(1, 2) for part in packed.chunk(3, dim=2)
        )
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        x = layer.norm1(x + layer.self_attn.out_proj(mixed))
        return layer.norm2(x + layer.linear2(F.gelu(layer.linear1(x))))


@network
def attention() -> Network:
    """A layer of a transformer over four tokens; the twin writes its attention out."""
    layer = nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu", batch_first=True)
    last = seeded(nn.Linear(6, 3), 1)
    layer = seeded(layer)
    mean = Lambda(lambda x: x.mean(1))
    return Network(
        model=nn.Sequential(layer, mean, last),
        twin=nn.Sequential(Attention(layer), mean, last),
        inputs=normal(2, 4, 6, seed=3),
    )


def _steps(cell: nn.LSTM, last: nn.Module, x: Tensor) -> Tensor:
    hidden = state = x.new_zeros(len(x), cell.hidden_size)
    for step in x.unbind(1):
        gates = F.linear(step, cell.weight_ih_l0, cell.bias_ih_l0)
        gates = gates + F.linear(hidden, cell.weight_hh_l0, cell.bias_hh_l0)
        enter, forget, new, leave = gates.chunk(4, dim=1)
        state = forget.sigmoid() * state + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * state.tanh()
    return last(hidden)


@network
def recurrent() -> Network:
    """An LSTM over five steps; the twin is the loop written out."""
    layers = {"cell": seeded(nn.LSTM(3, 4, batch_first=True)), "last": seeded(nn.Linear(4, 2), 1)}
    model = Lambda(lambda cell, last, x: last(cell(x)[0][:, -1]), **layers)
    return Network(model=model, twin=Lambda(_steps, **layers), inputs=normal(3, 5, 3, seed=3))


@network
def group_norm() -> Network:
    """Norms that take their statistics from each sample."""
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.RMSNorm(4), nn.Linear(4, 2),
    )  # fmt: skip
    return Network(model=seeded(layers), inputs=normal(2, 2, 6, 6, seed=3), maps=True)


@network
def tokens() -> Network:
    """Token ids, embedded; the twin embeds them in another order of axes, all at once."""
    table, body = seeded(nn.Embedding(7, 4)), seeded(nn.Linear(4, 5), 1)
    layers = {"table": table, "body": body, "last": seeded(nn.Linear(5, 3), 2)}
    model = Lambda(lambda table, body, last, ids: last(body(table(ids)).relu().mean(1)), **layers)
    twin = Lambda(
        lambda table, body, last, ids: last(
            body(table(ids.t().flatten()).unflatten(0, ids.t().shape)).relu().mean(0)
        ),
        **layers,
    )
    ids = torch.tensor([[1, 5, 2, 2], [0, 6, 3, 1], [4, 4, 0, 5]])
    return Network(model=model, twin=twin, inputs=ids)
