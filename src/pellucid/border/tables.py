"""Data frames and arrays as one tensor (sample, column), with categories as codes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.border.schema import Kind, Schema
from pellucid.errors import InputError, UnknownNameError, nearest, show

if TYPE_CHECKING:
    import pandas as pd

# Categories that a fitted model knows, by the names of columns.
Known = Mapping[Any, Sequence[Any]]


def of_frames(frames: "Sequence[pd.DataFrame]") -> Schema:
    """The schema of a data frame, the first, with the categories of all of them."""
    first = frames[0]
    _check_frame(first)
    for other in frames[1:]:
        _check_columns(first, other)
    columns = [_column(name, [frame[name] for frame in frames]) for name in first.columns]
    return Schema(
        layout="frame",
        names=tuple(_plain(name) for name in first.columns),
        kinds=tuple(kind for kind, _ in columns),
        categories=tuple(categories for _, categories in columns),
        dtypes=tuple(str(dtype) for dtype in first.dtypes),
        ordered=tuple(bool(getattr(dtype, "ordered", False)) for dtype in first.dtypes),
    )


def encode_frame(
    schema: Schema, frame: "pd.DataFrame", *, what: str = "inputs", known: Known | None = None
) -> Tensor:
    """A data frame as one tensor (sample, column); `known` are the only categories there may be."""
    made = np.empty((len(frame), len(schema.names)), dtype=np.float64)
    for i, name in enumerate(schema.names):
        column = frame[name]
        if schema.kinds[i] == "numeric":
            made[:, i] = _numbers(column, name, what)
        else:
            made[:, i] = _codes(column, schema.categories[i], name, what)
            if known is not None and name in known:
                _check_known(column, known[name], name, what)
    _check_finite(made, what)
    return torch.from_numpy(made)


def check_array(array: np.ndarray) -> None:
    """Raise for an array without an axis of samples, or without elements."""
    if array.ndim < 2 or array.size == 0:
        raise InputError(
            "`inputs` must have a first axis of samples, and at least one element",
            got=array,
            hint="For one sample add the axis: inputs[None].",
        )


def of_array(array: np.ndarray, others: Sequence[np.ndarray], names: Sequence[Any]) -> Schema:
    """The schema of an array: columns by their names, or by number."""
    check_array(array)
    columns = array.shape[1] if array.ndim == 2 else 0
    numeric: Kind = "numeric"
    titles = tuple(names) if len(names) == columns else tuple(map(str, range(columns)))
    if array.dtype.kind in "OUS":
        frames = [_framed(each) for each in (array, *others)]
        made = of_frames(frames)
        return replace(made, layout="array", names=titles, dtypes=(str(array.dtype),) * columns)
    if array.dtype.kind not in "fiub":
        raise InputError("`inputs` must be numbers or strings", got=array)
    return Schema(
        layout="array",
        names=titles,
        kinds=(numeric,) * columns,
        categories=((),) * columns,
        dtypes=(str(array.dtype),) * max(1, columns),
        ordered=(False,) * columns,
    )


def encode_array(schema: Schema, array: np.ndarray, *, what: str = "inputs") -> Tensor:
    """An array as a tensor of its shape: in its own precision, whole numbers in float64."""
    if array.dtype.kind in "OUS":
        numbered = replace(schema, layout="frame", names=tuple(range(len(schema.names))))
        return encode_frame(numbered, _framed(array), what=what)
    small = array.dtype in (np.float32, np.float16) or (array.ndim > 2 and array.dtype.itemsize < 3)
    made = np.array(array, dtype=np.float32 if small else np.float64)
    _check_finite(made, what)
    return torch.from_numpy(made)


def _framed(array: np.ndarray) -> "pd.DataFrame":
    """An array of objects as a data frame, whose columns have types of their own."""
    import pandas as pd

    if array.ndim != 2:
        raise InputError("An array of strings or objects must be a table (sample, column)")
    return pd.DataFrame(array).infer_objects()


def _plain(value: Any) -> Any:
    """A number of NumPy's as Python's own; names may be tuples of several levels."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _column(name: Any, columns: "list[pd.Series]") -> tuple[Kind, tuple[Any, ...]]:
    """The kind of a column, and its categories in all of the data."""
    import pandas as pd

    dtype = columns[0].dtype
    types = pd.api.types
    if types.is_bool_dtype(dtype) and not isinstance(dtype, pd.CategoricalDtype):
        found = [False, True]
    elif isinstance(dtype, pd.CategoricalDtype):
        found = [_plain(value) for value in dtype.categories]
    elif types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return "numeric", ()
    elif types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        values = [_plain(v) for column in columns for v in column.dropna().unique()]
        if types.is_object_dtype(dtype) and values and all(map(_is_number, values)):
            return "numeric", ()
        found = _sorted(list(dict.fromkeys(values)))
    else:
        raise InputError(
            f"Column {name!r} must hold numbers, strings, categories or true and false",
            found=f"{dtype}",
            hint=f"Turn it into a number first: of a date, say, frame[{name!r}].dt.year.",
        )
    missing = any(bool(column.isna().any()) for column in columns)
    return "categorical", (*found, *([None] if missing else []))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sorted(values: list[Any]) -> list[Any]:
    """Categories in order; as they came where they are of several types."""
    try:
        return sorted(values)
    except TypeError:
        return values


