"""What all Shapley methods begin with: who plays, in which coalitions, and what these score."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.baseline import BaselineLike
from pellucid.case import Case
from pellucid.features import FeaturesLike, Players
from pellucid.game import Game
from pellucid.method import Attribution
from pellucid.remarks import Remark
from pellucid.seeding import seeded

K = TypeVar("K", bound=Hashable)
# Sets of more players than this have no number of their own in 64 bits; they get a random one.
BITS = 62
# An error of less than this part of the largest value of a sample is what rounding has left.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Some coalitions of `players`, made when they are asked for.

    `pick(numbers)` says who is there in those with these numbers, of shape (coalition, player).
    """

    count: int
    players: int
    pick: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, table: Tensor) -> "Coalitions":
        """Those of a table of shape (coalition, player)."""
        return cls(len(table), table.shape[1], lambda numbers: table[numbers])

    @classmethod
    def subsets(cls, players: int) -> "Coalitions":
        """All but the last, in which everyone is there: bit i of a number says whether i is.

        >>> Coalitions.subsets(2).pick(torch.arange(3)).tolist()
        [[False, False], [True, False], [False, True]]
        """
        bits = torch.arange(players)
        return cls(2**players - 1, players, lambda n: (n.unsqueeze(1) >> bits & 1).bool())


@dataclass(frozen=True, eq=False)
class Play:
    """The game that is played for each sample of a case."""

    case: Case
    players: Players
    game: Game

    @classmethod
    def of(cls, case: Case, features: FeaturesLike, baseline: BaselineLike) -> "Play":
        """The game of features, in which absent ones are replaced by the baseline."""
        players = case.players(features)
        return cls(case, players, Game(case, players, case.background(baseline)))

    @cached_property
    def whole(self) -> Tensor:
        """The score of the samples themselves, v(N), of shape (sample,), in double precision."""
        return self.case.outcome.score.double().cpu()

    @cached_property
    def counts(self) -> list[int]:
        """The number of players of each sample."""
        found: list[int] = self.players.counts.expand(len(self.case)).tolist()
        return found

    def groups(self, rows: Sequence[int] | None = None) -> dict[int, list[int]]:
        """Samples by their number of players: those of a group have the same coalitions.

        So the answer for a sample does not depend on how many players others of its batch have.
        Those without any, an empty text say, are in no group: there is nothing to ask.
        """
        chosen = range(len(self.case)) if rows is None else rows
        return grouped({row: self.counts[row] for row in chosen if self.counts[row]})

    def scores(self, asked: Sequence[tuple[list[int], Coalitions]], what: str) -> list[Tensor]:
        """The scores of coalitions of some samples, each of shape (sample, coalition).

        All that is asked travels together in full batches.
        """
        ends = list(accumulate(len(rows) * each.count for rows, each in asked))
        starts = [0, *ends]

        def part(number: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
            rows, each = torch.tensor(asked[number][0]), asked[number][1]
            places = torch.arange(start, stop) - starts[number]
            there = each.pick(places // len(rows))
            return pad(there, (0, self.players.count - each.players)), rows[places % len(rows)]

        def pick(start: int, stop: int) -> tuple[Tensor, Tensor]:
            cuts = [(max(start, a), min(stop, b)) for a, b in zip(starts, ends, strict=False)]
            found = [part(number, *cut) for number, cut in enumerate(cuts) if cut[0] < cut[1]]
            if len(found) == 1:
                return found[0]
            return torch.cat([there for there, _ in found]), torch.cat([rows for _, rows in found])

        flat = self.game.scores(starts[-1], pick, what).cpu()
        return [
            flat[start:stop].reshape(each.count, len(rows)).T
            for (rows, each), start, stop in zip(asked, starts, ends, strict=False)
        ]

    def attribution(
        self,
        values: Tensor,
        empty: Tensor,
        error: Tensor | None = None,
        notes: Sequence[Remark] = (),
    ) -> Attribution:
        """Values of players that sum to v(N) - v(nobody), of which `empty` is the latter.

        Standard errors of no more than rounding are none.
        """
        made = Attribution.of_players(
            self.players,
            values,
            self.case.inputs,
            error=None if error is None else _without_rounding(error, values),
            expected=self.whole - empty,
            notes=tuple(notes),
        )
        return replace(made, values=self._typed(made.values), error=self._typed(made.error))

    def _typed(self, values: Any) -> Any:
        """Values of integers in the type of the score; `None` if there are none."""
        if values is None:
            return values
        kind = self.case.outcome.score.dtype
        pairs = zip(values, self.case.inputs.leaves, strict=True)
        return [v if leaf.is_floating_point() else v.to(kind) for v, leaf in pairs]

    def room(self) -> Tensor:
        """Zeros of shape (sample, player), also for players that a sample does not have."""
        return torch.zeros(len(self.case), self.players.count, dtype=torch.float64)


def grouped(keys: dict[int, K]) -> dict[K, list[int]]:
    """What has the same key.

    >>> grouped({0: "a", 1: "b", 2: "a"})
    {'a': [0, 2], 'b': [1]}
    """
    found: dict[K, list[int]] = {}
    for row, key in keys.items():
        found.setdefault(key, []).append(row)
    return found


def _without_rounding(errors: Tensor, values: Tensor) -> Tensor:
    """Standard errors (sample, player), zero where they are too small to be of the draws.

    >>> _without_rounding(torch.tensor([[1e-8, 0.5]]), torch.tensor([[3.0, 1.0]]))
    tensor([[0.0000, 0.5000]])
    """
    return torch.where(errors > ROUNDING * values.abs().amax(1, keepdim=True), errors, 0)


def set_numbers(count: int) -> Tensor:
    """A number for each player such that the sums of sets of them differ.

    Powers of two; of more players than have one, random numbers, whose sums agree by a chance that
    is below one in a million even for millions of sets.
    """
    if count <= BITS:
        return 2 ** torch.arange(count)
    generator = seeded(0, count)
    return torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator)
