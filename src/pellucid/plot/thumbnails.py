"""Samples as small pictures in lines: images, signals, texts and rows of tables."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, NamedTuple

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
from pellucid.structure import transform

# What is made of a sample to show it: an array, or words.
Pictures = Callable[[Any], Any] | None

# Inches: of a cell, between cells, of a line of words above a cell, and of one of the title.
SIDE, GAP, WORDS, TITLE = 0.95, 0.1, 0.14, 0.17
# Letters of a line of text in a cell, the lines that fit, and the letters that names are cut to.
LETTERS, LINES, SHORTEST = 22, 8, 8
# Inches of a line of words in a cell.
ROW = 0.13
# A row of a table shows so many of its columns.
COLUMNS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One sample with words above it, and a frame of some color."""

    sample: Any
    caption: str = ""
    frame: str | None = None


class Picture(NamedTuple):
    """What was made of a sample: 8-bit RGB (height, width, 3)."""

    values: Bytes


Line = tuple[str, Sequence[Cell | None]]


def sheet(
    lines: Sequence[Line], *, pictures: Pictures = None, dark: bool = False, title: str = ""
) -> Figure:
    """Draw lines of samples, each with its name at the left; `None` leaves a place empty."""
    if pictures is not None:
        lines, pictures = _made(lines, pictures), None
    columns = max(len(cells) for _, cells in lines)
    side = SIDE if _are_small(lines) else 2 * SIDE
    above = WORDS * max((c.caption.count("\n") + 1 for _, cs in lines for c in cs if c), default=1)
    tall = _height(lines, side)
    left = 2 * GAP + LETTER * max(len(part) for name, _ in lines for part in name.split("\n"))
    said = 2 * GAP + LETTER * max(len(part) for part in title.split("\n"))
    width = max(left + columns * (side + GAP) + GAP, said)
    head = GAP + TITLE * (title.count("\n") + 1) if title else GAP
    height = head + len(lines) * (tall + above + GAP)
    figure = Figure(figsize=(width, height), facecolor=PAPER[dark])
    if title:
        figure.text(
            GAP / width, 1 - 0.06 / height, title,
            va="top", fontsize=9, color=INK[dark], parse_math=False,
        )  # fmt: skip
    for y, (name, cells) in enumerate(lines):
        bottom = height - head - (y + 1) * (tall + above + GAP) + GAP
        for x, cell in enumerate(cells):
            if cell is not None:
                place = (left + x * (side + GAP), bottom, side, tall)
                box = [a / b for a, b in zip(place, (width, height) * 2, strict=True)]
                _draw(cell, figure.add_axes((box[0], box[1], box[2], box[3])), dark)
        figure.text(
            (left - GAP) / width, (bottom + tall / 2) / height, name,
            ha="right", va="center", fontsize=8, color=INK[dark], parse_math=False,
        )  # fmt: skip
    return figure


def _made(lines: Sequence[Line], pictures: Callable[[Any], Any]) -> list[Line]:
    """Lines with pictures, or words, in the place of samples."""
    return [
        (name, [cell and replace(cell, sample=_of_one(cell.sample, pictures)) for cell in cells])
        for name, cells in lines
    ]


def _of_one(sample: Any, pictures: Callable[[Any], Any]) -> Any:
    found = pictures(sample[None] if isinstance(sample, Tensor) else sample)
    return found if isinstance(found, str) else Picture(as_picture(_plain(found)))


def _draw(cell: Cell, ax: Axes, dark: bool) -> None:
    draw_sample(cell.sample, ax, dark=dark)
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
    elif isinstance(sample, tuple | dict):
        raise InputError(
            "`pictures` must say how a sample of several tensors is drawn",
            got=sample,
            hint="It makes an array or words of one: pictures=lambda inputs: inputs['image'], or "
            "lambda inputs: tokenizer.decode(inputs['input_ids'][0]).",
        )
    else:
        said = "\n".join(_words(sample)[:LINES])
        place: dict[str, Any] = {"va": "top", "fontsize": 7, "transform": ax.transAxes}
        ax.text(0.02, 0.98, said, color=INK[dark], parse_math=False, **place)


def thumbnail(sample: Any, pictures: Pictures = None) -> Bytes | None:
    """A sample as 8-bit RGB (height, width, 3), if it is an image or `pictures` makes one of it."""
    if isinstance(sample, Picture):
        return sample.values
    if pictures is not None:
        made = _of_one(sample, pictures)
        return made.values if isinstance(made, Picture) else None
    if not isinstance(sample, Tensor) or sample.ndim != 3:
        return None
    moved = sample.movedim(-1, 0) if channels_last(sample.shape) else sample
    return stretch(_plain(moved))


def samples_of(inputs: Any, count: int, what: str) -> list[Any]:
    """The single samples of some inputs, to be drawn."""
    if inputs is None:
        raise InputError(
            f"The {what} must be at hand to be drawn",
            found="data that cannot be read again: a generator, or a loader that shuffles",
            hint="Pass a data set, a list of batches, or tensors; to_frame() has the rows.",
        )
    if isinstance(inputs, tuple | dict):
        parts = [slice(place, place + 1) for place in range(count)]
        return [transform(itemgetter(part), inputs) for part in parts]
    rows = inputs.iloc if hasattr(inputs, "iloc") else inputs
    return [rows[place] for place in range(count)]


def _are_small(lines: Sequence[Line]) -> bool:
    """Whether samples are images or curves, which need less room than words."""
    first = next(cell.sample for _, cells in lines for cell in cells if cell is not None)
    return isinstance(first, Tensor | np.ndarray | Picture)


def _height(lines: Sequence[Line], side: float) -> float:
    """Inches of a cell: of a picture as high as wide, of words as high as the most of them."""
    samples = [cell.sample for _, cells in lines for cell in cells if cell is not None]
    said = [_words(each)[:LINES] for each in samples if _is_said(each)]
    most = max(map(len, said), default=0)
    return side if len(said) < len(samples) else min(side, ROW * (most + 1))


def _is_said(sample: Any) -> bool:
    """Whether a sample is shown in words."""
    return isinstance(sample, str) or (hasattr(sample, "index") and hasattr(sample, "iloc"))


def _words(sample: Any) -> list[str]:
    if isinstance(sample, str):
        return textwrap.wrap(sample, LETTERS)
    names = list(getattr(sample, "index", range(len(sample))))[:COLUMNS]
    values = list(sample)[:COLUMNS]
    return [_pair(str(name), value) for name, value in zip(names, values, strict=True)]


def _pair(name: str, value: Any) -> str:
    """A column and its value, of which the name is cut first."""
    said = cut(number(value) if isinstance(value, float) else str(value), LETTERS - SHORTEST - 2)
    return f"{cut(name, LETTERS - 2 - len(said))}: {said}"


def cut(words: str, most: int) -> str:
    """So many letters of some words.

    >>> cut("a long name", 6), cut("short", 6)
    ('a lon…', 'short')
    """
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _plain(found: Any) -> Any:
    if isinstance(found, Tensor):
        found = found.detach().cpu()
        return (found.float() if found.is_floating_point() else found).numpy()
    return found
