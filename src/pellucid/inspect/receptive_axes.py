"""Receptive fields axis by axis, where they are boxes: of convolutions, pooling and the like.

Such an operation reads on each axis of positions the places that a window shows, whatever it reads
on the others, so that a unit sees (places on one axis) x (places on the next). The fields of all
units are then found in one walk from the input on, from the sizes of windows alone, and so is how
large they would be in an input without borders (Araujo, Norris, Sim 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from math import inf

import torch
from torch import Tensor

from pellucid.inspect.receptive_walk import pooling
from pellucid.tape.adjoints import CONVOLUTIONS, is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# Each place as it is.
SAME = {"clone", "_to_copy", "alias"}
NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training"}
MEANS = {"mean", "sum", "amax", "amin"}


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one place reads on an axis: place o the places o * stride - before + dilation * t.

    t is from 0 to size - 1.
    """

    size: int = 1
    stride: int = 1
    before: int = 0
    dilation: int = 1

    def read(self, outputs: int, inputs: int) -> Tensor:
        """Which places each place reads: (place of the result, place of what is read).

        >>> Window(size=2, stride=2).read(2, 5).int().tolist()
        [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]
        """
        first = torch.arange(outputs).view(-1, 1) * self.stride - self.before
        places = first + self.dilation * torch.arange(self.size)
        return (places.unsqueeze(2) == torch.arange(inputs)).any(1)


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the places of a value see of one axis of the input, (place, place of the input).

    Without borders, place o would see from o * step + low to o * step + high.
    """

    seen: Tensor
    step: int = 1
    low: float = 0
    high: float = 0

    def through(self, window: Window, places: int) -> "Line":
        """What is seen through a window from so many places."""
        read = window.read(places, len(self.seen)).float()
        first = self.low - window.before * self.step
        last = self.high + (window.dilation * (window.size - 1) - window.before) * self.step
        return Line(
            seen=read @ self.seen.float() > 0, step=self.step * window.stride, low=first, high=last
        )

    def through_all(self, places: int) -> "Line":
        """What so many places see that read all of the axis."""
        seen = self.seen.any(0, keepdim=True).expand(places, -1)
        return Line(seen=seen, low=-inf, high=inf)

    @property
    def ends(self) -> Tensor:
        """The start and the stop of what each place sees, (place, 2); zero if it is nothing."""
        seen = self.seen.int()
        stop = seen.shape[1] - seen.flip(1).argmax(1)
        return torch.stack([seen.argmax(1), stop], 1) * seen.amax(1, keepdim=True)

    def holds(self, other: "Line") -> bool:
        """Whether each place sees what it sees of the other."""
        return bool((other.seen <= self.seen).all())


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What the units of a value see of the input: the same in all channels that are `full`.

    Of others it is less, by exact zeros, or because they come from where less is seen.
    """

    lines: tuple[Line, ...]
    full: Tensor

    @property
    def sizes(self) -> "tuple[float, ...]":
        """How much a unit sees on each axis of an input without borders; infinity for all."""
        return tuple(line.high - line.low + 1 for line in self.lines)

    def boxes(self, places: Sequence[Sequence[int]]) -> Tensor:
        """The smallest box around what some places see: starts and stops (place, axis, 2)."""
        rows = torch.tensor(places)
        boxes = torch.stack([line.ends[rows[:, i]] for i, line in enumerate(self.lines)], 1)
        is_empty = (boxes[..., 1] == 0).any(1)
        return boxes.masked_fill(is_empty.view(-1, 1, 1), 0)

    def holds(self, other: "Fields") -> bool:
        """Whether each unit sees what it sees of the other."""
        return all(a.holds(b) for a, b in zip(self.lines, other.lines, strict=True))


