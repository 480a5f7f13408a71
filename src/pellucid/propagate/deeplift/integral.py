"""The mean adjoint of one operation on the straight line from reference to input.

    S_in = integral over t in (0, 1) of J(x0 + t (x - x0))^T S_out

It is complete for any operation, whatever it couples: S_in . (x - x0) = S_out . (y - y0). What is
linear in each of its signals (a product, a convolution with a computed kernel) has its mean
adjoint in the middle; all else is integrated by the rules of Gauss and Kronrod, in parts that are
halved until both agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from pellucid.propagate.deeplift.halves import HALVES, again, single
from pellucid.propagate.deeplift.pairs import differ, distance
from pellucid.propagate.regions import Region
from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Operation, Value

# Linear in each signal, where no value is in two slots.
BILINEAR = {
    "mul", "mm", "bmm", "addmm", "baddbmm", "mv", "dot", "addmv", "addbmm", "addcmul",
    "convolution", "_convolution",
}  # fmt: skip
# Kronrod's rule of 15 points on (-1, 1), and Gauss's of seven of them: node and both weights.
RULE = (
    (0.0, 0.209482141084727828012999174891714, 0.417959183673469387755102040816327),
    (0.207784955007898467600689403773245, 0.204432940075298892414161999234649, 0.0),
    (0.405845151377397166906606412076961, 0.190350578064785409913256402421014,
     0.381830050505118944950369775488975),
    (0.586087235467691130294144691693, 0.169004726639267902826583426598550, 0.0),
    (0.741531185599394439863864773280788, 0.140653259715525918745189590510238,
     0.279705391489276667901467771423780),
    (0.864864423359769072789712788640926, 0.104790010322250183839876322541518, 0.0),
    (0.949107912342758524526189684047851, 0.063092092629978553290700663189204,
     0.129484966168869693270611432679082),
    (0.991455371120812639206854697526329, 0.022935322010529224963732008058970, 0.0),
)  # fmt: skip
NODES = tuple(
    (side * node, kronrod, gauss)
    for node, kronrod, gauss in RULE
    for side in ((1,) if node == 0 else (-1, 1))
)
# Where the two rules differ by less than this part of the whole, Kronrod's is far nearer.
TOLERANCE = 1e-9
# Where they differ by more than this part of it in the end, that is worth a word.
SETTLED = 1e-5
# So many parts are halved at most, the worst first: what jumps often is left as it is then.
MOST_PARTS = 250

Adjoints = list[Tensor]


def mean_adjoint(
    operation: Operation, partner: Operation, signals: Signals
) -> tuple[Signals, bool]:
    """Signals for every slot of an operation, from those at its outputs; and if they are exact.

    Where something that carries no signal differs in the two runs (a mask, an index), the first
    half of the way has that of the reference.
    """
    slots = list(zip(operation.slots, partner.slots, strict=True))
    ways = [
        distance(single(end.tensor), single(start.tensor)) for end, start in slots if end.carries
    ]
    jumps = any(differ(operation, partner))

    def pull(t: float) -> Adjoints:
        source, rest = partner if jumps and t < 0.5 else operation, iter(ways)
        points = [
            _between(single(end.tensor), single(start.tensor), next(rest), t)
            if end.carries
            else source.slots[i].tensor
            for i, (end, start) in enumerate(slots)
        ]
        return pulled_back(source, points, signals)

    eps, bilinear = _coarsest(operation.slots), operation.name in BILINEAR
    found, settled = _mean(pull, ways, jumps=jumps, bilinear=bilinear, eps=eps)
    rest = iter(found)
    return [next(rest) if value.carries else None for value in operation.slots], settled


def mean_slope(region: Region, end: Tensor, start: Tensor, signal: Tensor) -> tuple[Tensor, bool]:
    """The same at the entry of a function of several operations."""
    end, start = single(end), single(start)
    way, function = distance(end, start), partial(region, again=again)

    def pull(t: float) -> Adjoints:
        return [slope_at(function, _between(end, start, way, t), signal)]

    values = [value for operation in region.operations for value in operation.outputs]
    eps = _coarsest(values)
    (found,), settled = _mean(pull, [way], jumps=False, bilinear=False, eps=eps)
    return found, settled


def _mean(
    pull: Callable[[float], Adjoints],
    ways: list[Tensor],
    *,
    jumps: bool,
    bilinear: bool,
    eps: float,
) -> tuple[Adjoints, bool]:
    """The mean over t of what is pulled back, on the line that goes these ways."""
    parts = [0.0, 0.5, 1.0] if jumps else [0.0, 1.0]
    pull = partial(_finite, pull, ways)
    if bilinear:
        found = [_scaled(pull((a + b) / 2), b - a) for a, b in pairwise(parts)]
        return _sum(found), True
    line = _Line(pull, ways, max(TOLERANCE, 4 * eps))
    halved, settled = line.halved([line.part(a, b) for a, b in pairwise(parts)])
    return _sum([part.kronrod for part in halved]), settled


def _finite(pull: Callable[[float], Adjoints], ways: list[Tensor], t: float) -> Adjoints:
    """What is pulled back; where nothing moves an infinite slope adds nothing."""
    return [
        found if found.sum().isfinite() else found.masked_fill((way == 0) & ~found.isfinite(), 0)
        for found, way in zip(pull(t), ways, strict=True)
    ]


@dataclass(frozen=True)
class _Part:
    """A part of the way, its integral by Kronrod's rule, and how far off that by Gauss's is."""

    start: float
    end: float
    kronrod: Adjoints
    apart: float


@dataclass
class _Line:
    """The way from reference to input, and what is pulled back along it.

    `left` is how many parts may still be halved.
    """

    pull: Callable[[float], Adjoints]
    ways: list[Tensor]
    tolerance: float
    left: int = field(default_factory=lambda: MOST_PARTS)

    def part(self, start: float, end: float) -> _Part:
        """The integral over a part by both rules."""
        middle, half = (start + end) / 2, (end - start) / 2
        kronrod: Adjoints = [torch.zeros_like(way) for way in self.ways]
        apart: Adjoints = [torch.zeros_like(way) for way in self.ways]
        for node, weight, other in NODES:
            found = self.pull(middle + half * node)
            for total, off, each in zip(kronrod, apart, found, strict=True):
                total.add_(each, alpha=half * weight)
                off.add_(each, alpha=half * (weight - other))
        return _Part(start, end, kronrod, self.size(apart))

    def halved(self, parts: list[_Part]) -> tuple[list[_Part], bool]:
        """Parts that are as short as each must be, the worst halved first; and if that will do."""
        whole = self.size(_sum([part.kronrod for part in parts]))
        while (worst := max(parts, key=lambda part: part.apart)).apart > self.tolerance * whole:
            if self.left == 0:
                return parts, sum(part.apart for part in parts) <= SETTLED * whole
            self.left -= 1
            middle = (worst.start + worst.end) / 2
            halves = [self.part(worst.start, middle), self.part(middle, worst.end)]
            parts = [*(part for part in parts if part is not worst), *halves]
        return parts, True

    def size(self, found: Adjoints) -> float:
        """How much is contributed, whatever its sign."""
        pairs = zip(found, self.ways, strict=True)
        return sum(float((signal * way).abs().sum()) for signal, way in pairs)


def pulled_back(operation: Operation, points: list[Tensor], signals: Signals) -> Adjoints:
    """The adjoint of an operation at other values than its own, for the slots that carry."""
    with torch.enable_grad():
        leaves = [
            point.detach().requires_grad_(value.carries)
            for value, point in zip(operation.slots, points, strict=True)
        ]
        rest = iter(leaves)
        # One value may be in two slots: each gets its own part.
        results = again(operation, lambda _: next(rest))
        arrived = [(r, s) for r, s in zip(results, signals, strict=True) if s is not None]
        return vector_jacobian(
            [(result, signal) for result, signal in arrived if result.requires_grad],
            [leaf for leaf, value in zip(leaves, operation.slots, strict=True) if value.carries],
        )


def slope_at(function: Callable[[Tensor], Tensor], x: Tensor, signal: Tensor) -> Tensor:
    """The signal times the derivative of an elementwise function at x."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (found,) = vector_jacobian([(function(leaf), signal)], [leaf])
    return found


