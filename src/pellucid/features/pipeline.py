"""Which raw columns each column of transformed data comes from, read off fitted transformers."""

import copy
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from pellucid.errors import InputError, show

# The raw columns that one column of transformed data was made of.
Origin: TypeAlias = frozenset[str]

PLACE = re.compile(r"<(\d+)>")


def groups_of(fitted: Any) -> dict[str, list[int]]:
    """The columns that come from the same raw columns: the name of these, and their numbers.

    Raw columns that are mixed in one column belong together.
    """
    origins = _origins(fitted, None)
    groups: list[tuple[Origin, list[int]]] = []
    for place, origin in enumerate(origins):
        mixed = [group for group in groups if group[0] & origin]
        groups = [group for group in groups if not group[0] & origin]
        places = sorted([place, *(each for _, given in mixed for each in given)])
        groups.append((origin.union(*(given for given, _ in mixed)), places))
    order = {name: i for i, name in enumerate(_raw(fitted))}
    groups.sort(key=lambda group: group[1][0])
    return {
        ", ".join(sorted(origin, key=lambda name: order.get(name, len(order)))): places
        for origin, places in groups
    }


def _raw(fitted: Any) -> list[str]:
    """The names of the raw columns; numbers where data had none."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(fitted)
        names = getattr(fitted, "feature_names_in_", None)
        return list(map(str, range(fitted.n_features_in_) if names is None else names))
    except (NotFittedError, TypeError, AttributeError) as error:
        raise InputError(
            "`fitted` must be a fitted transformer of scikit-learn, or a pipeline of these",
            found=show(fitted) if not isinstance(error, NotFittedError) else "one without fit",
            hint="For example Features.of_pipeline(pipeline.fit(x, y)).",
        ) from error


def _origins(step: Any, given: list[Origin] | None, count: int | None = None) -> list[Origin]:
    """The raw columns of each column that a step makes of those `given`, `count` if known."""
    if given is None:
        given = [frozenset([name]) for name in _raw(step)]
    if hasattr(step, "steps"):
        return _of_pipeline(step, given)
    if hasattr(step, "transformers_"):
        return _of_columns(step, given)
    if hasattr(step, "transformer_list"):
        parts = [each for _, each in step.transformer_list if each != "drop"]
        return [origin for part in parts for origin in _origins(part, given)]
    if step is None or step == "passthrough":
        return given
    return _of_transformer(step, given, count)


def _of_pipeline(pipeline: Any, given: list[Origin]) -> list[Origin]:
    """Those of each step after another; a model at the end transforms nothing."""
    for _, step in pipeline.steps:
        if step is None or step == "passthrough" or hasattr(step, "transform"):
            given = _origins(step, given)
    return given


def _of_columns(transformer: Any, given: list[Origin]) -> list[Origin]:
    """Those of a `ColumnTransformer`: of each part the columns that it was given."""
    names = _raw(transformer)
    found: dict[int, Origin] = {}
    for name, part, columns in transformer.transformers_:
        places = transformer.output_indices_.get(name, slice(0, 0))
        if part == "drop" or places.start == places.stop:
            continue
        own = [given[place] for place in _places(columns, names)]
        made = _origins(part, own, places.stop - places.start)
        if len(made) != places.stop - places.start:
            made = [frozenset().union(*own)] * (places.stop - places.start)
        found |= dict(zip(range(places.start, places.stop), made, strict=True))
    return [found[place] for place in sorted(found)]


def _places(columns: Any, names: Sequence[str]) -> list[int]:
    """The places of columns that a `ColumnTransformer` was told by name, number, slice or mask."""
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        if isinstance(start, str):
            start = names.index(start)
        if isinstance(stop, str):
            stop = names.index(stop) + 1  # by names the last one is included
        return list(range(len(names)))[start : stop : columns.step]
    items = [columns] if isinstance(columns, str | int) else list(columns)
    if items and all(isinstance(each, bool) or type(each).__name__ == "bool" for each in items):
        return [place for place, own in enumerate(items) if own]
    return [
        names.index(each) if isinstance(each, str) else range(len(names))[each] for each in items
    ]


def _of_transformer(step: Any, given: list[Origin], count: int | None) -> list[Origin]:
    """Those of one transformer, whose names of new columns say of which old ones they are made.

    The old columns are called `<0>`, `<1>` ... for this. Where names do not tell, every column may
    be made of all.
    """
    mixed: Origin = frozenset().union(*given)
    renamed = copy.copy(step)
    vars(renamed).pop("feature_names_in_", None)
    if hasattr(renamed, "feature_name_combiner"):
        renamed.feature_name_combiner = "concat"
    names = [f"<{place}>" for place in range(len(given))]
    try:
        made = renamed.get_feature_names_out(names)
    except (AttributeError, TypeError, ValueError) as error:
        if count is None:
            raise InputError(
                "The steps of a pipeline must name the columns that they make",
                found=show(step),
                hint="Give it a method get_feature_names_out; a FunctionTransformer has one with "
                'feature_names_out="one-to-one".',
            ) from error
        return [mixed] * count
    found = [[int(place) for place in PLACE.findall(str(name))] for name in made]
    return [frozenset().union(*(given[i] for i in places)) or mixed for places in found]
