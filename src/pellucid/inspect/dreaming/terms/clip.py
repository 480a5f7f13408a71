"""Positions of a dream that hardly matter are emptied."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Correction
from pellucid.options import number


@TERMS.register("clip_norm")
@dataclass(frozen=True, kw_only=True)
class ClipNorm(Correction):
    """After every step, empty the share of positions whose norm over the channels is smallest.

    Of tables, whose rows have no positions, the features.
    Source: Yosinski et al. (2015), Understanding Neural Networks Through Deep Visualization.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        number(self.share, "share", "a share, from 0 to 1", least=0, most=1)

    def corrected(self, x: Tensor, slope: Tensor, step: int, layout: Layout) -> Tensor:
        """Dreams with less of what is faint."""
        return _emptied(x, _over_channels(x.square(), layout), self.share)


@TERMS.register("clip_contribution")
@dataclass(frozen=True, kw_only=True)
class ClipContribution(Correction):
    """After every step, empty the share of positions that contribute least to the objective.

        contribution = | sum over channels of x dJ/dx |

    Source: Yosinski et al. (2015), Understanding Neural Networks Through Deep Visualization.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        number(self.share, "share", "a share, from 0 to 1", least=0, most=1)

    def corrected(self, x: Tensor, slope: Tensor, step: int, layout: Layout) -> Tensor:
        """Dreams with less of what does not serve the objective."""
        return _emptied(x, _over_channels(x * slope, layout).abs(), self.share)


def _over_channels(values: Tensor, layout: Layout) -> Tensor:
    """Sums over the channels, where there are positions; the axis stays, with length one."""
    return values.sum(layout.channel_axis, keepdim=True) if layout.positions else values


def _emptied(x: Tensor, amounts: Tensor, share: float) -> Tensor:
    """Zero where the amounts of a dream are among its smallest."""
    rows = amounts.flatten(1)
    count = round(share * rows.shape[1])
    if count == 0:
        return x
    last = rows.kthvalue(count, dim=1).values.reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(amounts <= last, 0, x)
