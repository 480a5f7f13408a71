"""How much of what a neuron says is left in its input once the estimated signal is taken out.

    rho(S) = 1 - max over v of corr(y, v'd),    y = w'x + b,    d = x - S(x)

The best v is found by least squares with shrinkage, on one half of a sample of positions, and
judged on the other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from pellucid.propagate.patterns.neurons import (
    Convolution,
    ConvolutionWiring,
    Dense,
    DenseWiring,
    Neurons,
    TransposedWiring,
    Wiring,
)

# How many neurons of an operation are looked at, and how many numbers of its inputs are kept.
NEURONS, NUMBERS, FEWEST, MOST = 8, 2**20, 256, 1024
# Fewer positions than these say nothing of a correlation.
ENOUGH = 32
# Of the mean variance of d, added to each variance, as there are about as many numbers as samples.
SHRINKAGE = 1e-2

Pick = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Rho of one estimator at one operation, the mean over `neurons` of its neurons.

    `rho_rectified` is the same for max(y, 0), which is what a rectifier hands on.
    """

    layer: str
    operation: str
    rectified: bool
    estimator: str
    rho: float
    rho_rectified: float
    neurons: int
    positions: int


COLUMNS = tuple(each.name for each in fields(Quality))


@dataclass(kw_only=True)
class Sample:
    """Positions of one operation, drawn at random from all that were seen, each as likely.

    `x` is what some neurons read there, shape (group, position, read); `y` what they answered,
    (group, position, neuron). A position stays while its random `key` is among the smallest.
    """

    generator: torch.Generator
    key: Tensor = field(default_factory=lambda: torch.empty(0))
    x: Tensor | None = None
    y: Tensor | None = None

    def add(self, neurons: Neurons) -> None:
        """Take in the positions of another batch."""
        total = _positions(neurons)
        groups, read = _layout(neurons.wiring)
        most = min(MOST, max(FEWEST, NUMBERS // (len(groups) * read)))
        keys = torch.rand(total, generator=self.generator)
        chosen = keys.topk(min(most, total), largest=False).indices
        x, y = _taken(neurons, groups, chosen)
        if self.x is None or self.y is None:
            self.key, self.x, self.y = keys[chosen], x, y
            return
        key = torch.cat([self.key, keys[chosen]])
        kept = key.topk(min(most, len(key)), largest=False).indices
        self.key = key[kept]
        self.x = torch.cat([self.x, x], 1)[:, kept.to(x.device)]
        self.y = torch.cat([self.y, y], 1)[:, kept.to(y.device)]

    def judge(
        self, weight: Tensor, estimators: dict[str, tuple[Tensor, Tensor]], wiring: Wiring
    ) -> Iterator[tuple[str, Tensor, int]]:
        """Rho of each estimator, plain and rectified, and the number of neurons it is the mean of.

        An estimator is a pattern for y > 0 and one for the rest. The weights themselves and a
        random direction are judged beside them.
        """
        if self.x is None or self.y is None or len(self.key) < ENOUGH:
            return
        x, y = self.x.double().cpu(), self.y.double().cpu()
        pick = _pick(wiring)
        w = pick(weight.double().cpu())
        noise = torch.randn(w.shape, generator=self.generator, dtype=w.dtype)
        known = {name: (pick(on), pick(off)) for name, (on, off) in estimators.items()}
        known["filter"] = (_normal(w, w),) * 2
        known["random"] = (_normal(noise * (w != 0), w),) * 2
        places = [(g, j) for g in range(w.shape[0]) for j in range(w.shape[1])]
        for name, (on, off) in known.items():
            each = [_rho(x[g], w[g, j], y[g, :, j], on[g, j], off[g, j]) for g, j in places]
            found = [rho for rho in each if rho is not None]
            if found:
                yield name, torch.stack(found).mean(0), len(found)


def _normal(direction: Tensor, w: Tensor) -> Tensor:
    """Scaled such that w'a = 1, which makes a w'x an estimate of a signal."""
    scale = (direction * w).sum(-1, keepdim=True)
    return direction / torch.where(scale == 0, torch.ones_like(scale), scale)


def _rho(x: Tensor, w: Tensor, y: Tensor, on: Tensor, off: Tensor) -> Tensor | None:
    """Rho of one neuron for y and max(y, 0); `None` if one of them is the same everywhere."""
    pattern = torch.where((y > 0).unsqueeze(1), on, off)
    d = x - pattern * (x @ w).unsqueeze(1)
    said, half = torch.stack([y, y.clamp(min=0)], 1), len(y) // 2
    if bool((said[:half].std(0) == 0).any() | (said[half:].std(0) == 0).any()):
        return None
    guess = _centered(d[half:]) @ _regressed(_centered(d[:half]), _centered(said[:half]))
    truth = _centered(said[half:])
    length = guess.norm(dim=0) * truth.norm(dim=0)
    found = (guess * truth).sum(0) / torch.where(length > 0, length, 1)
    return 1 - found.clamp(0, 1)


def _regressed(d: Tensor, y: Tensor) -> Tensor:
    """Least squares with shrinkage: v = (d'd + s I)^-1 d'y, by the smaller of two systems.

    d is (position, read), y (position, answer).
    """
    shrink = SHRINKAGE * d.square().sum() / d.shape[1]
    if float(shrink) == 0:
        return d.new_zeros(d.shape[1], y.shape[1])
    tall = d.shape[0] >= d.shape[1]
    gram = d.T @ d if tall else d @ d.T
    system = gram + shrink * torch.eye(len(gram), dtype=d.dtype)
    return torch.linalg.solve(system, d.T @ y) if tall else d.T @ torch.linalg.solve(system, y)


def _centered(values: Tensor) -> Tensor:
    return values - values.mean(0)


# -- which neurons, and what they read


def _layout(wiring: Wiring) -> tuple[list[int], int]:
    """The groups that are looked at, spread over all, and how many numbers a neuron reads."""
    shape = wiring.shape
    if isinstance(wiring, DenseWiring):
        return _spaced(shape[0], NEURONS), shape[2]
    groups = wiring.groups if isinstance(wiring, ConvolutionWiring | TransposedWiring) else 1
    whole = shape[0] if isinstance(wiring, ConvolutionWiring) else shape[1] * groups
    return _spaced(groups, NEURONS), shape.numel() // whole


def _each(wiring: Wiring) -> list[int]:
    """The neurons that are looked at in each group."""
    if isinstance(wiring, DenseWiring):
        inside, groups = wiring.shape[1], wiring.shape[0]
    elif isinstance(wiring, ConvolutionWiring):
        inside, groups = wiring.shape[0] // wiring.groups, wiring.groups
    else:
        inside, groups = wiring.shape[1], getattr(wiring, "groups", 1)
    return _spaced(inside, max(1, NEURONS // groups))


def _spaced(total: int, most: int) -> list[int]:
    count = min(total, most)
    return [i * total // count for i in range(count)]


def _pick(wiring: Wiring) -> Pick:
    """Numbers of the shape of the weights -> those of the neurons, (group, neuron, read)."""
    groups, _ = _layout(wiring)
    each = _each(wiring)
    if isinstance(wiring, DenseWiring):
        return lambda a: a[groups][:, each]
    if isinstance(wiring, ConvolutionWiring):
        return lambda a: a.reshape(wiring.groups, -1, a[0].numel())[groups][:, each]
    if not isinstance(wiring, TransposedWiring):
        raise TypeError(f"{wiring} has no weights to pick.")
    phase = _phase(wiring)
    here = (wiring.phase == phase).to(torch.float64)

    def pick(a: Tensor) -> Tensor:
        inner = wiring.shape[0] // wiring.groups
        split = a.reshape(wiring.groups, inner, wiring.shape[1], -1) * here
        return split[groups][:, :, each].movedim(2, 1).flatten(2)

    return pick


def _phase(wiring: TransposedWiring) -> int:
    """The phase that the first place of the kernel belongs to."""
    return int(wiring.phase[0])


def _positions(neurons: Neurons) -> int:
    if isinstance(neurons, Dense):
        return neurons.x.shape[1]
    sizes = [len(each) for each in _grid(neurons)]
    return neurons.y.shape[0] * int(torch.tensor(sizes).prod())


def _grid(neurons: Neurons) -> list[Tensor]:
    """The positions along each axis, of one phase of a transposed convolution."""
    wiring, space = neurons.wiring, neurons.y.shape[2:]
    if not isinstance(wiring, TransposedWiring):
        return [torch.arange(size) for size in space]
    starts = [-pad % step for pad, step in zip(wiring.padding, wiring.stride, strict=True)]
    steps = zip(starts, space, wiring.stride, strict=True)
    return [torch.arange(start, size, step) for start, size, step in steps]


def _taken(neurons: Neurons, groups: list[int], chosen: Tensor) -> tuple[Tensor, Tensor]:
    """What the neurons read and answered at the chosen positions."""
    each = torch.tensor(_each(neurons.wiring))
    if isinstance(neurons, Dense):
        places = chosen.to(neurons.x.device)
        return neurons.x[groups][:, places], neurons.y[groups][:, places][..., each]
    if not isinstance(neurons, Convolution):
        raise TypeError(f"{neurons} has no weights to sample.")
    grid = _grid(neurons)
    sizes = (neurons.y.shape[0], *map(len, grid))
    batch, *place = torch.unravel_index(chosen, sizes)
    place = [axis[index] for axis, index in zip(grid, place, strict=True)]
    outer = neurons.y.shape[1] // neurons.places[5]
    channel = torch.tensor(groups).unsqueeze(1) * outer + each  # (group, neuron)
    index = (batch.reshape(-1, 1, 1), channel, *(p.reshape(-1, 1, 1) for p in place))
    y = neurons.y[_on(index, neurons.y)].movedim(1, 0)
    return _patches(neurons, groups, batch, place), y


def _patches(neurons: Convolution, groups: list[int], batch: Tensor, place: list[Tensor]) -> Tensor:
    """What the kernel covers at each position, zero in the padding, (group, position, read)."""
    x, axes = neurons.x, len(place)
    stride, padding, dilation, transposed, _, count = neurons.places
    inner = x.shape[1] // count
    channel = torch.tensor(groups).unsqueeze(1) * inner + torch.arange(inner)
    index = [batch.reshape(-1, 1, 1, *[1] * axes), channel.reshape(*channel.shape, *[1] * axes)]
    inside = torch.ones(1, dtype=torch.bool)
    for axis, here in enumerate(place):
        step, pad, spread = (_of(each, axis) for each in (stride, padding, dilation))
        taps = spread * torch.arange(neurons.wiring.shape[2 + axis])
        at = here.unsqueeze(1) + pad - taps if transposed else here.unsqueeze(1) * step - pad + taps
        whole = at % step == 0 if transposed else torch.ones_like(at, dtype=torch.bool)
        at = at // step if transposed else at
        size = x.shape[2 + axis]
        shape = [len(here), 1, 1, *[1] * axes]
        shape[3 + axis] = len(taps)
        inside = inside & (whole & (at >= 0) & (at < size)).reshape(shape)
        index.append(at.clamp(0, size - 1).reshape(shape))
    found = x[_on(tuple(index), x)] * inside.to(x)
    return found.movedim(1, 0).flatten(2)


def _of(given: list[int], axis: int) -> int:
    return given[axis] if len(given) > 1 else given[0]


def _on(index: tuple[Tensor, ...], like: Tensor) -> tuple[Tensor, ...]:
    return tuple(each.to(like.device) for each in index)
