"""The numbers that a column can hold: multiples of a step, in a type; and bounds among these."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

# A step is taken for the fraction that it is as near to as this, of parts that are no smaller.
ROUNDING = 1e-12
MOST_PARTS = 10**6


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The `steps` (element,) of which numbers are multiples; zero where they may be any.

    A multiple is the number of float64 next to it: 7 steps of 0.1, or of 1 / 10, are 0.7, and not
    the 0.7000000000000001 that is seven times the number next to 0.1.
    """

    steps: Tensor
    whole: Tensor
    parts: Tensor

    @classmethod
    def of(cls, steps: Tensor) -> "Grid":
        """Find the fractions, in `whole` / `parts`."""
        pairs = [_fraction(step) for step in steps.tolist()]
        whole, parts = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).T
        return cls(steps=steps, whole=whole, parts=parts)

    @cached_property
    def free(self) -> bool:
        """Whether there are no steps at all."""
        return not bool(self.steps.any())

    def nearest(self, rows: Tensor, away: Tensor | None = None) -> Tensor:
        """The nearest multiples to rows (row, element); the next ones `away` from some rows."""
        if self.free:
            return rows
        at = rows * self.parts / self.whole
        count = at.round()
        if away is not None:
            far = torch.where(rows > away, at.ceil(), at.floor())
            count = torch.where((at - count).abs() < 1e-9 * (1 + at.abs()), count, far)
        return torch.where(self.steps > 0, count * self.whole / self.parts, rows)

    def inward(
        self, low: Tensor, high: Tensor, precision: Sequence[tuple[torch.dtype, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Bounds (row, element) moved to the nearest multiples that are not beyond them.

        One that is a multiple but for rounding, as 3 * 0.1 and the single-precision 0.7 are, stays.
        """
        first, last = (self._near(bound, precision) for bound in (low, high))
        first = torch.where(first < low, self.nearest(first + self.steps), first)
        last = torch.where(last > high, self.nearest(last - self.steps), last)
        return first, last

    def _near(self, bound: Tensor, precision: Sequence[tuple[torch.dtype, Tensor]]) -> Tensor:
        """The nearest multiples, or bounds that are so but for rounding; whole ones are exact."""
        near = self.nearest(bound)
        rounded = (near - bound).abs() <= spacing(bound, precision)
        return torch.where(rounded & (self.parts > 1), bound, near)


def whole_step(step: float) -> float:
    """The least whole number that is a multiple of a step: 5 for 2.5, and 1 for 0.2."""
    return _fraction(step)[0]


def inward(bound: Tensor, dtype: torch.dtype, *, up: bool) -> Tensor:
    """The nearest number of a coarse type that is not beyond a bound."""
    near = bound.to(dtype)
    beyond = near.double() < bound if up else near.double() > bound
    side = torch.full_like(near, torch.inf if up else -torch.inf)
    return torch.where(beyond, torch.nextafter(near, side), near).double()


def spacing(rows: Tensor, precision: Sequence[tuple[torch.dtype, Tensor]]) -> Tensor:
    """How far numbers (row, element) are apart in the types of their columns."""
    found = ROUNDING * (1 + rows.abs())
    for dtype, elements in precision:
        limits = torch.finfo(dtype)
        found = torch.where(elements, rows.abs().clamp(min=limits.tiny) * limits.eps, found)
    return found


def _fraction(step: float) -> tuple[float, float]:
    """A step as a whole number over another; itself over one, where it is no such fraction."""
    near = Fraction(step).limit_denominator(MOST_PARTS) if step else Fraction(1)
    if step and abs(float(near) - step) > ROUNDING * step:
        return step, 1.0
    return float(near.numerator), float(near.denominator)
