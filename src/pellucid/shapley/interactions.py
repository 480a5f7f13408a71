"""What two players add together, beside what each of them adds alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import BatchSize
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.features import FeaturesLike
from pellucid.method import Attribution, Method
from pellucid.options import whole
from pellucid.seeding import seeded
from pellucid.shapley.exact import (
    MOST,
    check_players,
    difference,
    every_score,
    shapley_values,
    sizes,
)
from pellucid.shapley.play import Coalitions, Play
from pellucid.target import TargetLike


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """Shapley interaction values of each pair of players, and of each player alone.

    Axes: `values` and `error` (standard errors; `None` where all coalitions were scored) have shape
    (sample, player, player), are symmetric, and their rows sum to `shapley` (sample, player).
    `explanation` has these Shapley values for the inputs, with the score, the cost and the notes.
    """

    values: Tensor
    error: Tensor | None
    explanation: Explanation

    @property
    def shapley(self) -> Tensor:
        """Shapley values, of shape (sample, player)."""
        return self.values.sum(2)

    def named(self, row: int = 0) -> tuple[str, ...]:
        """The names of one sample's players."""
        features = self.explanation.features
        return () if features is None else features.named(row)

    def __repr__(self) -> str:
        sampled = "exact" if self.error is None else "sampled"
        shape = list(self.values.shape)
        return f"Interactions({sampled}, values {shape}, {self.explanation.evaluations})"


def shapley_interactions(
    model: Callable[..., Any],
    inputs: Any,
    *,
    target: TargetLike = None,
    features: FeaturesLike = None,
    baseline: BaselineLike = None,
    samples: int | None = None,
    seed: int = 0,
    batch_axis: Any = 0,
    batch_size: BatchSize = "auto",
) -> Interactions:
    """Share Shapley values among pairs of players.

        I_ij = sum over S without i, j of |S|! (n - |S| - 2)! / (n - 1)! D_ij(S),
        D_ij(S) = v(S + i + j) - v(S + i) - v(S + j) + v(S)
        Phi_ij = I_ij / 2,  Phi_ii = R_i - sum over j of Phi_ij

    Axes: (sample, player, player). I is the Shapley interaction index; half of it goes to either
    player, and what is left of a Shapley value R_i is what i adds without any other, on the
    diagonal. Without `samples`, all 2^n coalitions of up to 16 players are scored. `samples` counts
    rounds: in each, players are named at random, and in about n / 2 orders each pair of them comes
    one after the other once, which takes about n^2 coalitions and tells D once for each pair. The
    standard errors come from the rounds, which are independent.
    Laws: rows sum to Shapley values, and all values to f(x) - mean f(baseline); without
    interactions the matrix is diagonal.
    Source: Grabisch, Roubens (1999), An Axiomatic Approach to the Concept of Interaction among
    Players in Cooperative Games; Lundberg et al. (2020), From Local Explanations to Global
    Understanding with Explainable AI for Trees.

    >>> both = lambda x: (x[:, :1] * x[:, 1:2] + x[:, 2:])
    >>> shapley_interactions(both, torch.tensor([[2.0, 3.0, 1.0]])).values
    tensor([[[0., 3., 0.],
             [3., 0., 0.],
             [0., 0., 1.]]], dtype=torch.float64)
    """
    method = Pairs(features=features, baseline=Baseline.of(baseline), samples=samples, seed=seed)
    found = method(model, inputs, target=target, batch_axis=batch_axis, batch_size=batch_size)
    errors = found.evidence.get("pair_error")
    return Interactions(
        values=_square(found.evidence["pairs"]),
        error=None if errors is None else _square(errors),
        explanation=found,
    )


@dataclass(frozen=True, kw_only=True)
class Pairs(Method):
    """Shapley values with those of pairs as evidence, the upper triangle column by column.

    So what a batch with more players has in addition comes last.
    """

    agnostic: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))
        if self.samples is not None:
            object.__setattr__(self, "samples", whole(self.samples, "samples", least=2))

    def attribute(self, case: Case) -> Attribution:
        """Find the matrix of each sample."""
        play = Play.of(case, self.features, self.baseline)
        count = play.players.count
        values = torch.zeros(len(case), count, count, dtype=torch.float64)
        errors, empty = torch.zeros_like(values), play.whole.clone()
        for rows, found, error, start in self._found(play):
            missing = count - found.shape[1]
            values[rows] = pad(found, (0, missing, 0, missing))
            errors[rows] = pad(error, (0, missing, 0, missing))
            empty[rows] = start
        evidence = {"pairs": _triangle(values)}
        if self.samples is not None:
            evidence["pair_error"] = _triangle(errors)
        made = play.attribution(values.sum(2), empty)
        return Attribution(**{**vars(made), "evidence": evidence})

    def _found(self, play: Play) -> list[tuple[list[int], Tensor, Tensor, Tensor]]:
        """Samples with equally many players, their matrices, standard errors and empty scores."""
        if self.samples is None:
            check_players(play, MOST)
            pairs = every_score(play, "shapley_interactions")
            return [(r, m := matrix(s), torch.zeros_like(m), s[:, 0]) for r, s in pairs]
        groups = play.groups()
        rounds = [Rounds.of(n, self.samples, self.seed) for n in groups]
        asked = [
            (rows, each.coalitions) for rows, each in zip(groups.values(), rounds, strict=True)
        ]
        scores = play.scores(asked, "shapley_interactions")
        found = []
        for rows, each, known in zip(groups.values(), rounds, scores, strict=True):
            drawn = each.matrices(known, play.whole[rows])
            error = drawn.var(1).div(self.samples).sqrt()
            found.append((rows, drawn.mean(1), error, known[:, 0]))
        return found


