"""How much neighbours in a dream differ."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Cost
from pellucid.options import number
from pellucid.perturb.mask import variation


@TERMS.register("total_variation")
@dataclass(frozen=True, kw_only=True)
class TotalVariation(Cost):
    """Cost weight sum over neighbours |x_i - x_j|^power, along every axis with positions.

    Source: Mahendran and Vedaldi (2015), Understanding Deep Image Representations by Inverting
    Them.
    """

    weight: float = 0.01
    power: float = 2.0

    def __post_init__(self) -> None:
        number(self.weight, "weight", "a weight, 0 or more", least=0)
        number(self.power, "power", "at least 1", least=1)

    def check(self, layout: Layout) -> None:
        """Raise unless there are neighbours."""
        layout.check_positions("TotalVariation")

    def cost(self, x: Tensor, layout: Layout) -> Tensor:
        """The cost of each dream."""
        return self.weight * variation(layout.first(x), self.power).sum(1)
