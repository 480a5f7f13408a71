"""The squared length of a dream."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Cost
from pellucid.inspect.dreaming.terms.values import Values, checked_values, laid
from pellucid.options import number


@TERMS.register("l2")
@dataclass(frozen=True, kw_only=True)
class L2(Cost):
    """Cost weight sum_i (x_i - center_i)^2.

    `center` is a number or a tensor that broadcasts against one dream: the mean of the data, say.
    Law: of a linear score w x the best dream is center + w / (2 weight).
    Source: Simonyan, Vedaldi and Zisserman (2014), Deep Inside Convolutional Networks.
    """

    weight: float = 0.01
    center: Values = 0.0

    def __post_init__(self) -> None:
        number(self.weight, "weight", "a weight, 0 or more", least=0)

    def check(self, layout: Layout) -> None:
        """Raise unless the center is one of such dreams."""
        checked_values(self.center, "center", layout)

    def cost(self, x: Tensor, layout: Layout) -> Tensor:
        """The cost of each dream."""
        return self.weight * (x - laid(self.center, x)).square().flatten(1).sum(1)
