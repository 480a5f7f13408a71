"""Draw a leaderboard: bars with intervals, and one metric against another."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from pellucid.errors import InputError
from pellucid.plot.axes import axes_for, finish, name_rows, names_width, new_axes, rows_axes, short
from pellucid.plot.bars import PLAIN, draw_errors
from pellucid.plot.color import Floats
from pellucid.plot.legend import INK
from pellucid.plot.sweep import COLORS, FAINT

if TYPE_CHECKING:
    from pellucid.evaluate.leaderboard.board import Entry, Leaderboard

# The shapes of points, so that those of one color are told apart.
SHAPES = ("o", "s", "^", "D", "v", "P", "X")
# A legend stands at the right of the axes, where it hides no point.
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


def leaderboard(
    board: "Leaderboard",
    metric: str | None = None,
    ax: Axes | None = None,
    *,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw what a metric found for each method: its mean with the interval, the best on top.

    The dashed line is the random ranking. Letters are those of groups: two methods with a common
    one are not told apart.

    >>> import torch
    >>> import pellucid as pl
    >>> model, x = torch.nn.Linear(3, 2), torch.rand(20, 3)
    >>> board = pl.evaluate.leaderboard(model, x, ["saliency"], ["effective_features"])
    >>> leaderboard(board).get_title()
    'effective_features (lower is better)'
    """
    name = board.named(metric)
    rows = board.table(name)
    if not rows:
        raise InputError("A metric must have judged a method to be drawn", got=name)
    names = [f"{short(row.title)} {row.groups}".rstrip() for row in rows]
    ax = rows_axes(ax, names, dark)
    means = np.array([row.measurement.mean for row in rows])
    _bars(ax, rows, means, board.standings[-1].title, dark)
    name_rows(ax, names, np.arange(len(rows)))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    better = board.metrics[name].better
    words = "describes" if better == "neither" else f"{better} is better"
    said = [f"mean of {board.samples} samples; bars: 95 % interval; dashed: random ranking"]
    said += ["a common letter: not told apart"] if any(row.groups for row in rows) else []
    return finish(ax, dark, title=f"{name} ({words})" if title is None else title, caption=said)


def tradeoff(
    board: "Leaderboard",
    x: str,
    y: str,
    ax: Axes | None = None,
    *,
    dark: bool = False,
    title: str = "",
) -> Axes:
    """Draw one metric against another, a point with its intervals for each method.

    Below it stands the rank correlation of the two over the methods, without the random ranking:
    Kendall's, counted such that 1 means that who is better by one is better by the other, and -1
    that one is had at the cost of the other.
    """
    across, up = ({row.title: row for row in board.table(board.named(each))} for each in (x, y))
    both = [title for title in across if title in up]
    if not both:
        raise InputError("Two metrics must have judged the same method to be drawn", got=(x, y))
    ax = axes_for(ax) or new_axes(5.4 + names_width(both), 4.2, dark)
    zero = board.standings[-1].title
    for place, standing in enumerate(each for each in board.standings if each.title in both):
        color = FAINT if standing.title == zero else COLORS[place % len(COLORS)]
        shape = SHAPES[place // len(COLORS) % len(SHAPES)]
        _point(ax, across[standing.title], up[standing.title], color, shape, dark)
    ax.set_ylabel(_axis(board, y))
    key = ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark], **BESIDE)
    for word in key.get_texts():
        word.set_parse_math(False)
    finish(ax, dark, title=title, caption=[_axis(board, x), agreement(board, x, y)])
    ax.margins(0.08)
    return ax


def agreement(board: "Leaderboard", x: str, y: str) -> str:
    """How far two metrics order the methods alike, in words."""
    from scipy import stats

    zero, found = board.standings[-1].title, []
    means = [{row.title: _signed(board, name, row) for row in board.table(name)} for name in (x, y)]
    for name, value in means[0].items():
        if name != zero and name in means[1]:
            found.append((value, means[1][name]))
    kept = np.array([pair for pair in found if all(map(math.isfinite, pair))]).reshape(-1, 2)
    if len(kept) < 3:
        return f"{len(kept)} methods, too few for a rank correlation"
    tau = float(stats.kendalltau(kept[:, 0], kept[:, 1]).statistic)
    if not math.isfinite(tau):
        return f"{len(kept)} methods, all alike by one of the metrics"
    return f"rank correlation over {len(kept)} methods: {tau:.2f}".replace("-", "\N{MINUS SIGN}")


def _signed(board: "Leaderboard", metric: str, row: "Entry") -> float:
    """A mean, counted such that more is better."""
    mean = row.measurement.mean
    return -mean if board.metrics[metric].better == "lower" else mean


def _axis(board: "Leaderboard", metric: str) -> str:
    better = board.metrics[metric].better
    return metric if better == "neither" else f"{metric} ({better} is better)"


def _bars(ax: Axes, rows: "list[Entry]", means: Floats, zero: str, dark: bool) -> None:
    places = np.arange(len(rows))
    finite = np.where(np.isfinite(means), means, 0.0)
    colors = [FAINT if row.title == zero else PLAIN[dark] for row in rows]
    ax.barh(places, finite, color=colors, edgecolor=INK[dark], linewidth=0.5)
    for place, row in enumerate(rows):
        _whisker(ax, row, place, dark)
    ax.axvline(0, color=INK[dark], linewidth=0.8)
    for row, mean in zip(rows, finite, strict=True):
        if row.title == zero:
            ax.axvline(mean, color=INK[dark], linewidth=0.9, linestyle="--")


def _whisker(ax: Axes, row: "Entry", place: int, dark: bool) -> None:
    """The interval of a mean, which need not lie evenly about it."""
    low, high = row.interval
    if math.isfinite(low) and high > low:
        middle, half = np.array([(low + high) / 2]), np.array([(high - low) / 2])
        draw_errors(ax, middle, np.array([place]), half, dark)


def _point(ax: Axes, across: "Entry", up: "Entry", color: str, shape: str, dark: bool) -> None:
    x, y = across.measurement.mean, up.measurement.mean
    ax.errorbar(
        [x],
        [y],
        xerr=_reach(across),
        yerr=_reach(up),
        fmt=shape,
        color=color,
        ecolor=color,
        elinewidth=1.0,
        markersize=6,
        markeredgecolor=INK[dark],
        markeredgewidth=0.5,
        label=short(across.title),
    )


def _reach(row: "Entry") -> Floats | None:
    """How far an interval goes to both sides of its mean."""
    ends, mean = np.array(row.interval), row.measurement.mean
    if not np.isfinite(ends).all():
        return None
    return np.abs(ends - mean).reshape(2, 1)
