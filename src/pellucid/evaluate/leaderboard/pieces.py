"""What was found in one part of the data, and the folder that keeps it until all is found."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pellucid.archive import Content, read, write
from pellucid.evaluate.measurement import Curve, Measurement
from pellucid.explanation import Evaluations
from pellucid.run.folder import RunFolder

FORMAT = 1

# Numbers in notes, which differ from part to part, and what holds their places; no names or code.
ONE = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
NUMBERS = re.compile(
    rf"(?<![\w.`-])(?:{ONE} of {ONE} samples|{ONE} to {ONE}|{ONE})(?![\w`]|[.:]\w)"
)
COUNT = re.compile(r"(\d+) of (\d+) samples")
HOLE = "\0"


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """What one metric found for one method on some samples; or why it did not."""

    values: Tensor = field(default_factory=lambda: torch.zeros(0))
    curves: dict[str, Curve] = field(default_factory=dict)
    evaluations: Evaluations = Evaluations()  # noqa: RUF009  # immutable
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failure: str = ""

    @classmethod
    def of(cls, found: Measurement) -> "Cell":
        """What of a measurement is not known without it."""
        return cls(
            values=found.values,
            curves=found.curves,
            evaluations=found.evaluations,
            seconds=found.seconds,
            notes=found.notes,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Share:
    """What one method cost on some samples, and how many of its maps say nothing.

    `constant` counts those that are the same everywhere, `failure` says why there are no maps.
    """

    evaluations: Evaluations = Evaluations()  # noqa: RUF009  # immutable
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    constant: int = 0
    failure: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """What was found on the samples from `start` on: by method, and by method and metric.

    Cells are kept under (method, metric), each by its number; those of a method or metric that
    failed before are missing.
    """

    start: int
    rows: int
    shares: dict[int, Share]
    cells: dict[tuple[int, int], Cell]

    @property
    def dead(self) -> set[tuple[int, int]]:
        """The pairs of method and metric that failed here."""
        return {pair for pair, cell in self.cells.items() if cell.failure}


def joined(cells: list[Cell]) -> Cell:
    """What was found on several parts of the data, in order; a failure on any is one of all."""
    failed = [cell for cell in cells if cell.failure]
    if failed:
        return failed[0]
    first = cells[0]
    curves = {name: Curve.join([each.curves[name] for each in cells]) for name in first.curves}
    return Cell(
        values=torch.cat([each.values for each in cells]),
        curves=curves,
        evaluations=total([each.evaluations for each in cells]),
        seconds=sum(each.seconds for each in cells),
        notes=merged([(len(each.values), each.notes) for each in cells]),
    )


def merged(parts: Sequence[tuple[int, Sequence[str]]]) -> tuple[str, ...]:
    """Notes on parts of so many samples as those on all of them, each once.

    Of notes that differ in their numbers alone, counts of samples are added up, and other numbers
    become a range.

    >>> merged([(8, ["1 of 8 samples leak.", "It took 9 steps."]), (4, ["It took 3 steps."])])
    ('1 of 12 samples leak.', 'It took 3 to 9 steps.')
    """
    found: dict[str, dict[int, list[str]]] = {}
    for place, (_, notes) in enumerate(parts):
        for note in notes:
            alike = found.setdefault(NUMBERS.sub(HOLE, note), {})
            alike[place] = [each[0] for each in NUMBERS.finditer(note)]
    sizes = [rows for rows, _ in parts]
    return tuple(_filled(text, numbers, sizes) for text, numbers in found.items())


def _filled(text: str, numbers: dict[int, list[str]], sizes: list[int]) -> str:
    """A note with the numbers of all parts in the places of those of each."""
    for column in zip(*numbers.values(), strict=True):
        said = dict(zip(numbers, column, strict=True))
        text = text.replace(HOLE, _counted(said, sizes) or _ranged(column), 1)
    return text


def _counted(said: dict[int, str], sizes: list[int]) -> str:
    """Counts of samples of the parts, as one of all; empty where they are none."""
    pairs = {place: COUNT.fullmatch(text) for place, text in said.items()}
    if not all(pairs.values()):
        return ""
    some = {place: int(pair[1]) for place, pair in pairs.items() if pair}
    of = {place: int(pair[2]) for place, pair in pairs.items() if pair}
    whole = all(of[place] == sizes[place] for place in of)
    return f"{sum(some.values())} of {sum(sizes) if whole else sum(of.values())} samples"


def _ranged(column: Sequence[str]) -> str:
    """Numbers, or ranges of them, as the range of all."""
    ends = [end for text in column for end in text.split(" to ")]
    low, high = min(ends, key=float), max(ends, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"


def total(spent: list[Evaluations]) -> Evaluations:
    """All that was spent."""
    return Evaluations(*map(sum, zip(*spent, strict=True))) if spent else Evaluations()


def kept(folder: RunFolder, start: int) -> Piece | None:
    """What a folder has of the samples from `start` on; `None` where nothing was found yet."""
    place = _place(folder, start)
    return read(PIECE, place) if place.exists() else None


def keep(folder: RunFolder, piece: Piece) -> None:
    """Write what was found; a part that was not written whole does not count."""
    write(PIECE, piece, _place(folder, piece.start))


def _place(folder: RunFolder, start: int) -> Path:
    return folder.path / f"samples-{start:08d}.safetensors"


def _check_whole(piece: Piece) -> None:
    if not piece.shares or not isinstance(piece.start, int):
        raise TypeError("it holds no methods")


PIECE = Content(
    kind=Piece,
    name="a part of a leaderboard",
    how="evaluate.leaderboard(..., folder=...), after deleting this file",
    key="pellucid.leaderboard",
    format=FORMAT,
    check=_check_whole,
)
