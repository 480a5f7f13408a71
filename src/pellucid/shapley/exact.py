"""Shapley values by the score of every coalition."""

import math
import time
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.features import FeaturesLike
from pellucid.method import Attribution, Method, register
from pellucid.options import whole
from pellucid.shapley.play import Coalitions, Play

MOST = 16
# The scores of all coalitions of so many players still fit in memory, if not in patience.
LIMIT = 30
# Two to the power of more players than this may be no double.
COUNTED = 900


@register("exact_shapley")
@dataclass(frozen=True, kw_only=True)
class ExactShapley(Method):
    """Shapley values, from the score of every coalition of players.

        R_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))
        v(S) = mean over references b of f(x on the players of S, b elsewhere)

    Axes: players are cut by `features`; values repeat a player's value on each of its elements,
    and `explanation.players` has shape (sample, player). `baseline` replaces what is absent; of
    several rows it is a background, which is averaged over. n players take 2^n coalitions of every
    row of it, so that more than `most` are refused, with the time that they would take.
    Laws: values sum to f(x) - mean f(baseline); an ignored player gets zero; players that are
    alike get the same; values of a sum of games are the sums of values.
    Source: Shapley (1953), A Value for n-Person Games; Strumbelj, Kononenko (2010), An Efficient
    Explanation of Individual Classifications using Game Theory.

    >>> both = lambda x: (x[:, :1] * x[:, 1:2] + x[:, 2:])
    >>> ExactShapley()(both, torch.tensor([[2.0, 3.0, 1.0]])).values
    tensor([[3., 3., 1.]])
    """

    answers: ClassVar[str] = "What does each part add, on average over all orders of adding parts?"
    weakness: ClassVar[str] = "Doubles its cost with every player, and asks about mixed inputs."
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant", "complete"})
    agnostic: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    most: int = MOST

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "most", whole(self.most, "most"))
        if self.most > LIMIT:
            raise InputError(f"`most` must be a number of players up to {LIMIT}", got=self.most)

    def attribute(self, case: Case) -> Attribution:
        """Score every coalition, and weigh the differences that each player makes."""
        play = Play.of(case, self.features, self.baseline)
        check_players(play, self.most)
        values, empty = play.room(), play.whole.clone()
        for rows, scores in every_score(play, "exact_shapley"):
            count = scores.shape[1].bit_length() - 1
            values[rows, :count] = shapley_values(scores)
            empty[rows] = scores[:, 0]
        return play.attribution(values, empty)


def every_score(play: Play, what: str) -> list[tuple[list[int], Tensor]]:
    """Samples with equally many players, and the scores of all their coalitions.

    Scores have shape (sample, 2^n); bit i of the number of a coalition says whether i is there.
    """
    groups = play.groups()
    found = play.scores([(rows, Coalitions.subsets(n)) for n, rows in groups.items()], what)
    return [
        (rows, torch.cat([scores, play.whole[rows].unsqueeze(1)], 1))
        for rows, scores in zip(groups.values(), found, strict=True)
    ]


def shapley_values(scores: Tensor) -> Tensor:
    """The values of n players, (sample, player), from the scores (sample, 2^n) of all coalitions.

    >>> shapley_values(torch.tensor([[0.0, 1.0, 2.0, 7.0]]))
    tensor([[3., 4.]])
    """
    count = scores.shape[1].bit_length() - 1
    weights = order_weights(count).to(scores)[sizes(count - 1)] if count else scores
    found = [(difference(scores, player) * weights).sum(1) for player in range(count)]
    return torch.stack(found, 1) if found else scores[:, :0]


def difference(scores: Tensor, player: int) -> Tensor:
    """What a player adds to each coalition of the others, which keep their order.

    `scores` (sample, 2^n) become (sample, 2^(n - 1)).
    """
    without = scores.reshape(len(scores), -1, 2, 2**player)
    return (without[:, :, 1] - without[:, :, 0]).flatten(1)


def sizes(count: int) -> Tensor:
    """The size of every coalition of so many players, of shape (2^n,)."""
    found = torch.zeros(1, dtype=torch.long)
    for _ in range(count):
        found = torch.cat([found, found + 1])
    return found


def order_weights(count: int) -> Tensor:
    """In which part of all orders one player is preceded by a given coalition, by its size.

    >>> order_weights(3)
    tensor([0.3333, 0.1667, 0.3333], dtype=torch.float64)
    """
    found = [1 / (count * math.comb(count - 1, size)) for size in range(count)]
    return torch.tensor(found, dtype=torch.float64)


def check_players(play: Play, most: int) -> None:
    """Raise for more players than are enumerated, and say how long it would take."""
    largest = max(play.counts)
    if largest <= most:
        return
    references = len(play.game.background)
    evaluations = sum(2.0 ** min(n, COUNTED) - 1 for n in play.counts) * references
    more = "more than " if largest > COUNTED else ""
    _ = play.case.outcome
    started, probe = time.perf_counter(), play.case.batcher.size
    rows = torch.arange(probe) % len(play.case)
    nobody = torch.zeros(probe, play.players.count, dtype=torch.bool)
    point = play.game.point(nobody, rows, torch.arange(probe) % references)
    _ = play.case.moved(point, rows).outcome
    seconds = (time.perf_counter() - started) / probe * evaluations
    hint = (
        "Take kernel_shap or shapley_sampling, which come with standard errors, or join players by "
        "`features`"
    )
    raise InputError(
        f"Every coalition can be scored of at most {most} players",
        found=f"{largest}, which take {more}{evaluations:.3g} evaluations of the model, or about "
        f"{duration(seconds)} here",
        hint=hint + (f"; or wait, with most={largest}." if largest <= LIMIT else "."),
    )


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(7300), duration(1e12)
    ('2 hours', '3.17e+04 years')
    """
    units = {"years": 31557600, "days": 86400, "hours": 3600, "minutes": 60}
    for name, size in units.items():
        if seconds >= 2 * size:
            amount = seconds / size
            return f"{amount:.0f} {name}" if amount < 1000 else f"{amount:.2e} {name}"
    return f"{max(seconds, 0.01):.2g} seconds"