def vector_jacobian(pairs: list[tuple[Tensor, Tensor]], wanted: list[Tensor]) -> Adjoints:
    """What autograd pulls back from results with their signals."""
    pairs = [(result, signal) for result, signal in pairs if result.requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in wanted]
    if any(result.is_complex() for result, _ in pairs):
        outputs, given = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, wanted, given, allow_unused=True)
    else:
        # A product rather than `grad_outputs`, which would import a computer algebra system.
        total = sum((result * signal).sum() for result, signal in pairs)
        found = torch.autograd.grad(total, wanted, allow_unused=True)  # type: ignore[arg-type]
    return [
        torch.zeros_like(leaf) if signal is None else signal
        for signal, leaf in zip(found, wanted, strict=True)
    ]


def _coarsest(values: Sequence[Value | None]) -> float:
    """The rounding of the coarsest type to compute in: no integral is finer than that."""
    known = {value.dtype for value in values if value is not None}
    dtypes = {torch.float32 if dtype in HALVES else dtype for dtype in known}
    return max(torch.finfo(d).eps for d in dtypes if d.is_floating_point or d.is_complex)


def _between(end: Tensor, start: Tensor, way: Tensor, t: float) -> Tensor:
    """A point of the line, counted from the nearer end."""
    return start + t * way if t < 0.5 else end - (1 - t) * way


def _scaled(found: Adjoints, factor: float) -> Adjoints:
    return [signal * factor for signal in found] if factor != 1 else found


def _sum(parts: list[Adjoints]) -> Adjoints:
    return [sum(column[1:], column[0]) for column in zip(*parts, strict=True)]
