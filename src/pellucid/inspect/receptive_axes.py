"""The boxes of receptive fields, axis by axis: of convolutions, pooling and the like.

Such an operation reads on each axis of positions the places that a window shows, whatever it reads
on the others, so that a unit's place on an axis tells between which ends it sees that of the input.
The boxes of all units are then found in one walk from the input on, from the sizes of windows
alone, and so is how large they would be without borders (Araujo, Norris, Sim 2019).
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
# Where a place starts that sees nothing.
NOWHERE = 2**62


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
        """The places that each place reads, (place, t); beyond the borders it is `inputs`.

        >>> Window(size=3, stride=2, before=1).read(2, 2)
        tensor([[2, 0, 1],
                [1, 2, 2]])
        """
        first = torch.arange(outputs).view(-1, 1) * self.stride - self.before
        places = first + self.dilation * torch.arange(self.size)
        return places.where((places >= 0) & (places < inputs), inputs)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Between which ends the places of a value see one axis of the input, (place,) each.

    A place that sees nothing starts at NOWHERE and stops at 0. Without borders, place o would see
    from o * step + low to o * step + high.
    """

    start: Tensor
    stop: Tensor
    step: int = 1
    low: float = 0
    high: float = 0

    @classmethod
    def of_input(cls, length: int) -> "Line":
        """Of the input itself, in which each place sees its own."""
        return cls(start=torch.arange(length), stop=torch.arange(1, length + 1))

    def through(self, window: Window, places: int) -> "Line":
        """What is seen through a window from so many places."""
        read = window.read(places, len(self.start))
        return Line(
            start=torch.cat([self.start, torch.tensor([NOWHERE])])[read].amin(1),
            stop=torch.cat([self.stop, torch.tensor([0])])[read].amax(1),
            step=self.step * window.stride,
            low=self.low - window.before * self.step,
            high=self.high + (window.dilation * (window.size - 1) - window.before) * self.step,
        )

    def through_all(self, places: int) -> "Line":
        """What so many places see that read all of the axis."""
        return Line(
            start=self.start.min().expand(places),
            stop=self.stop.max().expand(places),
            low=-inf,
            high=inf,
        )

    @property
    def is_empty(self) -> Tensor:
        """Which places see nothing, (place,)."""
        return self.stop == 0

    def holds(self, other: "Line") -> bool:
        """Whether each place sees between its ends what it sees of the other."""
        return bool((self.start <= other.start).all() and (self.stop >= other.stop).all())


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
        each = list(zip(self.lines, torch.tensor(places).T, strict=True))
        ends = [torch.stack([line.start[rows], line.stop[rows]], 1) for line, rows in each]
        is_empty = torch.stack([line.is_empty[rows] for line, rows in each]).any(0)
        return torch.stack(ends, 1).masked_fill(is_empty.view(-1, 1, 1), 0)

    def that_fill(self, lines: tuple[Line, ...]) -> Tensor:
        """The channels, (channel,), of which each unit sees all that is between some ends."""
        holds = all(own.holds(line) for own, line in zip(self.lines, lines, strict=True))
        return self.full if holds else torch.zeros_like(self.full)


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

    `None` where that is not known axis by axis: after an operation that is none of those above, or
    where fields join of which one sees nothing where another does.
    """
    lines = tuple(map(Line.of_input, entry.shape[2:]))
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
    rank = len(first.lines) + 2
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
    lines = _joined(fields)
    if lines is None:
        return None
    rest = iter(fields)
    full = [
        next(rest).that_fill(lines) if value.depends else torch.zeros(value.shape[1])
        for value in operation.slots
    ]
    return Fields(lines=lines, full=torch.cat(full).bool())


def _elementwise(operation: Operation, fields: list[Fields]) -> Fields | None:
    """The same place of all that is read; what has one place, or one channel, is read by all."""
    if operation.name in ("where", "masked_fill"):
        return None
    places, channels = operation.output.shape[2:], operation.output.shape[1]
    spread = [
        Fields(
            lines=tuple(
                line if len(line.start) == n else line.through_all(n)
                for line, n in zip(each.lines, places, strict=True)
            ),
            full=each.full.expand(channels),
        )
        for each in fields
    ]
    lines = _joined(spread)
    if lines is None:
        return None
    full = torch.stack([each.full for each in spread]).all(0)
    full = full | torch.stack([each.that_fill(lines) for each in spread]).any(0)
    if operation.name in ("mul", "div"):  # behind a constant zero nothing is seen
        for value in operation.slots:
            if not value.depends:
                other = (value.tensor != 0).expand(operation.output.shape)
                full = full & other.transpose(0, 1).flatten(1).all(1).cpu()
    return Fields(lines=lines, full=full)


def _joined(fields: list[Fields]) -> tuple[Line, ...] | None:
    """What is seen in any of several ways: from the first start to the last stop on each axis.

    What a place sees on one axis counts if there is something on the others: there must be in all
    ways alike, or what one of them sees must be all there is.
    """
    ways = [each.lines for each in fields]
    lines = tuple(starmap(_hull, zip(*ways, strict=True)))
    pairs = [list(zip(way, lines, strict=True)) for way in ways]
    alike = all(torch.equal(own.is_empty, line.is_empty) for pair in pairs for own, line in pair)
    holds = any(all(own.holds(line) for own, line in pair) for pair in pairs)
    return lines if alike or holds else None


def _hull(*lines: Line) -> Line:
    """From the first start to the last stop."""
    alike = len({line.step for line in lines}) == 1
    return Line(
        start=torch.stack([line.start for line in lines]).amin(0),
        stop=torch.stack([line.stop for line in lines]).amax(0),
        step=lines[0].step,
        low=min(line.low for line in lines) if alike else -inf,
        high=max(line.high for line in lines) if alike else inf,
    )
