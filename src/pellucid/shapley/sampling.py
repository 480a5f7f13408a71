"""Shapley values as means over random orders of the players."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import Case
from pellucid.features import FeaturesLike
from pellucid.method import Attribution, Method, register
from pellucid.options import number, whole
from pellucid.seeding import seeded
from pellucid.shapley.play import Coalitions, Play, grouped, set_numbers

TOLERANCE = "a fraction of the largest value of a sample, or None"
# Pairs of orders after which `tolerance` is first looked at; then each time there are twice as
# many. At most so many are drawn at once, which bounds the memory.
FIRST, ROUND = 8, 512
# Ranks of the players of one sample in so many random orders: (generator, orders) -> (order,
# player), and what is the same for samples with the same orders: their number of players, a tree.
Ranks: TypeAlias = Callable[[torch.Generator, int], Tensor]


@register("shapley_sampling")
@dataclass(frozen=True, kw_only=True)
class ShapleySampling(Method):
    """Shapley values, as means over random orders in which players are added one by one.

        R_i = mean over orders of v(those before i, and i) - v(those before i)

    Axes: as for `exact_shapley`. `samples` counts orders, each of which takes n - 1 coalitions of
    n players less those that another order has as well; every second one is the reverse of that
    before it, and an odd number is rounded up. All samples of a batch with equally many players
    see the same orders, drawn from `seed`, so that answers do not depend on the batch. The standard
    errors `player_error` come from the pairs of orders, which are independent. With a `tolerance`
    a sample takes 16 orders, then twice as many, and so on up to `samples`, until its largest
    standard error is below that fraction of its largest value.
    Laws: values sum to f(x) - mean f(baseline) exactly; an ignored player gets zero; unbiased.
    Source: Castro, Gomez, Tejada (2009), Polynomial Calculation of the Shapley Value Based on
    Sampling; Strumbelj, Kononenko (2010); reversed orders: Mitchell, Cooper, Frank, Holmes (2022),
    Sampling Permutations for Shapley Value Estimation.

    >>> both = lambda x: (x[:, :1] * x[:, 1:2] + x[:, 2:])
    >>> ShapleySampling(samples=4)(both, torch.tensor([[2.0, 3.0, 1.0]])).values
    tensor([[3., 3., 1.]])
    """

    answers: ClassVar[str] = "What does each part add, on average over random orders of adding?"
    weakness: ClassVar[str] = "Its values are estimates, and it asks about mixed inputs."
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant", "complete"})
    agnostic: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    samples: int = 50
    tolerance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "samples", whole(self.samples, "samples"))
        object.__setattr__(self, "tolerance", checked_tolerance(self.tolerance))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def attribute(self, case: Case) -> Attribution:
        """Draw orders for each number of players."""
        play = Play.of(case, self.features, self.baseline)
        keys = dict(enumerate(play.counts))
        orders = Orders(play=play, keys=keys, ranks=uniform_ranks, seed=self.seed)
        return orders.attribution(self.samples, self.tolerance, "shapley_sampling")


def checked_tolerance(given: float | None) -> float | None:
    """A tolerance of zero or more, or `None` for as many samples as are given."""
    return None if given is None else number(given, "tolerance", TOLERANCE, least=0)


def uniform_ranks(count: int) -> Ranks:
    """All orders of so many players are equally likely."""
    return lambda generator, orders: torch.rand(
        orders, count, generator=generator, dtype=torch.float64
    ).argsort(1)


@dataclass(eq=False, kw_only=True)
class Orders:
    """Random orders in which the players of each sample are added, and running means over them.

    `keys` say which samples have the same orders, `ranks(key)` how they are drawn.
    """

    play: Play
    keys: Mapping[int, Any]
    ranks: Callable[[Any], Ranks]
    seed: int

    def __post_init__(self) -> None:
        self.means, self.squares = self.play.room(), self.play.room()
        self.pairs = torch.zeros(len(self.keys), 1, dtype=torch.float64)
        self.empty = torch.zeros(len(self.keys), dtype=torch.float64)

    def attribution(self, samples: int, tolerance: float | None, what: str) -> Attribution:
        """Draw until there are so many orders, or the standard errors of a sample are small."""
        start, most, rows = 0, -(-samples // 2), list(self.keys)
        while rows and start < most:
            stop = min(most, start + ROUND)
            if tolerance is not None:
                stop = min(stop, max(FIRST, 2 * start))
            self.draw(rows, start, stop, what)
            start = stop
            if tolerance is not None:
                values, errors = self.found()
                size = tolerance * values.abs().amax(1)
                rows = [row for row in rows if errors[row].max() > size[row]]
        values, errors = self.found()
        return self.play.attribution(values, self.empty, errors)

    def found(self) -> tuple[Tensor, Tensor]:
        """The means so far, and their standard errors; infinite, where there is one pair only."""
        errors = (self.squares / (self.pairs - 1) / self.pairs).sqrt()
        return self.means, torch.where(self.pairs > 1, errors, torch.inf)

    def draw(self, rows: list[int], start: int, stop: int, what: str) -> None:
        """Add pairs of orders, numbered from `start`, to the sums of some samples."""
        groups = grouped({row: self.keys[row] for row in rows})
        drawn = []
        for key in groups:
            half = self.ranks(key)(seeded(self.seed, start), stop - start)
            drawn.append(
                Prefixes.of(torch.stack([half, half.shape[1] - 1 - half], 1).flatten(0, 1))
            )
        asked = [
            (chosen, each.coalitions(start == 0))
            for chosen, each in zip(groups.values(), drawn, strict=True)
        ]
        scores = self.play.scores(asked, what)
        for chosen, each, found in zip(groups.values(), drawn, scores, strict=True):
            if start == 0:
                self.empty[chosen] = found[:, 0]
            ends = self.empty[chosen], self.play.whole[chosen]
            added = each.added(found[:, int(start == 0) :], *ends)
            pairs = added.reshape(len(chosen), stop - start, 2, -1).mean(2)
            self.add(chosen, pad(pairs, (0, self.means.shape[1] - pairs.shape[2])))

    def add(self, rows: list[int], pairs: Tensor) -> None:
        """Join pairs (sample, pair, player) to the mean, and the squared deviations from it."""
        before, count = self.pairs[rows], pairs.shape[1]
        mean = pairs.mean(1)
        step, total = mean - self.means[rows], before + count
        within = (pairs - mean.unsqueeze(1)).square().sum(1)
        self.squares[rows] += within + step.square() * before * count / total
        self.means[rows] += step * count / total
        self.pairs[rows] = total


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The coalitions of those who come first in some orders, each of them once.

    `ranks` (order, player) say when a player is added, `which` (order, size) the number of the
    coalition of the first ones, from one player to all but one; `first` is where each is found.
    """

    ranks: Tensor
    which: Tensor
    first: Tensor

    @classmethod
    def of(cls, ranks: Tensor) -> "Prefixes":
        """Find those that several orders have, by a number for each set of players."""
        orders, count = ranks.shape
        if count < 2:
            none = torch.zeros(orders, 0, dtype=torch.long)
            return cls(ranks, none, none[0])
        sets = set_numbers(count)[ranks.argsort(1)].cumsum(1)[:, :-1]
        found, which = sets.unique(return_inverse=True)
        places = torch.arange(which.numel())
        first = torch.full((len(found),), which.numel())
        first.scatter_reduce_(0, which.flatten(), places, "amin")
        return cls(ranks, which, first)

    def coalitions(self, empty: bool) -> Coalitions:
        """These coalitions; with nobody as the first of them, if that is asked for."""
        extra = int(empty)
        steps = max(1, self.ranks.shape[1] - 1)

        def pick(numbers: Tensor) -> Tensor:
            places = self.first[(numbers - extra).clamp(min=0)] if len(self.first) else numbers
            sizes = torch.where(numbers < extra, 0, places % steps + 1)
            return self.ranks[places // steps] < sizes.unsqueeze(1)

        return Coalitions(len(self.first) + extra, self.ranks.shape[1], pick)

    def added(self, scores: Tensor, empty: Tensor, whole: Tensor) -> Tensor:
        """What each player adds in each order, of shape (sample, order, player)."""
        along = scores[:, self.which]
        ends = [end.reshape(-1, 1, 1).expand(-1, len(self.ranks), 1) for end in (empty, whole)]
        steps = torch.cat([ends[0], along, ends[1]], 2).diff(dim=2)
        return steps.gather(2, self.ranks.expand(len(scores), -1, -1))
