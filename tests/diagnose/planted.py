"""Models of which it is known why their maps look noisy, and slow versions of the measures."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

SIDE = 24


class Weighed(nn.Module):
    """The sum of an image, (batch, 1, height, width), by weights of its pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(weights.numel(), 1, bias=False, dtype=weights.dtype)
        self.linear.weight.data = weights.reshape(1, -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


def scattered() -> Tensor:
    """Weights of an image of which 40 pixels, none of them next to another, count."""
    weights = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    places = torch.randperm(36, generator=torch.Generator().manual_seed(1))
    rows, columns = places // 6 * 4, places % 6 * 4
    weights[rows, columns] = 1 + torch.arange(36, dtype=torch.float64) / 100
    return weights


def spot() -> Tensor:
    """Weights of an image of which all pixels of one spot count about the same."""
    weights = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    grain = torch.rand(14, 14, generator=generator, dtype=torch.float64)
    weights[5:19, 5:19] = 1 + grain / 100
    return weights


def perceptron(depth: int, width: int = 60, entries: int = 4) -> nn.Sequential:
    """A random network of so many hidden layers of rectifiers, as it is before training."""
    layers: list[nn.Module] = []
    sizes = [entries] + [width] * depth
    for into, out in pairwise(sizes):
        layer = nn.Linear(into, out)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(layer.bias, std=0.1)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 1)).double()


class Hinges(nn.Module):
    """Rectifiers that bend where the first feature is at known places."""

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, len(places)).double()
        self.out = nn.Linear(len(places), 1).double()
        self.hidden.weight.data = torch.tensor([[1.0, 0.0]]).double().repeat(len(places), 1)
        self.hidden.bias.data = -places.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x).relu())


class Saw(nn.Module):
    """A tent laid over itself `times` times: 2**times teeth of equal width on (0, 1)."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        y = x[:, :1]
        for _ in range(self.times):
            y = 2 * y.relu() - 4 * (y - 0.5).relu()
        return y


class Pooled(nn.Module):
    """Convolutions, rectifiers clipped above, and max-pooling, over (batch, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(27, 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(3 * self.conv(x))
        return self.head(nn.functional.max_pool2d(y, 2).flatten(1))

    def states(self, x: Tensor) -> Tensor:
        """The pattern at one point, read from the formulas."""
        z = 3 * self.conv(x)
        clipped = z.clamp(0, 6)
        _, winners = nn.functional.max_pool2d(clipped, 2, return_indices=True)
        return torch.cat([(z > 0).flatten(), (z >= 6).flatten(), winners.flatten()])


def step(x: Tensor, draw: int, seed: int = 0) -> Tensor:
    """The direction of a draw for samples of a table: noise as wide as the range of each."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + draw)
    noise = torch.randn(x.shape[1:], generator=generator).double()
    flat = x.flatten(1)
    spread = (flat.max(1).values - flat.min(1).values).reshape(-1, *[1] * (x.ndim - 1))
    return spread * noise


def patterns_on(states: Callable[[Tensor], Tensor], x: Tensor, way: Tensor, fine: int) -> int:
    """How many patterns there are on a very fine grid from x to x + way."""
    count, last = 1, states(x)
    for k in range(1, fine + 1):
        here = states(x + way * (k / fine))
        count, last = count + int(not torch.equal(here, last)), here
    return count
