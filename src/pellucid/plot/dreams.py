"""Dreams side by side, and what each of them climbed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.options import whole as whole_number
from pellucid.plot.axes import LETTER, axes_for, new_axes, short
from pellucid.plot.bars import draw_bars
from pellucid.plot.color import Floats, Scale, colorize, number
from pellucid.plot.draw import MOST_BARS, draw_picture
from pellucid.plot.legend import INK, PAPER, ink
from pellucid.plot.map import as_picture, stretch
from pellucid.plot.sweep import COLORS, FAINT
from pellucid.plot.thumbnails import cut

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.inspect.dreaming.dreams import Dreams

# The side of one dream, and the room for its title, in inches.
SIDE, ABOVE = 1.9, 0.5
# Lanes of a map that have numbers, at most.
MOST_LANES = 12
# Paths with names of their own; more are drawn alike.
NAMED = 10


def dreams(
    found: Dreams,
    *,
    names: Sequence[str] | None = None,
    pictures: Callable[[Tensor], Any] | None = None,
    columns: int = 8,
    whole: bool = False,
    dark: bool = False,
) -> Figure:
    """Draw all dreams side by side, each with its target and score, and return the figure.

    Images are stretched to their range, or made by `pictures` of an input of shape
    (1, channel, height, width), as `entry.inverse` does. Signals and embeddings are maps of
    (channel, position), tables are bars. The dream of a unit is cut to what the unit sees, or
    `whole`. `names` are those of the classes.

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.inspect.dream(torch.nn.Flatten(), [0, 1, 2], shape=(1, 4, 4), steps=2)
    >>> len(dreams(found).axes)
    3
    """
    parts = list(found.inputs) if whole else list(found.patches)
    across = min(whole_number(columns, "columns"), len(parts))
    lines = math.ceil(len(parts) / across)
    side = SIDE if len(found.layout.positions) == 2 else 1.6 * SIDE
    figure = Figure(
        figsize=(across * side, lines * (side + ABOVE)), layout="constrained", facecolor=PAPER[dark]
    )
    letters = int(side / LETTER)
    for place, (part, target, score) in enumerate(
        zip(parts, found.targets, found.score.tolist(), strict=True)
    ):
        ax = figure.add_subplot(lines, across, place + 1)
        title = f"{cut(short(target.words(names)), letters)}\n{number(score)}"
        _draw(part, found, ax, pictures, dark)
        ax.set_title(title, color=INK[dark], fontsize=8, parse_math=False)
    return figure


def paths(
    found: Dreams,
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
    dark: bool = False,
) -> Axes:
    """Draw what each dream climbed over the steps: score, expert, prior and costs together.

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.inspect.dream(torch.nn.Flatten(), [0, 1], shape=(1, 4, 4), steps=2)
    >>> len(paths(found).lines)
    2
    """
    ax = axes_for(ax) or new_axes(6.4, 3.8, dark)
    lines = found.path.double().cpu().numpy()
    named = len(lines) <= NAMED
    for line, target, color in zip(lines, found.targets, cycle(COLORS), strict=False):
        style: dict[str, Any] = {"color": color if named else FAINT, "linewidth": 1.5}
        ax.plot(line, label=short(target.words(names)), alpha=1 if named else 0.4, **style)
    ax.locator_params(axis="x", integer=True)
    ax.set_xlabel("step" if named else f"step of each of {len(lines)} dreams")
    ax.set_ylabel("what is climbed")
    if named:
        ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark])
    ink(ax, dark)
    return ax


def _draw(
    part: Tensor,
    found: Dreams,
    ax: Axes,
    pictures: Callable[[Tensor], Any] | None,
    dark: bool,
) -> None:
    """Draw one dream as what it is: an image, a map of (channel, position), or a table."""
    values = found.layout.first(part.unsqueeze(0))[0].double().cpu().numpy()
    if values.ndim == 3:
        made = stretch(values) if pictures is None else as_picture(pictures(part.unsqueeze(0)))
        draw_picture(made, ax, dark=dark)
    elif values.ndim == 2:
        _map(values, ax, dark)
    elif values.ndim == 1:
        _table(values, ax, dark)
    else:  # of a volume the middle slices
        draw_picture(stretch(values[:, values.shape[1] // 2]), ax, dark=dark)


def _map(values: Floats, ax: Axes, dark: bool) -> None:
    """A lane for each channel; the scale is said below."""
    scale = Scale.of(values)
    ax.imshow(colorize(values, scale, dark=dark), aspect="auto", interpolation="nearest")
    step = math.ceil(len(values) / MOST_LANES)  # so many numbers fit one above the other
    ax.set_yticks(np.arange(0, len(values), step), np.arange(0, len(values), step).astype(str))
    ax.set_xlabel(f"position; color: ±{number(scale.span)}", fontsize=8)
    ax.set_ylabel("channel", fontsize=8)
    ink(ax, dark)


def _table(values: Floats, ax: Axes, dark: bool) -> None:
    """A bar for each of the features that are furthest from zero."""
    order = np.argsort(-np.abs(values), kind="stable")[:MOST_BARS]
    named = [f"feature {i}" for i in order]
    draw_bars(ax, named, values[order], None, Scale.of(values, percentile=100), dark=dark)
    ink(ax, dark)