def entry_channels(tape: Tape, entry: Value) -> "tuple[int | None] | None":
    """The axis that the first convolution reads as channels, among those of an input.

    It is `None` in a tuple if that axis was added on the way, and `None` if nobody knows.
    """
    axes: dict[Value, list[int | None]] = {entry: [*range(len(entry.shape))]}
    for operation in tape.operations:
        order = axes.get(operation.slots[0])
        if order is None:
            continue
        if operation.name in CONVOLUTIONS:
            return (order[1],)
        turned = _turned(operation, order)
        result = operation.outputs[0]
        if turned is not None and result is not None:
            axes[result] = turned
    return None


def _turned(operation: Operation, order: "list[int | None]") -> "list[int | None] | None":
    """Which axes of an input those of a result are, if they are those of what is read."""
    name, first = operation.name, operation.argument(1)
    if name == "permute":
        return [order[axis] for axis in first]
    if name == "transpose":
        turned, other = [*order], operation.argument(2)
        turned[first], turned[other] = order[other], order[first]
        return turned
    if name == "unsqueeze":
        place = first % (len(order) + 1)
        return [*order[:place], None, *order[place:]]
    plain = name in NORMS | SAME | {"constant_pad_nd"} or name.startswith(("max_pool", "avg_pool"))
    plain = plain or torch.Tag.pointwise in operation.function.tags
    return order if plain and len(operation.output.shape) == len(order) else None


def fields_at(tape: Tape, entry: Value, layer: Value) -> Fields | None:
    """What the units of a layer see of an input with channels on axis 1, as the layer has them.

    `None` where fields are not known to be boxes: after an operation that is none of those above,
    or where fields join of which none holds the others.
    """
    lines = tuple(Line(seen=torch.eye(n, dtype=torch.bool)) for n in entry.shape[2:])
    first = Fields(lines=lines, full=torch.ones(entry.shape[1], dtype=torch.bool))
    known: dict[Value, Fields] = {entry: first}
    for operation in tape.operations:
        read = [known.get(value) for value in operation.slots if value.depends]
        fields = [each for each in read if each is not None]
        result = operation.outputs[0]
        found = _after(operation, fields) if len(fields) == len(read) else None
        if found is not None and result is not None:
            known[result] = found
    return known.get(layer)


def _after(operation: Operation, fields: list[Fields]) -> Fields | None:
    """What the units of a result see, where those of all that it is made of are known."""
    name, first = operation.name, fields[0]
    value = operation.slots[0]
    rank = len(value.shape)
    if kind(operation) == "stop" or len(operation.output.shape) != rank:
        return None
    if name in CONVOLUTIONS:
        return _convolved(operation, first)
    if name.startswith(("max_pool", "avg_pool")) and name[8:9] == str(rank - 2):
        dilation = pooling(operation)[3] if name.startswith("max") else [1]
        return _windowed(operation, first, *pooling(operation)[:3], dilation)
    if name == "constant_pad_nd":
        return _padded(operation, first)
    if name in MEANS:
        return _reduced(operation, first)
    if name == "cat":
        return _together(operation, fields)
    if name in NORMS:
        scale = operation.argument(1)
        kept = True if scale is None else scale.tensor.cpu() != 0
        return None if is_training_norm(operation) else replace(first, full=first.full & kept)
    if torch.Tag.pointwise in operation.function.tags or name in SAME:
        return _elementwise(operation, fields)
    return None


def _convolved(operation: Operation, fields: Fields) -> Fields | None:
    """A channel is full if it reads all places of the window, each from a channel that is."""
    weight, groups = operation.slots[1], operation.argument(8)
    if weight.depends or operation.argument(6):
        return None
    there = (weight.tensor != 0).flatten(2).cpu().unflatten(0, (groups, -1))
    read = there & fields.full.view(groups, 1, -1, 1)
    found = _windowed(operation, fields, weight.shape[2:], *map(operation.argument, (3, 4, 5)))
    return None if found is None else replace(found, full=read.any(2).all(2).flatten())


