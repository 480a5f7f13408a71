"""Where a tape has what patterns are about: weights, sums of two signals, rectifiers, factors."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.propagate.canonize import NORMS, folded_norms
from pellucid.propagate.forms import Form, form_of
from pellucid.propagate.linear import Linear
from pellucid.propagate.patterns.affine import (
    SUMS,
    VIEWS,
    Affine,
    factors,
    moved_axis,
    product_axis,
)
from pellucid.propagate.patterns.neurons import Addition, AdditionWiring
from pellucid.propagate.regions import regions
from pellucid.tape.adjoints import CONVOLUTIONS, adjoint, is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# These choose what is least likely to come to a rectifier that follows as more than zero.
SMALLEST = {"min", "amin"}
# These put new axes before those that there are.
JOINING = SUMS | {"mul", "div", "expand", "stack"}


@dataclass(frozen=True, eq=False)
class Places:
    """The operations of a run by what patterns make of them.

    `weighted` have weights, and perhaps a norm of `folded` behind them; `sums` add or subtract two
    signals, in the order in which they ran; `forms` are known activations, by number; of the values
    in `rectified`, the elements that are not zero there go into a rectifier.
    """

    weighted: dict[Operation, Affine]
    folded: set[Operation]
    sums: dict[Operation, int]
    forms: dict[int, Form]
    rectified: dict[Value, Tensor]

    @classmethod
    def of(cls, tape: Tape, ends: Collection[Value] = ()) -> "Places":
        """Read a tape; a walk that ends between an operation and its norm keeps them apart."""
        operations = tape.recorder.operations
        norms = {op: norm for op, norm in folded_norms(tape).items() if op.output not in ends}
        readers: dict[Value, list[Operation]] = {}
        for op in operations:
            for value in op.slots:
                readers.setdefault(value, []).append(op)
        weighted = {
            op: Affine.of(Linear(operation=op, norm=norms.get(op)), readers)
            for op in operations
            if _has_weights(op)
        }
        forms = regions(tape, tape.entries)
        for op in operations:
            form = forms.get(op.number) or form_of(op)
            if form is not None:
                forms[op.number] = form
        sums = [op for op in operations if op.number not in forms and _adds(op)]
        folded = {norms[op] for op in weighted if op in norms}
        numbers = {op: i for i, op in enumerate(sums)}
        return cls(weighted, folded, numbers, forms, _rectified(operations, forms))

    def rectified_outputs(self, operation: Operation) -> Tensor:
        """For each output of an operation with weights, or channel of a sum: is it rectified.

        It is if a rectifier reads it at some position, with or without a norm on the way.
        """
        affine = self.weighted.get(operation)
        value = operation.output if affine is None else affine.output
        axis = _channel_axis(operation) if affine is None else affine.place
        found = self.rectified.get(value)
        if found is None:
            return torch.zeros(value.shape[axis], dtype=torch.bool)
        return (found != 0).movedim(axis, 0).flatten(1).any(1)


def sum_of(operation: Operation) -> Addition:
    """The first of two signals that are added, as neurons of one weight for each channel."""
    y = operation.output.tensor
    x = operation.slots[0].tensor * factors(operation)[0]
    axis = _channel_axis(operation)
    wiring = AdditionWiring(shape=torch.Size([y.shape[axis]]))
    wide_enough = torch.promote_types(y.dtype, torch.float32)
    x, y = (each.expand(y.shape).to(wide_enough) for each in (x, y))
    return Addition(x=x, y=y, wiring=wiring, axis=axis)


def along_channels(operation: Operation, each: Tensor) -> Tensor:
    """A number for each channel, shaped so that it broadcasts over the sum."""
    shape = [1] * len(operation.output.shape)
    shape[_channel_axis(operation)] = len(each)
    return each.reshape(shape)


def channels(operation: Operation) -> int:
    """How many channels a sum has."""
    return operation.output.shape[_channel_axis(operation)]


def own_factor(operation: Operation) -> float | None:
    """What a signal is multiplied by to which a constant is added; `None` for any other sum."""
    carrying = [value for value in operation.slots if value.carries]
    if operation.name not in SUMS or len(carrying) != 1:
        return None
    return factors(operation)[0 if operation.arguments[0] is carrying[0] else 1]


def factor(operation: Operation) -> Tensor | None:
    """What an operation multiplies each element by; `None` unless it does no more than that."""
    carrying = [value for value in operation.slots if value.carries]
    if kind(operation) not in ("scale", "affine") or len(carrying) != 1:
        return None
    if operation.name in NORMS and is_training_norm(operation):
        return None  # its factors depend on the batch
    others = [value for value in operation.slots if value is not carrying[0]]
    if carrying[0].shape != operation.output.shape or any(value.depends for value in others):
        return None
    ones = torch.ones_like(operation.output.tensor)
    found = adjoint(operation, [ones, *[None] * (len(operation.outputs) - 1)])
    return found[operation.slots.index(carrying[0])]


def _has_weights(operation: Operation) -> bool:
    """Whether it is a linear map with weights that are the same for every input."""
    if kind(operation) != "weighted":
        return False
    return sum(value.depends for value in operation.slots) == 1


def _adds(operation: Operation) -> bool:
    """Whether it adds or subtracts two signals."""
    if operation.name not in SUMS or len(operation.slots) != 2:
        return False
    return bool(operation.output.shape) and all(value.carries for value in operation.slots)


def _channel_axis(operation: Operation) -> int:
    """The axis that the last operation with weights before this one made, the second if none.

    Of two signals the later one tells. Numbers along any axis are numbers that can be fitted: those
    along the channels, too few.
    """
    read, made = _latest(operation), None
    way = [(operation, read)]
    while (made := read.producer) is not None and kind(made) != "weighted" and made.slots:
        read = _latest(made)
        way.append((made, read))
    rank = len(operation.output.shape)
    if made is None or kind(made) != "weighted":
        return min(1, rank - 1)
    is_convolution = made.name in CONVOLUTIONS
    axis: int | None = 1 if is_convolution else product_axis(made)
    for reader, value in reversed(way):
        axis = None if axis is None else _kept_axis(reader, value, axis)
    if axis is not None:
        return axis
    return min(1, rank - 1) if is_convolution else rank - 1


def _latest(operation: Operation) -> Value:
    """Of the signals that an operation reads, of as many axes as its own, the one made last."""
    rank = len(operation.output.shape)
    carrying = [value for value in operation.slots if value.carries]
    whole = [value for value in carrying if len(value.shape) == rank]
    return max(whole or carrying or operation.slots, key=lambda value: value.number)


def _kept_axis(reader: Operation, value: Value, axis: int) -> int | None:
    """Where an axis is after any operation; `None` where it is gone, or hard to tell."""
    moved = moved_axis(reader, value, axis)
    if moved is not None:
        return moved
    before, after = len(value.shape), len(reader.output.shape)
    if reader.name in ("select", "unbind"):
        place = reader.argument(1, reader.keywords.get("dim", 0)) % before
        return None if place == axis else axis - (place < axis)
    if after == before and reader.name not in VIEWS:
        return axis
    if after > before and reader.name in JOINING:
        return axis + after - before
    kept = min(axis, after - 1)  # of what is dropped, the later axes are left
    return kept if after < before and kept > 0 and reader.name not in VIEWS else None


def _rectified(operations: list[Operation], forms: dict[int, Form]) -> dict[Value, Tensor]:
    """The values that go into a rectifier, each with what is positive where it does.

    They come to it by moving alone, or times a positive number; of what is pooled, the largest do.
    """
    made = {value: op for op in operations for value in op.outputs if value is not None}
    found: dict[Value, Tensor] = {}
    for operation in reversed(operations):
        form = forms.get(operation.number)
        if form is not None and form.name == "rectifier":
            entry = _entry(operation, forms, made)
            found[entry] = operation.output.tensor.new_ones(()).expand(entry.shape)
        signals = [None if value is None else found.get(value) for value in operation.outputs]
        if form is None and any(each is not None for each in signals) and _passes(operation):
            for value, signal in zip(operation.slots, adjoint(operation, signals), strict=True):
                if signal is not None and value.carries:
                    on = (signal > 0).to(value.dtype)
                    found[value] = on if value not in found else found[value] + on
    return found


def _passes(operation: Operation) -> bool:
    """Whether all that comes out of an operation is what went in, or that times a constant."""
    if kind(operation) == "scale":
        return factor(operation) is not None
    return kind(operation) == "route" and operation.name not in SMALLEST


def _entry(operation: Operation, forms: dict[int, Form], made: dict[Value, Operation]) -> Value:
    """The value that a rectifier starts from, behind all operations that it is written as."""
    value = operation.slots[forms[operation.number].slot]
    before = made.get(value)
    if before is None or forms[operation.number].shape is None:
        return value
    inside = before.number in forms and forms[before.number].name == "route"
    return _routed(before, forms, made) if inside else value


def _routed(operation: Operation, forms: dict[int, Form], made: dict[Value, Operation]) -> Value:
    value = operation.slots[forms[operation.number].slot]
    before = made.get(value)
    if before is None or before.number not in forms or forms[before.number].name != "route":
        return value
    return _routed(before, forms, made)


def counted(names: list[str]) -> str:
    """Names with how often each occurs: "`gelu` (12), `tanh`"."""
    found = Counter(names)
    return ", ".join(f"`{name}`" + (f" ({n})" if n > 1 else "") for name, n in found.items())
