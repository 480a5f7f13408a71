"""Two recordings of one program, at an input and at its reference, operation by operation.

The program runs twice rather than once on both as one batch: samples may be on any axis, may be
folded into another, and may share statistics, and none of that matters to two runs that took the
same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

HINT = (
    "It decides by its data what to run: choose a baseline that takes the way of the inputs, or a "
    "method that reads one run, such as lrp."
)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The operations of a recording with those of another one, and the values of both."""

    partners: dict[Operation, Operation]
    entries: dict[Value, Value]
    consume: bool = False

    @classmethod
    def of(cls, tape: Tape, reference: Tape, *, consume: bool = False) -> "Pairs":
        """Pair two recordings; an error if they did not take the same way.

        `consume` lets go of the operations of the reference one by one.
        """
        ends, starts = _carrying(tape.operations), _carrying(reference.operations)
        _check_way(ends, starts)
        if consume:
            for _ in reference.consume():  # lets go of all but what is listed here
                pass
        entries = dict(zip(tape.entries, reference.entries, strict=True))
        return cls(dict(zip(ends, starts, strict=True)), entries, consume)

    def partner(self, operation: Operation) -> Operation:
        """The operation of the reference."""
        found = self.partners[operation]
        _check_shapes(operation, found)
        return found

    def release(self, operation: Operation) -> None:
        """Let go of the operation of the reference, if the recording may be used up."""
        if self.consume:
            del self.partners[operation]

    def start(self, value: Value) -> Tensor:
        """What a value is at the reference."""
        producer = value.producer
        if producer is None:
            return self.entries[value].tensor if value in self.entries else value.tensor
        return self.partners[producer].result(value.position).tensor

    def difference(self, value: Value) -> Tensor:
        """How far a value is from the reference."""
        return distance(value.tensor, self.start(value))


def distance(end: Tensor, start: Tensor) -> Tensor:
    """End - start, and nothing between two infinities that are the same."""
    apart = end - start
    # A sum is not a number if an element is none; it is found without a mask.
    return apart.masked_fill_(end == start, 0) if apart.sum().isnan() else apart


def differ(operation: Operation, partner: Operation) -> list[bool]:
    """For every slot that carries no signal, whether it is another one in the two runs."""
    pairs = zip(operation.slots, partner.slots, strict=True)
    return [not end.carries and not _is_same(end, start) for end, start in pairs]


def _is_same(end: Value, start: Value) -> bool:
    a, b = end.tensor, start.tensor
    if a.shape != b.shape:
        return False
    if a is b or a.layout is not torch.strided:  # a sparse weight has no elements to compare
        return a is b
    return a.data_ptr() == b.data_ptr() or torch.equal(a, b) or _is_alike(a, b)


def _is_alike(a: Tensor, b: Tensor) -> bool:
    """Whether two constants are equal but for what is no number in both."""
    return a.is_floating_point() and torch.equal(a.nan_to_num(), b.nan_to_num())


def _carrying(operations: list[Operation]) -> list[Operation]:
    """Those that a signal can pass: a run that autograd follows has a few more of others."""
    return [operation for operation in operations if operation.carries]


def _check_way(ends: list[Operation], starts: list[Operation]) -> None:
    """Raise at the first operation that is another one in the two runs."""
    for end, start in zip(ends, starts, strict=False):
        if (end.name, end.path) != (start.name, start.path):
            raise _astray(_named(end), _named(start))
    if len(ends) != len(starts):
        longer = ends if len(ends) > len(starts) else starts
        found = [_named(longer[min(len(ends), len(starts))]), "its end"]
        raise _astray(*(found if longer is ends else found[::-1]))


def _check_shapes(operation: Operation, partner: Operation) -> None:
    """Raise if the two runs cut or joined what carries signals in different ways."""
    for ends, starts in (
        (operation.slots, partner.slots),
        (operation.outputs, partner.outputs),
    ):
        shapes = [_shapes(ends), _shapes(starts)]
        if shapes[0] != shapes[1]:
            raise _astray(
                f"{_named(operation)} of {shapes[0]}", f"{_named(partner)} of {shapes[1]}"
            )
    if _whole_numbers(operation.arguments) != _whole_numbers(partner.arguments):
        raise _astray(f"{_named(operation)} of one part", "of another part")


def _shapes(values: Sequence[Value | None]) -> list[list[int]]:
    return [list(value.shape) for value in values if value is not None and value.carries]


def _whole_numbers(arguments: Any) -> list[int]:
    """The whole numbers among the arguments of a call: axes, shapes and places."""
    if isinstance(arguments, int):
        return [arguments]
    if isinstance(arguments, list | tuple):
        return [number for argument in arguments for number in _whole_numbers(argument)]
    return []


def _astray(end: str, start: str) -> ModelError:
    return ModelError(
        "The model must take the same way through its operations for the inputs and the baseline",
        found=f"{end} for the inputs, and {start} for the baseline",
        hint=HINT,
    )


def _named(operation: Operation) -> str:
    return f"`{operation.name}` in `{operation.path or 'the model itself'}`"
