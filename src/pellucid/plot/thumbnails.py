"""Samples as small pictures in lines: images, signals, texts and rows of tables."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.errors import InputError
from pellucid.plot.axes import LETTER
from pellucid.plot.color import Bytes, number
from pellucid.plot.legend import INK, PAPER
from pellucid.plot.map import as_picture, stretch
from pellucid.pooling import channels_last

Pictures = Callable[[Any], Any] | None

# Inches: of a cell, between cells, of a line of words above a cell, and of one of the title.
SIDE, GAP, WORDS, TITLE = 0.95, 0.1, 0.14, 0.17
# Letters of a line of text in a cell, and the lines that fit.
LETTERS, LINES = 22, 8
# A row of a table shows so many of its columns.
COLUMNS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One sample with words above it, and a frame of some color."""

    sample: Any
    caption: str = ""
    frame: str | None = None


Line = tuple[str, Sequence[Cell | None]]


def sheet(
    lines: Sequence[Line], *, pictures: Pictures = None, dark: bool = False, title: str = ""
) -> Figure:
    """Draw lines of samples, each with its name at the left; `None` leaves a place empty."""
    columns = max(len(cells) for _, cells in lines)
    side = SIDE if _are_small(lines) or pictures is not None else 2 * SIDE
    above = WORDS * max((c.caption.count("\n") + 1 for _, cs in lines for c in cs if c), default=1)
    left = 2 * GAP + LETTER * max(len(part) for name, _ in lines for part in name.split("\n"))
    width = left + columns * (side + GAP) + GAP
    head = GAP + TITLE * (title.count("\n") + 1) if title else GAP
    height = head + len(lines) * (side + above + GAP)
    figure = Figure(figsize=(width, height), facecolor=PAPER[dark])
    if title:
        figure.text(
            GAP / width, 1 - 0.06 / height, title,
            va="top", fontsize=9, color=INK[dark], parse_math=False,
        )  # fmt: skip
    for y, (name, cells) in enumerate(lines):
        bottom = height - head - (y + 1) * (side + above + GAP) + GAP
        for x, cell in enumerate(cells):
            if cell is not None:
                place = (left + x * (side + GAP), bottom, side, side)
                box = [a / b for a, b in zip(place, (width, height) * 2, strict=True)]
                _draw(cell, figure.add_axes((box[0], box[1], box[2], box[3])), pictures, dark)
        figure.text(
            (left - GAP) / width, (bottom + side / 2) / height, name,
            ha="right", va="center", fontsize=8, color=INK[dark], parse_math=False,
        )  # fmt: skip
    return figure


def _draw(cell: Cell, ax: Axes, pictures: Pictures, dark: bool) -> None:
    draw_sample(cell.sample, ax, pictures, dark)
    ax.set_title(cell.caption, fontsize=7, color=INK[dark], pad=2, parse_math=False)
    for spine in ax.spines.values():
        spine.set_visible(cell.frame is not None)
        spine.set_edgecolor(cell.frame or INK[dark])
        spine.set_linewidth(2.0)


def draw_sample(sample: Any, ax: Axes, pictures: Pictures = None, dark: bool = False) -> None:
    """Draw one sample: what `pictures` makes of it, or as what it is."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_facecolor(PAPER[dark])
    picture = thumbnail(sample, pictures)
    if picture is not None:
        ax.imshow(picture, interpolation="nearest")
    elif isinstance(sample, Tensor | np.ndarray) and np.asarray(sample).dtype.kind in "iufb":
        values = np.atleast_2d(np.asarray(_plain(sample), dtype=np.float64))
        ax.plot(values.reshape(-1, values.shape[-1]).T, lw=0.8)
        ax.margins(x=0)
    else:
        said = "\n".join(_words(sample)[:LINES])
        place: dict[str, Any] = {"va": "top", "fontsize": 7, "transform": ax.transAxes}
        ax.text(0.02, 0.98, said, color=INK[dark], parse_math=False, **place)


def thumbnail(sample: Any, pictures: Pictures = None) -> Bytes | None:
    """A sample as 8-bit RGB (height, width, 3), if it is an image or `pictures` makes one of it."""
    if pictures is not None:
        return as_picture(_plain(pictures(sample[None] if isinstance(sample, Tensor) else sample)))
    if not isinstance(sample, Tensor) or sample.ndim != 3:
        return None
    moved = sample.movedim(-1, 0) if channels_last(sample.shape) else sample
    return stretch(_plain(moved))


def samples_of(inputs: Any, count: int, what: str) -> list[Any]:
    """The single samples of some inputs, to be drawn."""
    if inputs is None or len(inputs) != count:
        raise InputError(
            f"The {what} must be at hand to be drawn",
            found="data that came in batches, or as several tensors",
            hint="Pass the data as one tensor, or as pl.run.Samples; to_frame() has the rows.",
        )
    rows = inputs.iloc if hasattr(inputs, "iloc") else inputs
    return [rows[place] for place in range(count)]


def _are_small(lines: Sequence[Line]) -> bool:
    """Whether samples are images or curves, which need less room than words."""
    first = next(cell.sample for _, cells in lines for cell in cells if cell is not None)
    return isinstance(first, Tensor | np.ndarray)


def _words(sample: Any) -> list[str]:
    if isinstance(sample, str):
        return textwrap.wrap(sample, LETTERS)
    names = list(getattr(sample, "index", range(len(sample))))[:COLUMNS]
    values = list(sample)[:COLUMNS]
    said = [
        f"{name}: {number(value) if isinstance(value, float) else value}"
        for name, value in zip(names, values, strict=True)
    ]
    return [each if len(each) <= LETTERS else f"{each[: LETTERS - 1]}…" for each in said]


def _plain(found: Any) -> Any:
    if isinstance(found, Tensor):
        found = found.detach().cpu()
        return (found.float() if found.is_floating_point() else found).numpy()
    return found
