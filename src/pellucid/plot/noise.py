"""A diagnosis of noise as one figure: the maps, three measures of each, and the findings."""

import base64
import html as markup
import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from torch import Tensor

from pellucid.diagnose.findings import steady
from pellucid.plot.draw import draw, draw_picture
from pellucid.plot.legend import INK, PAPER, ink
from pellucid.plot.map import Map, as_picture

if TYPE_CHECKING:
    from pellucid.diagnose import NoiseDiagnosis

# Colors of methods that readers with any color vision tell apart (Okabe and Ito, 2008).
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
GRAY = "#8a8d91"

# In inches.
WIDTH, MAPS, PANELS, LINE, SPACE = 12.5, 3.8, 2.85, 0.17, 0.08
SIDE, GAP, BELOW, LABELS = 0.7, 0.62, 0.75, 1.3
LETTERS = 172
NAME = 13
READING = (
    "How to read it. First: how far the score drops as more is removed. A solid line above its "
    "dashed one says that the very places that the map marks count, a dashed one above gray that "
    "their neighborhood does. What is removed leaves the data that the model was trained on. "
    "Second: a line that falls while the gray one stays says that the map changes though the score "
    "does not; third: at which layers it still does. Fourth: a score that rises early and then "
    "stays is saturated, and a map that is long only where it rises is blind at the input."
)


def figure(
    found: "NoiseDiagnosis", *, row: int = 0, picture: Any = None, dark: bool = False
) -> Figure:
    """Draw the maps of one sample, what was measured of them, and what follows in words.

    `picture` is an array or PIL image to show beside the maps; else the input is shown.
    """
    row = found.row(row)
    paragraphs = [textwrap.wrap(each, LETTERS) for each in (*found.findings(row), READING)]
    words = sum(len(lines) * LINE + SPACE for lines in paragraphs) + 0.1
    height = MAPS + PANELS + BELOW + words
    made = Figure(figsize=(WIDTH, height), dpi=100, facecolor=PAPER[dark])
    _maps(made, found, row, picture, dark)
    for place, panel in enumerate((_removal, _distance, _depth, _line)):
        panel(_panel(made, place, words + BELOW, dark), found, row, dark)
    _legend(made, found, (words + BELOW + PANELS - 0.2) / height, dark)
    top = words
    for lines in paragraphs:
        made.text(
            SIDE / WIDTH, top / height, "\n".join(lines), fontsize=9, color=INK[dark], va="top",
            linespacing=1.25, parse_math=False,
        )  # fmt: skip
        top -= len(lines) * LINE + SPACE
    return made


def _panel(made: Figure, place: int, low: float, dark: bool) -> Axes:
    """The axes of one of four measures, side by side."""
    height = made.get_figheight()
    width = (WIDTH - 2 * SIDE - 3 * GAP) / 4
    left = SIDE + place * (width + GAP)
    ax = made.add_axes((left / WIDTH, low / height, width / WIDTH, (PANELS - 0.6) / height))
    ink(ax, dark)
    ax.tick_params(labelsize=8)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def html(found: "NoiseDiagnosis") -> str:
    """The figure and the findings of the first sample, for notebooks."""
    from pellucid.report import png

    image = base64.b64encode(png(figure(found))).decode("ascii")
    said = " ".join(found.findings(0))
    alt = markup.escape(said, quote=True)
    notes = "".join(f"<li>{markup.escape(note)}</li>" for note in found.notes)
    return (
        f'<figure style="margin:0"><img alt="{alt}" style="max-width:100%" '
        f'src="data:image/png;base64,{image}"></figure><ul>{notes}</ul>'
    )


def _maps(made: Figure, found: "NoiseDiagnosis", row: int, picture: Any, dark: bool) -> None:
    """The picture of an image, and the map of each method."""
    shown = [Map.of(each, row=row) for each in found.explanations]
    given = shown[0].picture if picture is None else as_picture(picture)
    pictured = given is not None
    count = len(shown) + pictured
    height = made.get_figheight()
    tall, gap = MAPS - 1.45, GAP if pictured else LABELS
    start, wide = LABELS, (WIDTH - LABELS - SIDE - gap * (count - 1)) / count
    if pictured:
        wide = min(tall, wide)
        start = (WIDTH - count * wide - (count - 1) * gap) / 2

    def axes(place: int) -> Axes:
        left = (start + place * (wide + gap)) / WIDTH
        return made.add_axes((left, 1 - (0.35 + tall) / height, wide / WIDTH, tall / height))

    if given is not None:
        draw_picture(given, axes(0), dark=dark, title="input")
    for place, (each, name) in enumerate(zip(found.explanations, found.names, strict=True)):
        draw(each, axes(place + pictured), row=row, dark=dark, title=name)


