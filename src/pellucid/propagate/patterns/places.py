"""Where a tape has what patterns are about: weights, sums of two signals, rectifiers, factors."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.propagate.canonize import NORMS, folded_norms
from pellucid.propagate.forms import SAME, Form, form_of
from pellucid.propagate.linear import Linear
from pellucid.propagate.patterns.affine import Affine
from pellucid.propagate.patterns.neurons import Addition, AdditionWiring
from pellucid.propagate.regions import regions
from pellucid.tape.adjoints import CONVOLUTIONS, adjoint, is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# Through these an answer comes to a rectifier as it is; of what is pooled, the largest does.
PASSING = SAME | {
    "flatten", "reshape", "_reshape_alias", "contiguous", "max_pool2d_with_indices",
    "max_pool1d_with_indices", "max_pool3d_with_indices", "cat", "copy", "as_strided_scatter",
    "slice_scatter", "select_scatter",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Places:
    """The operations of a run by what patterns make of them.

    `weighted` have weights, and perhaps a norm of `folded` behind them; `sums` add or subtract two
    signals, in the order in which they ran; `forms` are known activations, by number; the values
    of `rectified` go into a rectifier.
    """

    weighted: dict[Operation, Affine]
    folded: set[Operation]
    sums: dict[Operation, int]
    forms: dict[int, Form]
    rectified: set[Value]

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

    def is_rectified(self, operation: Operation) -> bool:
        """Whether a rectifier reads what the operation, with its norm, gives."""
        affine = self.weighted.get(operation)
        return (operation.output if affine is None else affine.output) in self.rectified


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


def factors(operation: Operation) -> tuple[float, float]:
    """What the two signals of a sum are multiplied by."""
    scale = operation.keywords.get("alpha", 1)
    if operation.name == "rsub":
        return -operation.argument(2, scale), 1
    return 1, scale if operation.name == "add" else -scale


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
    if operation.name not in ("add", "sub", "rsub") or len(operation.slots) != 2:
        return False
    return bool(operation.output.shape) and all(value.carries for value in operation.slots)


def _channel_axis(operation: Operation) -> int:
    """The axis that the last operation with weights before this one made, the second if none.

    Numbers along any axis are numbers that can be fitted: those along the channels, too few.
    """
    value, rank = operation.slots[0], len(operation.output.shape)
    while value.producer is not None:
        made = value.producer
        if made.name in CONVOLUTIONS:
            break
        if kind(made) == "weighted":
            return rank - 1
        value = next((slot for slot in made.slots if slot.carries), made.slots[0])
    return min(1, rank - 1)


def _rectified(operations: list[Operation], forms: dict[int, Form]) -> set[Value]:
    """The values that go into a rectifier, as they are."""
    made = {value: op for op in operations for value in op.outputs if value is not None}
    waiting = [
        _entry(op, forms, made)
        for op in operations
        if op.number in forms and forms[op.number].name == "rectifier"
    ]
    found: set[Value] = set()
    while waiting:
        value = waiting.pop()
        producer = made.get(value)
        if value not in found and producer is not None and producer.name in PASSING:
            waiting += _passed(producer, made)
        found.add(value)
    return found


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


def _passed(operation: Operation, made: dict[Value, Operation]) -> list[Value]:
    """What an operation hands on; of what is written over, only what is written."""
    slots = [value for value in operation.slots if value.carries]
    if operation.name == "copy":
        return slots[-1:]
    if "scatter" not in operation.name or len(slots) < 2:
        return slots
    base = made.get(slots[0])
    return slots if base is not None and "scatter" in base.name else slots[1:]


def counted(names: list[str]) -> str:
    """Names with how often each occurs: "`gelu` (12), `tanh`"."""
    found = Counter(names)
    return ", ".join(f"`{name}`" + (f" ({n})" if n > 1 else "") for name, n in found.items())
