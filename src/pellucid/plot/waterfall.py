"""From the base value to the score, step by step: the waterfall and the force plot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from pellucid.explanation import Explanation
from pellucid.plot.axes import axes_for, finish, name_rows, names_width, new_axes, rows_axes, short
from pellucid.plot.bars import draw_errors
from pellucid.plot.color import Floats, number, sign_color, signed
from pellucid.plot.labels import GAP, MOST_ROWS, ROW, Label, Wanted, placed
from pellucid.plot.legend import INK, PAPER
from pellucid.plot.parts import REST, Parts
from pellucid.plot.swarm import GRAY
from pellucid.plot.titles import titled

Step: TypeAlias = tuple[str, float, float]
# The inches of a letter beside a bar.
LETTER = 0.075
# The width of the tip of an arrow, as a part of that of the strip.
TIP = 0.008
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
# The inches of a strip of forces with the score above it, and of the title and the axis around it.
# LOW is the least of the strip in axes of the user.
WIDE, TALL, AROUND, LOW = 8.0, 0.9, 0.85, 0.6
# How high axes reach above a strip that is 1 high, and what is left free at its ends.
TOP, EDGE = 1.7, 0.03


def waterfall(
    explanation: Explanation,
    row: int = 0,
    ax: Axes | None = None,
    *,
    most: int = 10,
    names: Sequence[str] | None = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw how the players of one sample lead from the base value to the score.

        score = base + sum of values + what is not explained

    The base value is at the bottom and the score on top; between them is a step for each of the
    `most` strongest players, with its standard error where there is one, and one for the sum of the
    others. Where values miss some of the score, that is a step of its own, and where the method
    claims no completeness, the base is what the values leave of the score, and is called so.

    Source: Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions".

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.explain(torch.nn.Linear(3, 1), torch.rand(1, 3), "integrated_gradients")
    >>> [row.get_text() for row in waterfall(found, names=["a", "b", "c"]).get_yticklabels()][0]
    'base value'
    """
    parts = Parts.of(explanation, row=row, names=names).strongest(most)
    parts.check_finite()
    steps = parts.steps()
    base = "base value" if parts.complete else "score less all values"
    labels = [base, *(name for name, _, _ in steps), "score"]
    ax = rows_axes(ax, labels, dark)
    name_rows(ax, labels, np.arange(len(labels)))
    ax.set_ylim(-0.6, len(labels) - 0.4)
    _draw_steps(ax, parts, steps, dark)
    title = titled(explanation, row) if title is None else title
    said = [f"from {parts.start} to the score {number(parts.score)}"]
    said += parts.chance
    return finish(ax, dark, title=title, caption=said)


def _draw_steps(ax: Axes, parts: Parts, steps: list[Step], dark: bool) -> None:
    colors = [sign_color(size, dark) for _, _, size in steps]
    places = np.arange(1, len(steps) + 1)
    starts, sizes = (np.array([step[i] for step in steps]) for i in (1, 2))
    ends = starts + sizes
    drawn = ax.barh(places, sizes, left=starts, color=colors, edgecolor=INK[dark], linewidth=0.5)
    if parts.has_rest:
        drawn[-1].set_hatch("///")
        drawn[-1].set_facecolor(PAPER[dark])
    levels = np.append(starts, parts.score)
    rows = np.arange(len(levels))
    ax.vlines(levels, rows - 0.4, rows + 1.4, INK[dark], linewidth=0.7)
    errors = np.full(len(steps), np.nan)
    if parts.errors is not None:
        errors[: len(parts.errors)] = parts.errors[::-1]
    draw_errors(ax, ends, places, errors, dark)
    spread = np.nan_to_num(errors)
    said = _written(parts, errors)
    room = min(LETTER * max(map(len, said)) / _inches(ax), 0.5)
    reach = _limits(ax, levels, ends, spread, room)
    at = np.maximum(np.maximum(starts, ends), ends + spread)
    at = [parts.base, *at, parts.score]
    for place, words in enumerate([number(parts.base), *said, number(parts.score)]):
        look: dict[str, Any] = {"va": "center", "fontsize": 8, "color": INK[dark]}
        ax.text(at[place] + 0.01 * reach, place, words, **look)


def _written(parts: Parts, errors: Floats) -> list[str]:
    """What is written beside each step: its size with its sign, and its error."""
    values = [*parts.values[::-1].tolist(), *([parts.rest] if parts.has_rest else [])]
    return [with_error(*each) for each in zip(values, errors.tolist(), strict=True)]


def with_error(value: float, error: float | None) -> str:
    """A value with its sign and, if it has one that is not zero, its standard error.

    >>> with_error(0.5, 0.01), with_error(0.5, None)
    ('+0.5 ± 0.01', '+0.5')
    """
    if not error or not np.isfinite(error):
        return signed(value)
    return f"{signed(value)} {PLUS_MINUS} {error:.2g}"


def _inches(ax: Axes) -> float:
    """About how wide axes are, once their names have taken their place."""
    wide = float(ax.get_window_extent().width / ax.figure.dpi)
    names = names_width([label.get_text() for label in ax.get_yticklabels()])
    laid_out = ax.figure.get_layout_engine() is not None if isinstance(ax.figure, Figure) else False
    return max(1.5, 1.25 * wide - names if laid_out else wide)


def _limits(ax: Axes, levels: Floats, ends: Floats, spread: Floats, room: float) -> float:
    """Make room for all levels, their errors, and for words in this part of the axes."""
    every = np.concatenate([levels, ends - spread, ends + spread])
    low, high = float(every.min()), float(every.max())
    reach = (high - low) or 1.0
    ax.set_xlim(low - 0.03 * reach, high + (0.03 + room / (1 - room)) * reach)
    return reach / (1 - room)


