"""Whether an answer looks like real data."""

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.distance import Distance


def plausibility(distance: Distance, rows: Tensor, real: Tensor) -> Tensor:
    """The share of real rows that are at least as far from all others; shape (row,).

    Near 1: it has closer neighbours than real rows have. Near 0: it is further from all data than
    any real row is from the rest. With so few as no row of data, not a number.
    """
    if len(real) < 2:
        return torch.full((len(rows),), torch.nan, dtype=torch.float64)
    apart = torch.cat([_alone(distance, real, start) for start in range(0, len(real), 256)])
    near = distance.table(rows, real).amin(1) if len(rows) else rows.new_zeros(0)
    return (apart[None, :] >= near[:, None] - 1e-12).double().mean(1)


def _alone(distance: Distance, real: Tensor, start: int) -> Tensor:
    """How far some real rows are from the nearest other one."""
    part = real[start : start + 256]
    far = distance.table(part, real)
    far[torch.arange(len(part)), start + torch.arange(len(part))] = torch.inf
    return far.amin(1)
