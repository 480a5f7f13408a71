"""How far a changed input is from the one it was."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.space import Space

Named: TypeAlias = Literal["mad", "l1", "l2"]
DISTANCES = ("mad", "l1", "l2")
# From this many rows of data a spread is found.
ROWS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Distance:
    """A distance between rows, with the `unit` (element,) that each number is measured in.

        mad, l1:  sum over numbers of |x - x'| / unit + number of choices that differ
        l2:       square root of the sum of their squares

    The unit of `mad` is the median absolute deviation in the data (Wachter, Mittelstadt & Russell
    2017, "Counterfactual explanations without opening the black box"); where more than half of the
    values are equal it is the standard deviation. It is one for `l1` and `l2`.
    """

    how: Named
    unit: Tensor
    space: Space

    def __call__(self, rows: Tensor, chain: Tensor) -> Tensor:
        """From each input to its row, of shape (row,)."""
        return self.between(rows, self.space.origin[chain])

    def between(self, rows: Tensor, others: Tensor) -> Tensor:
        """Row by row, of shape (row,); a missing number is like any other."""
        parts = (rows - others).nan_to_num(0.0).abs() / self.unit
        parts = torch.where(self.space.numeric, parts, 0.0)
        differ = [
            (rows[:, c.columns] != others[:, c.columns]).any(1).double() for c in self.space.choices
        ]
        return self._joined(torch.cat([parts, *(each[:, None] for each in differ)], 1))

    def table(self, rows: Tensor, others: Tensor) -> Tensor:
        """Every row with every other, of shape (row, other)."""
        power = 2.0 if self.how == "l2" else 1.0
        return torch.cdist(self._coordinates(rows), self._coordinates(others), p=power)

    def _coordinates(self, rows: Tensor) -> Tensor:
        """Numbers whose plain distance is this one: each option gets a coordinate of its own."""
        parts = [(rows / self.unit)[:, self.space.numeric].nan_to_num(0.0)]
        half = 0.5 if self.how != "l2" else 0.5**0.5
        for choice in self.space.choices:
            values = rows[:, choice.columns].nan_to_num(-1.0)
            found = torch.cdist(values, choice.options).argmin(1)
            parts.append(half * torch.nn.functional.one_hot(found, len(choice.options)).double())
        return torch.cat(parts, 1)

    def _joined(self, parts: Tensor) -> Tensor:
        return parts.square().sum(1).sqrt() if self.how == "l2" else parts.sum(1)


def unit_of(how: Named, data: Tensor | None, elements: int) -> Tensor:
    """What the numbers of each element are measured in, of shape (element,)."""
    one = torch.ones(elements, dtype=torch.float64)
    if how != "mad" or data is None or len(data) < ROWS:
        return one
    known = data[:, ~data.isnan().all(0)].numpy()
    spread = torch.full((elements,), torch.nan, dtype=torch.float64)
    apart = np.abs(known - np.nanmedian(known, 0))
    spread[~data.isnan().all(0)] = torch.from_numpy(np.nanmedian(apart, 0))
    mean = data.nanmean(0)
    wide = (data - mean).square().nanmean(0).sqrt()
    found = torch.where(spread > 0, spread, wide)
    return torch.where(found.isfinite() & (found > 0), found, one)
