"""The receptive field of a unit: which part of the input it can see, found on the tape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from pellucid.at import value_at
from pellucid.errors import InputError
from pellucid.inspect.receptive_axes import Fields, entry_channels, fields_at
from pellucid.inspect.receptive_walk import pull, seen
from pellucid.inspect.results import from_floats
from pellucid.program import untouched
from pellucid.structure import Inputs
from pellucid.tape.adjoints import CONVOLUTIONS
from pellucid.tape.expand import expanded
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape, record_run
from pellucid.target.unit import channel_axis, check_axis, check_channels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A unit by its channel and its place, of which `None` is all along an axis.
Unit: TypeAlias = "tuple[int | None, tuple[int | None, ...]]"
# Elements of the signals at one value that are walked together.
ELEMENTS = 2**24
# Behind these each channel of a place sees what it saw before, or what is around that.
KEEPING = (
    "max_pool", "avg_pool", "native_batch_norm", "_native_batch_norm_legit_no",
    "cudnn_batch_norm", "clone",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class ReceptiveField:
    """Which elements of one sample can change a unit.

    `masks` are boolean, one for each input tensor, with the axes of a sample: (channel, height,
    width) of an image. `box` is the smallest one around that, a (start, stop) for each axis of the
    first input but that of the channels, and `size` its lengths. The unit stands at `position` of
    the layer, in `channel`, or in any if that is `None`. `axis` is that of the channels among those
    of a sample of the first input, `None` if it has none.
    """

    layer: str | int
    position: tuple[int, ...]
    channel: int | None
    masks: tuple[Tensor, ...]
    axis: int | None = 0

    @property
    def mask(self) -> Tensor:
        """What is seen of the first input."""
        return self.masks[0]

    @property
    def box(self) -> tuple[tuple[int, int], ...]:
        """The smallest box around what is seen; of length zero, if that is nothing."""
        found = boxes_around(spatial(self.mask, self.axis)[None])[0]
        return tuple((int(a), int(b)) for a, b in found)

    @property
    def size(self) -> tuple[int, ...]:
        """The lengths of the box."""
        return tuple(stop - start for start, stop in self.box)

    @property
    def is_cut(self) -> bool:
        """Whether the box comes to a border of the input, behind which there may be more of it."""
        ends = zip(self.box, spatial(self.mask, self.axis).shape, strict=True)
        return bool(self.mask.any()) and any(a == 0 or b == n for (a, b), n in ends)

    def cut(self, inputs: Tensor) -> Tensor:
        """The part of each of some inputs (sample, channel, *place) that is in the box."""
        return inputs[(slice(None), *inside(self.box, self.mask.ndim, self.axis))]

    def plot(self, picture: Any = None, ax: "Axes | None" = None, *, dark: bool = False) -> "Axes":
        """Draw what of an image is seen, and the box around it, on the image if that is given."""
        from pellucid.plot.units import receptive

        return receptive(self, picture, ax, dark=dark)

    def __repr__(self) -> str:
        where = "any channel" if self.channel is None else f"channel {self.channel}"
        what = " x ".join(map(str, self.size))
        spots = ", ".join(f"{start}:{stop}" for start, stop in self.box)
        cut = ", which comes to a border of the input" if self.is_cut else ""
        return (
            f"ReceptiveField of {where} of `{self.layer}` at {self.position}: {what}, "
            f"[{spots}]{cut}"
        )


def receptive_field(
    model: Callable[..., Any],
    inputs: Any,
    layer: str | int,
    position: "int | Sequence[int] | None" = None,
    *,
    channel: int | None = None,
    axis: int | None = None,
    batch_axis: Any = 0,
) -> ReceptiveField:
    """Find which elements of an input a unit of a layer can see.

        seen(u) = {i : there is a way on the tape from input element i to unit u}

    One sample of `inputs` is recorded; `layer` is what takes `at=` elsewhere: a layer's path, or an
    operation by name and place. `position` is the unit's place on all axes but the samples' and the
    channels', by default the middle; without a `channel`, all channels of the place count. `axis`
    says where channels are at the layer, if not on axis 1; in the input they are where its first
    convolution reads them, and without any as at the layer, if that has as many axes.
    Law: it is the support of the unit's gradient, over all inputs: a pooling window counts whole,
    and a rectifier or gate as open. Where a weight, a mask or an attention is exactly zero, nothing
    passes; and what is read at places that depend on the input (by unpooling, or `gather`) is what
    is read there of this one.
    Source: Luo, Li, Urtasun, Zemel (2016), Understanding the Effective Receptive Field in Deep
    Convolutional Neural Networks; Araujo, Norris, Sim (2019), Computing Receptive Fields of
    Convolutional Neural Networks.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, stride=2), torch.nn.MaxPool2d(2))
    >>> receptive_field(net, torch.zeros(1, 1, 16, 16), "1", (1, 1))
    ReceptiveField of any channel of `1` at (1, 1): 5 x 5, [4:9, 4:9]
    """
    check_axis(axis)
    with untouched(model), torch.no_grad():
        run = Run.of(model, Inputs.of(inputs, batch_axis), layer)
        value = run.value
        where = channel_axis(value.shape, axis)
        place = _place(position, value, where, layer)
        if channel is not None:
            check_channels([channel], value.shape, axis)
        seed = seeds_at(value, where, [(channel, place)])
        masks = [mask[0] for mask in run.masks(seed)]
    number = None if channel is None else range(value.shape[where])[channel]
    return ReceptiveField(
        layer=layer, position=place, channel=number, masks=tuple(masks),
        axis=run.channels(where),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The tape of one sample, with attention taken apart, and what the layer returned on it.

    Of integers that a model looks up it is recorded from their embeddings on, which `readings` say.
    """

    tape: Tape
    value: Value
    count: int
    readings: tuple[Any, ...]

    @classmethod
    def of(cls, model: Callable[..., Any], inputs: Inputs, layer: str | int) -> "Run":
        """Record the first sample of some inputs."""
        one = inputs.select(slice(1))
        program, given, readings = from_floats(model, one)
        tape = record_run(program, given)
        return cls(
            tape=expanded(tape),
            value=value_at(tape, layer, 1),
            count=len(one.leaves),
            readings=readings,
        )

    def masks(self, seeds: Tensor) -> list[Tensor]:
        """What each seed sees of each input: (seed, *axes of a sample)."""
        entries = self.tape.entries
        found = pull(self.tape, self.value, seeds, entries, seen)
        each = [
            seeds.new_zeros(len(seeds), *entry.shape[1:]) if mask is None else mask[:, 0]
            for entry, mask in zip(entries, found, strict=True)
        ]
        for reading, mask in zip(self.readings, each[self.count :], strict=True):
            each[reading.leaf] = each[reading.leaf] | mask.any(-1)
        return each[: self.count]

    def fields(self, where: int) -> Fields | None:
        """What units see of the first input, if windows tell it: see `fields_at`."""
        entry = self.tape.entries[0]
        images = where == 1 and 2 < len(self.value.shape) == len(entry.shape)
        return fields_at(self.tape, entry, self.value) if images else None

    def channels(self, where: int) -> int | None:
        """The axis of the channels in a sample of the first input: what a convolution reads so.

        Without any, a series or text has its features where they are at the layer.
        """
        entry = self.tape.entries[0]
        found = entry_channels(self.tape, entry)
        if found is not None:
            return None if found[0] is None else found[0] - 1
        return where - 1 if len(entry.shape) == len(self.value.shape) else 0

    def boxes(self, where: int, units: "Sequence[Unit]") -> Tensor:
        """The box that each of some units sees, each walked back for itself: (unit, axis, 2)."""
        alike = _channels_alike(self.value)
        asked = [(None if alike else channel, place) for channel, place in units]
        rows = {unit: row for row, unit in enumerate(dict.fromkeys(asked))}
        return boxes_around(self.spatial_masks(where, [*rows]))[[rows[unit] for unit in asked]]

    def spatial_masks(self, where: int, units: "Sequence[Unit]") -> Tensor:
        """What of the first input some units see, without its channels: (unit, *place)."""
        outputs = [v for operation in self.tape.operations for v in operation.outputs]
        largest = max((prod(v.shape) for v in outputs if v is not None), default=1)
        step = max(1, ELEMENTS // max(1, largest))
        parts = [
            self.masks(seeds_at(self.value, where, units[i : i + step]))[0]
            for i in range(0, len(units), step)
        ]
        masks, axis = torch.cat(parts), self.channels(where)
        return masks if axis is None or masks.ndim < 3 else masks.any(axis + 1)


def spatial(mask: Tensor, axis: int | None = 0) -> Tensor:
    """A mask over the axes of one sample without the channels, if it has these."""
    return mask if axis is None or mask.ndim < 2 else mask.any(axis)


def inside(box: Sequence[Sequence[int]], axes: int, axis: int | None = 0) -> tuple[slice, ...]:
    """A box as an index of a sample with so many axes: all channels, if it has these.

    >>> inside([(2, 5)], 2, axis=1)
    (slice(2, 5, None), slice(None, None, None))
    """
    index = [slice(start, stop) for start, stop in box]
    if axis is not None and len(index) < axes:
        index.insert(axis, slice(None))
    return tuple(index)


def boxes_around(masks: Tensor) -> Tensor:
    """The smallest box around each mask (unit, *place): the starts and stops (unit, axis, 2)."""
    found = []
    for axis in range(1, masks.ndim):
        others = [each for each in range(1, masks.ndim) if each != axis]
        along = masks.any(others) if others else masks
        length = along.shape[1]
        start = along.int().argmax(1)
        stop = length - along.flip(1).int().argmax(1)
        found.append(torch.stack([start, torch.where(along.any(1), stop, start)], 1))
    return torch.stack(found, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """The boxes that some units see: starts and stops (unit, axis, 2).

    `axis` is that of the channels in a sample of the first input, `None` if it has none. `whole` is
    how much a unit sees on each axis of an input without borders, if that is known: if windows tell
    it, and it is not all of any input.
    """

    boxes: Tensor
    axis: int | None
    whole: tuple[int, ...] | None = None


def unit_boxes(
    model: Callable[..., Any],
    inputs: Inputs,
    layer: str | int,
    units: Sequence[tuple[int, tuple[int, ...]]],
    axis: int | None = None,
) -> Boxes:
    """The boxes that some units (channel, place) of a layer see, from one run on one sample."""
    with untouched(model), torch.no_grad():
        run = Run.of(model, inputs, layer)
        where = channel_axis(run.value.shape, axis)
        fields, channels = run.fields(where), run.channels(where)
        if fields is None:
            return Boxes(boxes=_some(run.boxes(where, units), layer), axis=channels)
        found = fields.boxes([place for _, place in units])
        less = (~fields.full[[channel for channel, _ in units]]).nonzero().flatten().tolist()
        if less:
            found[less] = run.boxes(where, [units[row] for row in less]).to(found.device)
    known = bool(fields.full.any()) and all(map(isfinite, fields.sizes))
    whole = tuple(map(int, fields.sizes)) if known else None
    return Boxes(boxes=_some(found, layer), axis=channels, whole=whole)


def _some(boxes: Tensor, layer: str | int) -> Tensor:
    """The boxes of units, if there is anything in any of them."""
    if not bool((boxes[..., 1] > boxes[..., 0]).any()):
        raise InputError(
            f"Units of `{layer}` must see something of the first input, to be shown in it",
            found="units that see nothing of it",
            hint="Of a model of several inputs, put the one that the layer sees first: "
            "lambda b, a: model(a, b). Or show whole examples.",
        )
    return boxes


def seeds_at(value: Value, where: int, units: "Sequence[Unit]") -> Tensor:
    """One at each unit, of shape (unit, 1, *layer); `None` is all along an axis."""
    seeds = torch.zeros(len(units), *value.shape, dtype=torch.bool, device=value.tensor.device)
    for row, (channel, place) in enumerate(units):
        index: list[Any] = [row, 0, *(slice(None) if i is None else i for i in place)]
        index.insert(where + 1, slice(None) if channel is None else channel)
        seeds[tuple(index)] = True
    return seeds


def _lengths(value: Value, where: int) -> list[int]:
    return [n for axis, n in enumerate(value.shape) if axis not in (0, where)]


def _place(position: Any, value: Value, where: int, layer: str | int) -> tuple[int, ...]:
    """A unit's place on the axes of positions, by default in the middle of each."""
    lengths = _lengths(value, where)
    if position is None:
        return tuple(n // 2 for n in lengths)
    given = position.tolist() if hasattr(position, "tolist") else position
    listed = [given] if isinstance(given, int) else list(given)
    fits = len(listed) == len(lengths) and all(isinstance(i, int) for i in listed)
    if not fits or not all(-n <= i < n for i, n in zip(listed, lengths, strict=True)):
        raise InputError(
            f"`position` must be a place among the {lengths} of `{layer}`, one number an axis",
            got=position,
            hint="Without it the middle is taken; `channel` names the channel.",
        )
    return tuple(range(n)[i] for i, n in zip(listed, lengths, strict=True))


def _channels_alike(value: Value) -> bool:
    """Whether surely all channels of a place of a value see the same places of the input."""
    waiting, looked = [value], {value}
    while waiting:
        found = waiting.pop()
        made = found.producer
        if made is None or not found.depends:
            continue
        if any(bool((each.tensor == 0).any()) for each in _gates(made)):
            return False
        if made.name in CONVOLUTIONS and made.argument(8) == 1 and not made.argument(6):
            if made.slots[1].depends:
                return False
            continue
        if not _keeps_channels(made, len(found.shape)):
            return False
        waiting += [each for each in made.slots if each not in looked]
        looked |= {*made.slots}
    return True


def _keeps_channels(made: Operation, axes: int) -> bool:
    """Whether each channel of a place of a result sees what it, or all around it, saw before."""
    kept = made.name in CONVOLUTIONS or torch.Tag.pointwise in made.function.tags
    kept = kept or made.name.startswith(KEEPING)
    return kept and {len(each.shape) for each in made.slots if each.depends} == {axes}


def _gates(operation: Operation) -> list[Value]:
    """The constants of an operation behind which a channel sees nothing, where they are zero."""
    constants = [each for each in operation.slots if not each.depends]
    if operation.name in ("where", "masked_fill", "mul", "div"):
        return constants
    if operation.name in CONVOLUTIONS:
        return [each for each in constants if each is operation.slots[1]]
    norm = "batch_norm" in operation.name and operation.argument(1) is not None
    return [operation.argument(1)] if norm else []
