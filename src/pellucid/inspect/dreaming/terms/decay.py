"""A dream that fades where nothing holds it."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Correction
from pellucid.options import number


@TERMS.register("decay")
@dataclass(frozen=True, kw_only=True)
class Decay(Correction):
    """After every step x becomes (1 - rate) x.

    Source: Yosinski et al. (2015), Understanding Neural Networks Through Deep Visualization.
    """

    rate: float = 0.01

    def __post_init__(self) -> None:
        number(self.rate, "rate", "a share, from 0 to 1", least=0, most=1)

    def corrected(self, x: Tensor, slope: Tensor, step: int, layout: Layout) -> Tensor:
        """Dreams that are a little nearer to zero."""
        return x * (1 - self.rate)
