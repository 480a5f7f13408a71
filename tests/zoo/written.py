"""One network, many ways to write it: reused layers, additions, views, writes in place."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.network import Lambda, Network, network, normal, seeded


@network
def perceptron() -> Network:
    """Three layers with ReLU between them, no biases: gradient times input sums to the score."""
    layers = nn.Sequential(
        nn.Linear(5, 8, bias=False),
        nn.ReLU(),
        nn.Linear(8, 8, bias=False),
        nn.ReLU(),
        nn.Linear(8, 3, bias=False),
    )
    return Network(model=seeded(layers), inputs=normal(4, 5, seed=3), target=None, biased=False)


@network
def reused() -> Network:
    """One linear layer and one ReLU, each called three times."""
    model = Lambda(
        lambda layer, relu, x: layer(relu(layer(relu(layer(x)))))[:, :2],
        layer=seeded(nn.Linear(4, 4)),
        relu=nn.ReLU(),
    )
    twin = nn.Sequential(*[model.layers["layer"], nn.ReLU()] * 2, model.layers["layer"])
    return Network(model=model, inputs=normal(3, 4, seed=3), twin=twin)


@network
def residual() -> Network:
    """h + block(h): relevance must be shared at the addition, not doubled."""
    model = Lambda(
        lambda first, block, last, x: last((h := first(x)) + block(h)),
        first=seeded(nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU())),
        block=seeded(nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU()), 1),
        last=seeded(nn.Linear(6, 2, bias=False), 2),
    )
    return Network(model=model, inputs=normal(3, 4, seed=3), biased=False)


def _residual_in_place(first: nn.Module, block: nn.Module, last: nn.Module, x: Tensor) -> Tensor:
    identity = first(x)
    out = block(identity)
    out += identity
    return last(F.relu_(out))


@network
def residual_in_place() -> Network:
    """out += identity, then a ReLU in place; the twin adds out of place."""
    layers = {
        "first": seeded(nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True))),
        "block": seeded(nn.Linear(6, 6), 1),
        "last": seeded(nn.Linear(6, 2), 2),
    }
    twin = Lambda(lambda first, block, last, x: last((block(first(x)) + first(x)).relu()), **layers)
    return Network(
        model=Lambda(_residual_in_place, **layers), inputs=normal(3, 4, seed=3), twin=twin
    )


def _views(layer: nn.Module, last: nn.Module, x: Tensor) -> Tensor:
    h = layer(x).view(len(x), 2, 3).transpose(1, 2).relu()
    left, right = h.chunk(2, dim=2)
    joined = torch.cat([right, left * 2, h.permute(0, 2, 1).reshape(len(x), 3, 2)], dim=2)
    return last(torch.stack([joined, joined[:, [2, 0, 1]]]).sum(0).flatten(1))


@network
def views() -> Network:
    """Views, transposed and split, joined by cat and stack."""
    model = Lambda(_views, layer=seeded(nn.Linear(4, 6)), last=seeded(nn.Linear(12, 2), 1))
    return Network(model=model, inputs=normal(3, 4, seed=3))


def _written(first: nn.Module, side: nn.Module, last: nn.Module, x: Tensor) -> Tensor:
    out, extra = first(x), side(x)
    early = out[:, 2:4]  # a view made before the writes must see them
    out[:, 0] = extra[:, 1]
    out[:, :3] += extra
    out[:, 4:].mul_(2)
    return last(torch.cat([out.relu(), early], dim=1))


def _written_plainly(first: nn.Module, side: nn.Module, last: nn.Module, x: Tensor) -> Tensor:
    out, extra = first(x), side(x)
    left = torch.cat([extra[:, 1:2], out[:, 1:3]], dim=1) + extra
    out = torch.cat([left, out[:, 3:4], out[:, 4:] * 2], dim=1)
    return last(torch.cat([out.relu(), out[:, 2:4]], dim=1))


@network
def written_views() -> Network:
    """Writes through views; the twin has no in-place operation."""
    layers = {
        "first": seeded(nn.Linear(4, 6)),
        "side": seeded(nn.Linear(4, 3), 1),
        "last": seeded(nn.Linear(8, 2), 2),
    }
    return Network(
        model=Lambda(_written, **layers),
        inputs=normal(3, 4, seed=3),
        twin=Lambda(_written_plainly, **layers),
    )


@network
def written_input() -> Network:
    """The model writes to its own input; the user's tensor must not change."""
    model = Lambda(lambda layer, x: layer(x.mul_(2).relu_()), layer=seeded(nn.Linear(3, 2)))
    twin = Lambda(lambda layer, x: layer((2 * x).relu()), layer=model.layers["layer"])
    return Network(model=model, inputs=normal(2, 3, seed=3), twin=twin)