def _windowed(operation: Operation, fields: Fields, *sizes: Sequence[int]) -> Fields | None:
    """Windows of sizes, strides, what is before and dilations, of each a number an axis."""
    rank = len(fields.lines)
    each = [[*numbers] * rank if len(numbers) == 1 else [*numbers] for numbers in sizes]
    windows = [
        Window(size=size, stride=stride, before=before, dilation=dilation)
        for size, stride, before, dilation in zip(*each, strict=True)
    ]
    return _through(operation, fields, windows)


def _through(operation: Operation, fields: Fields, windows: Sequence[Window]) -> Fields:
    places = operation.output.shape[2:]
    lines = starmap(Line.through, zip(fields.lines, windows, places, strict=True))
    return replace(fields, lines=tuple(lines))


def _padded(operation: Operation, fields: Fields) -> Fields | None:
    """More places, or fewer, before and after those that there were."""
    around = [*operation.arguments[1]]
    rank = len(fields.lines)
    if any(around[2 * rank :]):
        return None
    before = [*around[: 2 * rank : 2], *[0] * rank][:rank]
    return _through(operation, fields, [Window(before=each) for each in reversed(before)])


def _reduced(operation: Operation, fields: Fields) -> Fields | None:
    """A mean over some axes, which are still there."""
    given = operation.argument(1)
    rank = len(operation.output.shape)
    if given in (None, []):
        return None
    axes = {axis % rank for axis in ([given] if isinstance(given, int) else given)}
    if 0 in axes:
        return None
    lines = tuple(
        line.through_all(1) if axis in axes else line for axis, line in enumerate(fields.lines, 2)
    )
    full = fields.full.any(0, keepdim=True) if 1 in axes else fields.full
    return Fields(lines=lines, full=full)


def _together(operation: Operation, fields: list[Fields]) -> Fields | None:
    """Channels one after the other; those of constants see nothing."""
    if operation.argument(1, 0) % len(operation.output.shape) != 1:
        return None
    most = _largest(fields)
    if most is None:
        return None
    rest = iter(fields)
    full = [
        _full_of(next(rest), most) if value.depends else torch.zeros(value.shape[1])
        for value in operation.slots
    ]
    return replace(most, full=torch.cat(full).bool())


def _elementwise(operation: Operation, fields: list[Fields]) -> Fields | None:
    """The same place of all that is read; what has one place, or one channel, is read by all."""
    if operation.name in ("where", "masked_fill"):
        return None
    places, channels = operation.output.shape[2:], operation.output.shape[1]
    spread = [
        Fields(
            lines=tuple(
                line if len(line.seen) == n else line.through_all(n)
                for line, n in zip(each.lines, places, strict=True)
            ),
            full=each.full.expand(channels),
        )
        for each in fields
    ]
    most = _largest(spread)
    if most is None:
        return None
    full = torch.stack([_full_of(each, most) for each in spread]).any(0)
    if operation.name in ("mul", "div"):  # behind a constant zero nothing is seen
        for value in operation.slots:
            if not value.depends:
                other = (value.tensor != 0).expand(operation.output.shape)
                full = full & other.transpose(0, 1).flatten(1).all(1).cpu()
    return replace(most, full=full)


def _largest(fields: list[Fields]) -> Fields | None:
    """Those that hold all others, if any do: then what is seen in one of these ways is a box."""
    most = next((each for each in fields if all(each.holds(other) for other in fields)), None)
    if most is None:
        return None
    lines = [
        replace(own, low=min(each.low for each in every), high=max(each.high for each in every))
        if len({each.step for each in every}) == 1
        else replace(own, low=-inf, high=inf)
        for own, *every in zip(most.lines, *(each.lines for each in fields), strict=True)
    ]
    return replace(most, lines=tuple(lines))


def _full_of(fields: Fields, most: Fields) -> Tensor:
    """The channels of some that see as much as the most do."""
    return fields.full & fields.holds(most)
