"""Labels of samples as plain values, and what a model says of samples in the same words."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.errors import InputError

# So many numbers may still be those of classes.
MOST_CLASSES = 12


def label_list(labels: Any, total: int, what: str = "labels") -> list[Any]:
    """Labels as plain values, one for each sample, none of which is missing.

    >>> label_list(np.array([2, 0]), 2)
    [2, 0]
    """
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.shape != (total,):
        raise InputError(f"`{what}` must be one for each of the {total} samples", got=array)
    found: list[Any] = array.tolist()
    missing = sum(_is_missing(each) for each in found)
    if missing:
        raise InputError(
            f"`{what}` must be known of each sample",
            found=f"{missing} of {total} that are missing",
            hint="Leave these samples out, or give them a label of their own.",
        )
    return found


def _is_missing(label: Any) -> bool:
    """Whether a label is `None`, NaN, or what pandas writes where there is none."""
    equal = label == label  # which is not so of NaN
    return label is None or not isinstance(equal, bool | np.bool_) or not equal


def are_amounts(labels: Sequence[Any]) -> bool:
    """Whether labels are measured and not classes: many numbers, which are not all whole.

    >>> are_amounts([i / 3 for i in range(20)]), are_amounts([0.5, 1.5] * 10)
    (True, False)
    """
    numbers = all(isinstance(each, int | float) for each in labels)
    return numbers and len(set(labels)) > MOST_CLASSES and any(each % 1 for each in labels)


def in_order(labels: Iterable[Any]) -> list[Any]:
    """Different labels in their order; those of several kinds in that of their words.

    >>> in_order([3, 1, 3]), in_order(["b", 1])
    ([1, 3], [1, 'b'])
    """
    different = set(labels)
    try:
        return sorted(different)
    except TypeError:
        return sorted(different, key=str)


def column_names(
    labels: Sequence[Any], columns: int, classes: Sequence[Any] | None = None
) -> list[Any] | None:
    """What the columns of scores are called in labels; `None` where that cannot be told.

    They are the `classes` of an estimator, if it was fitted on such labels. Else whole numbers are
    the places of columns, if there are so many, and other labels are classes in their order, if
    there is one for each column. One column is the score of the second class of two.

    >>> column_names([0, 2], 3), column_names(["b", "a", "b"], 1), column_names([7, 8, 9], 2)
    ([0, 1, 2], ['a', 'b'], None)
    """
    if classes is not None and not set(labels).isdisjoint(classes):
        return list(classes)
    total = max(2, columns)
    places = list(range(total))
    if all(isinstance(label, int | float) and label in places for label in labels):
        return places
    names = in_order(labels)
    return names if len(names) == total else None
