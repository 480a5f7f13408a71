"""From the scores of paired coalitions to Shapley values, by least squares, with their errors.

Shapley values depend on a game only by v(S) - v(N - S), the difference of opposites. With x = 1 for
the members of S and -1 for all others, a game without interactions has the difference x R, one with
interactions of three players has terms x_i x_j x_k besides; those of two and four drop out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pellucid.shapley.strata import Stratum

# Interactions of three are fitted where there are this many pairs for each of their numbers.
PAIRS_EACH = 1.5
# A pair that alone decides a number of the fit has leverage one, and no residual to tell.
MOST_LEVERAGE = 0.99


@dataclass(frozen=True, eq=False, kw_only=True)
class Regression:
    """The fit to some pairs of opposites.

    `members` (pair, player) are those of one coalition of each, ordered by stratum; `counts` say
    how many of each stratum there are.
    """

    members: Tensor
    counts: Sequence[int]
    strata: Sequence[Stratum]

    @property
    def complete(self) -> bool:
        """Whether these are all pairs that there are."""
        return all(n == each.total for n, each in zip(self.counts, self.strata, strict=True))

    @cached_property
    def signs(self) -> Tensor:
        """1 for members and -1 for others, of shape (pair, player)."""
        return self.members.double() * 2 - 1

    @cached_property
    def weights(self) -> Tensor:
        """The Shapley kernel of each pair, by how many of its size it stands for."""
        pairs = zip(self.counts, self.strata, strict=True)
        parts = [torch.full((n,), each.mass / max(n, 1), dtype=torch.float64) for n, each in pairs]
        return torch.cat([torch.zeros(0, dtype=torch.float64), *parts])

    @cached_property
    def _inverse(self) -> Tensor:
        """Of the normal equations with the constraint as their last row."""
        count = self.signs.shape[1]
        system = torch.zeros(count + 1, count + 1, dtype=torch.float64)
        system[:count, :count] = self.signs.T @ (self.weights.unsqueeze(1) * self.signs)
        system[count, :count] = system[:count, count] = 1
        return torch.linalg.inv(system)

    @cached_property
    def influence(self) -> Tensor:
        """How much the difference of each pair counts for each value, of shape (pair, player)."""
        count = self.signs.shape[1]
        return self.weights.unsqueeze(1) * self.signs @ self._inverse[:count, :count]

    @cached_property
    def _triples(self) -> Tensor | None:
        """Three players each, of shape (triple, 3), if there are pairs enough to fit them all."""
        pairs, count = self.signs.shape
        numbers = count + count * (count - 1) * (count - 2) // 6
        if count < 3 or self.complete or pairs < PAIRS_EACH * numbers:
            return None
        return torch.combinations(torch.arange(count), 3)

    @cached_property
    def _products(self) -> Tensor | None:
        """The products of the signs of three players, of shape (pair, triple)."""
        if self._triples is None:
            return None
        i, j, k = (self.signs[:, column] for column in self._triples.T)
        return i * j * k

    @cached_property
    def _factors(self) -> tuple[Tensor, Tensor]:
        """Of the equations by which players and triples are fitted alike."""
        if self._products is None:
            raise RuntimeError("there are no triples to fit")
        basis, factor = torch.linalg.qr(torch.cat([self._products, self.signs], 1))
        return basis, factor

    @cached_property
    def leverage(self) -> Tensor:
        """How far the fit follows each pair, of shape (pair,)."""
        if self._products is None:
            found = (self.influence * self.signs).sum(1)
        else:
            found = self._factors[0].square().sum(1)
        return found.clamp(max=MOST_LEVERAGE)

    def solve(self, differences: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        """Values and their standard errors, of shape (sample, player).

        `differences` (sample, pair) are those of opposites, and values sum to `gap` (sample,).
        Of a fit of triples, each player has a third of the difference that they make together; and
        what they do not explain is fitted as if they were not there.
        """
        count, start = (
            self.signs.shape[1],
            torch.zeros(len(gap), self.signs.shape[1], dtype=torch.float64),
        )
        if self._triples is not None and self._products is not None:
            basis, factor = self._factors
            size = len(self._triples)
            fitted = torch.linalg.solve_triangular(factor, (differences @ basis).T, upper=True)
            shares = fitted[:size].T
            start.index_add_(1, self._triples.flatten(), shares.repeat_interleave(3, 1) / 3)
            differences = differences - shares @ self._products.T
            gap = gap - shares.sum(1)
        left = differences @ self.influence + gap.unsqueeze(1) * self._inverse[:count, count]
        return start + left, self._errors(differences - left @ self.signs.T)

    def _errors(self, residuals: Tensor) -> Tensor:
        """Standard errors, by how differently the pairs of one size pull at the values.

        A pair's own part in the fit, which hides how far it is off, is taken out of its residual
        (leave one out); sizes that are complete leave nothing to chance.
        """
        outside = residuals / (1 - self.leverage)
        variance = torch.zeros(len(residuals), self.signs.shape[1], dtype=torch.float64)
        start = 0
        for n, each in zip(self.counts, self.strata, strict=True):
            mine = slice(start, start + n)
            start += n
            if n < each.total:
                pulls, size = self.influence[mine], outside[:, mine]
                spread = size.square() @ pulls.square() - (size @ pulls).square() / n
                variance += (1 - n / each.total) * n / (n - 1) * spread
        return variance.clamp(min=0).sqrt()
