"""The table that a surrogate reads: its columns, and the numbers that conditions are put to.

Conditions are put to *features*, of which a column of numbers has one, and a column of categories
one for each: one where it is that category, else zero. Where two categories are all there is, one
feature is enough. A column with missing values has one feature more, which says where; its missing
numbers count as the mean of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.border.schema import Schema
from pellucid.border.tables import encode_array, encode_frame, of_array, of_frames
from pellucid.errors import InputError, UnknownNameError

Floats = NDArray[np.float64]
# A column of more categories than this is a name of the sample rather than a category.
MOST_CATEGORIES = 100


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its name, its unit, and its categories if it holds any.

    `mean` stands for missing numbers; `gaps` says whether there were any when it was fitted.
    """

    name: str
    unit: str = ""
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    gaps: bool = False


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One number of a sample: a value (no category), a category, or whether a value is missing."""

    column: int
    category: int | None = None
    missing: bool = False

    @property
    def is_value(self) -> bool:
        """Whether it is the number of the table itself."""
        return self.category is None and not self.missing


@dataclass(frozen=True, kw_only=True)
class Columns:
    """All columns of a table, and how its rows are read."""

    schema: Schema
    columns: tuple[Column, ...]

    @classmethod
    def of(
        cls, data: Any, names: Sequence[str] | None = None, units: Mapping[str, str] | None = None
    ) -> "Columns":
        """Those of a frame, an array or a tensor of shape (sample, column)."""
        found = _table(data)
        if _is_frame(found):
            schema = of_frames([found])
        else:
            schema = of_array(found, [], _named(found, names))
        table = _encoded(schema, found, "table")
        columns = [_column(schema, i, table[:, i]) for i in range(len(schema.names))]
        known = [each.name for each in columns]
        for name in units or {}:
            if name not in known:
                raise UnknownNameError("A column that `units` names", name, known)
        given = {name: str(unit) for name, unit in (units or {}).items()}
        made = (Column(**{**vars(each), "unit": given.get(each.name, "")}) for each in columns)
        return cls(schema=schema, columns=tuple(made))

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The numbers of a sample that conditions are put to."""
        return tuple(each for i, column in enumerate(self.columns) for each in _features(i, column))

    def read(self, data: Any, what: str = "rows") -> Floats:
        """The features of the rows of a table, of shape (sample, feature)."""
        found = _table(data)
        if _is_frame(found) and self.schema.layout == "frame":
            found = self._ordered(found)
        elif found.shape[1] != len(self.columns):
            must = f"`{what}` must have the {len(self.columns)} columns of the fit"
            raise InputError(must, got=data)
        table = _encoded(self.schema, found, what)
        return np.stack([self._feature(each, table) for each in self.features], axis=1)

    def _ordered(self, frame: Any) -> Any:
        """The columns of a frame that are read, in the order of the fit."""
        for name in self.schema.names:
            if name not in frame.columns:
                known = map(str, frame.columns)
                raise UnknownNameError("A column that the surrogate reads", name, known)
        return frame[list(self.schema.names)]

    def _feature(self, feature: Feature, table: Floats) -> Floats:
        column, values = self.columns[feature.column], table[:, feature.column]
        if feature.missing:
            gone = values == len(column.categories) if column.categories else np.isnan(values)
            return gone.astype(np.float64)
        if feature.category is not None:
            return (values == feature.category).astype(np.float64)
        return np.where(np.isnan(values), column.mean, values)


def _features(position: int, column: Column) -> list[Feature]:
    """The features of one column."""
    gap = [Feature(column=position, missing=True)] if column.gaps else []
    if not column.categories:
        return [Feature(column=position), *gap]
    several = range(len(column.categories))
    # The second of two says all, unless there is a third way: to be missing.
    chosen = [1] if len(several) == 2 and not column.gaps else list(several)
    return [*(Feature(column=position, category=k) for k in chosen), *gap]


def _is_frame(data: Any) -> bool:
    import pandas as pd

    return isinstance(data, pd.DataFrame)


def _table(data: Any) -> Any:
    """A frame, or an array of shape (sample, column)."""
    if _is_frame(data):
        return data
    array = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    if not isinstance(array, np.ndarray) or array.ndim != 2 or 0 in array.shape:
        raise InputError(
            "A table must be a data frame, or an array or tensor of shape (sample, column)",
            got=data,
            hint="For images, texts and signals pass a table that describes each sample: "
            "fit_surrogate(model, inputs, table=frame).",
        )
    return array


def _named(array: NDArray, names: Sequence[str] | None) -> list[str]:
    """The names of the columns of an array: as they are given, or numbered."""
    if names is None:
        return [f"column {i}" for i in range(array.shape[1])]
    if isinstance(names, str) or len(names) != array.shape[1]:
        raise InputError(f"`names` must name each of the {array.shape[1]} columns", got=names)
    return list(map(str, names))


def _encoded(schema: Schema, found: Any, what: str) -> Floats:
    """A table as numbers (sample, column), with the places of categories; NaN is a missing one."""
    encode: Any = encode_frame if schema.layout == "frame" else encode_array
    return encode(schema, found, what=what).double().numpy()


def _column(schema: Schema, position: int, values: Floats) -> Column:
    """What is known of a column once its values were seen."""
    name, categories = str(schema.names[position]), schema.categories[position]
    if schema.kinds[position] == "categorical":
        words = tuple(str(each) for each in categories if each is not None)
        if len(words) > MOST_CATEGORIES:
            raise InputError(
                f"Column {name!r} must have at most {MOST_CATEGORIES} categories to be read",
                found=f"{len(words)}",
                hint="Leave it out, or join the rare ones: "
                "fit_surrogate(model, data, table=frame).",
            )
        return Column(name=name, categories=words, gaps=None in categories)
    known = values[~np.isnan(values)]
    mean = float(known.mean()) if len(known) else 0.0
    return Column(name=name, mean=mean, gaps=len(known) < len(values))
