"""Where a mask lies: one number for each position of an input, made on a coarser grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.options import whole
from pellucid.pooling import channels_last
from pellucid.structure import Inputs

Sizes: TypeAlias = tuple[int, ...]
GridLike: TypeAlias = int | Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One mask, and the inputs that it lies on.

    `leaves` are the positions of those inputs: several where a model embeds the same integers
    more than once. `size` are the positions of an input, on each axis but those of the batch and
    of the channels; `grid` the cells of the mask on the same axes. Where there is no order to
    interpolate over (columns, tokens), `smooth` is false and each position is a cell. `channel` is
    the axis of the input over which the mask is the same.
    """

    leaves: tuple[int, ...]
    size: Sizes
    grid: Sizes
    channel: int | None = None
    smooth: bool = False

    def enlarged(self, cells: Tensor) -> Tensor:
        """Interpolate linearly from cells (..., *grid) to positions (..., *size)."""
        for axis, (few, many) in enumerate(zip(self.grid, self.size, strict=True)):
            if few != many:
                place = cells.ndim - len(self.grid) + axis
                cells = (cells.movedim(place, -1) @ weights(few, many).to(cells).T).movedim(
                    -1, place
                )
        return cells

    def laid(self, mask: Tensor) -> Tensor:
        """A mask (row, *size) such that it broadcasts over an input."""
        return mask if self.channel is None else mask.unsqueeze(self.channel)


def weights(few: int, many: int) -> Tensor:
    """How much of each of `few` cells is in each of `many` positions, of shape (many, few).

    Cells are as wide as the positions that they stand for, and the value of a cell is that of its
    middle; beyond the middles of the first and the last it stays what it is there.
    """
    middle = (torch.arange(many, dtype=torch.float64) + 0.5) * few / many - 0.5
    place = middle.clamp(0, few - 1)
    return (1 - (place.unsqueeze(1) - torch.arange(few)).abs()).clamp(min=0)


def sheets(case: Case, grid: GridLike, *, integers: bool = False) -> list[Sheet]:
    """The masks of a case, one for each input that can be moved, with `grid` cells on its axes.

    Integers are moved where they are embedded, or, with `integers`, as they are.
    """
    embedded = case.embedded
    own = len(case.inputs.leaves) if embedded is None else len(embedded.inputs.leaves)
    found = [
        sheet_of(number, leaf, grid)
        for number, leaf in enumerate(case.inputs.leaves[:own])
        if leaf.is_floating_point() or integers
    ]
    readings = () if embedded is None else embedded.readings
    for read in dict.fromkeys(reading.leaf for reading in readings):
        places = tuple(own + i for i, reading in enumerate(readings) if reading.leaf == read)
        size = tuple(case.inputs.leaves[read].shape[1:])
        found.append(Sheet(leaves=places, size=size, grid=size, channel=len(size) + 1))
    return found


def check_grid(grid: GridLike, inputs: Inputs) -> None:
    """Raise unless there is a number of cells for each axis of every input with positions."""
    for leaf in inputs.leaves:
        if leaf.is_floating_point():
            sheet_of(0, leaf, grid)


def cells_of(grid: GridLike) -> GridLike:
    """The option `grid`: one number of cells for the longest axis, or one for each."""
    if isinstance(grid, Sequence):
        return tuple(whole(each, "grid") for each in grid)
    return whole(grid, "grid")


def sheet_of(number: int, leaf: Tensor, grid: GridLike) -> Sheet:
    """The mask of one input."""
    shape = tuple(leaf.shape[1:])
    if leaf.ndim < 3 or not leaf.is_floating_point():
        return Sheet(leaves=(number,), size=shape, grid=shape)
    last = channels_last(shape)
    size = shape[:-1] if last else shape[1:]
    channel = leaf.ndim - 1 if last else 1
    cells = _cells(grid, size, leaf)
    return Sheet(leaves=(number,), size=size, grid=cells, channel=channel, smooth=True)


def _cells(grid: GridLike, size: Sizes, leaf: Tensor) -> Sizes:
    """The cells on each axis; as many as there are positions, if those are fewer."""
    if isinstance(grid, int):
        return tuple(min(n, max(1, -(-n * grid // max(size)))) for n in size)
    if len(grid) != len(size):
        raise InputError(
            f"`grid` must have a number of cells for each of the {len(size)} axes after the "
            "channels",
            found=f"{tuple(grid)} for an input of shape {list(leaf.shape)}",
            hint="One number is meant for the longest axis.",
        )
    return tuple(min(n, g) for n, g in zip(size, grid, strict=True))


def strengths(case: Case, sheets: Sequence[Sheet], masks: Sequence[Tensor]) -> list[Tensor]:
    """Masks (sample, *size) as the values of the inputs; zeros for an input without one.

    Of an integer that is embedded several times, the first embedding has the mask, since the
    values of all of them are summed.
    """
    values = [torch.zeros_like(leaf) for leaf in case.inputs.leaves]
    for sheet, mask in zip(sheets, masks, strict=True):
        first = case.inputs.leaves[sheet.leaves[0]]
        dtype = first.dtype if first.is_floating_point() else wide(first)
        values[sheet.leaves[0]] = sheet.laid(mask).to(dtype)
    return values
