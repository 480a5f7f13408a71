"""Networks written by hand: every way to join, branch, repeat and gate that papers use."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.program import Program, net, normal, program

IMAGE = normal(2, 3, 8, 8)


def conv(into: int, out: int, size: int = 3, **options: int) -> nn.Sequential:
    """Convolution, batch norm, rectifier in place."""
    options.setdefault("padding", size // 2)
    layers = nn.Conv2d(into, out, size, **options), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    return nn.Sequential(*layers)


def head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


class VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(32, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class Bottleneck(nn.Module):
    """A residual block that adds in place and reuses its rectifier, with a strided shortcut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.conv3 = nn.Conv2d(4, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Sequential(nn.Conv2d(into, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        identity = self.down(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 6), nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.Sequential(Bottleneck(6, 8, 1), Bottleneck(8, 12, 2))
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class DenseNet(nn.Module):
    """Every layer reads the concatenation of all before it, normalised first."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(3 + 4 * i) for i in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.transition = nn.AvgPool2d(2)
        self.head = head(15)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            features.append(layer(F.relu(norm(torch.cat(features, 1)), inplace=True)))
        return self.head(self.transition(torch.cat(features, dim=1)))


class UNet(nn.Module):
    """Down, up by a transposed convolution and by interpolation, with cropped skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 4), conv(4, 6), conv(6, 8)])
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.join = nn.ModuleList([conv(12, 6), conv(10, 4)])
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down[0](x)
        second = self.down[1](F.max_pool2d(first, 2))
        third = self.down[2](F.max_pool2d(second, 2))
        h = self.join[0](torch.cat([self.up(third), second], 1))
        h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
        return self.out(self.join[1](torch.cat((h[..., :8, :8], first), 1)))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        gate = h.mean((2, 3), keepdim=True)
        gate = torch.sigmoid(self.excite(F.silu(self.squeeze(gate), inplace=True)))
        return self.head(h * gate)


class MobileBlock(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.ReLU6(inplace=True),
            nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.BatchNorm2d(12), nn.Hardswish(True),
            nn.Conv2d(12, 3, 1), nn.BatchNorm2d(3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.block(x)).flatten(1)


class ShuffleBlock(nn.Module):
    """Grouped convolutions whose channels are shuffled between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 8, 1, groups=2)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.pad(x, (0, 0, 0, 0, 0, 1)).chunk(2, dim=1)
        h = self.first(torch.cat([b, a], 1)).relu()
        n, c, height, width = h.size()
        h = h.view(n, 2, c // 2, height, width).transpose(1, 2).contiguous().view(n, -1, 8, 8)
        return self.second(h)


class Inception(nn.Module):
    """Branches of different kernels, concatenated; the input is scaled channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 4, 1)
        self.b = nn.Sequential(conv(3, 2, 1), conv(2, 4, 3))
        self.c = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(3, 4, 1))
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, i : i + 1] * (0.5 + i) - 0.1 for i in range(3)], 1)
        return self.head(torch.cat([self.a(x), self.b(x), self.c(x)], 1))


class Mixer(nn.Module):
    """Tokens and channels mixed in turn, each behind a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
        self.tokens = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
        self.channels = nn.Sequential(nn.Linear(8, 6), nn.GELU("tanh"), nn.Linear(6, 8))

    def forward(self, x: Tensor) -> Tensor:
        h = self.patch(x).flatten(2).mT
        h = h + self.tokens(self.norms[0](h).mT).mT
        return (h + self.channels(self.norms[1](h))).mean(1)


class ViT(nn.Module):
    """A vision transformer with a class token and learned positions."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(normal(1, 1, 8, seed=1))
        self.place = nn.Parameter(normal(1, 5, 8, seed=2))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=not fused)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=fused)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], dim=1) + self.place
        return self.head(self.norm(self.encoder(h))[:, 0])


class Siamese(nn.Module):
    """One encoder for two inputs, compared by cosine, distance and the larger of both."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 4), head(4))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = self.encoder(a), self.encoder(b)
        distance = F.pairwise_distance(a, b, keepdim=True)
        return torch.cat([F.cosine_similarity(a, b)[:, None], distance, torch.maximum(a, b)], 1)


class Recurrent(nn.Module):
    """One layer for every step, stopped by what the data say; no two runs need be as long."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(6, 6)
        self.embed = nn.Linear(6, 6, bias=False)
        self.embed.weight = self.step.weight

    def forward(self, x: Tensor) -> Tensor:
        h, steps = self.embed(x), 0
        while steps < 2 or (h.norm().item() > 0.5 and steps < 6):
            h = torch.tanh(self.step(h)) * 0.9
            steps += 1
        return F.linear(h, self.step.weight.t())


class Autoencoder(nn.Module):
    """A variational one: the sample is mean plus scale times noise, with a norm in between."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 8), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mean, log_scale = self.encode(x).chunk(2, -1)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_scale)
        code = code / code.norm(dim=-1, keepdim=True).clamp_min(1e-3)
        return {"x": torch.sigmoid(self.decode(code)), "mean": mean}


class GraphNet(nn.Module):
    """Messages along edges that are added up at their ends, and a mean over each graph."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(6, 3), nn.GRUCell(3, 3)
        self.register_buffer("edges", torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]]))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.edges
        messages = self.message(torch.cat([x[a], x[b]], -1)).relu()
        total = torch.zeros_like(x).index_add_(0, b, messages)
        count = torch.zeros(len(x), dtype=x.dtype).scatter_add_(
            0, b, torch.ones_like(messages[:, 0])
        )
        return self.update(total / count.clamp(min=1)[:, None], x)


