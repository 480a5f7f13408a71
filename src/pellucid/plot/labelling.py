"""Draw which samples to label next and what each adds, and what a data set gains as it grows."""

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pellucid.plot.axes import axes_for, finish, new_axes
from pellucid.plot.color import number
from pellucid.plot.legend import INK, ink
from pellucid.plot.sweep import COLORS, FAINT
from pellucid.plot.thumbnails import Cell, Line, Pictures, samples_of, sheet

if TYPE_CHECKING:
    from pellucid.exemplar.growing import Growth
    from pellucid.exemplar.labelling import Picks

# Inches of the bars below the picks, and of the words below them; so few have a number each.
BARS, WIDE, FEW = 2.2, 4.8, 12


def draw_picks(
    found: "Picks",
    *,
    pictures: Pictures = None,
    most: int = 10,
    dark: bool = False,
    title: str | None = None,
) -> Figure:
    """Draw the first picks in order, above the labelled samples nearest to them; what they add.

    A bar is how much smaller one pick makes the mean distance of all unlabelled samples to the
    nearest labelled one.

    >>> import torch
    >>> import pellucid as pl
    >>> x = torch.rand(8, 1, 4, 4)
    >>> len(draw_picks(pl.exemplar.choose_to_label(None, x[:3], x[3:], 2)).axes)
    5
    """
    count = min(most, len(found))
    cells = [
        Cell(sample=each, caption=f"pick {place + 1}\nadds {_rough(float(found.adds[place]))}")
        for place, each in enumerate(samples_of(found.inputs, len(found), "picks")[:count])
    ]
    lines: list[Line] = [("picks", cells)]
    if found.nearest_inputs is not None:
        near = samples_of(found.nearest_inputs, len(found), "nearest labelled samples")[:count]
        far = found.distance.tolist()
        below = [Cell(sample=x, caption=f"at {_rough(d)}") for x, d in zip(near, far, strict=False)]
        lines.append(("nearest\nlabelled", below))
    said = f"to label next, by {found.how}" if title is None else title
    figure = sheet(lines, pictures=pictures, dark=dark, title=said)
    _add_bars(found, figure, dark)
    return figure


def _add_bars(found: "Picks", figure: Figure, dark: bool) -> None:
    """Make the figure larger, and draw at its bottom what every pick adds."""
    width, height = figure.get_size_inches()
    wide, tall = max(width, WIDE), height + BARS
    for ax in figure.axes:
        box = ax.get_position()
        low, high = ((y * height + BARS) / tall for y in (box.y0, box.y1))
        ax.set_position((box.x0 * width / wide, low, box.width * width / wide, high - low))
    for words in figure.texts:
        x, y = words.get_position()
        words.set_position((x * width / wide, (y * height + BARS) / tall))
    figure.set_size_inches(wide, tall)
    below = figure.add_axes((0.95 / wide, 0.65 / tall, 1 - 1.1 / wide, (BARS - 0.8) / tall))
    adds, steps = found.adds.numpy(), found.covered.tolist()
    shown = np.flatnonzero(np.isfinite(adds))
    below.bar(shown + 1, adds[shown], color=COLORS[0], width=0.7)
    below.set_xlim(0.4, len(adds) + 0.6)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(adds) <= FEW:
        below.set_xticks(range(1, len(adds) + 1))
    below.tick_params(labelsize=8)
    below.set_ylabel("adds: less mean\ndistance", fontsize=8)
    first = "none" if math.isinf(steps[0]) else number(steps[0])
    said = f"mean distance to a labelled sample: {first} before, {number(steps[-1])} after"
    below.set_xlabel(f"pick\n{said}", fontsize=8)
    ink(below, dark)


def draw_growth(
    found: "Growth", ax: Axes | None = None, *, dark: bool = False, title: str | None = None
) -> Axes:
    """Draw accuracy over the number of labelled samples, with bands of 95 % over the seeds.

    Random picks are gray. The key says how much each way gains over them on average.
    """
    from pellucid.exemplar.growing import RANDOM

    ax = axes_for(ax) or new_axes(6.4, 4.2, dark)
    for place, how in enumerate(found.accuracy):
        color = FAINT if how == RANDOM else COLORS[place % (len(COLORS) - 1)]
        curve, gain = found.curve(how), found.gain(how)
        said = how if how == RANDOM else f"{how} {_points(gain.mean)}"
        if how != RANDOM and math.isfinite(gain.low):
            said += f" ({_points(gain.low)} to {_points(gain.high)})"
        means = [each.mean for each in curve]
        ax.plot(found.sizes, means, "-o", color=color, markersize=3, lw=1.8, label=said)
        if math.isfinite(curve[0].low):
            ends = [each.low for each in curve], [each.high for each in curve]
            ax.fill_between(found.sizes, *ends, color=color, alpha=0.18, lw=0)
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -0.02), min(high, 1.02))  # bands of few seeds leave what can be
    ax.set_ylabel("accuracy on the test set")
    key = ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark], loc="lower right")
    key.set_title("gain over random, in points (95 %)")
    key.get_title().set(color=INK[dark], fontsize=7)
    said = "Growing a data set" if title is None else title
    return finish(ax, dark, title=said, caption=["labelled samples"])


def _rough(value: float) -> str:
    """Two digits; nothing can be said of the first pick, where nothing had a label."""
    return f"{value:.2g}" if math.isfinite(value) else "\N{EN DASH}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")
