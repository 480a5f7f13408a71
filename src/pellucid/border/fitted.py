"""What a fitted model says of its columns."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def known_categories(model: Any) -> dict[Any, list[Any]]:
    """The categories of columns, by name, that the encoders of a fitted pipeline know."""
    return dict(_known(model, getattr(model, "feature_names_in_", None)))


def _known(step: Any, names: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Go through pipelines and column transformers to the encoders at their start.

    Imputers before them are passed. What else is before them may rename categories, so that what
    the encoders know is not what the columns hold.
    """
    for inner in _inside(step):
        columns = getattr(inner, "feature_names_in_", names)
        if hasattr(inner, "transformers_"):
            for _, each, chosen in inner.transformers_:
                yield from _known(each, _chosen(columns, chosen))
        elif hasattr(inner, "categories_") and columns is not None:
            if len(inner.categories_) == len(columns):
                pairs = zip(columns, inner.categories_, strict=True)
                yield from ((name, np.asarray(found).tolist()) for name, found in pairs)
        elif hasattr(inner, "steps"):
            yield from _known(inner, columns)
        if not _keeps(inner):
            return


def _keeps(step: Any) -> bool:
    """Whether the columns of a table come out of a step as they went in, but for missing values."""
    fills = type(step).__module__.startswith("sklearn.impute")
    missing = getattr(step, "missing_values", None)
    return isinstance(step, str) or (fills and (missing is None or missing != missing))


def _inside(step: Any) -> list[Any]:
    """The steps of a pipeline, or the one there is."""
    steps = getattr(step, "steps", None)
    return [each for _, each in steps] if isinstance(steps, list) else [step]


def _chosen(columns: Any, chosen: Any) -> Any:
    """The names of the columns that a transformer is for, if they are known."""
    if isinstance(chosen, str):
        return [chosen]
    named = isinstance(chosen, list | tuple | np.ndarray) and all(
        isinstance(each, str) for each in chosen
    )
    if named:
        return list(chosen)
    try:
        return None if columns is None else np.asarray(columns, dtype=object)[chosen]
    except (IndexError, TypeError):
        return None
