"""The part of a dream that a unit sees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, PellucidError
from pellucid.inspect.dream.dreams import Field
from pellucid.inspect.dream.layout import Layout
from pellucid.inspect.receptive import receptive_field, unit_boxes
from pellucid.structure import Inputs
from pellucid.target import Target
from pellucid.target.unit import Unit, channel_axis

CUT_NOTE = (
    "The receptive field of {} reaches over the border of the input: the dream is of the part that "
    "is inside."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """The fields of all units, by dream, and which of them are not whole."""

    fields: dict[int, Field]
    cut: tuple[int, ...] = ()


def seen_by(
    model: Callable[..., Any],
    units: Mapping[int, Target],
    example: Tensor,
    layout: Layout,
    *,
    strict: bool,
) -> Seen:
    """Find what the unit of each dream sees of an example (1, ...); `units` are resolved targets.

    If it is `strict`, a field that is known to be larger than the example is an error.
    """
    if layout.channel_axis != 1 or not layout.positions:
        return Seen(fields={})
    fields: dict[int, Field] = {}
    cut: list[int] = []
    for layer in dict.fromkeys(each.layer for each in units.values()):
        rows = [row for row, each in units.items() if each.layer == layer]
        boxes = _boxes(model, [units[row] for row in rows], example)
        fields |= {
            row: tuple(slice(int(a), int(b)) for a, b in box)
            for row, box in zip(rows, boxes, strict=True)
        }
        full = ((boxes[..., 1] - boxes[..., 0]) == torch.tensor(layout.sizes)).any(1)
        needed = _size(model, units[rows[0]], example) if bool(full.any()) else layout.sizes
        if any(n > s for n, s in zip(needed, layout.sizes, strict=True)):
            if strict:
                raise _too_small(units[rows[0]], needed, layout)
            cut += rows
    return Seen(fields=fields, cut=tuple(sorted(cut)))


def _boxes(model: Callable[..., Any], units: Sequence[Target], example: Tensor) -> Tensor:
    """The box of each of the units of one layer, (unit, axis, 2)."""
    asked, axis = [], None
    for unit in units:
        place = unit.place
        if isinstance(place, Unit):
            axis = channel_axis((0, *place.indices), place.axis)
            inner = list(place.indices)
            asked.append((inner.pop(axis - 1), tuple(inner)))
    return unit_boxes(model, Inputs.of(example), units[0].layer, asked, axis)


def _size(model: Callable[..., Any], unit: Target, example: Tensor) -> tuple[int, ...]:
    """How much a unit of a layer sees of an example twice as large.

    As much as of the example, if the model takes no other size, or sees all of any size.
    """
    sizes, place = tuple(example.shape[2:]), unit.place
    large = example.new_zeros(1, example.shape[1], *(2 * n for n in sizes))
    axis = place.axis if isinstance(place, Unit) else None
    try:
        found = receptive_field(model, large, unit.layer, axis=axis).size
    except PellucidError:
        return sizes
    return sizes if any(n == 2 * s for n, s in zip(found, sizes, strict=True)) else found


def _too_small(unit: Target, needed: Sequence[int], layout: Layout) -> InputError:
    wanted = (layout.channels, *(max(n, s) for n, s in zip(needed, layout.sizes, strict=True)))
    return InputError(
        f"`shape` must be as large as the receptive field of {unit.words()}, {list(needed)}",
        found=str(list(layout.shape)),
        hint=f"shape={wanted} holds it. With like=, an input of the model's own size, the part of "
        "the field that is inside is shown; Target.channel is a channel at all positions.",
    )
