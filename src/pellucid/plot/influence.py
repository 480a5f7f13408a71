"""Draw what a decision rests on: test examples beside the training examples that help and harm."""

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from pellucid.errors import InputError
from pellucid.options import whole
from pellucid.plot.color import number, signed
from pellucid.plot.prototypes import ALIKE, UNLIKE
from pellucid.plot.thumbnails import Cell, Line, Pictures, sheet
from pellucid.structure import Inputs

if TYPE_CHECKING:
    from pellucid.exemplar.influence.data import Labelled
    from pellucid.exemplar.influence.result import Influence, SelfInfluence

# Suspects on a line.
COLUMNS = 8


def influence(
    found: "Influence",
    k: int = 4,
    *,
    pictures: Pictures = None,
    most: int = 6,
    dark: bool = False,
    title: str | None = None,
) -> Figure:
    """Draw a test example on each line, then the k that help it most, and the k that harm it most.

    Those that help are framed in blue, those that harm in orange; above each stands its label and
    its influence. At most so many test examples are drawn. `pictures` makes an array of an input of
    shape (1, ...).

    >>> import torch
    >>> import pellucid as pl
    >>> x, y = torch.rand(8, 1, 4, 4), torch.arange(8) % 2
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    >>> model[1].weight.data.zero_(), model[1].bias.data.zero_()
    (tensor(...), tensor([0., 0.]))
    >>> found = pl.exemplar.influence(model, (x, y), (x[:1], y[:1]))
    >>> len(influence(found, 2).axes)                          # it, two and two
    5
    """
    top, lines = found.top(k), []
    for test in range(min(whole(most, "most"), len(found.values))):
        first = _cells(found.test, [test], [f"now {number(float(found.tested[test]))}"], None)
        cells: list[Cell | None] = [*first]
        for rows, frame in ((top.helpful[test], ALIKE), (top.harmful[test], UNLIKE)):
            known = [row for row in rows.tolist() if row >= 0]
            said = [signed(float(found.values[test, row])) for row in known]
            cells += _cells(found.train, known, said, frame)
            cells += [None] * (len(rows) - len(known))
        lines.append((f"test {test}", cells))
    said_ = f"influence on {found.of} ({found.how}): blue helps, orange harms"
    return sheet(lines, pictures=pictures, dark=dark, title=said_ if title is None else title)


def self_influence(
    found: "SelfInfluence",
    k: int = 12,
    *,
    pictures: Pictures = None,
    dark: bool = False,
    title: str | None = None,
) -> Figure:
    """Draw the k training examples that only themselves speak for, with labels and influence.

    `pictures` makes an array of an input of shape (1, ...).

    >>> import torch
    >>> import pellucid as pl
    >>> x, y = torch.rand(8, 1, 4, 4), torch.arange(8) % 2
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    >>> model[1].weight.data.zero_(), model[1].bias.data.zero_()
    (tensor(...), tensor([0., 0.]))
    >>> len(self_influence(pl.exemplar.self_influence(model, (x, y)), 3).axes)
    3
    """
    rows = found.order[: whole(k, "k")].tolist()
    said = [number(float(found.values[row])) for row in rows]
    cells = _cells(found.train, rows, said, None)
    lines: list[Line] = [
        (f"{start + 1}.", cells[start : start + COLUMNS]) for start in range(0, len(rows), COLUMNS)
    ]
    said_ = f"self-influence ({found.how}), the largest first: label and value"
    return sheet(lines, pictures=pictures, dark=dark, title=said_ if title is None else title)


def _cells(data: "Labelled", rows: list[int], said: list[str], frame: str | None) -> list[Cell]:
    """Some examples, with their labels and what else is to be said above them."""
    if not rows:
        return []
    inputs, labels = data.read(rows)
    samples = Inputs.of(inputs).leaves[0].detach().cpu()
    names = [""] * len(rows)
    if labels is not None and labels.ndim == 1:
        names = [f"{number(float(each))}\n" for each in labels]
    if len(samples) != len(rows):
        raise InputError("Data must be read example by example to be drawn", got=samples)
    triples: Any = zip(samples, names, said, strict=True)
    return [Cell(sample=x, caption=f"{name}{word}", frame=frame) for x, name, word in triples]
