"""One test of one number of a sample, in words; and several of them at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.inspect.surrogate.columns import Columns, Floats

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Whether a feature is above `low` and at most `high`.

    >>> table = Columns.of(np.array([[1.0], [4.0]]), names=["age"], units={"age": "years"})
    >>> Condition(feature=0, high=2.5).words(table)
    'age ≤ 2.5 years'
    >>> Condition(feature=0, low=2.5).holds(table.read(np.array([[1.0], [4.0]]))).tolist()
    [False, True]
    """

    feature: int
    low: float = -math.inf
    high: float = math.inf

    def holds(self, features: Floats) -> Bools:
        """For which samples of (sample, feature) it is so, of shape (sample,)."""
        values = features[:, self.feature]
        return (self.low < values) & (values <= self.high)

    def also(self, other: "Condition") -> "Condition":
        """This and another of the same feature, as one."""
        return Condition(
            feature=self.feature, low=max(self.low, other.low), high=min(self.high, other.high)
        )

    def words(self, columns: Columns) -> str:
        """The condition as people write it, with the names of column and category."""
        feature = columns.features[self.feature]
        column = columns.columns[feature.column]
        name, yes = column.name, self.low >= 0
        if feature.missing:
            return f"{name} is {'missing' if yes else 'known'}"
        if feature.category is not None:
            return f"{name} {_category(column.categories, feature.category, yes, column.gaps)}"
        unit = f" {column.unit}" if column.unit else ""
        if math.isinf(self.low):
            return f"{name} ≤ {_plain(self.high)}{unit}"
        if math.isinf(self.high):
            return f"{name} > {_plain(self.low)}{unit}"
        return f"{_plain(self.low)} < {name} ≤ {_plain(self.high)}{unit}"


def merged(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """The same conditions, with one for each feature, in the order of their first."""
    found: dict[int, Condition] = {}
    for each in conditions:
        known = found.get(each.feature)
        found[each.feature] = each if known is None else known.also(each)
    return tuple(found.values())


def all_hold(conditions: Sequence[Condition], features: Floats) -> Bools:
    """For which samples all conditions hold, of shape (sample,)."""
    held = np.ones(len(features), dtype=bool)
    for each in conditions:
        held &= each.holds(features)
    return held


def between(low: float, high: float) -> float:
    """A threshold from `low` on and below `high`: the middle, in as few digits as tell them apart.

    >>> between(30, 31), between(0.1, 0.9), between(2.4, 2.6)
    (30.0, 0.5, 2.5)
    """
    middle = low + (high - low) / 2
    if low <= 0 < high and abs(middle) < (high - low) / 4:
        return 0.0
    for digits in range(1, 17):
        short = float(f"{middle:.{digits}g}")
        if low <= short < high:
            return short
    return low


def _category(categories: Sequence[str], chosen: int, yes: bool, gaps: bool) -> str:
    """Say that it is a category, or is not; of two the other is named."""
    if not yes and len(categories) == 2 and not gaps:
        return f"= {categories[1 - chosen]}"
    return f"{'=' if yes else '≠'} {categories[chosen]}"


def _plain(value: float) -> str:
    """A threshold with all the digits that it has.

    >>> _plain(30.0), _plain(0.125)
    ('30', '0.125')
    """
    return f"{value:.16g}".replace("-", "\N{MINUS SIGN}")