class Mixture(nn.Module):
    """Experts of which each token takes its best two, weighted by a softmax of their gates."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 4)
        self.experts = nn.ModuleList(nn.Linear(6, 5) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x).topk(2, dim=-1)
        weights = weights.softmax(-1)
        out = x.new_zeros(len(x), 5)
        for i, expert in enumerate(self.experts):
            rows, place = torch.where(chosen == i)
            out.index_add_(0, rows, expert(x[rows]) * weights[rows, place, None])
        return out


class SpatialTransformer(nn.Module):
    """Resamples its input at places that depend on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Linear(192, 6)

    def forward(self, x: Tensor) -> Tensor:
        theta = 0.1 * self.where(x.flatten(1)).view(-1, 2, 3) + torch.eye(2, 3, dtype=x.dtype)
        grid = F.affine_grid(theta, x.shape, align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class TemporalConv(nn.Module):
    """Dilated causal convolutions with gates and skips, as in WaveNet."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(3, 6, 2, dilation=2**i) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        skips = torch.zeros_like(x)
        for i, layer in enumerate(self.layers):
            a, b = layer(F.pad(x, (2**i, 0))).split(3, dim=1)
            x = x + torch.tanh(a) * torch.sigmoid(b)
            skips = skips + x
        return skips[..., -1]


class Capsules(nn.Module):
    """Agreement by einsum, where routing weights come from the data."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(3, 4, 2, 5, seed=3))

    def forward(self, x: Tensor) -> Tensor:
        votes = torch.einsum("nip,ijpq->nijq", x, self.weight)
        logits = torch.zeros(votes.shape[:3], dtype=x.dtype)
        for _ in range(2):
            s = torch.einsum("nij,nijq->njq", logits.softmax(2), votes)
            square = s.square().sum(-1, keepdim=True)
            v = s * square.sqrt() / (1 + square)
            logits = logits + torch.einsum("nijq,njq->nij", votes, v)
        return v.norm(dim=-1)


def volume() -> Program:
    layers = (
        nn.Conv3d(2, 4, 3, padding=1, groups=2),
        nn.BatchNorm3d(4),
        nn.ConvTranspose3d(4, 2, 2, 2),
    )
    return program(nn.Sequential(*layers, nn.ReLU(), nn.AvgPool3d(2)), normal(2, 2, 4, 4, 4))


def line() -> Program:
    layers = (
        nn.Conv1d(2, 4, 3, dilation=2),
        nn.ELU(),
        nn.ConvTranspose1d(4, 2, 3, 2, 1, 1, groups=2),
    )
    return program(nn.Sequential(*layers, nn.MaxPool1d(2)), normal(2, 2, 12))


def plane() -> Program:
    layers = (
        nn.Conv2d(3, 6, 3, dilation=2, padding="same", padding_mode="reflect", groups=3),
        nn.LeakyReLU(0.1), nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, dilation=1, groups=2),
        nn.Conv2d(4, 4, 3, padding="valid", padding_mode="zeros", stride=(2, 1)),
    )  # fmt: skip
    return program(nn.Sequential(*layers), IMAGE)


NETWORKS: dict[str, Callable[[], Program]] = {
    "VGG": lambda: program(VGG(), IMAGE),
    "ResNet": lambda: program(ResNet(), IMAGE),
    "DenseNet": lambda: program(DenseNet(), IMAGE),
    "U-Net": lambda: program(UNet(), IMAGE),
    "squeeze and excite": lambda: program(SqueezeExcite(), IMAGE),
    "inverted residual": lambda: program(MobileBlock(), IMAGE),
    "shuffled groups": lambda: program(ShuffleBlock(), IMAGE),
    "inception": lambda: program(Inception(), IMAGE),
    "mixer": lambda: program(Mixer(), IMAGE),
    "ViT": lambda: program(ViT(fused=False), IMAGE),
    "ViT on the fast path": lambda: program(ViT(fused=True), IMAGE),
    "siamese": lambda: program(Siamese(), IMAGE, IMAGE.flip(0) * 0.5),
    "steps that the data choose": lambda: program(Recurrent(), normal(3, 6)),
    "autoencoder with noise": lambda: program(Autoencoder(), normal(3, 6)),
    "graph": lambda: program(GraphNet(), normal(4, 3)),
    "mixture of experts": lambda: program(Mixture(), normal(5, 6)),
    "spatial transformer": lambda: program(SpatialTransformer(), IMAGE),
    "causal convolutions": lambda: program(TemporalConv(), normal(2, 3, 10)),
    "capsules": lambda: program(Capsules(), normal(2, 3, 2)),
    "one dimension": line,
    "two dimensions": plane,
    "three dimensions": volume,
    "one layer used three times": lambda: program(
        net(lambda f, x: f(f(f(x).relu()).relu()), nn.Linear(6, 6)), normal(2, 6)
    ),
    "a layer on lists": lambda: program(
        net(lambda f, x: sum(f(part) for part in x.unbind(1)), nn.Linear(6, 6)), normal(2, 3, 6)
    ),
}