def _removal(ax: Axes, found: "NoiseDiagnosis", row: int, dark: bool) -> None:
    """Drops of the score against what was removed."""
    part = found.removal
    x = 100 * part.fractions
    _band(ax, x, part.random[row], GRAY, "-")
    for m in range(len(found.names)):
        color = HUES[m % len(HUES)]
        ax.plot(x, part.strongest[row, m], color=color, linewidth=1.6)
        _band(ax, x, part.moved[row, m], color, "--")
        ax.plot(x, part.smoothed[row, m], color=color, linestyle=":", linewidth=1.2)
    _label(ax, "Do the scattered places matter?", f"{part.what} removed, %", "drop of the score")
    _percent_axis(ax)


def _distance(ax: Axes, found: "NoiseDiagnosis", row: int, dark: bool) -> None:
    """Correlation of the maps at the input, and the share of the score that stays."""
    part = found.decay
    x = 100 * part.distances
    scores = found.saturation.scores[row]
    rise = (scores[-1] - scores[0]).abs()
    if rise > 0:
        _band(ax, x, 1 - part.change[row].abs() / rise, GRAY, "-")
    for m in range(len(found.names)):
        _band(ax, x, part.correlation[row, m, 0], HUES[m % len(HUES)], "-")
    _label(ax, "Do the maps jump?", "noise, % of the range", "correlation with itself")
    _percent_axis(ax)
    _up_to_one(ax)


def _depth(ax: Axes, found: "NoiseDiagnosis", row: int, dark: bool) -> None:
    """Correlation of the maps at the input and at layers, for one distance."""
    part, k = found.decay, steady(found, row) or 0
    places = range(len(part.layers))
    for m in range(len(found.names)):
        lines = part.correlation[row, m, :, :, k]
        if bool(lines.isfinite().any()):
            ax.errorbar(
                places, lines.mean(1), lines.std(1), color=HUES[m % len(HUES)], marker="o",
                markersize=4, linewidth=1.6, capsize=2,
            )  # fmt: skip
    names = [_short(path or "input") for path in part.layers]
    ax.set_xticks(list(places), names, fontsize=7)
    noise = f"at noise of {100 * float(part.distances[k]):.2g} %"
    _label(ax, "From which depth on?", f"layer, {noise}", "")
    ax.set_xlim(-0.3, len(part.layers) - 0.7)
    _up_to_one(ax)


def _short(path: str) -> str:
    """The end of a path that is too long for its place."""
    return path if len(path) <= NAME else f"…{path[1 - NAME :]}"


def _line(ax: Axes, found: "NoiseDiagnosis", row: int, dark: bool) -> None:
    """Score and lengths of the maps from the baseline to the input."""
    part = found.saturation
    x = 100 * part.alphas
    if bool(part.shares[row].isfinite().all()):
        ax.plot(x, part.shares[row], color=GRAY, linewidth=1.6)
    for m in range(len(found.names)):
        sizes = part.sizes[row, m]
        longest = sizes.max().clamp(min=1e-300)
        ax.plot(x, sizes / longest, color=HUES[m % len(HUES)], linewidth=1.6)
    _label(
        ax,
        "Is the score saturated?",
        "way from the baseline, %",
        "of its end, or length of its longest",
    )


def _band(ax: Axes, x: Tensor, draws: Tensor, color: str, style: str) -> None:
    """The mean of draws of shape (draw, step), and their deviation as a band."""
    mean, spread = draws.mean(0), draws.std(0)
    if not bool(mean.isfinite().any()):
        return
    ax.plot(x, mean, color=color, linestyle=style, linewidth=1.4)
    ax.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)


def _label(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(title, fontsize=10, loc="left", color=ax.xaxis.label.get_color())
    ax.set_xlabel(x, fontsize=8)
    ax.set_ylabel(y, fontsize=8, labelpad=2)


def _percent_axis(ax: Axes) -> None:
    """A logarithmic axis with numbers that people read."""
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _up_to_one(ax: Axes) -> None:
    """Room for correlations, those below zero too."""
    ax.set_ylim(max(-1.05, min(-0.1, ax.get_ylim()[0])), 1.05)


def _legend(made: Any, found: "NoiseDiagnosis", high: float, dark: bool) -> None:
    """One legend for all measures, above them."""
    colors = [HUES[m % len(HUES)] for m in range(len(found.names))]
    lines = [
        *((name, color, "-") for name, color in zip(found.names, colors, strict=True)),
        (f"random {found.removal.what}, or the score", GRAY, "-"),
    ]
    if bool(found.removal.moved.isfinite().any()):
        lines += [("its pattern moved a little", INK[dark], "--"),
                  ("its map smoothed", INK[dark], ":")]  # fmt: skip
    made.legend(
        [_stroke(color, style) for _, color, style in lines],
        [textwrap.shorten(name, 40, placeholder="...") for name, _, _ in lines],
        loc="lower left", bbox_to_anchor=((SIDE - 0.15) / WIDTH, high), ncols=min(6, len(lines)),
        frameon=False, fontsize=9, labelcolor=INK[dark], handlelength=1.8,
    )  # fmt: skip


def _stroke(color: str, style: Any) -> Line2D:
    return Line2D([], [], color=color, linestyle=style)
