"""Neighbours of a sample where some of its players are removed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.case import Case
from pellucid.features import Players
from pellucid.game import Game
from pellucid.lime.near import Near
from pellucid.seeding import seeded

Distance = Literal["cosine", "l2"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Removal:
    """Coalitions z' of the players of each sample: those with a one are there.

    How many are there is drawn uniformly, then which: as the paper does. Where all coalitions fit
    into `samples`, each is there once, with the weight that it would have been drawn with. Samples
    of as many players get the same coalitions, whatever the batch.
    """

    players: Players
    samples: int
    seed: int
    distance: Distance

    @property
    def features(self) -> int:
        """The largest number of players of a sample."""
        return self.players.count

    @property
    def counts(self) -> Tensor:
        """The number of players of each sample, (sample or 1,)."""
        return self.players.counts.cpu()

    @property
    def alive(self) -> Tensor:
        """Which players a sample has, (sample or 1, player)."""
        return self.players.alive.cpu()

    @property
    def own(self) -> Tensor:
        """The features of the samples themselves: all players are there."""
        return self.alive.double()

    @property
    def exact(self) -> Tensor:
        """Whose coalitions are all drawn, (sample or 1,)."""
        return torch.tensor([fits(count, self.samples) for count in self.counts.tolist()])

    @cached_property
    def _drawn(self) -> dict[int, Tensor]:
        """The coalitions of so many players, (draw, player), for each number that there is."""
        return {n: drawn(n, self.samples, self.seed) for n in self.counts.unique().tolist()}

    @property
    def lengths(self) -> Tensor:
        """How many coalitions of each sample there are to score, besides itself, (sample or 1,)."""
        return torch.tensor([len(self._drawn[count]) for count in self.counts.tolist()])

    @property
    def draws(self) -> int:
        """The most of them."""
        return int(self.lengths.max())

    @cached_property
    def coalitions(self) -> Tensor:
        """Who is there, (sample or 1, draw, player); what is beyond the last is the sample."""
        found = self.alive.unsqueeze(1).repeat(1, self.draws, 1)
        for row, count in enumerate(self.counts.tolist()):
            made = self._drawn[count]
            found[row, : len(made), :count] = made
        return found

    def scores(
        self, case: Case, background: Baseline, rows: Tensor, start: int, ends: Tensor
    ) -> Tensor:
        """The scores of some samples' draws, (sample, draw), from one up to the end of each."""
        game, stop = Game(case, self.players, case.background(background)), int(ends.max())
        if self.players.shared and len(rows) == len(case):
            return game.values(self.coalitions[:, start:stop], "lime")
        draws, places = (torch.arange(start, stop).unsqueeze(1) < ends).nonzero().T

        def pick(first: int, last: int) -> tuple[Tensor, Tensor]:
            chosen = rows[places[first:last]]
            own = 0 if self.players.shared else chosen
            return self.coalitions[own, start + draws[first:last]], chosen

        scores = game.scores(len(places), pick, "lime").cpu()
        found = scores.new_zeros(len(rows), stop - start)
        return found.index_put((places, draws), scores)

    def near(self, rows: Tensor, used: int) -> Near:
        """The first draws of some samples, all of which have used as many; themselves first."""
        rows = rows[:1] * 0 if self.players.shared else rows
        alive, counts = self.alive[rows], self.counts[rows]
        features = torch.cat([alive.unsqueeze(1), self.coalitions[rows, :used]], 1)
        there = features.sum(2)
        mass = torch.stack([self._mass(n, used) for n in counts.tolist()])
        return Near(features=features.double(), distance=self._distances(there), mass=mass)

    def _distances(self, there: Tensor) -> Tensor:
        """How far coalitions are from all players, by how many of them are there."""
        count = there[:, :1].double().clamp(min=1)
        if self.distance == "cosine":
            return 1 - (there / count).sqrt()
        return (count - there).sqrt()

    def _mass(self, count: int, used: int) -> Tensor:
        """The weight of each draw without a kernel, such that sizes are uniform; x is the first."""
        if not fits(count, self.samples):
            return torch.cat([torch.tensor([used / count]), torch.ones(used)]).double()
        sizes = torch.cat([torch.tensor([count]), self._drawn[count].sum(1)])
        ways = [_choose(count, size) for size in range(count + 1)]
        mass = 2.0**count / (count + 1) / torch.tensor(ways, dtype=torch.float64)[sizes]
        return torch.cat([mass, mass.new_zeros(used + 1)])[: used + 1]


def fits(count: int, samples: int) -> bool:
    """Whether all coalitions but that of everyone are no more than so many."""
    return 2**count - 1 <= samples


def _choose(n: int, k: int) -> float:
    return float(torch.tensor([(n - i) / (i + 1) for i in range(k)], dtype=torch.float64).prod())


def _all(count: int) -> Tensor:
    """Every coalition of so many players but that of all, (draw, player)."""
    numbers = torch.arange(2**count - 1).unsqueeze(1)
    return (numbers >> torch.arange(count)) % 2 == 1


def drawn(count: int, samples: int, seed: int) -> Tensor:
    """Coalitions of so many players, (draw, player), without that of all of them."""
    if fits(count, samples):
        return _all(count)
    generator = seeded(seed, count)
    sizes = torch.randint(count, (samples, 1), generator=generator)
    places = torch.rand(samples, count, generator=generator).argsort(1)
    return torch.zeros(samples, count, dtype=torch.bool).scatter_(
        1, places, torch.arange(count) < sizes
    )
