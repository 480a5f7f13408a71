"""Bars: the values of the players of one sample, or how large they are on the mean of many."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from pellucid.explanation import Explanation
from pellucid.plot.axes import finish, name_rows, rows_axes
from pellucid.plot.color import Floats, Scale, colorize, number
from pellucid.plot.legend import INK
from pellucid.plot.parts import Parts, check_explanation
from pellucid.plot.summary import Summary
from pellucid.plot.titles import titled

# Of what has no sign.
PLAIN = {False: "#3b4cc0", True: "#ffcf67"}


def bar(
    explanation: Explanation,
    ax: Axes | None = None,
    *,
    row: int | None = None,
    most: int = 10,
    names: Sequence[str] | None = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the strongest players: of one sample their values, of several the mean size of each.

        mean over samples of |value|

    Without `row`, an explanation of one sample shows its values, with their standard errors where
    they were sampled; one of several shows mean sizes, with the standard error of each mean. The
    weaker players are summed to one. `names` are those of the players, or of a table's columns.

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.explain(torch.nn.Linear(3, 1), torch.rand(20, 3), "gradient_x_input")
    >>> bar(found, names=["a", "b", "c"]).get_xlabel()
    'mean |value| of 20 samples; bars: standard error of the mean'
    """
    check_explanation(explanation)
    title = titled(explanation, row) if title is None else title
    if row is None and len(explanation) > 1:
        return _means(Summary.of(explanation, names=names), ax, most, dark, title)
    parts = Parts.of(explanation, row=row or 0, names=names).strongest(most)
    scale = Scale.of(parts.values, percentile=100)
    ax = rows_axes(ax, parts.names, dark)
    draw_bars(ax, parts.names, parts.values, parts.errors, scale, dark=dark)
    said = [f"color: ±{number(scale.span)}, {scale.source()}"]
    said += parts.chance
    return finish(ax, dark, title=title, caption=said)


def _means(summary: Summary, ax: Axes | None, most: int, dark: bool, title: str) -> Axes:
    shown = summary.strongest(most)
    ax = rows_axes(ax, shown.names, dark)
    sizes, errors = shown.sizes()
    _rows(ax, shown.names, sizes, errors, [PLAIN[dark]] * len(sizes), dark)
    reach = float(np.nan_to_num(sizes + np.nan_to_num(errors)).max(initial=0)) or 1.0
    ax.set_xlim(0, 1.05 * reach)
    said = f"mean |value| of {len(shown.values)} samples; bars: standard error of the mean"
    return finish(ax, dark, title=title, caption=[said])


def draw_bars(
    ax: Axes,
    names: Sequence[str],
    values: Floats,
    errors: Floats | None,
    scale: Scale,
    *,
    dark: bool = False,
) -> None:
    """Draw signed bars about zero in the colors of a scale, the first on top."""
    colors = [to_hex(rgb / 255) for rgb in colorize(values, scale, dark=dark)]
    finite = np.where(np.isfinite(values), values, 0)
    _rows(ax, names, finite, errors, colors, dark)
    spread = 0.0 if errors is None else np.nan_to_num(errors)
    reach = float((np.abs(finite) + spread).max(initial=0)) or 1.0
    ax.axvline(0, color=INK[dark], linewidth=0.8)
    ax.set_xlim(-1.05 * reach, 1.05 * reach)


def _rows(
    ax: Axes,
    names: Sequence[str],
    values: Floats,
    errors: Floats | None,
    colors: Sequence[str],
    dark: bool,
) -> None:
    """A bar in each row, with its error if it has one."""
    places = np.arange(len(names))
    ax.barh(places, values, color=colors, edgecolor=INK[dark], linewidth=0.5)
    draw_errors(ax, values, places, errors, dark)
    name_rows(ax, names, places)
    ax.set_ylim(len(names) - 0.5, -0.5)


def draw_errors(
    ax: Axes, at: Floats, rows: NDArray[Any], errors: Floats | None, dark: bool
) -> None:
    """A whisker of one standard error about each place, where there is an error."""
    known = np.isfinite(at) if errors is None else np.nan_to_num(errors, posinf=0.0) > 0
    if errors is None or not known.any():
        return
    look: dict[str, Any] = {"fmt": "none", "ecolor": INK[dark], "elinewidth": 1.0, "capsize": 2.5}
    ax.errorbar(at[known], rows[known], xerr=errors[known], **look)