def _numbers(column: "pd.Series", name: Any, what: str) -> np.ndarray:
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Column {name!r} of `{what}` must hold numbers, as it does in the inputs",
            found=f"{column.dtype}",
            hint=f"For example {show(column.iloc[0])}, which is none.",
        ) from error


def _codes(column: "pd.Series", categories: tuple[Any, ...], name: Any, what: str) -> np.ndarray:
    """The place of each value among the categories."""
    import pandas as pd

    kinds = [value for value in categories if value is not None]
    values = column.astype(object)
    found = pd.Index(kinds, dtype=object).get_indexer(values)
    missing = column.isna().to_numpy()
    unknown = (found < 0) & ~missing
    if unknown.any():
        raise _unknown(values[unknown].iloc[0], kinds, name, what)
    if missing.any() and None not in categories:
        raise _unknown(None, kinds, name, what)
    return np.where(missing, len(kinds), found)


def _check_known(column: "pd.Series", known: Sequence[Any], name: Any, what: str) -> None:
    """Raise for a category that the model was not fitted on."""
    for value in column.dropna().unique():
        if value not in known:
            raise _unknown(value, list(known), name, what)


def _unknown(value: Any, known: Sequence[Any], name: Any, what: str) -> UnknownNameError:
    names = [str(each) for each in known]
    return UnknownNameError(f"A category of column {name!r} in `{what}`", value, names)


def _check_finite(table: np.ndarray, what: str) -> None:
    """Raise for infinite numbers; a missing one, NaN, is the model's to take or refuse."""
    infinite = int(np.isinf(table).sum())
    if infinite:
        raise InputError(
            f"`{what}` must be finite",
            found=f"{infinite} infinite values",
            hint="Clean the data first; what is missing may be NaN, if the model takes that.",
        )


def _check_frame(frame: "pd.DataFrame") -> None:
    if frame.empty:
        raise InputError("`inputs` must have at least one row and one column", got=frame.shape)
    twice = frame.columns[frame.columns.duplicated()].unique().tolist()
    if twice:
        raise InputError("The columns of `inputs` must have names of their own", got=twice)


def _check_columns(first: "pd.DataFrame", other: "pd.DataFrame") -> None:
    """Raise unless a data frame has the columns of the inputs, in any order."""
    missing = [name for name in first.columns if name not in other.columns]
    strange = [name for name in other.columns if name not in first.columns]
    if missing or strange or other.empty:
        parts = [f"without {missing!r}"] if missing else []
        parts += [f"with {strange!r}"] if strange else []
        hint = nearest(str(missing[0]), map(str, strange)) if missing and strange else ""
        raise InputError(
            "Background data must have the columns of the inputs, and at least one row",
            found=f"a data frame of {len(other)} rows {' and '.join(parts)}".rstrip(),
            hint=hint or f"Select them: background[{list(first.columns)[:3]!r} ...].",
        )