class Segment(NamedTuple):
    """One player on the strip of a force plot: what it adds, and from where to where it reaches."""

    name: str
    value: float
    error: float | None
    left: float
    right: float
    is_rest: bool = False


@dataclass(frozen=True, kw_only=True)
class Force:
    """The players of one sample as forces: what raises the score to its left, what lowers it right.

    The strongest are next to the score. Those that raise begin at the base value less what lowers.
    """

    segments: tuple[Segment, ...]
    base: float
    score: float
    complete: bool

    @classmethod
    def of(cls, parts: Parts) -> "Force":
        """Lay the values of a sample side by side; what is zero or not finite has no width."""
        segments = []
        left = right = parts.score
        errors = [None] * len(parts.values) if parts.errors is None else parts.errors.tolist()
        rows = [(parts.names[i], float(parts.values[i]), errors[i]) for i in parts.order]
        rows += [(REST, parts.rest, None)] if parts.has_rest else []
        for name, value, error in rows:
            size = abs(value) if np.isfinite(value) else 0.0
            if size == 0:
                continue
            start = left - size if value > 0 else right
            left, right = (start, right) if value > 0 else (left, right + size)
            segments.append(Segment(name, value, error, start, start + size, name == REST))
        return cls(
            segments=tuple(segments), base=parts.base, score=parts.score, complete=parts.complete
        )

    @property
    def span(self) -> tuple[float, float]:
        """From where to where the strip reaches; around the score where nothing has a value."""
        ends = [each for one in self.segments for each in (one.left, one.right)]
        ends += [self.base, self.score]
        low, high = min(ends), max(ends)
        return (low, high) if high > low else (low - 0.5, high + 0.5)


def force(
    explanation: Explanation,
    ax: Axes | None = None,
    *,
    row: int = 0,
    most: int = 10,
    names: Sequence[str] | None = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the players of one sample as forces that meet at the score.

    Those that raise the score push from the left, those that lower it from the right; the base
    value is marked. The strongest are named, as many as there is room for; the report names each.

    Source: Lundberg et al. 2018, "Explainable machine-learning predictions for the prevention of
    hypoxaemia during surgery".

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.explain(torch.nn.Linear(3, 1), torch.rand(1, 3), "integrated_gradients")
    >>> len(force(found, names=["a", "b", "c"]).patches)
    3
    """
    parts = Parts.of(explanation, row=row, names=names).strongest(most)
    parts.check_finite()
    found = Force.of(parts)
    low, high = found.span
    low, reach = low - EDGE * (high - low), (1 + 2 * EDGE) * (high - low)
    ax = axes_for(ax)
    width, height = (WIDE, math.inf) if ax is None else _size(ax)
    labels = placed(_wanted(found, low, width / reach), width, _rows(height))
    below = GAP + ROW * max((each.row + 1 for each in labels), default=1)
    down = TOP / (TALL if ax is None else max(height - below, LOW))
    ax = ax or new_axes(WIDE, TALL + below + AROUND, dark)
    for each in found.segments:
        _segment(ax, each, reach, dark)
    for label in labels:
        _name(ax, label, low, reach / width, down, dark)
    ax.vlines(found.score, 0, 1.25, INK[dark], lw=1.5)
    ax.text(found.score, 1.3, f"score {number(found.score)}", ha="center", color=INK[dark])
    ax.vlines(found.base, 0, 1.12, INK[dark], lw=0.8, linestyles="dashed")
    ax.set_xlim(low, low + reach)
    ax.set_ylim(-down * below, TOP)
    ax.set_yticks([])
    title = titled(explanation, row) if title is None else title
    finish(ax, dark, title=title, caption=[f"dashed: {parts.start}"])
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    return ax


def _size(ax: Axes) -> tuple[float, float]:
    """About how many inches axes are wide and high."""
    box, dpi = ax.get_window_extent(), ax.figure.dpi
    return float(box.width / dpi), float(box.height / dpi)


def _rows(height: float) -> int:
    """How many rows of names there may be below a strip, in axes so high."""
    return int(min(max((height - LOW - GAP) / ROW, 1), MOST_ROWS))


def _wanted(found: Force, low: float, scale: float) -> list[Wanted]:
    """What is to be written below the strip, the strongest first; places in inches."""
    return [
        Wanted(
            at=((each.left + each.right) / 2 - low) * scale,
            name=short(each.name),
            details=(with_error(each.value, each.error), signed(each.value)),
        )
        for each in found.segments
    ]


def _segment(ax: Axes, each: Segment, reach: float, dark: bool) -> None:
    """An arrow that points to where it pushes."""
    tip = TIP * reach * (1 if each.value > 0 else -1)
    sides = [[(x - tip, 0.0), (x, 0.5), (x - tip, 1.0)] for x in (each.left, each.right)]
    arrow = Polygon([*sides[0], *sides[1][::-1]], edgecolor=PAPER[dark], linewidth=1)
    arrow.set_facecolor(sign_color(each.value, dark))
    if each.is_rest:
        arrow.set_hatch("///")
    ax.add_patch(arrow)


def _name(ax: Axes, label: Label, low: float, across: float, down: float, dark: bool) -> None:
    """A name below the strip, with a line to its segment where it is not right below it.

    An inch is so much of the axes `across` and `down`.
    """
    x, at, y = low + label.x * across, low + label.at * across, -down * (GAP + ROW * label.row)
    if label.row or x != at:
        ax.plot([at, at], [0, y], color=GRAY, lw=0.6, zorder=0)
    look: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8, "color": INK[dark]}
    ax.text(x, y, label.words, parse_math=False, linespacing=1.1, **look)
