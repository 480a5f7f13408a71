"""A dream without its finest details."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.background import blurred
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Correction
from pellucid.options import number, whole


@TERMS.register("blur")
@dataclass(frozen=True, kw_only=True)
class Blur(Correction):
    """After every so many steps, convolve with a Gaussian, `width` positions wide.

    Source: Yosinski et al. (2015), Understanding Neural Networks Through Deep Visualization.
    """

    width: float = 1.0
    every: int = 4

    def __post_init__(self) -> None:
        number(self.width, "width", "a positive number of positions", above=0)
        whole(self.every, "every")

    def check(self, layout: Layout) -> None:
        """Raise unless there are neighbours."""
        layout.check_positions("Blur")

    def corrected(self, x: Tensor, slope: Tensor, step: int, layout: Layout) -> Tensor:
        """Dreams that are smooth along every axis with positions."""
        for axis in layout.positions if step % self.every == 0 else ():
            lines = x.movedim(axis, -1)
            rows = lines.reshape(-1, 1, lines.shape[-1])
            x = blurred(rows, self.width / rows.shape[-1]).reshape(lines.shape).movedim(-1, axis)
        return x
