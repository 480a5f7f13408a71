"""Samples of a data set as commands open, name, list and draw them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.choices import TABLES, TEXTS
from pellucid.errors import InputError

if TYPE_CHECKING:
    from pellucid.datasets import Dataset

# Of a row of a table, the values of so many columns are listed.
MOST_COLUMNS = 6
# So many samples stand on a line of a figure.
MOST_CELLS = 10


def are_rows(file: str | None, data: str, option: str, row: int | None) -> bool:
    """Whether the samples are rows of a table, and so is the one in a file that is asked about."""
    kinds = [_kind(each) for each in (file, data) if each is not None]
    if "text" in kinds:
        raise InputError(
            f"FILE and what is given to `{option}` must be photographs, or rows of tables",
            got=file if kinds[0] == "text" else data,
            hint="Of texts, call pellucid.exemplar in Python.",
        )
    if len(set(kinds)) > 1:
        raise InputError(
            f"FILE and what is given to `{option}` must be of one kind",
            got=f"{file} and {data}",
            hint="A photograph and a folder of photographs, or a row of a table and a table.",
        )
    if row is not None and kinds[-1] != "table":
        raise InputError("`--row` must be for a table", got=file)
    return kinds[-1] == "table"


def _kind(path: str) -> str:
    ending = Path(path).suffix.lower()
    if Path(path).is_dir():
        return "photo"
    return "table" if ending in TABLES else "text" if ending in TEXTS else "photo"


def class_name(known: "Dataset", number: int) -> str:
    """A class by its name, if it has one."""
    return known.classes[number] if number < len(known.classes) else f"class {number}"


def listed(known: "Dataset", place: int, label: str) -> str:
    """A sample on one line: its name, its class, and of a row of a table its values."""
    from pellucid.datasets import row_at

    said = [known.names[place], label]
    if known.table is not None:
        said.append(values(row_at(known.table, place)))
    return "  ".join(each for each in said if each)


def values(row: Any) -> str:
    """The values of a row of a table, by column.

    >>> import pandas as pd
    >>> values(pd.Series({"age": 30.0, "job": "baker", "paid": 52340.25}))
    'age 30, job baker, paid 52340.2'
    """
    said = [
        f"{name} {format(value, 'g') if isinstance(value, float) else value}"
        for name, value in row.iloc[:MOST_COLUMNS].items()
    ]
    return ", ".join([*said, *(["..."] if len(row) > MOST_COLUMNS else [])])


def drawn(known: "Dataset", place: int) -> Any:
    """What a figure shows of a sample: what the model sees of a photograph, or a row's values."""
    from pellucid.datasets import row_at
    from pellucid.plot.thumbnails import Picture

    if known.picture is not None:
        return Picture(known.picture(place))
    return None if known.table is None else row_at(known.table, place)


def in_lines(name: str, cells: Sequence[Any]) -> list[tuple[str, Sequence[Any]]]:
    """The cells of a figure in lines, the first of which has their name.

    >>> in_lines("nearest", range(12))
    [('nearest', range(0, 10)), ('', range(10, 12))]
    """
    starts = range(0, len(cells), MOST_CELLS)
    return [(name if not start else "", cells[start:][:MOST_CELLS]) for start in starts]
