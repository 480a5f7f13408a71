"""Networks that find a planted bright patch, one for each layout of activations, set by hand.

A sample is faint noise with one bright patch on a coarse grid. The score is how bright the
brightest part is, more or less, so that the evidence can only be where the patch is. Trained
networks would do as well for convolutions; trained attention is free to move evidence elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

STRIDE = 4


class Attention(nn.Module):
    """One head of attention, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mixed = nn.LayerNorm(width), nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mixed(self.norm(x)).chunk(3, dim=-1)
        return x + (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v


class Dense(nn.Module):
    """Two dense layers on each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class TinyViT(nn.Module):
    """Patches, a class token and registers, blocks, and a head that reads the class token."""

    def __init__(self, grid: tuple[int, ...], extra: int = 1, *, last: bool = False) -> None:
        super().__init__()
        self.patches, self.last = nn.Conv2d(1, 16, STRIDE, STRIDE), last
        self.extra = nn.Parameter(torch.randn(1, extra, 16))
        self.place = nn.Parameter(torch.randn(1, prod(grid), 16) * 0.1)
        self.blocks = nn.Sequential(Attention(16), Dense(16), Attention(16), Dense(16))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.place
        extra = self.extra.expand(len(x), -1, -1)
        parts = [tokens, extra] if self.last else [extra, tokens]
        out = self.norm(self.blocks(torch.cat(parts, 1)))
        return self.head(out[:, -1] if self.last else out[:, 0])


class SequenceFirst(TinyViT):
    """The same with tokens before the batch, cut out by a view instead of a convolution."""

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__(grid)
        self.patches = nn.Linear(STRIDE**2, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        cut = x[:, 0].unfold(1, STRIDE, STRIDE).unfold(2, STRIDE, STRIDE).flatten(3).flatten(1, 2)
        tokens = torch.cat([self.extra.expand(len(x), -1, -1), self.patches(cut) + self.place], 1)
        return self.head(self.norm(self.blocks(tokens.transpose(0, 1)))[0])


class Window(nn.Module):
    """Attention inside windows of two by two, shifted or not, channels last."""

    def __init__(self, width: int, shift: int) -> None:
        super().__init__()
        self.attention, self.dense, self.shift = Attention(width), Dense(width), shift

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        moved = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        cut = moved.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        out = self.attention(cut).view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        back = torch.roll(out.reshape(n, h, w, c), (self.shift, self.shift), (1, 2))
        return self.dense(x + back)


class TinySwin(nn.Module):
    """Windows, then four positions merged to one, windows again; channels last all along."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.first = nn.Conv2d(1, 8, 2, 2), nn.Sequential(Window(8, 0), Window(8, 1))
        self.merge, self.second = nn.Linear(32, 16, bias=False), Window(16, 0)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.patches(x).permute(0, 2, 3, 1))
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.head(self.norm(self.second(self.merge(torch.cat(parts, -1)))).mean((1, 2)))


def convolutional(dimensions: int) -> nn.Module:
    """Detectors of bright and of dark, pooled, and one linear layer."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dimensions - 1]
    net = nn.Sequential(
        conv(1, 4, 3, padding=1),
        nn.ReLU(),
        conv(4, 4, 2, stride=2),
        nn.ReLU(),
        pool(1),
        nn.Flatten(),
        nn.Linear(4, 1),
    )
    quiet(net)
    for layer, signs in ((net[0], (1, -1)), (net[2], (1, 1))):
        for k, sign in enumerate(signs):
            layer.weight[k, min(k, layer.weight.shape[1] - 1)] += sign
    net[6].weight += torch.tensor([[10.0, -10.0, 0.0, 0.0]])
    return net


def transformer(net: TinyViT | SequenceFirst | TinySwin) -> nn.Module:
    """Brightness in the first two features of a token; attention adds some of the mean."""
    quiet(net)
    width = net.patches.weight.shape[0]
    for k, sign in enumerate((1, -1)):
        net.patches.weight[k] += sign / net.patches.weight[k].numel()
    net.patches.bias[2] += 5.0  # something for norms to compare with
    for name, parameter in net.named_parameters():
        if name.endswith(("mixed.weight", "in_proj_weight")):
            parameter[2 * parameter.shape[1] :] += 0.5 * torch.eye(parameter.shape[1])
        if name.endswith("out_proj.weight"):
            parameter += torch.eye(width)
        if name == "merge.weight":
            for k in range(4):
                parameter[:4, 8 * k : 8 * k + 4] += torch.eye(4) / 4
    net.head.weight[0, :2] += torch.tensor([20.0, -20.0])  # a softmax of scores can tell
    return net


def quiet(net: nn.Module) -> None:
    """Start from weights that are nearly nothing, and norms that only normalize."""
    generator = torch.Generator().manual_seed(0)
    norms = [m for m in net.modules() if isinstance(m, nn.LayerNorm)]
    untouched = {id(parameter) for norm in norms for parameter in norm.parameters()}
    for parameter in net.requires_grad_(False).parameters():
        if id(parameter) not in untouched:
            parameter.copy_(0.002 * torch.randn(parameter.shape, generator=generator))


@dataclass(frozen=True)
class Planted:
    """A network, and samples with the place of the patch in each."""

    model: nn.Module
    inputs: Tensor
    places: list[tuple[slice, ...]]


# Name -> how to build the network, and the size of its input.
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: convolutional(1), (40,)),
    "conv2d": (lambda: convolutional(2), (16, 24)),
    "conv3d": (lambda: convolutional(3), (8, 12, 8)),
    "vit": (lambda: transformer(TinyViT((4, 6))), (16, 24)),
    "registers": (lambda: transformer(TinyViT((4, 4), 5)), (16, 16)),
    "class token last": (lambda: transformer(TinyViT((4, 4), last=True)), (16, 16)),
    "sequence first": (lambda: transformer(SequenceFirst((4, 4))), (16, 16)),
    "swin": (lambda: transformer(TinySwin()), (16, 24)),
}


def load(name: str, count: int = 6) -> Planted:
    """Build a network, and draw samples with a patch each."""
    build, size = NETS[name]
    generator = torch.Generator().manual_seed(1)
    x, places = 0.02 * torch.randn(count, 1, *size, generator=generator), []
    for n in range(count):
        corner = [int(torch.randint(s // STRIDE, (), generator=generator)) * STRIDE for s in size]
        places.append(tuple(slice(c, c + STRIDE) for c in corner))
        x[n, 0][places[-1]] += 1
    return Planted(build().eval(), x, places)
