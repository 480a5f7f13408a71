"""Random masks: the same for every sample, and whatever the batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from pellucid.background import tables
from pellucid.case import Case
from pellucid.features import Players
from pellucid.game import Game
from pellucid.method import Attribution
from pellucid.perturb.mask_sheets import Sheet, Sizes, strengths, weights
from pellucid.seeding import seeded
from pellucid.structure import Inputs

# Draws come in blocks with a random generator each, so that none depends on where batches begin.
BLOCK = 64


class Masks(Protocol):
    """Random masks, what is seen through them, and values of theirs as those of the inputs."""

    def drawn(self, start: int, stop: int) -> list[Tensor]:
        """Masks of some draws, each of shape (draw, ...), between 0 and 1."""

    def points(self, masks: list[Tensor], rows: Tensor, references: Tensor) -> Inputs:
        """What is seen of samples `rows` through masks (row, ...), before `references`."""

    def attribution(self, values: list[Tensor], errors: list[Tensor]) -> Attribution:
        """What comes of values and standard errors of each mask's elements (sample, element)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Random bits, true with a probability, and whole numbers, in blocks."""

    probability: float
    seed: int
    device: torch.device
    _kept: dict[int, list[Tensor]] = field(default_factory=dict)

    def rows(
        self, start: int, stop: int, shapes: Sequence[Sizes], limits: Sequence[Sizes]
    ) -> list[Tensor]:
        """Bits of each shape for some draws, and after them whole numbers below each limit."""
        first, last = start // BLOCK, (stop - 1) // BLOCK
        for old in [number for number in self._kept if not first <= number <= last]:
            del self._kept[old]
        blocks = [self._block(number, shapes, limits) for number in range(first, last + 1)]
        here = slice(start - first * BLOCK, stop - first * BLOCK)
        return [torch.cat(column)[here].to(self.device) for column in zip(*blocks, strict=True)]

    def _block(self, number: int, shapes: Sequence[Sizes], limits: Sequence[Sizes]) -> list[Tensor]:
        if number not in self._kept:
            generator = seeded(self.seed, number)
            bits = [self._bits(shape, generator) for shape in shapes]
            whole = [
                torch.stack([torch.randint(n, (BLOCK,), generator=generator) for n in limit], 1)
                for limit in limits
                if limit
            ]
            self._kept[number] = bits + whole
        return self._kept[number]

    def _bits(self, shape: Sizes, generator: torch.Generator) -> Tensor:
        """Bits (draw, *shape), element after element: the first are the same of any number."""
        drawn = torch.rand(math.prod(shape), BLOCK, generator=generator) < self.probability
        return drawn.T.reshape(BLOCK, *shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grids:
    """Masks of coarse cells, interpolated linearly and shifted at random by up to a cell."""

    case: Case
    sheets: Sequence[Sheet]
    background: Sequence[Inputs]
    source: Source

    def drawn(self, start: int, stop: int) -> list[Tensor]:
        """Masks (draw, *size) of each sheet."""
        periods = [_periods(sheet) for sheet in self.sheets]
        found = self.source.rows(start, stop, [sheet.grid for sheet in self.sheets], periods)
        bits, shifts = found[: len(self.sheets)], iter(found[len(self.sheets) :])
        made = []
        for sheet, cells, period in zip(self.sheets, bits, periods, strict=True):
            leaf = self.case.inputs.leaves[sheet.leaves[0]]
            mask = cells.to(_type(leaf))
            made.append(grown(mask, sheet, next(shifts), self._kept) if period else mask)
        return made

    def points(self, masks: list[Tensor], rows: Tensor, references: Tensor) -> Inputs:
        """Inputs where masks are one, references where they are zero, and a mixture between."""
        masked = {place for sheet in self.sheets for place in sheet.leaves}
        leaves = [
            leaf if place in masked else leaf.index_select(0, rows.to(leaf.device))
            for place, leaf in enumerate(self.case.inputs.leaves)
        ]
        for sheet, mask in zip(self.sheets, masks, strict=True):
            for place in sheet.leaves:
                own, there = _rows(leaves[place], rows), sheet.laid(mask)
                other = self._reference(place, rows, references)
                if place in self._empty:
                    leaves[place] = own * there.to(own)
                elif own.is_floating_point():
                    leaves[place] = torch.lerp(other, own, there.to(own))
                else:
                    leaves[place] = torch.where(there > 0.5, own, other)
        return self.case.inputs.replace(leaves)

    def attribution(self, values: list[Tensor], errors: list[Tensor]) -> Attribution:
        """Values and errors in the places of the inputs."""

        def shaped(found: list[Tensor]) -> list[Tensor]:
            pairs = zip(found, self.sheets, strict=True)
            return [each.reshape(len(each), *sheet.size) for each, sheet in pairs]

        return Attribution(
            values=strengths(self.case, self.sheets, shaped(values)),
            error=strengths(self.case, self.sheets, shaped(errors)),
        )

    def _reference(self, place: int, rows: Tensor, references: Tensor) -> Tensor:
        """The reference behind each row; one row where all have the same."""
        table = self._tables[place]
        if len(table) == 1:
            return _rows(table[0], rows)
        rows, references = rows.to(table.device), references.to(table.device)
        return table[references, rows if table.shape[1] > 1 else 0]

    @cached_property
    def _kept(self) -> dict[tuple[int, int], Tensor]:
        """Weights of interpolation, which every batch of masks asks for."""
        return {}

    @cached_property
    def _empty(self) -> set[int]:
        """The inputs before zeros alone: of these a mask is a factor, which is faster."""
        return {
            place for place, t in enumerate(self._tables) if t.is_floating_point() and not t.any()
        }

    @cached_property
    def _tables(self) -> list[Tensor]:
        return tables(self.background)


@dataclass(frozen=True, kw_only=True, eq=False)
class Coalitions:
    """Masks of players, each of which is there or not."""

    game: Game
    source: Source

    @property
    def players(self) -> Players:
        """Who plays."""
        return self.game.players

    def drawn(self, start: int, stop: int) -> list[Tensor]:
        """Coalitions (draw, player), one for those that are there."""
        (bits,) = self.source.rows(start, stop, [(self.players.count,)], [])
        leaves = self.game.case.inputs.leaves
        return [bits.to(_type(next((x for x in leaves if x.is_floating_point()), leaves[0])))]

    def points(self, masks: list[Tensor], rows: Tensor, references: Tensor) -> Inputs:
        """Inputs with the players of each row's coalition."""
        return self.game.point(masks[0], rows, references)

    def attribution(self, values: list[Tensor], errors: list[Tensor]) -> Attribution:
        """A value for each player, zero for those that a sample does not have."""
        alive = self.players.alive.to(values[0].device)
        found, error = (torch.where(alive, each[0], 0) for each in (values, errors))
        return Attribution.of_players(self.players, found, self.game.case.inputs, error=error)


def _periods(sheet: Sheet) -> Sizes:
    """The number of shifts on each axis: the positions of a cell; none without interpolation."""
    if sheet.grid == sheet.size:
        return ()
    return tuple(-(-n // g) for n, g in zip(sheet.size, sheet.grid, strict=True))


def grown(
    cells: Tensor, sheet: Sheet, shifts: Tensor, kept: dict[tuple[int, int], Tensor]
) -> Tensor:
    """Cells (draw, *grid) interpolated to one cell more than a sheet has, and cut at shifts.

    One axis after another, by a product with the weights of each draw's own positions; weights are
    `kept` for the next time.
    """
    axes = zip(sheet.size, sheet.grid, _periods(sheet), shifts.unbind(1), strict=True)
    for axis, (size, grid, period, shift) in enumerate(axes, 1):
        large = (grid + 1) * period
        if (grid, large) not in kept:
            kept[grid, large] = weights(grid, large).to(cells)
        share = kept[grid, large].to(cells)
        places = shift.unsqueeze(1) + torch.arange(size, device=shift.device)
        lines = cells.movedim(axis, -1)
        grown = lines.reshape(len(lines), -1, grid) @ share[places].mT
        cells = grown.reshape(*lines.shape[:-1], size).movedim(-1, axis)
    return cells


def _rows(leaf: Tensor, rows: Tensor) -> Tensor:
    """Rows of an input; the one row that it has, which stands for all."""
    return leaf if len(leaf) == 1 else leaf.index_select(0, rows.to(leaf.device))


def _type(leaf: Tensor) -> Tensor:
    """A tensor of the type in which masks for an input are made: no less than single precision."""
    if leaf.dtype in (torch.float32, torch.float64):
        return leaf.new_empty(0)
    return leaf.new_empty(0, dtype=torch.float32)
