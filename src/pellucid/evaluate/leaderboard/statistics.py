"""Whether methods differ, judged on the same samples: ranks, tests, and groups of equals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# How often chance may find a difference where there is none.
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """How methods rank, and which of them differ by more than chance explains.

    `ranks` (method,) are means over the samples of the rank of each method, 1 for the best, shared
    where two are equal. `friedman` is the probability that ranks differ so much by chance if all
    methods are alike; not a number for fewer than three. `pairs` (method, method) are those of
    Wilcoxon's signed-rank test for two methods, adjusted by Holm for the number of pairs. Tests are
    made on the `samples` for which every method has a number.

    Sources: Demsar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets, for the
    tests and their order; Benavoli, Corani and Mangili (2016), Should We Really Use Post-Hoc Tests
    Based on Mean-Ranks?, for Wilcoxon's test of the pairs; Holm (1979), A Simple Sequentially
    Rejective Multiple Test Procedure.

    >>> worse, better = np.arange(9.0), np.arange(9.0) + 1
    >>> found = compared(np.stack([worse, better]))
    >>> found.ranks.tolist(), found.beats(1, 0), found.groups
    ([2.0, 1.0], True, ((1,), (0,)))
    """

    ranks: Floats
    friedman: float
    pairs: Floats
    samples: int
    level: float = LEVEL

    @property
    def order(self) -> list[int]:
        """The methods, the best first."""
        return [int(place) for place in np.argsort(self.ranks, kind="stable")]

    def differ(self, a: int, b: int) -> bool:
        """Whether two methods differ: by the test of all, if there are three, and by their own."""
        all_alike = self.friedman >= self.level or not np.isfinite(self.pairs[a, b])
        return a != b and not all_alike and bool(self.pairs[a, b] < self.level)

    def beats(self, a: int, b: int) -> bool:
        """Whether the first of two methods is the better one, and they differ."""
        return self.differ(a, b) and bool(self.ranks[a] < self.ranks[b])

    @property
    def needed(self) -> int:
        """The fewest samples on which a pair can differ, if one method is better on all of them.

        Then the probability is 2^(1 - samples), and as many times as much as there are pairs.
        """
        count = len(self.ranks)
        pairs = max(1, count * (count - 1) // 2)
        return math.floor(math.log2(pairs / self.level)) + 2

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The largest sets of methods in which no two differ, in the order of their best ones.

        Two methods are in a common set if and only if they do not differ: every set is split at
        each pair that does, and those that are part of another are dropped (Piepho 2004, An
        Algorithm for a Letter-Based Representation of All-Pairwise Comparisons).
        """
        order = self.order
        found = [tuple(order)] if order else []
        for a, b in combinations(order, 2):
            if self.differ(a, b):
                found = _split(found, a, b)
        return tuple(sorted(found, key=lambda group: [order.index(each) for each in group]))


def _split(groups: list[tuple[int, ...]], a: int, b: int) -> list[tuple[int, ...]]:
    """Sets without the one and without the other of two; none is part of another."""
    parts = [
        tuple(each for each in group if each != out)
        for group in groups
        for out in ((a, b) if {a, b} <= set(group) else (None,))
    ]
    kept: list[tuple[int, ...]] = []
    for part in sorted(parts, key=len, reverse=True):
        if not any(set(part) <= set(other) for other in kept):
            kept.append(part)
    return kept


def compared(values: Any, *, higher: bool = True, level: float = LEVEL) -> Comparison:
    """Compare methods by numbers (method, sample), of which the higher or the lower are better.

    Samples for which a method has no number are left out.
    """
    given = np.asarray(values, dtype=np.float64)
    kept = given[:, np.isfinite(given).all(0)]
    signed = -kept if higher else kept
    return Comparison(
        ranks=_ranks(signed),
        friedman=_friedman(signed),
        pairs=_pairs(signed),
        samples=kept.shape[1],
        level=level,
    )


def holm(chances: Sequence[float]) -> list[float]:
    """Probabilities adjusted for their number, such that no false difference is found too often.

        p'_(i) = max over j <= i of min(1, (m - j + 1) p_(j))      (p_(1) the smallest of m)

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(chances, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    raised = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(each) for each in adjusted]


def _ranks(values: Floats) -> Floats:
    """The mean rank of each method, of which the one with the lowest values has the lowest."""
    from scipy import stats

    if not values.shape[1]:
        return np.full(len(values), np.nan)
    return np.asarray(stats.rankdata(values, axis=0).mean(1), dtype=np.float64)


def _friedman(values: Floats) -> float:
    """The probability of Friedman's test, corrected for ties; 1 where all values are equal."""
    from scipy import stats

    methods, samples = values.shape
    if methods < 3 or samples < 2:
        return float("nan")
    if (values == values[:1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*values).pvalue)


def _pairs(values: Floats) -> Floats:
    """The probabilities of all pairs, adjusted; those of a method with itself are 1."""
    methods, samples = values.shape
    found = np.full((methods, methods), np.nan) if samples < 2 else np.ones((methods, methods))
    pairs = list(combinations(range(methods), 2)) if samples > 1 else []
    chances = holm([_wilcoxon(values[a] - values[b]) for a, b in pairs])
    for (a, b), chance in zip(pairs, chances, strict=True):
        found[a, b] = found[b, a] = chance
    return found


def _wilcoxon(differences: Floats) -> float:
    """The probability of the signed-rank test; equal pairs are left out."""
    from scipy import stats

    some = differences[differences != 0]
    return float(stats.wilcoxon(some).pvalue) if len(some) else 1.0
