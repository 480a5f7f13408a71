"""Where in what a layer returned the score stands: at a unit, or summed over a channel.

A layer's output of shape (sample, channel, *position) is read as a table of units, or of channels,
among which a target chooses as it does among the classes of an output.
"""

import operator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Size, Tensor

from pellucid.errors import InputError, TargetError
from pellucid.structure import outline
from pellucid.target.choice import Kind
from pellucid.target.place import Choose, Place

# A run for a target in a layer returns what the model did, and what the layer did.
OUTPUT, INSIDE = "output", "layer"
# What is said of a channel by the sums of all.
OF_ALL = {"probability": "the softmax probability", "log_odds": "the log-odds"}


@dataclass(frozen=True, kw_only=True)
class Unit(Place):
    """One unit of each sample: among all, those of a channel, or the one at `indices`.

    `axis` says where channels are, if not on axis 1. `of_one` is the shape of one sample, once it
    is known: then the class of a target is the number of the unit among those it is chosen from.
    """

    axis: int | None = None
    among: int | None = None
    indices: tuple[int, ...] = ()
    of_one: tuple[int, ...] = ()

    @classmethod
    def of(cls, unit: Any, axis: Any) -> "Unit":
        """Take a channel, the indices of a unit, or nothing for any."""
        check_axis(axis)
        if unit is None:
            return cls(axis=axis)
        found = unit.tolist() if hasattr(unit, "tolist") else unit
        if _is_whole(found):
            return cls(axis=axis, among=operator.index(found))
        if isinstance(found, tuple) and found and all(map(_is_whole, found)):
            return cls(axis=axis, indices=tuple(map(operator.index, found)))
        raise TargetError(
            "A unit must be a channel, or the indices (channel, row, column) of one, or None for "
            "the strongest of each sample",
            got=unit,
        )

    def settle(self, entry: Any) -> "Unit":
        """Find out the shape of one sample, and check that what is given is in it."""
        shape = tuple(entry.shape[1:])
        if self.indices and len(self.indices) != len(shape):
            raise TargetError(
                f"A unit must be named by an index on each of the axes after the samples, which "
                f"are {list(shape)} here",
                found=str(self.indices),
                hint="One number names a channel, of which the strongest unit is taken.",
            )
        for place, length in zip(self.indices, shape, strict=False):
            if not -length <= place < length:
                raise TargetError(
                    f"A unit must be one of the layer's, of shape {list(shape)}",
                    found=str(self.indices),
                )
        if self.among is not None:
            check_channels([self.among], entry.shape, self.axis)
        return replace(self, of_one=shape)

    def read(self, entry: Tensor, choose: Choose) -> Tensor:
        """What is chosen among the units, of shape (sample, unit)."""
        if self.indices:
            for index in self.indices:
                entry = entry.select(1, index)
            return choose(entry.unsqueeze(1))
        if self.among is not None:
            entry = entry.select(channel_axis(entry.shape, self.axis), self.among)
        return choose(entry.reshape(entry.shape[0], -1))

    def join(self, parts: list[Place], rows: list[int]) -> Place:
        """All batches have units of one shape."""
        return parts[0]

    def units(self, classes: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The indices of the unit of each sample, or of all if they have the same."""
        if self.indices or not self.of_one:
            return [self.indices]
        shape = list(self.of_one)
        axis = None if self.among is None else channel_axis((0, *shape), self.axis) - 1
        channel = 0 if axis is None else range(shape.pop(axis))[self.among or 0]
        found = []
        for number in classes:
            place = [int(i) for i in torch.unravel_index(torch.tensor(number), shape or [1])]
            place = place if shape else []
            found.append(tuple(place if axis is None else [*place[:axis], channel, *place[axis:]]))
        return found

    def taken(self, kind: Kind, classes: tuple[int, ...], against: int | None, layer: str) -> str:
        """Unit (5, 2, 3) of `features.3`, the strongest."""
        found = self.units(classes)
        if self.indices:
            return f"the unit {_listed(found)} of `{layer}`"
        channel = "" if self.among is None else f" in channel {self.among}"
        each = " of each sample" if len(found) > 1 else ""
        return f"the strongest unit{channel} of `{layer}`{each}, {_listed(found)}"

    def describe_at(
        self, layer: str, kind: Kind, classes: tuple[int, ...], against: int | None
    ) -> str:
        """Target.unit('features.3', (5, 2, 3))."""
        if classes or self.indices:
            return f"Target.unit({layer!r}, {_listed(self.units(classes))})"
        among = "" if self.among is None else f", {self.among}"
        return f"Target.unit({layer!r}{among}{_option(self.axis)})"


@dataclass(frozen=True, kw_only=True)
class Channel(Place):
    """The sum of a channel of each sample; `axis` says where they are, if not on axis 1."""

    choices: ClassVar[str] = "a channel of the layer"

    axis: int | None = None

    def read(self, entry: Tensor, choose: Choose) -> Tensor:
        """What is chosen among the sums, of shape (sample, channel)."""
        return choose(channel_sums(entry, self.axis))

    def taken(self, kind: Kind, classes: tuple[int, ...], against: int | None, layer: str) -> str:
        """The sum of channel 5 of `features.3`, or what is made of the sums of all channels."""
        if len(classes) != 1:
            return f"the sum of a channel of `{layer}` in each sample, {_listed([*classes])}"
        (channel,) = classes
        if kind in OF_ALL:
            return (
                f"{OF_ALL[kind]} of channel {channel} among the sums of the channels of `{layer}`"
            )
        less = "" if against is None else f" less that of channel {against}"
        less = " less the largest of the others" if kind == "margin" else less
        return f"the sum of channel {channel} of `{layer}`{less}"

    def describe_at(
        self, layer: str, kind: Kind, classes: tuple[int, ...], against: int | None
    ) -> str:
        """Target.channel('features.3', 5)."""
        given = str(list(classes)) if len(classes) > 1 else "".join(map(str, classes))
        given = f"({given}, {against})" if against is not None else given
        given = f"Target.{kind}({given})" if kind == "margin" or kind in OF_ALL else given
        return f"Target.channel({layer!r}{', ' if given else ''}{given}{_option(self.axis)})"


def channel_sums(values: Tensor, axis: int | None = None) -> Tensor:
    """The sum of every channel of (sample, channel, *position), of shape (sample, channel).

    >>> channel_sums(torch.ones(1, 2, 3, 3))
    tensor([[9., 9.]])
    """
    moved = values.movedim(channel_axis(values.shape, axis), 1)
    return moved.reshape(*moved.shape[:2], -1).sum(2)


def channel_axis(shape: "Size | tuple[int, ...]", axis: int | None = None) -> int:
    """The axis of the channels: 1, if none is given and there is no doubt.

    >>> channel_axis((8, 64, 7, 7)), channel_axis((8, 16, 384), -1)
    (1, 2)
    """
    if axis is None and len(shape) == 3:
        raise InputError(
            "`axis` must say which of three axes at a layer are the channels",
            found=str(list(shape)),
            hint="axis=1 for a signal, axis=2 for tokens of some features.",
        )
    found = 1 if axis is None else axis
    if not -len(shape) <= found < len(shape) or found % len(shape) == 0:
        raise InputError(
            f"`axis` must be an axis after that of the samples, from 1 to {len(shape) - 1}",
            got=axis,
        )
    return found % len(shape)


def checked_layer(layer: Any) -> str:
    """The path of a layer, if it can be one."""
    if isinstance(layer, str) and layer:
        return layer
    raise TargetError(
        "`layer` must be the path of a layer, a string that is not empty",
        got=layer,
        found="None" if layer is None else "",
        hint='For example Target.unit("features.3").',
    )


def check_axis(axis: Any) -> None:
    """Raise unless an axis is a whole number or `None`."""
    if axis is not None and not _is_whole(axis):
        raise InputError("`axis` must be a whole number, or None", got=axis)


def check_channels(channels: "list[int]", shape: Size, axis: int | None) -> None:
    """Raise unless what a layer returned has these channels."""
    count = shape[channel_axis(shape, axis)]
    wrong = [channel for channel in channels if not -count <= channel < count]
    if wrong:
        raise TargetError(f"A channel of the layer must be from 0 to {count - 1}", got=wrong[0])


def check_returned(entry: Any, layer: str, rows: int) -> Tensor:
    """What a layer returned, if it is a tensor of units of each of the samples."""
    fits = isinstance(entry, Tensor) and entry.is_floating_point() and entry.ndim > 1
    if not fits or entry.shape[0] != rows:
        raise TargetError(
            f"The layer `{layer}` must return a floating-point tensor with the {rows} samples "
            "along its first axis, and at least one axis of units",
            found=outline(entry),
            hint="Name the layer around it, or the one after it.",
        )
    return entry


def _option(axis: int | None) -> str:
    return "" if axis is None else f", axis={axis}"


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _listed(found: list[Any]) -> str:
    """Write one, or the first few of several."""
    if len(found) == 1:
        return str(found[0])
    return f"[{', '.join(map(str, found[:4]))}{', ...' if len(found) > 4 else ''}]"
