"""Draw prototypes and criticisms, and the neighbours of inputs."""

from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure

from pellucid.inspect.shown import taken
from pellucid.plot.color import number, signed
from pellucid.plot.sweep import COLORS
from pellucid.plot.thumbnails import Cell, Line, Pictures, cut, samples_of, sheet

if TYPE_CHECKING:
    from pellucid.exemplar.neighbours import Near, Neighbours
    from pellucid.exemplar.prototypes import Prototypes

# Frames: of what is alike, and of what differs.
ALIKE, UNLIKE = COLORS[0], COLORS[1]
# So many letters of a class fit above a picture.
LETTERS = 16


def draw_prototypes(
    found: "Prototypes",
    *,
    pictures: Pictures = None,
    most: int = 8,
    dark: bool = False,
    title: str | None = None,
) -> Figure:
    """Draw a class on each line: its prototypes, framed in blue, and its criticisms, in orange.

    Above a prototype stands the share of its class that is nearest to it, above a criticism its
    witness. `most` of each are shown. `pictures` makes an array of an input of shape (1, ...).

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.exemplar.prototypes(torch.rand(9, 1, 4, 4), count=2, criticisms=1)
    >>> len(draw_prototypes(found).axes)
    3
    """
    shown = samples_of(found.inputs, len(found.index), "prototypes")
    others = samples_of(found.criticism_inputs, len(found.criticisms), "criticisms") \
        if len(found.criticisms) else []  # fmt: skip
    lines: list[Line] = []
    for name in dict.fromkeys(found.classes):
        own = [i for i, each in enumerate(found.classes) if each == name][:most]
        bad = [i for i, each in enumerate(found.criticism_classes) if each == name][:most]
        cells: list[Cell | None] = [
            Cell(sample=shown[i], caption=f"{float(found.share[i]):.0%}", frame=ALIKE) for i in own
        ]
        cells += [
            Cell(sample=others[i], caption=signed(float(found.witness[i])), frame=UNLIKE)
            for i in bad
        ]
        lines.append(("" if name is None else str(name), cells))
    said = f"prototypes by {found.how} (blue, share of the class)"
    if len(found.criticisms):
        said += "\ncriticisms (orange, witness: + means too few prototypes there)"
    if found.accuracy is not None:
        said += f"\nnearest-prototype accuracy {found.accuracy:.1%}"
    return sheet(lines, pictures=pictures, dark=dark, title=said if title is None else title)


def draw_neighbours(
    found: "Neighbours",
    *,
    pictures: Pictures = None,
    most: int = 8,
    dark: bool = False,
    title: str | None = None,
) -> Figure:
    """Draw inputs with their neighbours: of their class and of others, or the nearest of all.

    Above a neighbour stands its label, if it is known, and its distance. `pictures` makes an array
    of an input of shape (1, ...).

    >>> import torch
    >>> import pellucid as pl
    >>> x = torch.rand(6, 1, 4, 4)
    >>> len(draw_neighbours(pl.exemplar.neighbours(None, x[:2], x[2:], k=3)).axes)
    8
    """
    total = len(found.nearest.index)
    inputs = samples_of(found.inputs, total, "inputs")
    kinds = [("same class", found.same, ALIKE), ("other class", found.other, UNLIKE)]
    if found.same is None:
        kinds = [("nearest", found.nearest, ALIKE)]
    lines: list[Line] = []
    for sample in range(total):
        own = "" if found.classes is None else str(found.classes[sample])
        for place, (name, near, frame) in enumerate(kinds):
            first = Cell(
                sample=inputs[sample],
                caption=f"input\n{cut(f'as {own}', LETTERS)}" if own else "input",
            )
            cells = _cells(found, near, sample, most, frame)
            lines.append((name, [None if place else first, *cells]))
    said = f"nearest by {found.metric} distance" if title is None else title
    return sheet(lines, pictures=pictures, dark=dark, title=said)


def _label(label: Any) -> str:
    return number(label) if isinstance(label, float) else str(label)


def _cells(
    found: "Neighbours", near: "Near | None", sample: int, most: int, frame: str
) -> list[Cell]:
    if near is None:
        return []
    kept = [i for i, row in enumerate(near.index[sample].tolist()) if row >= 0][:most]
    rows: Any = near.index[sample][torch.tensor(kept, dtype=torch.long)]
    shown = samples_of(taken(found.data, rows), len(rows), "neighbours") if len(rows) else []
    cells = []
    for sample_, row, far in zip(
        shown, rows.tolist(), near.distance[sample].tolist(), strict=False
    ):
        label = "" if found.labels is None else f"{cut(_label(found.labels[row]), LETTERS)}\n"
        cells.append(Cell(sample=sample_, caption=f"{label}{number(far)}", frame=frame))
    return cells
