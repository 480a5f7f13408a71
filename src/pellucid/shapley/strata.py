"""Coalitions for KernelSHAP: pairs of opposites, by their size, none of them twice."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, combinations, islice

import numpy as np
import torch
from torch import Tensor

from pellucid.seeding import seeded
from pellucid.shapley.play import set_numbers

# All pairs of one size are listed and shuffled if there are no more than so many; from more than
# that some are drawn, and those that come again are left out.
LISTED = 2**16
DRAWN = 64
# So many coalitions for each player are needed to fit a value for it, and to see how well it fits.
LEAST = 4


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Pairs of opposite coalitions of `players`, of which the smaller one has `size` members."""

    players: int
    size: int

    @property
    def total(self) -> int:
        """The number of these pairs."""
        found = math.comb(self.players, self.size)
        return found // 2 if 2 * self.size == self.players else found

    @property
    def mass(self) -> float:
        """The Shapley kernel summed over these pairs, but for a factor that all sizes share."""
        found = 1 / (self.size * (self.players - self.size))
        return found / 2 if 2 * self.size == self.players else found

    @property
    def share(self) -> float:
        """How many of these pairs to draw, beside those of other sizes.

        What a pair adds to the variance of the values is its weight times the length of its
        equation, (s (n - s))^(1/2), so that the best share (Neyman 1934) is mass times length.
        """
        return self.mass * math.sqrt(self.size * (self.players - self.size))

    def drawn(self, count: int, seed: int) -> Tensor:
        """The smaller coalitions of the first pairs of a random sequence of all of them.

        Its shape is (pair, player), and a longer sequence begins with a shorter one.
        """
        generator = seeded(seed, self.players, self.size)
        if self.total > LISTED:
            return torch.cat(list(self._distinct(count, generator)))[:count]
        places = torch.randperm(self.total, generator=generator)[:count]
        return self._listed[places]

    @cached_property
    def _listed(self) -> Tensor:
        """All of them; half of those that are as large as their opposites."""
        found = islice(combinations(range(self.players), self.size), self.total)
        chosen = np.fromiter(chain.from_iterable(found), np.int64, self.total * self.size)
        return self._members(torch.from_numpy(chosen).reshape(self.total, self.size))

    def _members(self, chosen: Tensor) -> Tensor:
        """Who is in coalitions, from the players of each."""
        found = torch.zeros(len(chosen), self.players, dtype=torch.bool)
        return found.scatter_(1, chosen, True)

    def _distinct(self, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Draw in equal parts, and leave out what has come before, until there are enough."""
        seen: set[int] = set()
        numbers = set_numbers(self.players)
        while len(seen) < count:
            keys = torch.rand(DRAWN, self.players, generator=generator, dtype=torch.float64)
            found = self._members(keys.argsort(1)[:, : self.size])
            if 2 * self.size == self.players:  # of two opposites, that with the first player
                found = found ^ ~found[:, :1]
            new = []
            for place, name in enumerate((found * numbers).sum(1).tolist()):
                if name not in seen:
                    seen.add(name)
                    new.append(place)
            yield found[new]


def strata(players: int) -> list[Stratum]:
    """All sizes of the smaller one of two opposite coalitions.

    >>> [each.total for each in strata(4)]
    [4, 3]
    """
    return [Stratum(players=players, size=size) for size in range(1, players // 2 + 1)]


@lru_cache(maxsize=64)
def allotted(players: int, coalitions: int) -> tuple[int, ...]:
    """How many pairs of each size are drawn if there may be so many coalitions in all.

    Sizes get their `share`, two pairs at least, and all their pairs at most: those from both ends
    are complete first. More coalitions give no size fewer pairs.

    >>> allotted(10, 100), allotted(10, 2**10 - 2)
    ((10, 13, 11, 11, 5), (10, 45, 120, 210, 126))
    """
    kinds = strata(players)
    if coalitions >= 2**players - 2:
        return tuple(each.total for each in kinds)

    bounds = [(each.total, each.share) for each in kinds]

    def counts(scale: float) -> list[int]:
        return [min(total, max(2, round(scale * share))) for total, share in bounds]

    low, high = 0.0, float(coalitions * players)
    for _ in range(64):  # until no double lies between them
        middle = (low + high) / 2
        fits = 2 * sum(counts(middle)) <= coalitions
        low, high = (middle, high) if fits else (low, middle)
    return tuple(counts(low))
