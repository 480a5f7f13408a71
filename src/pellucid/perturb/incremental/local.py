"""Operations whose output at a place depends on a neighbourhood only, run on boxes of their maps.

A rule says where in its output the boxes of its inputs are felt, and computes the output there from
crops of its inputs. Maps have shape (sample, channel, *spatial).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from pellucid.perturb.incremental.boxes import Boxes
from pellucid.tape.operations import Operation, Value

# Operations that treat every element alike, though torch does not tag all of them so.
ALIKE = {
    "clone", "_to_copy", "alias", "detach", "hardswish", "hardsigmoid", "_prelu_kernel", "copy",
    "lift_fresh", "zeros_like", "ones_like", "full_like",
}  # fmt: skip
NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training"}


class Reader(Protocol):
    """Gives maps of the samples that are computed again."""

    def crop(self, value: Value, boxes: Boxes, fill: float | None = None) -> Tensor:
        """Part of the map of each sample; outside of it `fill`, or the nearest element."""

    def weight(self, value: Value) -> Tensor:
        """A constant weight, in the order in memory in which maps are."""


Dirty: TypeAlias = Mapping[Value, Boxes]


class Local(Protocol):
    """How an operation runs on boxes."""

    def felt(self, dirty: Dirty) -> Boxes:
        """Where in the output its inputs are felt, from where each was."""

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """The output in these boxes, with one entry for each output of the operation."""


def map_of(value: Value) -> tuple[int, ...]:
    """The lengths of the spatial axes."""
    return tuple(value.shape[2:])


@dataclass(frozen=True, eq=False)
class Alike:
    """Every output depends on the inputs at the same place."""

    operation: Operation

    @classmethod
    def of(cls, operation: Operation) -> "Alike | None":
        """The rule, if all inputs have the map of the output, or one element for all of it."""
        shape = operation.output.shape
        for value in operation.slots:
            place = value.shape[2:] if len(value.shape) == len(shape) else _right(value, shape)
            if place not in (shape[2:], torch.Size([1] * len(place))):
                return None
            if value.depends and len(value.shape) != len(shape):
                return None
        return cls(operation)

    def felt(self, dirty: Dirty) -> Boxes:
        """Where any input is felt; one that is felt everywhere is no box."""
        found = [dirty[value] for value in self.operation.slots if value in dirty]
        shape = tuple(self.operation.output.shape[2:])
        if any(boxes.shape != shape for boxes in found):
            return _everywhere(found[0], shape)
        return reduce(Boxes.union, found)

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """The operation on crops."""
        return self.operation.again(lambda value: self._read(reader, value, boxes))

    def _read(self, reader: Reader, value: Value, boxes: Boxes) -> Tensor:
        shape = self.operation.output.shape
        place = _right(value, shape)
        if place != shape[2:] or not place:
            alone = len(value.shape) < len(shape) or value.shape[0] == 1
            if alone and not value.depends:
                return value.tensor
            boxes = _everywhere(boxes, tuple(place))
        return reader.crop(value, boxes)


def _right(value: Value, shape: torch.Size) -> torch.Size:
    """The part of a shape that stands against the spatial axes of another."""
    return value.shape[max(0, len(value.shape) - len(shape) + 2) :]


def _everywhere(boxes: Boxes, shape: tuple[int, ...]) -> Boxes:
    """Boxes as large as a map."""
    return Boxes(torch.zeros(len(boxes.starts), len(shape), dtype=torch.long), shape, shape)


@dataclass(frozen=True, eq=False)
class Norm:
    """One input with a map; what else there is belongs to channels."""

    operation: Operation

    @classmethod
    def of(cls, operation: Operation) -> "Norm | None":
        """The rule, if nothing but the first input depends on what is explained."""
        return cls(operation) if not any(v.depends for v in operation.slots[1:]) else None

    def felt(self, dirty: Dirty) -> Boxes:
        """Where the input is felt."""
        return dirty[self.operation.slots[0]]

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """The operation on a crop of the input."""
        first = self.operation.slots[0]

        def read(value: Value) -> Tensor:
            return reader.crop(value, boxes) if value is first else value.tensor

        return self.operation.again(read)
