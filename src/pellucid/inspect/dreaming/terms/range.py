"""The range of values that inputs can have."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Correction
from pellucid.inspect.dreaming.terms.values import Values, checked_values, laid


@TERMS.register("range")
@dataclass(frozen=True, kw_only=True)
class Range(Correction):
    """After every step, put back what is below `low` or above `high`.

    Both are numbers, or tensors that broadcast against one dream: (channel, 1, 1) for the bounds of
    normalized images.
    """

    low: Values = 0.0
    high: Values = 1.0

    def __post_init__(self) -> None:
        if bool((torch.as_tensor(self.low) >= torch.as_tensor(self.high)).any()):
            raise InputError(
                "`low` must be less than `high`", found=f"{self.low!r} and {self.high!r}"
            )

    def check(self, layout: Layout) -> None:
        """Raise unless these are bounds of such dreams."""
        checked_values(self.low, "low", layout)
        checked_values(self.high, "high", layout)

    def corrected(self, x: Tensor, slope: Tensor, step: int, layout: Layout) -> Tensor:
        """Dreams in the range."""
        return x.clamp(laid(self.low, x), laid(self.high, x))
