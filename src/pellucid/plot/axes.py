"""Figures and axes of our own: sizes in inches, words and frames in the color of ink.

No global state knows of a figure that is made here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.errors import InputError
from pellucid.plot.legend import INK, PAPER, ink
from pellucid.plot.map import Map
from pellucid.plot.text import text_height

# A longer name is cut in its middle, so that its value is to be seen.
LONGEST_NAME, KEPT_END = 38, 12
# The inches of a row of a drawing with rows, and of all that is above and below them.
ROW, AROUND = 0.3, 1.3
# The inches of a letter of a name.
LETTER = 0.085


def axes_for(ax: Axes | None) -> Axes | None:
    """Take the axes of the user, if there are any."""
    if ax is not None and not isinstance(ax, Axes):
        raise InputError("`ax` must be axes of matplotlib", got=ax)
    return ax


def rows_axes(ax: Axes | None, names: Sequence[str], dark: bool, row: float = ROW) -> Axes:
    """Take the axes of the user, or make some for rows of these names, each so many inches high."""
    width, height = 4.2 + names_width(names, 2.2), row * len(names) + AROUND
    return axes_for(ax) or new_axes(width, height, dark)


def names_width(names: Sequence[str], least: float = 0.0) -> float:
    """The inches that the longest of some names takes, as it is shown."""
    return max(least, LETTER * max((len(short(name)) for name in names), default=0))


def new_axes(width: float, height: float, dark: bool) -> Axes:
    """Axes on a figure of their own, of a size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER[dark])
    return figure.add_subplot()


def name_rows(ax: Axes, names: Sequence[str], places: Any) -> None:
    """Name the rows of a drawing; long names are cut, and a dollar sign starts no formula."""
    ax.set_yticks(places, [short(name) for name in names])
    for label in ax.get_yticklabels():
        label.set_parse_math(False)


def short(name: str) -> str:
    """A name of at most 38 letters: its beginning and its end.

    >>> short("n" * 99 + " = 3")
    'nnnnnnnnnnnnnnnnnnnnnnnnn…nnnnnnnn = 3'
    """
    name = " ".join(name.split())
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - KEPT_END - 1]}…{name[-KEPT_END:]}"


def finish(ax: Axes, dark: bool, *, title: str = "", caption: Sequence[str] = ()) -> Axes:
    """Write the title above and what must be known below, in the color of ink."""
    ax.set_title(title, color=INK[dark], fontsize=10, parse_math=False)
    ax.set_xlabel("\n".join(caption), fontsize=8, parse_math=False)
    ink(ax, dark)
    return ax


def canvas(shown: Map, lines: int, columns: int, dark: bool) -> Figure:
    """A figure for so many maps of this kind, which no global state knows of.

    The legend hangs below its axes, where no layout engine sees it under an image of fixed
    proportions; so images are placed by hand, in inches.
    """
    if shown.kind == "signal" and len(shown.values) > 4:
        size = (5.0 * columns, (1.5 + 0.5 * min(len(shown.values), 24)) * lines)
        return Figure(figsize=size, layout="constrained", facecolor=PAPER[dark])
    if shown.kind != "image":
        tall = text_height(shown) if shown.kind == "text" else 4.0
        wide = 2.6 + names_width(shown.labels, 1.4) if shown.kind == "table" else 4.0
        size = (wide * columns, tall * lines)
        return Figure(figsize=size, layout="constrained", facecolor=PAPER[dark])
    side, gap, above, below = 2.5, 0.2, 0.32, 0.8
    tall = side * float(np.clip(shown.values.shape[0] / shown.values.shape[1], 0.4, 2.5))
    width, height = columns * (side + gap) + gap, lines * (tall + above + below)
    figure = Figure(figsize=(width, height), facecolor=PAPER[dark])
    figure.subplots_adjust(
        left=gap / width,
        right=1 - gap / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=gap / side,
        hspace=(above + below) / tall,
    )
    return figure
