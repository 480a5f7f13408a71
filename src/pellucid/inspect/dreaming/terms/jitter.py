"""Dreams that are shifted before the model sees them."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Motion
from pellucid.options import number


@TERMS.register("jitter")
@dataclass(frozen=True, kw_only=True)
class Jitter(Motion):
    """In every step shift by at most a share of each axis with positions; what leaves comes back.

    At least one position, so that small images are moved as well.
    Source: Mordvintsev, Olah and Tyka (2015), Inceptionism: Going Deeper into Neural Networks.
    """

    share: float = 0.04

    def __post_init__(self) -> None:
        number(self.share, "share", "a share of each axis, at most 0.5", above=0, most=0.5)

    def check(self, layout: Layout) -> None:
        """Raise unless there are positions."""
        layout.check_positions("Jitter")

    def moved(self, x: Tensor, layout: Layout, draw: Generator) -> Tensor:
        """Dreams rolled along the axes with positions."""
        reaches = [max(1, round(self.share * size)) for size in layout.sizes]
        shifts = [int(torch.randint(-r, r + 1, (), generator=draw)) for r in reaches]
        return x.roll(shifts, layout.positions)
