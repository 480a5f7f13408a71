"""How DeepLIFT passes a nonlinear function of one element: Rescale and RevealCancel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pellucid.propagate.deeplift.halves import again, has_half, single
from pellucid.propagate.deeplift.integral import slope_at
from pellucid.propagate.deeplift.pairs import Pairs, distance
from pellucid.propagate.regions import Region
from pellucid.tape.adjoints import adjoint, kind, sum_to
from pellucid.tape.operations import Operation, Value

# A step this small, as a part of the values it leads to, in roundings: its slope is a derivative.
SMALL = 256

# They give what they get, or a number of their own.
EXACT = {"relu", "relu6", "clamp", "clamp_min", "clamp_max", "hardtanh", "threshold"}

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Activation:
    """y = f(x), element by element, of one operation or several; `x` may be broadcast.

    `function` computes it elsewhere, `derivative` is a signal times f'(x) at the input. It is
    `exact` where it gives x as it is, or a bound, so that steps of any size are not rounded.
    `half` says that it is computed in half precision: here `function` is asked in single.
    """

    x: Value
    y: Value
    function: Function
    derivative: Callable[[Tensor], Tensor]
    exact: bool = False
    half: bool = False

    @classmethod
    def of(cls, operation: Operation) -> "Activation":
        """That of one operation."""
        (x,) = [value for value in operation.slots if value.carries]
        position = operation.slots.index(x)
        empty = [None] * (len(operation.outputs) - 1)

        def function(point: Tensor) -> Tensor:
            return again(operation, lambda value: point if value is x else value.tensor)[0]

        def derivative(signal: Tensor) -> Tensor:
            found = adjoint(operation, [signal, *empty])[position]
            return torch.zeros_like(x.tensor) if found is None else found

        exact, half = operation.name in EXACT, has_half((x, operation.output))
        if half:
            return cls(x, operation.output, function, _derivative(function, x), exact, half)
        return cls(x, operation.output, function, derivative, exact)

    @classmethod
    def of_region(cls, region: Region) -> "Activation":
        """That of several operations; its result has the shape of its entry."""
        x = region.entry
        values = (value for operation in region.operations for value in operation.outputs)
        function = partial(region, again=again)
        half = has_half((x, *values))
        return cls(x, region.end.output, function, _derivative(function, x), half=half)

    def rescale(self, signal: Tensor, pairs: Pairs, reference: Tensor) -> Tensor:
        """The Rescale rule: m * (y - y0) / (x - x0), and m f'(x) where x has not moved.

        `reference` is y0.
        """
        y = self.y.tensor.reshape(reference.shape)
        if self.exact and self.x.shape == signal.shape:
            return self._exactly(signal, pairs, y - reference)
        end, start = single(self.x.tensor), single(pairs.start(self.x))
        if self.half:
            y, reference = (self.function(x).reshape(y.shape) for x in (end, start))
        way, step = distance(end, start), distance(y, reference)
        size = torch.maximum(y.abs(), reference.abs())
        found = step.div_(way.expand(step.shape)).mul_(signal)
        small = way.abs() <= size.mul_(_small(y))
        if small.any():
            found = _derived(small, self._broadcast_derivative(signal), found, way)
        return sum_to(found, self.x.shape)

    def _exactly(self, signal: Tensor, pairs: Pairs, step: Tensor) -> Tensor:
        """The same in fewer passes, as only 0 / 0 is not what it should be; it is rare."""
        found = step.div_(self.x.tensor - pairs.start(self.x)).mul_(signal)
        if found.sum().isnan():
            found = torch.where(found.isnan(), self.derivative(signal), found)
        return found

    def _broadcast_derivative(self, signal: Tensor) -> Tensor:
        """The derivative for every element of the result, also where the input is broadcast."""
        if self.x.shape == signal.shape:
            return self.derivative(signal)
        return slope_at(self.function, single(self.x.tensor).expand(signal.shape), signal)

    def reveal(self, signal: Tensor, pairs: Pairs, size: Tensor) -> tuple[Tensor, Tensor]:
        """The RevealCancel rule: mean and half the distance of the multipliers of both parts.

        D y+ = (f(x0 + D+) - f(x0)) / 2 + (f(x0 + D- + D+) - f(x0 + D-)) / 2
        D y- = (f(x0 + D-) - f(x0)) / 2 + (f(x0 + D+ + D-) - f(x0 + D+)) / 2
        """
        end, start, size = (single(each) for each in (self.x.tensor, pairs.start(self.x), size))
        way = distance(end, start)
        up, down = ((size + way) / 2).clamp_(min=0), ((way - size) / 2).clamp_(max=0)
        points = {"start": start, "up": start + up, "down": start + down, "end": end}
        values = {name: self.function(point) for name, point in points.items()}

        def slope(a: str, b: str, way: Tensor) -> Tensor:
            step = distance(values[b], values[a])
            least = torch.maximum(values[a].abs(), values[b].abs()).mul_(_small(step))
            small = way.abs() <= least
            found = step / way
            if small.any():
                one = torch.ones_like(found)
                derived = slope_at(self.function, points[a] + way / 2, one)
                found = _derived(small, derived, found, way)
            return found

        above = (slope("start", "up", up) + slope("down", "end", up)) * signal / 2
        below = (slope("start", "down", down) + slope("up", "end", down)) * signal / 2
        return (above + below) / 2, (above - below) / 2


def _derivative(function: Function, x: Value) -> Callable[[Tensor], Tensor]:
    return lambda signal: slope_at(function, single(x.tensor), signal)


def _derived(small: Tensor, derived: Tensor, found: Tensor, way: Tensor) -> Tensor:
    """The derivative for small steps; where it is infinite, the step itself, and 0 for none."""
    still = (way == 0).expand(found.shape)
    return torch.where(small & derived.isfinite(), derived, found.masked_fill(still, 0))


def _small(tensor: Tensor) -> float:
    return SMALL * torch.finfo(tensor.dtype).eps


def is_activation(operation: Operation) -> bool:
    """Whether an operation is a nonlinear function of single elements of one signal."""
    pointwise = torch.Tag.pointwise in operation.function.tags or kind(operation) == "pass"
    if not pointwise or kind(operation) in ("weighted", "linear", "affine", "scale", "route"):
        return False
    carrying = [value for value in operation.slots if value.carries]
    real = all(value.dtype.is_floating_point for value in (*carrying, operation.output))
    return len(carrying) == 1 and real
