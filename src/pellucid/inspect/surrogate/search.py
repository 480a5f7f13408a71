"""The search for the rule that sets samples apart best.

With S the samples of which a rule holds, out of n, and m the mean answers,

    cut(S)   = |S| |S'| / n  ||m(S) - m(S')||^2
    worth(S) = cut(S) - PURITY * sum over S of ||y - m(S)||^2

where S' are the others. The cut is what naming both means takes off the squared error. What is left
of it in S' is for the rules that come after, while S is to be done with; so of a condition and its
opposite, the one that is answered well becomes the rule.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pellucid.inspect.surrogate.columns import Floats
from pellucid.inspect.surrogate.conditions import (
    Bools,
    Condition,
    all_hold,
    between,
    merged,
)

PURITY = 0.3
# Conjunctions that are kept at each length, and thresholds of each feature that they are made of.
BEAM, THRESHOLDS = 6, 32
# What another condition must add, as a share of what the rule is worth.
LONGER = 0.05

Sums: TypeAlias = tuple[NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class _Rest:
    """Samples that are left: their features, and their answers less the mean of them."""

    features: Floats
    answers: Floats
    least: int

    @property
    def squares(self) -> Floats:
        """The squared answers, of shape (sample,)."""
        return (self.answers**2).sum(axis=1)

    def worth(self, count: Floats, total: Floats, squares: Floats) -> Floats:
        """What sets of samples are worth, by their number, sum (set, output) and squares.

        The mean of all is zero, so that the sum of the others is the negative of that of a set.
        """
        n = len(self.answers)
        others = n - count
        fits = (count >= self.least) & (others >= self.least)
        inner, outer = np.maximum(count, 1), np.maximum(others, 1)
        norm = (total**2).sum(axis=-1)
        cut = norm * (1 / inner + 1 / outer)
        return np.where(fits, cut - PURITY * np.maximum(squares - norm / inner, 0), -np.inf)

    def worth_of(self, held: Bools) -> float:
        """What one set is worth."""
        count = np.array(float(held.sum()))
        return float(self.worth(count, self.answers[held].sum(axis=0), self.squares[held].sum()))


def best_rule(
    features: Floats, answers: Floats, *, depth: int, least: int
) -> tuple[Condition, ...]:
    """The conjunction of at most `depth` conditions that is worth most; none if all is said.

    Conjunctions are lengthened by one condition at a time, the best few at once, on a grid of
    thresholds; those of the best are then moved to wherever they are worth most.
    """
    centered = answers - answers.mean(axis=0)
    rest = _Rest(features, centered, max(1, least))
    scale = float((answers**2).sum())
    nothing = 1e-20 * max(scale, 1e-300)
    if depth < 1 or len(features) < 2 * rest.least or rest.squares.sum() <= nothing:
        return ()
    best: tuple[Condition, ...] = ()
    beam: list[tuple[Condition, ...]] = [()]
    worth = -np.inf
    for _ in range(depth):
        found = _lengthened(rest, beam)
        if not found:
            break
        beam = [conditions for _, conditions in found]
        moved = [_moved(rest, conditions) for conditions in beam]
        worths = [rest.worth_of(all_hold(each, features)) for each in moved]
        gained = max(worths)
        more = len(beam[0]) - len(best)
        if not best or gained > worth + more * LONGER * abs(worth):
            best, worth = moved[worths.index(gained)], gained
    return merged(_moved(rest, _shortened(rest, best, worth)))


def _lengthened(
    rest: _Rest, beam: list[tuple[Condition, ...]]
) -> list[tuple[float, tuple[Condition, ...]]]:
    """The best few conjunctions with one condition more, no two of the same samples."""
    found: dict[tuple[float, ...], tuple[float, tuple[Condition, ...]]] = {}
    grid = [_grid(values) for values in rest.features.T]
    for conditions in beam:
        held = all_hold(conditions, rest.features)
        for feature, edges in enumerate(grid):
            if not len(edges):
                continue
            worth, counts = _sides(rest, held, feature, edges)
            for way, i in enumerate(worth.argmax(axis=1)):
                if not np.isfinite(worth[way, i]):
                    continue
                key = (round(worth[way, i], 12), counts[way, i])
                made = _condition(feature, way, edges[i])
                known = found.get(key)
                if known is None or len(known[1]) > len(conditions) + 1:
                    found[key] = (float(worth[way, i]), (*conditions, made))
    return sorted(found.values(), key=lambda pair: -pair[0])[:BEAM]


def _condition(feature: int, way: int, edge: float) -> Condition:
    """At most a threshold, or above it."""
    edge = float(edge)
    return (
        Condition(feature=feature, high=edge) if way == 0 else Condition(feature=feature, low=edge)
    )


def _grid(values: Floats) -> Floats:
    """Thresholds at which a feature is tried: all its values but the last, or quantiles of them."""
    known = np.unique(values)
    if len(known) <= THRESHOLDS + 1:
        return known[:-1]
    at = np.quantile(values, np.linspace(0, 1, THRESHOLDS + 2)[1:-1], method="lower")
    found = np.unique(at)
    return found[found < known[-1]]


def _sides(rest: _Rest, held: Bools, feature: int, edges: Floats) -> tuple[Floats, Floats]:
    """What `held` with one condition more is worth, and its size, both (way, threshold)."""
    values = rest.features[held, feature]
    bins = np.searchsorted(edges, values, side="left")
    sums = _sums(bins, len(edges) + 1, rest.answers[held], rest.squares[held])
    below = [each.cumsum(axis=0)[:-1] for each in sums]
    above = [each.sum(axis=0) - part for each, part in zip(sums, below, strict=True)]
    worth = np.stack([rest.worth(*below), rest.worth(*above)])
    # A condition that every sample meets is none.
    counts = np.stack([below[0], above[0]])
    return np.where(counts < len(values), worth, -np.inf), counts


def _sums(bins: NDArray[np.int64], number: int, answers: Floats, squares: Floats) -> Sums:
    """Count, sum of answers and of squares in each bin."""
    count = np.bincount(bins, minlength=number).astype(np.float64)
    columns = [np.bincount(bins, weights=y, minlength=number) for y in answers.T]
    return count, np.stack(columns, axis=1), np.bincount(bins, weights=squares, minlength=number)


def _moved(rest: _Rest, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """The same conditions, each threshold where the rule is worth most, given the others."""
    made = list(conditions)
    worth = rest.worth_of(all_hold(made, rest.features))
    for _ in range(3):
        before = worth
        for i in range(len(made)):
            others = all_hold([*made[:i], *made[i + 1 :]], rest.features)
            feature, way = made[i].feature, int(np.isinf(made[i].high))
            edges = np.unique(rest.features[others, feature])
            if len(edges) < 2:
                continue
            each, _ = _sides(rest, others, feature, edges[:-1])
            best = int(each[way].argmax())
            if each[way, best] >= worth - 1e-12 * abs(worth):
                worth = max(worth, float(each[way, best]))
                made[i] = _condition(feature, way, between(edges[best], edges[best + 1]))
        if worth <= before:
            break
    return tuple(made)


def _shortened(
    rest: _Rest, conditions: tuple[Condition, ...], worth: float
) -> tuple[Condition, ...]:
    """The conditions without those that add too little."""
    for i in range(len(conditions)):
        fewer = (*conditions[:i], *conditions[i + 1 :])
        left = rest.worth_of(all_hold(fewer, rest.features)) if fewer else -np.inf
        if left + LONGER * abs(worth) >= worth:
            return _shortened(rest, fewer, left)
    return conditions
