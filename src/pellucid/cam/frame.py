"""Which axes of an input the positions of a grid stand for."""

from dataclasses import dataclass

from torch import Size, Tensor

from pellucid.tape.adjoints import CONVOLUTIONS
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

Sizes = tuple[int, ...]

BATCH, CHANNEL = 0, 1  # of a convolution; positions follow


@dataclass(frozen=True)
class Frame:
    """The axes of an input that hold its positions, in the order of the grid, and their sizes.

    `channel` is the axis of its channels, `None` if it has none; `mirrored` are the axes on which
    maps lie the other way round than the input.
    """

    channel: int | None
    axes: Sizes
    size: Sizes
    mirrored: Sizes = ()

    @property
    def rare(self) -> bool:
        """Whether few inputs are like this: of images, channels last; and all without channels."""
        return self.channel is None or (self.channel != 1 and len(self.size) > 1)

    def turn(self, values: Tensor) -> Tensor:
        """Put the axes of maps (batch, 1, *grid) where the input has them."""
        source = {0: 0} if self.channel is None else {0: 0, self.channel: 1}
        if self.channel is None:
            values = values.squeeze(1)
        source |= {axis: len(source) + k for k, axis in enumerate(self.axes)}
        turned = values.permute([source[axis] for axis in range(values.ndim)])
        return turned.flip(self.mirrored) if self.mirrored else turned


def frames(shape: Size) -> list[Frame]:
    """The ways to read an input: channels first, channels last, or no axis of channels."""
    axes = tuple(range(1, len(shape)))
    choices: list[tuple[int | None, Sizes]] = []
    if len(axes) > 1:
        choices += [(1, axes[1:]), (len(axes), axes[:-1])]
    if 0 < len(axes) < 4:
        choices.append((None, axes))
    return [Frame(channel, held, tuple(shape[a] for a in held)) for channel, held in choices]


def fitting(found: list[Frame], grid: Sizes) -> Frame | None:
    """The frame of a grid among several: the first, unless the next fits far better."""
    alike = [frame for frame in found if len(frame.size) == len(grid)]
    within = [f for f in alike if all(g <= n for g, n in zip(grid, f.size, strict=True))]
    alike = within or alike  # padding may make a grid larger than the input
    if len(alike) > 1 and 4 * unevenness(alike[1].size, grid) < unevenness(alike[0].size, grid):
        return alike[1]
    return alike[0] if alike else None


def unevenness(size: Sizes, grid: Sizes) -> float:
    """The ratio of the largest stride to the smallest."""
    strides = [n / g for n, g in zip(size, grid, strict=True)]
    return max(strides) / min(strides)


def traced(tape: Tape, entry: Value) -> Frame | None:
    """The frame that the first convolution of an input tells, by the axes that lead to it."""
    for operation in tape.operations:
        if operation.name in CONVOLUTIONS:
            labels = back(operation.slots[0], entry)
            if labels is not None:
                return _frame(labels, Size(entry.shape))
    return None


def _frame(labels: list[int], shape: Size) -> Frame | None:
    """The frame of an input whose axes a convolution reads as labeled."""
    positions = sorted(label for label in labels if label > CHANNEL)
    axes = tuple(labels.index(label) for label in positions)
    if labels[0] != BATCH or not axes:
        return None
    channel = labels.index(CHANNEL) if CHANNEL in labels else None
    return Frame(channel, axes, tuple(shape[axis] for axis in axes))


def back(value: Value, entry: Value) -> list[int] | None:
    """The axis of a value that each axis of an input became, if nothing mixes them on the way."""
    labels = list(range(len(value.shape)))
    while value is not entry:
        made = value.producer
        before = None if made is None else _before(made, value, labels)
        if before is None:
            return None
        value, labels = before
    return labels


def _before(made: Operation, out: Value, labels: list[int]) -> tuple[Value, list[int]] | None:
    """The value that an operation read, and the labels of its axes."""
    source = next((value for value in made.slots if value.carries), None)
    if source is None:
        return None
    if made.name in ("permute", "transpose"):
        return source, _permuted(made, labels)
    if len(source.shape) == len(labels):
        alike = [value for value in made.slots if value.carries and value.shape == out.shape]
        if alike and made.name not in ("view", "_unsafe_view", "mm", "bmm", "addmm"):
            return alike[0], labels
        same = [a == b for a, b in zip(source.shape, out.shape, strict=True)]
        resized = [label for label, kept in zip(labels, same, strict=True) if not kept]
        harmless = made.name in ("cat", "slice", "expand", "repeat", "constant_pad_nd")
        return (source, labels) if harmless and BATCH not in resized else None
    channel = labels.index(CHANNEL) if CHANNEL in labels else -1
    without = [n for axis, n in enumerate(out.shape) if axis != channel]
    if channel >= 0 and list(source.shape) == without and out.shape[channel] == 1:
        return source, [label for label in labels if label != CHANNEL]
    return None


def _permuted(made: Operation, labels: list[int]) -> list[int]:
    order = list(range(len(labels)))
    if made.name == "permute":
        order = [axis % len(labels) for axis in made.arguments[1]]
    else:
        a, b = (axis % len(labels) for axis in made.arguments[1:3])
        order[a], order[b] = order[b], order[a]
    found = [0] * len(labels)
    for axis, label in zip(order, labels, strict=True):
        found[axis] = label
    return found
