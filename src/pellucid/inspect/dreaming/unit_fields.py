"""The part of a dream that a unit sees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, PellucidError
from pellucid.inspect.dreaming.layout import Field, Layout
from pellucid.inspect.receptive import Boxes, boxes_around, receptive_field, unit_boxes
from pellucid.structure import Inputs
from pellucid.target import Target
from pellucid.target.unit import Unit

CUT_NOTE = (
    "The receptive field of {} reaches over the border of the input: the dream is of the part that "
    "is inside."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """The fields of all units, by dream, which of them are not whole, and how many runs it took."""

    fields: dict[int, Field]
    cut: tuple[int, ...] = ()
    runs: int = 0


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
    if not layout.positions:
        return Seen(fields={})
    fields: dict[int, Field] = {}
    cut: list[int] = []
    runs = 0
    if layout.channel_axis != 1:  # fields are found where channels come first
        own, example = model, layout.first(example)
        model = lambda x: own(layout.back(x))  # noqa: E731
    for layer in dict.fromkeys(each.layer for each in units.values()):
        rows = [row for row, each in units.items() if each.layer == layer]
        found = _boxes(model, [units[row] for row in rows], example)
        boxes, whole = found.boxes, found.whole
        fields |= {
            row: tuple(slice(int(a), int(b)) for a, b in box)
            for row, box in zip(rows, boxes, strict=True)
        }
        runs += 1
        first, sizes = units[rows[0]], torch.tensor(layout.sizes)
        at_border = (boxes[..., 0] == 0) | (boxes[..., 1] == sizes)
        if not bool(at_border.any()):
            continue
        runs += whole is None
        needed = _in_larger(model, first, example, layout) if whole is None else torch.tensor(whole)
        if needed is None:
            continue
        if strict and bool((needed > sizes).any()):
            raise _too_small(first, needed.tolist(), layout)
        is_cut = (at_border & (boxes[..., 1] - boxes[..., 0] < needed)).any(1)
        cut += [row for row, short in zip(rows, is_cut.tolist(), strict=True) if short]
    return Seen(fields=fields, cut=tuple(sorted(cut)), runs=runs)


def _boxes(model: Callable[..., Any], units: Sequence[Target], example: Tensor) -> Boxes:
    """The boxes of some units of one layer.

    A unit is at all its indices, whichever of them is that of the channel.
    """
    places = [unit.place.indices for unit in units if isinstance(unit.place, Unit)]
    asked = [(place[0], place[1:]) for place in places]
    return unit_boxes(model, Inputs.of(example), units[0].layer, asked, 1)


def _in_larger(
    model: Callable[..., Any], unit: Target, example: Tensor, layout: Layout
) -> Tensor | None:
    """How much a unit in the middle of a layer sees of an example twice as large, (axis,).

    That takes as much memory as four examples, and is asked where windows do not tell it. Nothing
    is known if the model takes no other size, or if the unit sees all that is there on one side: so
    it may be of any size, as behind attention or a recurrent layer.
    """
    sizes, place = example.shape[2:], unit.place
    large = example.new_zeros(1, example.shape[1], *(2 * n for n in sizes))
    axis = place.axis if isinstance(place, Unit) else None
    if axis is None and isinstance(place, Unit) and len(place.indices) == 2:
        axis = layout.channel_axis  # nobody says so: likely as in the input
    try:
        mask = receptive_field(model, large, unit.layer, axis=axis).mask
    except PellucidError:
        return None
    start, stop = boxes_around(mask.any(0)[None])[0].T
    ends = stop == torch.tensor(large.shape[2:])
    # Behind the middle there is one place less than before it.
    is_all = (start == 0) | (ends & (start > 1))
    return None if bool(is_all.any()) else stop - start


def _too_small(unit: Target, needed: Sequence[int], layout: Layout) -> InputError:
    wanted = layout.sized([max(n, s) for n, s in zip(needed, layout.sizes, strict=True)])
    return InputError(
        f"`shape` must be as large as the receptive field of {unit.words()}, {list(needed)}",
        found=str(list(layout.shape)),
        hint=f"shape={wanted} holds it. With like=, an input of the model's own size, the part of "
        "the field that is inside is shown; Target.channel is a channel at all positions.",
    )
