"""Draw the map of one sample: an image, a signal, a table or a text."""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from pellucid.explanation import Explanation
from pellucid.plot.axes import axes_for, canvas
from pellucid.plot.bars import draw_bars
from pellucid.plot.borders import borders, draw_lines
from pellucid.plot.color import DEFAULT_PERCENTILE, Bytes, gray, number, opacities
from pellucid.plot.legend import INK, PAPER, colormap, ink, legend, norm
from pellucid.plot.map import Map, ScaleLike
from pellucid.plot.signal import ticks, waves
from pellucid.plot.text import draw_text
from pellucid.plot.titles import titled
from pellucid.pooling import Pooling

# A table with more features than this shows those with the largest values.
MOST_BARS = 20
# How strongly players cover the picture that they are parts of.
OPACITY = 0.8
Overlay: TypeAlias = "float | Literal['auto'] | None"
# A signal of more channels than this names only some.
MOST_LANES = 24


def draw(
    explanation: Explanation,
    ax: Axes | None = None,
    *,
    row: int = 0,
    part: int | str | None = None,
    pool: Pooling | None = None,
    scale: ScaleLike = "own",
    percentile: float = DEFAULT_PERCENTILE,
    overlay: Overlay = "auto",
    picture: Any = None,
    dark: bool = False,
    title: str | None = None,
    tokens: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    rate: float | None = None,
) -> Axes:
    """Draw the map of one sample, and say on it what its colors mean.

    | option | what it does |
    |---|---|
    | `row` | the sample of the batch |
    | `part` | which input, by position or keyword; else the first that values lie on |
    | `pool` | how channels are joined, as in `Explanation.pool`; images: "sum" if not given |
    | `scale` | "own" or the value that gets the strongest color, to share it among maps |
    | `percentile` | of the absolute values, that gets the strongest color; 100 is the maximum |
    | `overlay` | opacity of the map on the picture, from 0 to 1; `None` draws the map alone, and |
    | | "auto" does so, but for players of an image, which lie on it |
    | `picture` | array or PIL image under the map; else the input, stretched to its range |
    | `dark` | colors for a dark page |
    | `title` | the method's name if not given |
    | `tokens` | the strings of a text's tokens, as the tokenizer gives them |
    | `names` | names of the features of a table, or of the channels of a signal |
    | `rate` | positions of a signal in a second; makes (batch, position) a signal, not a table |

    Without `ax` it draws on a figure of its own, which is `draw(...).figure`.

    >>> import torch
    >>> import pellucid as pl
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 2))
    >>> found = pl.explain(model, torch.rand(1, 3, 3, 3), "saliency")
    >>> draw(found, title="a small map").get_title()
    'a small map'
    """
    shown = Map.of(
        explanation,
        row=row,
        part=part,
        pool=pool,
        scale=scale,
        percentile=percentile,
        picture=picture,
        tokens=tokens,
        names=names,
        rate=rate,
    )
    title = titled(explanation, row) if title is None else title
    if overlay == "auto":
        overlay = None if shown.regions is None else OPACITY
    ax = axes_for(ax) or canvas(shown, 1, 1, dark).add_subplot()
    return draw_map(shown, ax, overlay, dark, title)


def draw_map(
    shown: Map,
    ax: Axes,
    overlay: float | None = None,
    dark: bool = False,
    title: str = "",
) -> Axes:
    """Draw a map that is computed already."""
    if shown.kind == "image":
        _image(shown, ax, overlay, dark)
    elif shown.kind == "signal":
        _signal(shown, ax, dark)
    elif shown.kind == "text":
        draw_text(shown, ax, dark)
    else:
        _table(shown, ax, dark)
    ax.set_title(title, color=INK[dark], fontsize=10, parse_math=False)
    return ax


def draw_picture(picture: Bytes, ax: Axes, *, dark: bool = False, title: str = "") -> Axes:
    """Draw the picture that the maps belong to."""
    ax.imshow(picture, interpolation="nearest")
    ax.set_title(title, color=INK[dark], fontsize=10, parse_math=False)
    ax.set_axis_off()
    return ax


def _image(shown: Map, ax: Axes, overlay: float | None, dark: bool) -> None:
    height, width = shown.values.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    alpha = None
    if overlay is not None:
        alpha = opacities(shown.values, shown.scale, overlay)
        if shown.picture is not None:
            ax.imshow(gray(shown.picture), extent=extent, interpolation="antialiased")
    # Interpolated as values, not as colors: halfway between blue and red is zero, not purple.
    ax.imshow(
        np.ma.masked_invalid(shown.values),
        cmap=colormap(dark),
        norm=norm(shown),
        alpha=alpha,
        extent=extent,
        interpolation="bilinear" if shown.smooth else "nearest",
        interpolation_stage="data",
    )
    if shown.regions is not None:
        draw_lines(borders(shown.regions), ax, dark)
    ax.set_axis_off()
    legend(shown, ax, dark, below=-0.055)


def _signal(shown: Map, ax: Axes, dark: bool) -> None:
    """One lane for each row of the map: relevance as color, the signal as a line on it."""
    lanes, length = shown.values.shape
    ax.imshow(
        np.ma.masked_invalid(shown.values),
        cmap=colormap(dark),
        norm=norm(shown),
        extent=(-0.5, length - 0.5, lanes, 0),
        aspect="auto",
        interpolation="bilinear" if shown.smooth else "nearest",
        interpolation_stage="data",
    )
    for lane, line in waves(shown):
        height = lane + 0.9 - 0.8 * line
        # The halo keeps the line apart from strong colors.
        ax.plot(np.arange(length), height, color=PAPER[dark], linewidth=2.5, alpha=0.7)
        ax.plot(np.arange(length), height, color=INK[dark], linewidth=1)
    step = math.ceil(lanes / MOST_LANES)
    ax.set_yticks(np.arange(0, lanes, step) + 0.5, shown.labels[::step] or [""])
    if shown.rate is not None:
        ax.xaxis.set_major_locator(FixedLocator([at for at, _ in ticks(length, shown.rate)]))
        ax.xaxis.set_major_formatter(lambda at, _: f"{at / (shown.rate or 1):g}")
    ax.set_xlabel(shown.along, labelpad=1, fontsize=8)
    ax.set_ylabel(shown.across if shown.pool is None else f"channels: {shown.pool}")
    ink(ax, dark)
    legend(shown, ax, dark, below=-0.17)


def _table(shown: Map, ax: Axes, dark: bool) -> None:
    """A bar for each of the strongest features, the strongest on top."""
    labels, order = shown.labels, shown.strongest(MOST_BARS)
    errors = None if shown.errors is None else shown.errors[order]
    draw_bars(ax, [labels[i] for i in order], shown.values[order], errors, shown.scale, dark=dark)
    caption = [f"color: ±{number(shown.scale.span)}", *shown.caption()]
    if len(order) < len(labels):
        caption.append(f"the {len(order)} largest of {len(labels)} features")
    ax.set_xlabel("\n".join(caption), fontsize=8)
    ink(ax, dark)
