"""From the scores of paired coalitions to Shapley values, by least squares, with their errors.

Shapley values depend on a game only by v(S) - v(N - S), the difference of opposites. With x = 1 for
the members of S and -1 for all others, a game without interactions has the difference x R, one with
interactions of three players has terms x_i x_j x_k besides; those of two and four drop out.
Where there are pairs enough all triples are fitted by least squares; to fewer by ridge regression,
which is a Gaussian process whose covariance of two pairs is the mean of x_i x_j x_k y_i y_j y_k.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pellucid.shapley.strata import Stratum

# Triples are fitted by least squares where there are this many pairs for each of their numbers.
PAIRS_EACH = 1.5
# To fewer they are fitted by ridge regression, where there are so many for each, and not so many
# that a matrix of them takes long to invert; by that of these ridges (as a part of the variance of
# triples) which does best on pairs that are left out.
FEWEST_EACH, MOST_PAIRS = 0.125, 1024
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
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
    def _fits(self) -> "list[Triples | Ridge]":
        """How interactions of three may be fitted; in no way where there are too few pairs."""
        pairs, count = self.signs.shape
        numbers = count + count * (count - 1) * (count - 2) // 6
        if count < 3 or self.complete or pairs < FEWEST_EACH * numbers:
            return []
        if pairs >= PAIRS_EACH * numbers:
            return [Triples(signs=self.signs)]
        return [Ridge(signs=self.signs, ridge=each) for each in RIDGES if pairs <= MOST_PAIRS]

    @cached_property
    def _leverage(self) -> Tensor:
        """How far the fit of players follows each pair, of shape (pair,)."""
        return (self.influence * self.signs).sum(1).clamp(max=MOST_LEVERAGE)

    def solve(self, differences: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        """Values and their standard errors, of shape (sample, player).

        `differences` (sample, pair) are those of opposites, and values sum to `gap` (sample,).
        Of a fit of triples, each player has a third of the difference that they make together; and
        what they do not explain is fitted as if they were not there. Each sample has the fit with
        the smallest errors.
        """
        found = self.players_alone(differences, gap)
        outside = (differences - found @ self.signs.T) / (1 - self._leverage)
        errors = self._errors(outside)
        for each in self._fits:
            part, left, outside = each.fit(differences)
            values, error = (
                self.players_alone(left, gap - part.sum(1)) + part,
                self._errors(outside),
            )
            better = error.square().sum(1, keepdim=True) < errors.square().sum(1, keepdim=True)
            found, errors = torch.where(better, values, found), torch.where(better, error, errors)
        return found, errors

    def players_alone(self, differences: Tensor, gap: Tensor) -> Tensor:
        """The weighted fit of players alone, of shape (sample, player)."""
        count = self.signs.shape[1]
        return differences @ self.influence + gap.unsqueeze(1) * self._inverse[:count, count]

    def _errors(self, outside: Tensor) -> Tensor:
        """Standard errors, by how differently the pairs of one size pull at the values.

        `outside` is what the fit to all others says wrong of each pair, since its own part in a fit
        hides how far it is off; sizes that are complete leave nothing to chance.
        """
        variance = torch.zeros(len(outside), self.signs.shape[1], dtype=torch.float64)
        start = 0
        for n, each in zip(self.counts, self.strata, strict=True):
            mine = slice(start, start + n)
            start += n
            if n < each.total:
                pulls, size = self.influence[mine], outside[:, mine]
                spread = size.square() @ pulls.square() - (size @ pulls).square() / n
                variance += (1 - n / each.total) * n / (n - 1) * spread
        return variance.clamp(min=0).sqrt()


@dataclass(frozen=True, eq=False, kw_only=True)
class Triples:
    """Least squares on all players and triples of the `signs` (pair, player)."""

    signs: Tensor

    @cached_property
    def _numbers(self) -> Tensor:
        """Three players each, of shape (triple, 3)."""
        return torch.combinations(torch.arange(self.signs.shape[1]), 3)

    @cached_property
    def _terms(self) -> Tensor:
        """The products of the signs of three players, then the signs, of shape (term, pair).

        These, and sums of them, are whole numbers, which single precision holds as well.
        """
        signs, (i, j, k) = self.signs.T.float(), self._numbers.T
        made = signs.index_select(0, i).mul_(signs.index_select(0, j))
        return torch.cat([made.mul_(signs.index_select(0, k)), signs])

    @cached_property
    def _equations(self) -> tuple[Tensor, Tensor]:
        """The inverse of the normal equations, and how far the fit follows each pair (pair,)."""
        terms = self._terms
        inverse = torch.cholesky_inverse(torch.linalg.cholesky((terms @ terms.T).double()))
        return inverse, (inverse.float() @ terms).mul_(terms).sum(0).double()

    def fit(self, differences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What players get of triples, the differences without these, and leave-one-out errors."""
        inverse, leverage = self._equations
        terms, size = self._terms.double(), len(self._numbers)
        fitted = differences @ terms.T @ inverse
        shares = fitted[:, :size]
        part = torch.zeros(len(differences), self.signs.shape[1], dtype=torch.float64)
        part.index_add_(1, self._numbers.flatten(), shares.repeat_interleave(3, 1) / 3)
        outside = (differences - fitted @ terms) / (1 - leverage.clamp(max=MOST_LEVERAGE))
        return part, differences - shares @ terms[:size], outside


@dataclass(frozen=True, eq=False, kw_only=True)
class Ridge:
    """Triples that are kept small, beside players, which may be of any size.

    That is a Gaussian process: the values of triples are independent, of a variance of one over
    their number, and `ridge` is that of the noise.
    """

    signs: Tensor
    ridge: float

    @cached_property
    def _covariance(self) -> Tensor:
        """The mean over triples of the products of two pairs, by Newton's identities."""
        count = self.signs.shape[1]
        same = self.signs @ self.signs.T  # z_i = x_i y_i, and z_i^2 = 1, so of powers only the sum
        return (same**3 - (3 * count - 2) * same) / (count * (count - 1) * (count - 2))

    @cached_property
    def _shares(self) -> Tensor:
        """What each player would get of the triples that a pair stands for, (pair, player)."""
        count = self.signs.shape[1]
        others = self.signs.sum(1, keepdim=True) - self.signs
        return self.signs * (others.square() - (count - 1)) / (count * (count - 1) * (count - 2))

    @cached_property
    def _precision(self) -> tuple[Tensor, Tensor]:
        """The inverse covariance, less what players explain; and the least it may be of a pair."""
        found = self._covariance.clone()
        found.diagonal().add_(self.ridge)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(found))
        pulled = inverse @ self.signs
        without = inverse - pulled @ torch.linalg.solve(self.signs.T @ pulled, pulled.T)
        return without, (1 - MOST_LEVERAGE) * inverse.diagonal()

    def fit(self, differences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What players get of triples, the differences without these, and leave-one-out errors."""
        precision, least = self._precision
        pull = differences @ precision
        outside = pull / torch.maximum(precision.diagonal(), least)
        return pull @ self._shares, differences - pull @ self._covariance, outside
