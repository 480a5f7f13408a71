"""How many linear regions a line crosses, counted by the activation patterns on it."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor

from pellucid.batching import Batcher
from pellucid.diagnose.sides import Sides, sides
from pellucid.diagnose.study import Study

# A boundary is found by halving what it lies in so many times.
HALVINGS = 14


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The linear regions on the lines x + d * e, up to each distance d.

    `count` of regions and `switches`, the units that change sides, have shape (sample, draw,
    distance). Both are lower bounds; `exact` says of each line, (sample, draw), that the count is
    the number of regions as far as they are longer than 2**-14 of the line; a region ends where a
    unit changes sides, also if the function goes on as it was. `units` is how many
    units have a kink. `uncounted` names operations that bend smoothly, or whose kinks are not
    counted: with any, pieces between the kinks of others are counted, and none need be linear.
    Source: Montufar et al. (2014), On the Number of Linear Regions of Deep Neural Networks.
    """

    distances: Tensor
    count: Tensor
    switches: Tensor
    exact: Tensor
    units: int
    uncounted: tuple[str, ...]


def regions(study: Study, distances: Sequence[float], points: int) -> Regions:
    """Follow every line; halve its parts where that can end within so many points."""
    shape = (len(study.case), study.draws, len(distances))
    count, switches = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
    exact = torch.zeros(shape[:2], dtype=torch.bool)
    batched = study.case.batcher.size > 1 and _is_batched(study)
    for row in range(shape[0]):
        look = _Look(study, row=row, batched=batched)
        first, lines = _lines(look, study.draws, distances, points)
        for draw, line in enumerate(lines):
            count[row, draw] = 1 + torch.tensor(line.changes).cumsum(0)
            switches[row, draw] = torch.tensor(line.switches).cumsum(0)
            exact[row, draw] = line.exact and not first.uncounted
    return Regions(
        distances=torch.tensor(distances, dtype=torch.float64),
        count=count,
        switches=switches,
        exact=exact,
        units=first.units,
        uncounted=first.uncounted,
    )


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A point on the line of a draw."""

    draw: int
    distance: float


@dataclass(frozen=True)
class _Look:
    """The sides at points around one sample, many at once where they have rows."""

    study: Study
    _: KW_ONLY
    row: int
    batched: bool

    def __call__(self, spots: Sequence[_Spot]) -> list[Sides]:
        case = self.study.case
        batcher = case.batcher if self.batched else Batcher(1, start=1)
        found = batcher.run(len(spots), lambda i, j: self._at(spots[i:j]), "regions")
        return [each for part in found for each in part]

    def _at(self, spots: Sequence[_Spot]) -> list[Sides]:
        row = torch.tensor([self.row])
        moved = [self.study.moved(spot.draw, row, spot.distance).leaves for spot in spots]
        leaves = [torch.cat(column) for column in zip(*moved, strict=True)]
        inputs = self.study.case.inputs.replace(leaves)
        found = sides(self.study.case.moved(inputs, row.expand(len(spots))).tape)
        return found.rows(len(spots)) if len(spots) > 1 else [found]


def _is_batched(study: Study) -> bool:
    """Whether all sides have the samples first, however many they are."""
    case = study.case
    for count in (2, 3):
        rows = torch.zeros(count, dtype=torch.int64)
        states = sides(case.moved(case.inputs.select(rows), rows).tape).states
        if any(state.ndim == 0 or len(state) != count for state in states):
            return False
    return True


@dataclass(kw_only=True)
class _Line:
    """What was found in each part of a line, and how many points more may be looked at."""

    left: int
    changes: list[int]
    switches: list[int]
    exact: bool = True

    def add(self, part: int, switches: int, *, known: bool) -> None:
        """Count a change of sides; its number is `known` where it cannot be several."""
        self.changes[part] += 1
        self.switches[part] += switches
        self.exact = self.exact and known


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A piece of one part of a line, with the sides at its ends."""

    line: _Line
    part: int
    spots: tuple[_Spot, _Spot]
    ends: tuple[Sides, Sides]

    @property
    def width(self) -> float:
        return self.spots[1].distance - self.spots[0].distance

    @property
    def middle(self) -> _Spot:
        return _Spot(draw=self.spots[0].draw, distance=self.spots[0].distance + self.width / 2)

    def halves(self, between: Sides) -> "list[_Piece]":
        """Both halves, now that the sides in the middle are known."""
        (a, b), (start, end), middle = self.spots, self.ends, self.middle
        return [
            replace(self, spots=(a, middle), ends=(start, between)),
            replace(self, spots=(middle, b), ends=(between, end)),
        ]


def _lines(
    look: _Look, draws: int, distances: Sequence[float], points: int
) -> tuple[Sides, list[_Line]]:
    """Look at the ends of all parts, and into those of lines that hold few enough boundaries."""
    many = len(distances)
    spots = [_Spot(draw=d, distance=far) for d in range(draws) for far in (0.0, *distances)]
    seen = look(spots)
    lines, waiting = [], []
    for first in range(0, len(spots), many + 1):
        line = _Line(left=points, changes=[0] * many, switches=[0] * many)
        pieces = [
            _Piece(line=line, part=i, spots=(spots[k], spots[k + 1]), ends=(seen[k], seen[k + 1]))
            for i, k in enumerate(range(first, first + many))
        ]
        if sum(piece.ends[0].switches(piece.ends[1]) for piece in pieces) * HALVINGS > points:
            line.left = 0
        lines.append(line)
        waiting += pieces
    _halve(look, waiting, width=distances[-1] / 2**HALVINGS)
    return seen[0], lines


def _halve(look: _Look, waiting: list[_Piece], *, width: float) -> None:
    """Halve pieces until their ends have the same sides, are near, or no points are left."""
    while waiting:
        open_pieces = []
        for piece in waiting:
            switches = piece.ends[0].switches(piece.ends[1])
            if switches and piece.width > width and piece.line.left:
                piece.line.left -= 1
                open_pieces.append(piece)
            elif switches:
                piece.line.add(piece.part, switches, known=piece.width <= width)
        found = look([piece.middle for piece in open_pieces])
        pairs = zip(open_pieces, found, strict=True)
        waiting = [half for piece, between in pairs for half in piece.halves(between)]
