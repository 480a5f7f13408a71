"""Draw what would have had to be different: arrows of a table's columns, or the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.errors import InputError
from pellucid.exemplar.counterfactual.result import told
from pellucid.plot.axes import axes_for, finish, name_rows, rows_axes, short
from pellucid.plot.color import MINUS, Scale, colorize, number
from pellucid.plot.leaderboard import BESIDE
from pellucid.plot.legend import INK
from pellucid.plot.sweep import COLORS
from pellucid.plot.thumbnails import Cell, sheet
from pellucid.pooling import channels_last

if TYPE_CHECKING:
    from pellucid.exemplar.counterfactual import Counterfactuals

# About the inches of a letter beside an arrow, and of the axes.
LETTER, INCHES = 0.065, 4.0
UNITS = {"mad": "median absolute deviations", "l1": "units of the columns"}


def draw_counterfactuals(
    found: Counterfactuals, ax: Axes | None = None, *, row: int = 0, dark: bool = False
) -> Axes | Figure:
    """Draw the answers for one input: axes with arrows of a table's columns, a figure of images.

    An arrow is as long as the change is in the units of the distance; beside it stand the values
    before and after. A category has an arrow of length one. Under images stands what changes.

    >>> import torch
    >>> from pellucid.exemplar import counterfactual
    >>> model = torch.nn.Linear(3, 2)
    >>> found = counterfactual(model, torch.rand(1, 3), names=["a", "b", "c"])
    >>> type(draw_counterfactuals(found)).__name__
    'Axes'
    """
    row = found.number(row)
    places = found.places(row)
    if not places:
        raise InputError(
            "An input must have an answer to be drawn",
            found=f"input {row}, which is {found.status[row]}",
            hint=f"With answers: {sorted(set(found.samples))[:10]}. {found.reasons[row]}".strip(),
        )
    if found.measure.space.names:
        return _arrows(found, ax, row, places, dark)
    return _pictures(found, row, places, dark)


def _arrows(
    found: Counterfactuals, ax: Axes | None, row: int, places: list[int], dark: bool
) -> Axes:
    """One row for each column that any answer changes, one color for each answer."""
    table = found.changes[found.changes["sample"] == row]
    table = table.assign(answer=table["answer"].astype(int))
    columns = list(dict.fromkeys(table.sort_values("distance", ascending=False)["column"]))
    ax = rows_axes(axes_for(ax), columns, dark, row=0.24 + 0.26 * len(places))
    share = 0.8 / len(places)
    reach = max(1.0, float(table["distance"].max())) if len(table) else 1.0
    longest = 0
    for line in table.to_dict("records"):
        way = -1.0 if (line["change"] or 0) < 0 else 1.0
        height = columns.index(line["column"]) + share * (line["answer"] + 0.5) - 0.4
        color = COLORS[line["answer"] % len(COLORS)]
        ax.annotate(
            "",
            xy=(way * line["distance"], height),
            xytext=(0, height),
            arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0},
        )
        said = short(" → ".join(told(line["before"], line["after"])))
        longest = max(longest, len(said))
        side: dict[str, Any] = {"ha": "left" if way > 0 else "right", "va": "center", "fontsize": 8}
        at = way * (line["distance"] + 0.03 * reach)
        ax.text(at, height, said, color=INK[dark], parse_math=False, **side)
    for i in range(len(places) if len(places) > 1 else 0):
        ax.plot([], [], color=COLORS[i % len(COLORS)], lw=2, label=f"answer {i}")
    ax.axvline(0, color=INK[dark], lw=0.8)
    name_rows(ax, columns, np.arange(len(columns)))
    ax.set_ylim(len(columns) - 0.5, -0.5)
    both = bool((table["change"].fillna(1.0).astype(float) < 0).any())
    room = reach * _room(longest, both)
    ax.set_xlim(-room if both else -0.1 * reach, room)
    unit = UNITS.get(found.measure.how, "units of the columns")
    caption = [f"change, in {unit}; a category counts 1", *_answers(found, places)]
    title = f"input {row}: {_said(found, found.before[row])}, and what would have changed it"
    if len(places) > 1:
        ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark], **BESIDE)
    return finish(ax, dark, title=title, caption=caption)


def _room(letters: int, both: bool) -> float:
    """How much further than the arrows axes go, for so many letters beside them."""
    sides = 2 if both else 1
    share = min(LETTER * letters / INCHES, 0.8 / sides)
    return max(1.7, 1 / (1 - sides * share))


def _pictures(found: Counterfactuals, row: int, places: list[int], dark: bool) -> Figure:
    """The input, and below it each answer, with what changes from one to the other."""
    before, after = found.inputs[row], [found.counterfactuals[place] for place in places]
    samples = [_array(each) for each in (before, *after)]
    differences = [each - samples[0] for each in samples[1:]]
    said = [f"input\n{_said(found, found.before[row])}"]
    said += [f"answer\n{_said(found, found.answers.after[place])}" for place in places]
    widest = Scale.of(differences, percentile=100)
    if samples[0].ndim == 3:
        shown = _shown(samples)
        changes: list[Any] = [colorize(_pooled(each), widest, dark=dark) for each in differences]
    else:
        shown, changes = samples, differences
    lines: list[tuple[str, list[Cell | None]]] = []
    for i, change in enumerate(changes):
        first = Cell(sample=shown[0], caption=said[0])
        far = f"change\n{MINUS}{number(widest.span)} to {number(widest.span)}"
        answer = Cell(sample=shown[1 + i], caption=said[1 + i])
        lines.append(("", [first, answer, Cell(sample=change, caption=far)]))
    pictures = (lambda picture: picture) if samples[0].ndim == 3 else None
    return sheet(lines, pictures=pictures, dark=dark)


def _shown(samples: list[Any]) -> list[Any]:
    """Images as pictures in one range, which is that of all of them."""
    moved = [each.transpose(1, 2, 0) if not channels_last(each.shape) else each for each in samples]
    plain = [each if each.shape[-1] in (1, 3) else each.mean(-1, keepdims=True) for each in moved]
    low, high = min(each.min() for each in plain), max(each.max() for each in plain)
    return [(each - low) / ((high - low) or 1.0) for each in plain]


def _pooled(change: Any) -> Any:
    """The sum over the channels of an image."""
    return change.sum(-1 if channels_last(change.shape) else 0)


def _array(sample: Any) -> Any:
    if hasattr(sample, "detach"):
        sample = sample.detach().cpu().double().numpy()
    return np.asarray(sample, dtype=np.float64)


def _answers(found: Counterfactuals, places: list[int]) -> list[str]:
    """What the model says of each answer."""
    return [
        f"answer {i}: {_said(found, found.answers.after[place])}, at distance "
        f"{number(float(found.distance[place]))}"
        for i, place in enumerate(places)
    ]


def _said(found: Counterfactuals, answer: Any) -> str:
    """A class or a score, and which of both it is."""
    what = "class" if found.threshold is None else "score"
    return f"{what} {told(found.said(answer))[0]}"
