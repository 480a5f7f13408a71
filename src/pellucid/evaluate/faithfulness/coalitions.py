"""Who is there when a model is asked: rows that several methods want, in one stream of batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.features import Players
from pellucid.game import Game
from pellucid.seeding import seeded

# Scores are sums that were rounded often: they are exact to so many units of the last place.
ROUNDINGS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """Coalitions of some samples, made when they are run.

    `places` (line, player) say when each player goes. Of line `lines[i]`, those are there in
    sample `rows[i]` whose place is `counts[i]` or more. All three have the shape that the scores
    are wanted in.
    """

    places: Tensor
    lines: Tensor
    rows: Tensor
    counts: Tensor

    @classmethod
    def of(cls, places: Tensor, lines: Tensor, rows: Tensor, counts: Tensor) -> "Request":
        """Lines, rows and counts are broadcast over each other."""
        lines, rows, counts = torch.broadcast_tensors(lines, rows, counts)
        return cls(places=places, lines=lines, rows=rows, counts=counts)

    @classmethod
    def without(cls, subsets: Tensor, rows: Tensor) -> "Request":
        """All but each of these `subsets` (subset, player), of some samples: (sample, subset)."""
        lines = torch.arange(len(subsets))
        counts = torch.ones(1, 1, dtype=torch.long)
        return cls.of((~subsets).to(torch.int8), lines[None], rows[:, None], counts)

    def there(self, start: int, stop: int) -> Tensor:
        """The coalitions from one number up to another, of shape (coalition, player)."""
        lines, counts = self.lines.flatten()[start:stop], self.counts.flatten()[start:stop]
        return self.places[lines] >= counts.unsqueeze(1)


def scores(game: Game, asked: Sequence[Request], what: str) -> list[Tensor]:
    """The scores of all that is asked, each in its own shape, in double precision on the CPU."""
    flat = [each.rows.flatten() for each in asked]
    ends = list(accumulate(len(rows) for rows in flat))
    starts = [0, *ends]
    players = game.players.count

    def pick(start: int, stop: int) -> tuple[Tensor, Tensor]:
        there, rows = [], []
        for number, (first, last) in enumerate(zip(starts, ends, strict=False)):
            a, b = max(start, first) - first, min(stop, last) - first
            if a < b:
                part = asked[number].there(a, b)
                there.append(pad(part, (0, players - part.shape[1])))
                rows.append(flat[number][a:b])
        return torch.cat(there), torch.cat(rows)

    if not starts[-1]:
        return [torch.zeros(each.rows.shape, dtype=torch.float64) for each in asked]
    found = game.scores(starts[-1], pick, what).double().cpu()
    pairs = zip(starts, ends, asked, strict=False)
    return [found[start:stop].reshape(each.rows.shape) for start, stop, each in pairs]


def precision(score: Tensor) -> float:
    """What scores of a type are exact to, as a part of the largest.

    >>> precision(torch.ones(1)) < 1e-6 < precision(torch.ones(1, dtype=torch.bfloat16))
    True
    """
    return ROUNDINGS * torch.finfo(score.dtype).eps


def by_count(players: Players, samples: int) -> dict[int, Tensor]:
    """The samples that have so many players each; those without any are in no group.

    So the answer for a sample does not depend on how many players others of its batch have.
    """
    counts: list[int] = players.counts.expand(samples).tolist()
    return {
        n: torch.tensor([row for row, count in enumerate(counts) if count == n])
        for n in sorted(set(counts))
        if n
    }


def subsets(count: int, size: int, draws: int, seed: int) -> Tensor:
    """Sets of so many of all players, (set, player): each of them once, if they are few enough.

    Else so many draws: from one list to the next, other sizes and numbers of players change none.
    """
    if are_few(count, size, draws):
        return members(combinations(range(count), size), count)
    order = torch.rand(draws, count, generator=seeded(seed, count, size)).argsort(1)
    found = torch.zeros(draws, count, dtype=torch.bool)
    return found.scatter_(1, order[:, :size], torch.ones(draws, size, dtype=torch.bool))


def are_few(count: int, size: int, most: int) -> bool:
    """Whether there are at most so many sets of a size; of thousands of players, soon told.

    >>> are_few(5, 2, 10), are_few(5, 2, 9), are_few(50_000, 25_000, 100)
    (True, False, False)
    """
    sets = 1
    for more in range(min(size, count - size)):
        sets = sets * (count - more) // (more + 1)
        if sets > most:
            return False
    return sets <= most


def members(sets: Iterable[Sequence[int]], count: int) -> Tensor:
    """Sets of numbers below `count` as a table of who is in them.

    >>> members([(0, 2)], 3)
    tensor([[ True, False,  True]])
    """
    listed = [list(each) for each in sets]
    found = torch.zeros(len(listed), count, dtype=torch.bool)
    for row, each in enumerate(listed):
        found[row, each] = True
    return found
