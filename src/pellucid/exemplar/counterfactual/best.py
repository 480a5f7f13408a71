"""The nearest row that was found for each chain so far."""

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.distance import Distance


class Best:
    """For each chain a row (chain, element) and its distance (chain,), infinite while none is."""

    def __init__(self, distance: Distance) -> None:
        self.measure = distance
        self.rows = distance.space.origin.clone()
        self.distance = torch.full((len(self.rows),), torch.inf, dtype=torch.float64)

    @property
    def found(self) -> Tensor:
        """Which chains have one, of shape (chain,)."""
        return self.distance.isfinite()

    def offer(self, rows: Tensor, chain: Tensor, gains: Tensor) -> Tensor:
        """Keep the nearest of rows that decide; which were (row,) says if one was better."""
        far = torch.where(gains > 0, self.measure(rows, chain), torch.inf)
        least = torch.full_like(self.distance, torch.inf).scatter_reduce(0, chain, far, "amin")
        better = far.isfinite() & (far == least[chain]) & (far < self.distance[chain])
        # Of equals the first: written last.
        for row in better.nonzero().flatten().flip(0).tolist():
            self.rows[chain[row]] = rows[row]
            self.distance[chain[row]] = far[row]
        return better
