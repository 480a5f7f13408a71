"""How far changes go, the nearest row so far, and whether real data are near."""

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


class Best:
    """The nearest row that was found for each chain, so far.

    `rows` have shape (chain, element), `gains` (chain,) are theirs; `distance` (chain,) is infinite
    while there is none.
    """

    def __init__(self, distance: Distance) -> None:
        self.measure = distance
        self.rows = distance.space.origin.clone()
        self.distance = torch.full((len(self.rows),), torch.inf, dtype=torch.float64)
        self.gains = torch.full_like(self.distance, torch.nan)

    @property
    def found(self) -> Tensor:
        """Which chains have one, of shape (chain,)."""
        return self.distance.isfinite()

    def offer(self, rows: Tensor, chain: Tensor, gains: Tensor) -> Tensor:
        """Keep the nearest of rows that decide; which were (row,) says if one was better."""
        far = torch.where(gains > 0, self.measure(rows, chain), torch.inf)
        least = torch.full_like(self.distance, torch.inf).scatter_reduce(0, chain, far, "amin")
        better = far.isfinite() & (far == least[chain]) & (far < self.distance[chain])
        place = better.nonzero().flatten()
        if not len(place):
            return better
        none = torch.full((len(self.distance),), len(rows))
        first = none.scatter_reduce(0, chain[place], place, "amin")  # of equals
        hit = first < len(rows)
        place = first[hit]
        self.rows[hit], self.distance[hit], self.gains[hit] = rows[place], far[place], gains[place]
        return better


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
