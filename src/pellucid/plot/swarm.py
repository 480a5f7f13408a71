"""Many samples as points: the beeswarm of all players, and one player against its values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize

from pellucid.errors import UnknownNameError
from pellucid.explanation import Explanation
from pellucid.plot.axes import axes_for, finish, name_rows, new_axes, rows_axes
from pellucid.plot.color import Floats
from pellucid.plot.legend import INK, ink
from pellucid.plot.summary import Summary
from pellucid.plot.titles import titled

# The ends of the colors of a feature's values: so many percent of them are beyond.
BEYOND = 5
# Colors of categories that are told apart by every reader, by Okabe and Ito (2008); what comes
# after the last of them is gray.
OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")
GRAY = "#8a8a8a"
# Of the colors from low to high, those that stand out from the page.
SHOWN = {False: (0.0, 0.95), True: (0.25, 1.0)}
# Points of a row lie in so many columns; the row is this much of the distance between two high.
COLUMNS, HALF = 120, 0.38
# So many points above another fill a row, which has this many inches.
FILL, TALL = 6, 0.42


def pile(values: Floats) -> Floats:
    """How far each point is moved from its row, from -1 to 1, so that none hides another.

    Points of about one value lie above and below each other, in the order they come in.

    >>> pile(np.array([0.0, 0.0, 0.0, 9.0])).tolist()
    [0.0, 0.16666666666666666, -0.16666666666666666, 0.0]
    """
    finite = np.isfinite(values)
    low, high = (float(f(values[finite])) for f in (np.min, np.max)) if finite.any() else (0, 0)
    width = (high - low) / COLUMNS or 1.0
    column = np.where(finite, (np.where(finite, values, 0) - low) // width, -1).astype(int)
    order = np.argsort(column, kind="stable")
    starts = np.searchsorted(column[order], column[order])
    rank = np.empty(len(values), dtype=int)
    rank[order] = np.arange(len(values)) - starts
    shift = np.where(rank % 2 == 1, (rank + 1) // 2, -(rank // 2)).astype(float)
    return shift / max(float(np.abs(shift).max(initial=0)), FILL)


def shades(values: Floats) -> Floats:
    """The values of a feature moved into 0..1, by all but their most extreme ones.

    >>> shades(np.array([0.0, 5.0, 10.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return np.full(values.shape, np.nan)
    low, high = np.percentile(finite, [BEYOND, 100 - BEYOND])
    if high <= low:
        low, high = finite.min(), finite.max()
    if high <= low:
        return np.where(np.isfinite(values), 0.5, np.nan)
    return np.clip((values - low) / (high - low), 0, 1)


def beeswarm(
    explanation: Explanation,
    ax: Axes | None = None,
    *,
    most: int = 10,
    names: Sequence[str] | None = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the values of each player in all samples, a point for each, in the color of its value.

    Players are ordered by the mean of |value|; the weaker ones are summed to one. Colors run from
    the lowest to the highest values of each feature by itself; categories have colors of their own,
    which are named at the right; a point is gray where its player has no one number.

    Source: Lundberg et al. 2020, "From local explanations to global understanding with explainable
    AI for trees".

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.explain(torch.nn.Linear(3, 1), torch.rand(20, 3), "gradient_x_input")
    >>> len(beeswarm(found, names=["a", "b", "c"]).collections)
    3
    """
    shown = Summary.of(explanation, names=names).strongest(most)
    rows = len(shown.names)
    ax = rows_axes(ax, shown.names, dark, row=TALL)
    ax.axvline(0, color=INK[dark], linewidth=0.8)
    for row in range(rows):
        values, colors = shown.values[:, row], colors_of(shown, row, dark)
        heights = row + HALF * pile(values)
        ax.scatter(values, heights, c=colors, s=12, linewidths=0.2, edgecolors=INK[dark])
    name_rows(ax, shown.names, np.arange(rows))
    ax.set_ylim(rows - 0.4, -0.6)
    title = titled(explanation) if title is None else title
    count = len(shown.values)
    said = f"value of each player in {count} sample{'s' if count > 1 else ''}"
    finish(ax, dark, title=title, caption=[said])
    _name_categories(ax, shown)
    if np.isfinite(shown.given[:, [not each for each in shown.categories]]).any():
        _strip(ax, dark)
    return ax


def scatter(
    explanation: Explanation,
    player: int | str,
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw what one player is worth against the number that it has, a point for each sample.

    `player` is its name or its place. Source: Lundberg et al. 2020, see `beeswarm`.

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.explain(torch.nn.Linear(3, 1), torch.rand(20, 3), "gradient_x_input")
    >>> scatter(found, "b", names=["a", "b", "c"]).get_xlabel()
    'b'
    """
    summary = Summary.of(explanation, names=names)
    place = place_of(player, summary.names)
    ax = axes_for(ax) or new_axes(5.0, 3.6, dark)
    ax.axhline(0, color=INK[dark], linewidth=0.8)
    x, y = summary.given[:, place], summary.values[:, place]
    colors = colors_of(summary, place, dark)
    ax.scatter(x, y, c=colors, s=14, linewidths=0.2, edgecolors=INK[dark])
    categories = summary.categories[place]
    if categories:
        ax.set_xticks(range(len(categories)), categories)
    ax.set_ylabel("value")
    title = titled(explanation) if title is None else title
    return finish(ax, dark, title=title, caption=[summary.names[place]])


def place_of(player: int | str, names: Sequence[str]) -> int:
    """The number of a player that is named, or numbered."""
    if isinstance(player, str) and player in names:
        return list(names).index(player)
    if isinstance(player, int) and not isinstance(player, bool) and 0 <= player < len(names):
        return player
    raise UnknownNameError("`player`", str(player), names)


def colors_of(summary: Summary, player: int, dark: bool) -> Any:
    """The color of each sample's value of a player, of shape (sample, 4)."""
    given, categories = summary.given[:, player], summary.categories[player]
    if categories:
        codes = np.where(np.isfinite(given), given, len(OKABE_ITO)).astype(int)
        palette = ListedColormap([*OKABE_ITO, GRAY])
        return palette(np.clip(codes, 0, len(OKABE_ITO)))
    return sequence(dark)(np.ma.masked_invalid(shades(given)))


def sequence(dark: bool) -> Colormap:
    """From low to high: no color of it is that of a sign, and its ends are told apart by all."""
    low, high = SHOWN[dark]
    rows = colormaps["cividis"](np.linspace(low, high, 256))
    return ListedColormap(rows).with_extremes(bad=GRAY)


def _strip(ax: Axes, dark: bool) -> None:
    """The colors of the features' values, from low to high."""
    strip = ax.inset_axes((1.02, 0.0, 0.02, 1.0))
    levels = np.linspace(0, 1, 256)[:, None]
    look: dict[str, Any] = {"cmap": sequence(dark), "norm": Normalize(0, 1)}
    strip.imshow(levels, aspect="auto", origin="lower", extent=(0, 1, 0, 1), **look)
    strip.set_xticks([])
    strip.set_yticks([0, 1], ["low", "high"], fontsize=8)
    strip.yaxis.tick_right()
    strip.set_ylabel("the feature's value", fontsize=8, labelpad=-10)
    strip.yaxis.set_label_position("right")
    ink(strip, dark)


def _name_categories(ax: Axes, shown: Summary) -> None:
    """Name the categories of a player in their colors, at the right end of its row."""
    for row, categories in enumerate(shown.categories):
        colors = [*OKABE_ITO, *[GRAY] * len(categories)]
        if not categories:
            continue
        used = sorted({int(code) for code in shown.given[:, row] if np.isfinite(code)})
        for i, code in enumerate(used[:3]):
            words = categories[code] if i < 2 or len(used) == 3 else f"and {len(used) - 2} more"
            look: dict[str, Any] = {"fontsize": 7, "ha": "right", "va": "center"}
            at = (0.995, row - 0.27 + 0.27 * i)
            text = ax.text(*at, words, transform=ax.get_yaxis_transform(), **look)
            text.set(color=colors[code], parse_math=False)
