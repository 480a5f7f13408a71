"""Removing players one after the other: in the order of each explanation, and in random ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from pellucid.baseline import BaselineLike
from pellucid.evaluate.faithfulness.coalitions import (
    Request,
    are_few,
    by_count,
    precision,
    scores,
    subsets,
)
from pellucid.evaluate.measurement import Curve
from pellucid.evaluate.trial import Scale, Trial
from pellucid.features import Features, FeaturesLike
from pellucid.game import Game
from pellucid.seeding import seeded

LABELS = {
    "score": "score",
    "probability": "probability",
    "log_odds": "log-odds",
    "margin": "margin to the best other class",
}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How players are removed: up to the share `removed` of all, in at most so many `steps`.

    `draws` are the orders of the random line, `seed` theirs and that of what has no order.
    """

    features: FeaturesLike
    baseline: BaselineLike
    scale: Scale
    seed: int
    steps: int = 1
    removed: float = 1.0
    draws: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", Features.of(self.features))

    def cuts(self, count: int) -> list[int]:
        """How many of all players are gone after each step, from none on.

        >>> Schedule(features=None, baseline=None, scale="score", seed=0, steps=3).cuts(7)
        [0, 2, 5, 7]
        """
        last = max(1, round(self.removed * count))
        steps = min(self.steps, last)
        return [(2 * step * last + steps) // (2 * steps) for step in range(steps + 1)]

    def fractions(self, count: int) -> Tensor:
        """The shares of all players that are gone after each step."""
        steps = len(self.cuts(count))
        return torch.linspace(0, self.removed, steps, dtype=torch.float64)

    def game(self, trial: Trial) -> Game:
        """The scores where players are gone."""
        return trial.game(self.features, self.baseline)

    def key(self, line: str) -> tuple[Any, ...]:
        """By which it is known what a line took: two that remove alike need it only once."""
        return (line, self if line == "random" else replace(self, draws=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Flipped:
    """The scores of samples `rows` with `count` players each, step by step.

    `fractions` (step,) of these are gone. `lines` have the scores by name: "morf" where the most
    relevant go first, "lerf" the least, both of shape (rival, sample, step), and "random", the mean
    over random orders, (1, sample, step). Scores are exact to `precision`, as a part of the
    largest.
    """

    count: int
    rows: Tensor
    fractions: Tensor
    lines: dict[str, Tensor]
    precision: float


def flips(trial: Trial, schedule: Schedule, names: Sequence[str]) -> list[Flipped]:
    """The lines of these names of all rivals, for samples with equally many players together.

    The score of the whole input and that with nothing left are computed once for all lines, a
    line that another metric of the trial has asked for not again.
    """
    missing = [name for name in names if schedule.key(name) not in trial.store]
    groups = by_count(trial.players(schedule.features), len(trial))
    if missing:
        found = [_Group(schedule=schedule, count=n, rows=rows) for n, rows in groups.items()]
        _run(trial, schedule, missing, found)
    return [
        Flipped(
            count=n,
            rows=rows,
            fractions=schedule.fractions(n),
            lines={name: trial.store[schedule.key(name)][place] for name in names},
            precision=precision(trial.case.outcome.score),
        )
        for place, (n, rows) in enumerate(groups.items())
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Samples `rows` with `count` players each, from whom some are removed."""

    schedule: Schedule
    count: int
    rows: Tensor

    @cached_property
    def cuts(self) -> list[int]:
        """How many are gone after each step but for the ends: none, and all."""
        return [cut for cut in self.schedule.cuts(self.count) if 0 < cut < self.count]

    @cached_property
    def few(self) -> list[bool]:
        """After which of these steps each set that may be gone can be asked for, once."""
        return [are_few(self.count, cut, self.schedule.draws) for cut in self.cuts]

    def nobody(self) -> list[Request]:
        """The samples without any player, where the last step leaves none."""
        if self.schedule.cuts(self.count)[-1] < self.count:
            return []
        return [Request.without(torch.ones(1, self.count, dtype=torch.bool), self.rows)]

    def asked(self, name: str, relevance: Tensor) -> list[Request]:
        """What a line takes between its ends."""
        if name == "random":
            return self._random()
        places = order(relevance[:, self.rows, : self.count], self.schedule.seed)
        if name == "lerf":
            places = self.count - 1 - places
        lines = torch.arange(len(places) * len(self.rows)).reshape(len(places), -1, 1)
        return [
            Request.of(places.flatten(0, 1), lines, self.rows[:, None], torch.tensor(self.cuts))
        ]

    def _random(self) -> list[Request]:
        """All sets that may be gone, after steps where these are few; random orders for others."""
        draws, seed = self.schedule.draws, self.schedule.seed
        kinds = list(zip(self.cuts, self.few, strict=True))
        sets = [subsets(self.count, cut, draws, seed) for cut, few in kinds if few]
        many = torch.tensor([cut for cut, few in kinds if not few], dtype=torch.long)
        places, lines = random_orders(self.count, draws, seed), torch.arange(draws)[:, None, None]
        return [
            *(Request.without(each, self.rows) for each in sets),
            Request.of(places, lines, self.rows[:, None], many),
        ]

    def line(self, name: str, found: list[Tensor], whole: Tensor, nobody: list[Tensor]) -> Tensor:
        """A line from the scores between its ends, and at them."""
        middle = self._mean(found) if name == "random" else found[0]
        ends = [whole[self.rows], *(each[:, 0] for each in nobody)]
        first, *last = [each[None, :, None].expand(len(middle), -1, 1) for each in ends]
        return torch.cat([first, middle, *last], 2)

    def _mean(self, found: list[Tensor]) -> Tensor:
        """The mean over all sets, or over random orders, of shape (1, sample, step)."""
        few = torch.tensor(self.few, dtype=torch.bool)
        middle = torch.empty(len(self.rows), len(few), dtype=torch.float64)
        middle[:, ~few] = found[-1].mean(0)
        if bool(few.any()):
            middle[:, few] = torch.stack([each.mean(1) for each in found[:-1]], 1)
        return middle[None]


def _run(trial: Trial, schedule: Schedule, names: Sequence[str], groups: list[_Group]) -> None:
    """Run what lines take, all in one stream, and store them."""
    whole = trial.case.outcome.score.double().cpu()
    needs = any(name != "random" for name in names)
    relevance = trial.relevance(schedule.features) if needs else whole
    ends = schedule.key("nobody")
    parts: list[list[Request]] = [[] if ends in trial.store else g.nobody() for g in groups]
    parts += [group.asked(name, relevance) for name in names for group in groups]
    found = iter(
        scores(schedule.game(trial), [each for part in parts for each in part], "flipping")
    )
    tables = [[next(found) for _ in part] for part in parts]
    trial.store.setdefault(ends, tables[: len(groups)])
    for number, name in enumerate(names, start=1):
        own = tables[number * len(groups) : (number + 1) * len(groups)]
        trial.store[schedule.key(name)] = [
            group.line(name, each, whole, nobody)
            for group, each, nobody in zip(groups, own, trial.store[ends], strict=True)
        ]


def order(relevance: Tensor, seed: int) -> Tensor:
    """The place (..., player) of each player, if the most relevant go first.

    Those of the same relevance go in an order of chance, the same for all: a map without any
    differences is as good as a random order, wherever its players lie.

    >>> order(torch.tensor([0.5, 2.0, 1.0]), seed=0)
    tensor([2, 0, 1], dtype=torch.int32)
    """
    count = relevance.shape[-1]
    mixed = torch.randperm(count, generator=seeded(seed, count))
    first = mixed[relevance[..., mixed].argsort(dim=-1, descending=True, stable=True)]
    numbers = torch.arange(count, dtype=torch.int32).expand(first.shape)
    return torch.empty(first.shape, dtype=torch.int32).scatter_(-1, first, numbers)


def random_orders(count: int, draws: int, seed: int) -> Tensor:
    """Places of players in random orders, of shape (draw, player).

    Every second order is the one before it, backwards: so on a linear model the area of their mean
    line is exactly that of all orders.
    """
    found = torch.empty(draws, count, dtype=torch.int32)
    for draw in range(0, draws, 2):
        one = torch.randperm(count, generator=seeded(seed, count, draw)).to(torch.int32)
        found[draw : draw + 2] = torch.stack([one, count - 1 - one])[: draws - draw]
    return found


def curve(flipped: Sequence[Flipped], name: str, rival: int, scale: Scale, rows: int) -> Curve:
    """One line of a rival, over the share of features that is gone."""
    made = partial(Curve, xlabel="features removed", ylabel=LABELS[scale])
    none = made(x=torch.zeros(1).double(), y=torch.zeros(0, 1).double())
    joined = Curve.join([
        made(x=part.fractions, y=part.lines[name][min(rival, len(part.lines[name]) - 1)])
        for part in flipped
    ] or [none])  # fmt: skip
    found = torch.full((rows, len(joined.x)), torch.nan, dtype=torch.float64)
    found[torch.cat([torch.zeros(0).long(), *(part.rows for part in flipped)])] = joined.y
    return replace(joined, y=found)
