"""Rows of a tensor, written as the frames, arrays and texts that models are called with.

Each function prepares once what it needs for a schema, and returns what writes rows. It is called
for every batch, so there is no loop over the rows of tables.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pellucid.errors import InputError

if TYPE_CHECKING:
    from pellucid.border.schema import Schema

Writer: TypeAlias = Callable[[np.ndarray], Any]


def texts(schema: "Schema") -> Writer:
    """What joins the pieces of each text."""
    table = np.array(["", *("".join(piece) for piece in schema.pieces)], dtype=object)
    return lambda codes: ["".join(row) for row in table[codes].tolist()]


def arrays(schema: "Schema") -> Writer:
    """What gives arrays the type that they had, where their numbers still fit it."""
    if schema.has_categories:
        columns = [_categories(schema, i) for i in range(len(schema.names))]
        dtype = np.dtype(schema.dtypes[0])
        return lambda rows: _filled(rows, columns, dtype)
    dtype = np.dtype(schema.dtypes[0])
    return lambda rows: _numbers(rows, dtype)


def frames(schema: "Schema") -> Writer:
    """What makes data frames of the same columns, in their types and order."""
    import pandas as pd

    names = pd.Index(list(schema.names))
    if set(schema.dtypes) in ({"float64"}, {"float32"}):
        dtype = np.dtype(schema.dtypes[0])
        return lambda rows: pd.DataFrame(rows.astype(dtype, copy=False), columns=names, copy=False)
    columns = [_categories(schema, i) or _typed(dtype) for i, dtype in enumerate(schema.dtypes)]
    objects = [i for i, dtype in enumerate(schema.dtypes) if dtype == "object"]

    def write(rows: np.ndarray) -> pd.DataFrame:
        across = np.ascontiguousarray(rows.T)
        made = {i: column(own) for i, (column, own) in enumerate(zip(columns, across, strict=True))}
        for i in objects:  # of which pandas would make strings
            made[i] = pd.Series(made[i], dtype=object, copy=False)
        frame = pd.DataFrame(made, copy=False)
        frame.columns = names
        return frame

    return write


def _categories(schema: "Schema", column: int) -> Writer | None:
    """What looks up the categories of one column; nothing for one of numbers."""
    if schema.kinds[column] != "categorical":
        return None
    import pandas as pd

    known, dtype = schema.categories[column], schema.dtypes[column]
    table: Any
    if schema.layout == "array" or dtype in ("object", "bool"):
        table = np.empty(len(known), dtype=object if schema.layout == "array" else dtype)
        table[:] = known
    elif dtype == "category":
        kinds = [value for value in known if value is not None]
        table = pd.Categorical(known, categories=kinds, ordered=schema.ordered[column])
    else:
        table = pd.array(list(known), dtype=dtype)
    name = schema.names[column]
    return lambda codes: table.take(_places(codes, name))


def _places(codes: np.ndarray, name: Any) -> np.ndarray:
    places = codes.astype(np.intp)
    if not (places == codes).all():
        raise InputError(
            f"The categories of column {name!r} must be there or absent as a whole",
            found="a mixture of two of them",
            hint="Take a method that removes players, such as kernel_shap, and a baseline of data.",
        )
    return places


def _typed(dtype: str) -> Writer:
    """What gives a column of numbers its type."""
    if dtype in np.sctypeDict:
        kind = np.dtype(dtype)
        return lambda column: _numbers(column, kind)
    import pandas as pd

    whole = pd.api.types.is_integer_dtype(dtype)

    def extended(column: np.ndarray) -> Any:
        fits = not whole or (np.isnan(column) | (column == np.floor(column))).all()
        return pd.array(column, dtype=dtype if fits else "Float64")

    return extended


def _numbers(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers in a type; as they are where whole numbers have become fractions."""
    if dtype.kind in "fc":
        return rows.astype(dtype, copy=False)
    made = rows.astype(dtype)
    return made if (made == rows).all() else rows


def _filled(rows: np.ndarray, columns: list[Writer | None], dtype: np.dtype) -> np.ndarray:
    made = np.empty(rows.shape, dtype=object)
    for i, column in enumerate(columns):
        made[:, i] = rows[:, i] if column is None else column(rows[:, i])
    return made.astype(dtype) if dtype.kind in "US" else made
