"""The units of a layer in pictures: their filters, their maps, and what excites them most."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pellucid.errors import InputError
from pellucid.options import whole
from pellucid.plot.axes import axes_for, finish, new_axes, short
from pellucid.plot.color import Bytes, number, sign_color
from pellucid.plot.map import as_picture, stretch
from pellucid.plot.thumbnails import Cell, Line, sheet

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.inspect.activations import Activation, Activations
    from pellucid.inspect.filters import Filters
    from pellucid.inspect.receptive import ReceptiveField
    from pellucid.inspect.top import TopExamples

# How many times as long as high a signal is drawn.
STRIP = 4


def filters(
    found: Filters,
    filter: int | None = None,
    *,
    what: str = "auto",
    scale: str = "own",
    count: int = 64,
    columns: int = 16,
    dark: bool = False,
) -> Figure:
    """Draw the filters of a layer, or all channels of one `filter`; zero is gray.

    `what` is "weights" or "patterns", and with the scale "own" each picture uses the whole range.
    Of more than `count` the first are drawn. Filters of many channels and no pattern are drawn by
    the first channels of each, a filter on each line.

    >>> import torch
    >>> import pellucid as pl
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 2, 3))
    >>> len(filters(pl.inspect.filters(net)).axes)
    8
    """
    count, columns = whole(count, "count"), whole(columns, "columns")
    if filter is not None:
        shown = found.channels(filter, scale=scale)
        pictures, every = shown[:count], len(shown)
        head = f"channels of filter {filter} of {found.layer}"
        return _wall(pictures, columns, dark, f"{head}, {_of(len(pictures), every)}")
    if (
        found.patterns is None
        and found.weights is not None
        and found.weights.shape[1] not in (1, 3)
    ):
        rows = found.numbers[: max(1, count // columns)]
        lines = [
            (f"{row}", [_cell(each) for each in found.channels(row, scale=scale)[:columns]])
            for row in rows
        ]
        across = min(columns, found.weights.shape[1])
        title = (
            f"{found.layer}: the first {across} channels of {len(rows)} of {found.total} filters"
        )
        return sheet(lines, pictures=_as_is, dark=dark, title=title)
    pictures = found.pictures(what, scale=scale)[:count]
    said = _of(len(pictures), found.total, some=len(found) < found.total)
    return _wall(pictures, columns, dark, f"{found.layer}: {said}; zero is gray", found.numbers)


def activations(
    found: Activations,
    row: int = 0,
    *,
    count: int = 12,
    lines: int = 10,
    scale: str = "own",
    dark: bool = False,
) -> Figure:
    """Draw the maps of one sample: an operation on each line, its first units side by side.

    Of more than `lines` operations some are drawn, evenly over the depth. With the scale "own" each
    map runs from black, its least value, to white; with "shared" all of a line have one scale.

    >>> import torch
    >>> import pellucid as pl
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    >>> len(activations(pl.inspect.activations(net, torch.rand(1, 1, 6, 6))).axes)
    4
    """
    each = list(found.values())
    places = (
        np.linspace(0, len(each) - 1, min(len(each), whole(lines, "lines"))).round().astype(int)
    )
    drawn = [_maps(each[place], row, whole(count, "count"), scale) for place in places]
    told = "own" if scale == "own" else "one for each line"
    return sheet(
        drawn, pictures=_as_is, dark=dark, title=f"the first units of each operation; scale: {told}"
    )


def patches(
    found: TopExamples | Sequence[TopExamples],
    *,
    pictures: Callable[[Tensor], Any] | None = None,
    reconstructions: bool = True,
    dark: bool = False,
) -> Figure:
    """Draw what of the top examples the units can see, and below it the explanation of that part.

    `pictures` makes an array of an input of shape (1, channel, height, width), as `entry.inverse`
    of the zoo does. Reconstructions are drawn as pictures in which zero is gray.

    >>> import torch
    >>> import pellucid as pl
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten())
    >>> x = torch.rand(4, 1, 6, 6)
    >>> found = pl.top_examples(net, x, "1", by="activation", patches=True, k=3)
    >>> len(patches(found).axes)                     # of 2 channels: 3 patches, 3 reconstructions
    12
    """
    channels: list[Any] = [found] if hasattr(found, "patches") else list(found)
    if not channels or any(each.box is None or each.box.shape[1] != 2 for each in channels):
        raise InputError(
            "`found` must be top examples of images with patches=True, or a part of them", got=found
        )
    lines: list[Line] = []
    for each in channels:
        lines.append((_name(each), _patches(each, pictures)))
        if reconstructions and each.explanation is not None:
            drawn = [_cell(_signed(_image(each, patch))) for patch in each.reconstructions]
            lines.append((short(type(each.explanation.method).__name__), drawn))
    return sheet(lines, pictures=_as_is, dark=dark)


def receptive(
    found: ReceptiveField, picture: Any = None, ax: Axes | None = None, *, dark: bool = False
) -> Axes:
    """Draw what of an image a unit sees, and the box around it, on a picture if that is given."""
    from pellucid.inspect.receptive import spatial

    mask = spatial(found.mask.cpu(), found.axis)
    if mask.ndim != 2:
        raise InputError(
            "A receptive field must be that of an image to be drawn",
            got=found.mask,
            hint="See `box`.",
        )
    seen = mask.numpy()
    ax = axes_for(ax) or new_axes(3.2, 3.2 * max(0.5, seen.shape[0] / seen.shape[1]) + 0.5, dark)
    below = np.full((*seen.shape, 3), 230, np.uint8) if picture is None else _picture(picture)
    shown = below.astype(np.float64)
    shown[~seen] = 0.35 * shown[~seen] + 0.65 * (22 if dark else 255)
    ax.imshow(shown.round().astype(np.uint8), interpolation="nearest")
    (top, bottom), (left, right) = found.box
    size = (right - left, bottom - top)
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), *size, fill=False, ec=sign_color(1.0), lw=1.5))
    ax.set_xticks([])
    ax.set_yticks([])
    cut = "; comes to a border" if found.is_cut else ""
    said = f"sees {' x '.join(map(str, found.size))} of the input{cut}"
    return finish(ax, dark, title=f"{found.layer} at {found.position}", caption=[said])


def _wall(
    pictures: Tensor, columns: int, dark: bool, title: str, numbers: Sequence[int] | None = None
) -> Figure:
    names = range(len(pictures)) if numbers is None else numbers
    cells = [_cell(each, str(name)) for name, each in zip(names, pictures, strict=False)]
    lines = [("", cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return sheet(lines, pictures=_as_is, dark=dark, title=title)


def _maps(found: Activation, row: int, count: int, scale: str) -> Line:
    maps = found.pictures(row, scale=scale)[:count]
    if maps.shape[1] == 1 and maps.shape[2] == 1:  # of a dense layer: all units as one map
        side = math.ceil(math.sqrt(found.values.shape[1]))
        every = found.pictures(row, scale="shared").flatten()
        flat = every.new_zeros(side * side)
        flat[: len(every)] = every
        maps = flat.reshape(1, side, side)
    elif maps.shape[1] == 1:  # of a signal: a strip that is high enough to be seen
        maps = maps.expand(-1, max(1, maps.shape[2] // STRIP), -1)
    cells = [_cell(each.unsqueeze(-1)) for each in maps]
    return f"{short(found.name)}\n{found.zeros:.0%} zeros", cells


def _patches(found: TopExamples, pictures: Callable[[Tensor], Any] | None) -> list[Cell | None]:
    boxes = [] if found.box is None else found.box.tolist()
    cells: list[Cell | None] = []
    for place, (example, box) in enumerate(zip(found.first(found.inputs), boxes, strict=True)):
        image = _image(found, example)
        whole_ = stretch(_array(image)) if pictures is None else _picture(pictures(example[None]))
        (top, bottom), (left, right) = box
        amount = number(float(found.amounts[place]))
        cells.append(Cell(sample=whole_[top:bottom, left:right], caption=amount))
    return cells


def _image(found: TopExamples, example: Tensor) -> Tensor:
    """An example, or a part of one, as (channel, height, width)."""
    return example.unsqueeze(0) if found.axis is None else example.movedim(found.axis, 0)


def _name(found: TopExamples) -> str:
    return f"{short(str(found.layer))}\n{found.what}"


def _signed(patch: Tensor) -> Any:
    """A signed patch (channel, height, width) as a picture in which zero is gray."""
    shown = _array(patch)
    if shown.shape[0] not in (1, 3):
        shown = shown.sum(0, keepdims=True)
    most = np.abs(shown).max()
    return (0.5 + shown / (2 * most if most > 0 else 1.0)).transpose(1, 2, 0)


def _picture(given: Any) -> Bytes:
    return as_picture(given.detach().cpu().numpy() if hasattr(given, "detach") else given)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().double().numpy()


def _cell(sample: Any, caption: str = "") -> Cell:
    return Cell(sample=sample, caption=caption)


def _as_is(sample: Any) -> Any:
    """What is a picture already; a tensor comes as a batch of one."""
    return sample[0] if hasattr(sample, "detach") else sample


def _of(shown: int, every: int, *, some: bool = False) -> str:
    if shown == every:
        return f"all {every}"
    return f"{'' if some else 'the first '}{shown} of {every}"