def matrix(scores: Tensor) -> Tensor:
    """Interaction values, (sample, player, player), from the scores of all 2^n coalitions.

    >>> matrix(torch.tensor([[0.0, 1.0, 2.0, 7.0]]))
    tensor([[[1., 2.],
             [2., 2.]]])
    """
    count = scores.shape[1].bit_length() - 1
    found = scores.new_zeros(len(scores), count, count)
    if count > 1:
        shares = [1 / ((count - 1) * math.comb(count - 2, size)) for size in range(count - 1)]
        weights = torch.tensor(shares, dtype=torch.float64).to(scores)[sizes(count - 2)]
    for i, j in combinations(range(count), 2):
        # Without j, which is above i, the others below it keep their places.
        both = difference(difference(scores, j), i)
        found[:, i, j] = found[:, j, i] = (both * weights).sum(1) / 2
    return _with_main(found, shapley_values(scores))


@dataclass(frozen=True, eq=False)
class Rounds:
    """Orders of players in which each pair of them is adjacent once a round.

    `orders` has shape (round, order, player); `counted` (round, order, step) says which neighbors
    are taken. Those are all, of an even number of players. An odd number gets one more, who is
    then left out, and with it the neighbors that it came between; as it is named at random like
    all others, each size of a coalition is as likely as before.
    """

    orders: Tensor
    counted: Tensor

    @classmethod
    def of(cls, count: int, rounds: int, seed: int) -> "Rounds":
        """Name the players at random in each round, and take them in zigzags."""
        even = count + count % 2
        keys = torch.rand(rounds, even, generator=seeded(seed, count), dtype=torch.float64)
        named = keys.argsort(1)[:, zigzags(even)]
        orders = named[named < count].reshape(rounds, -1, count)
        counted = torch.ones(*orders.shape[:2], max(0, count - 1), dtype=torch.bool)
        if even > count:
            between = (named == count).int().argmax(2, keepdim=True) - 1
            counted = torch.arange(count - 1) != between
        return cls(orders, counted)

    @property
    def coalitions(self) -> Coalitions:
        """Nobody; the first ones of each order; and the same with the last of them exchanged."""
        flat = self.orders.flatten(0, 1)
        ranks = flat.argsort(1)
        orders, count = flat.shape
        steps = max(1, count - 1)

        def pick(numbers: Tensor) -> Tensor:
            places = (numbers - 1).clamp(min=0)
            kind, places = places // (orders * steps), places % (orders * steps)
            order, size = places // steps, places % steps + 1
            there = ranks[order] < torch.where(numbers == 0, 0, size).unsqueeze(1)
            rows = (kind == 1).nonzero().flatten()
            there[rows, flat[order[rows], size[rows] - 1]] = False
            there[rows, flat[order[rows], size[rows]]] = True
            return there

        return Coalitions(1 + 2 * orders * (count - 1), count, pick)

    def matrices(self, scores: Tensor, whole: Tensor) -> Tensor:
        """The matrix of every round, of shape (sample, round, player, player)."""
        rounds, orders, count = self.orders.shape
        shape = (len(scores), rounds, orders, count - 1)
        ends = [end.reshape(-1, 1, 1, 1).expand(*shape[:3], 1) for end in (scores[:, 0], whole)]
        first, second = (half.reshape(shape) for half in scores[:, 1:].chunk(2, 1))
        along = torch.cat([ends[0], first, ends[1]], 3)
        steps = along.diff(dim=3)
        both = along[..., 2:] - along[..., 1:-1] - second + along[..., :-2]
        both = both * self.counted
        place = torch.arange(rounds).reshape(-1, 1, 1)
        i, j = self.orders[..., :-1], self.orders[..., 1:]
        sums = scores.new_zeros(len(scores), rounds * count * count)
        for one, other in ((i, j), (j, i)):
            sums.index_add_(1, ((place * count + one) * count + other).flatten(), both.flatten(1))
        found = sums.reshape(len(scores), rounds, count, count) / 2
        flat = (place * count + self.orders).flatten()
        alone = scores.new_zeros(len(scores), rounds * count)
        alone.index_add_(1, flat, steps.flatten(1))
        return _with_main(found, alone.reshape(*found.shape[:3]) / orders)


def zigzags(count: int) -> Tensor:
    """Orders of an even number of players in which each pair is adjacent once, (order, player).

    Players on a circle, taken from side to side (Walecki, in Lucas 1892).

    >>> zigzags(4).tolist()
    [[0, 3, 1, 2], [1, 0, 2, 3]]
    """
    places = torch.arange(count)
    steps = torch.where(places % 2 == 0, places // 2, -(places + 1) // 2)
    return (places[: count // 2].unsqueeze(1) + steps) % count


def _with_main(found: Tensor, shapley: Tensor) -> Tensor:
    """Interactions off the diagonal, and on it what they leave of the Shapley values."""
    return found + torch.diag_embed(shapley - found.sum(-1))


def _triangle(values: Tensor) -> Tensor:
    """The upper triangle of a symmetric matrix, column by column, (sample, pair)."""
    column, row = torch.tril_indices(values.shape[1], values.shape[1])
    return values[:, row, column]


def _square(triangle: Tensor) -> Tensor:
    """The symmetric matrix of a triangle that was taken column by column."""
    count = (math.isqrt(8 * triangle.shape[1] + 1) - 1) // 2
    if count * (count + 1) // 2 != triangle.shape[1]:
        raise InputError("A triangle must have n (n + 1) / 2 numbers", got=triangle)
    found = triangle.new_zeros(len(triangle), count, count)
    column, row = torch.tril_indices(count, count)
    found[:, row, column] = triangle
    found[:, column, row] = triangle
    return found
