"""Which element of an integer input each integer on the tape is.

Token ids are moved around before they are embedded: cut, shifted, joined with special tokens,
flattened, given an offset. Moving their positions in the same way says which token an embedding
is read for.
"""

import torch
from torch import Tensor

from pellucid.tape.operations import CARRYING, STOPS, Operation, Value
from pellucid.tape.record import Tape

aten = torch.ops.aten

# What stands for an integer that is no element of the input.
NOWHERE = -1

# Operations whose first argument is moved, and whose further integers say where.
INDEXED = {"index", "index_select", "gather", "take"}
# Operations that move every integer they are given.
MOVING = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "alias", "clone",
    "contiguous", "lift_fresh", "flatten", "t", "transpose", "permute", "expand", "select", "slice",
    "flip", "roll", "unfold", "repeat", "split", "split_with_sizes", "unsafe_split", "unbind",
    "as_strided", "as_strided_scatter", "slice_scatter", "select_scatter", "cat", "stack", "copy",
    "diagonal", "where",
}  # fmt: skip
# Operations that change an integer and leave it where it is.
SHIFTING = {
    "add", "sub", "rsub", "mul", "clamp", "clamp_min", "clamp_max", "remainder", "fmod",
    "maximum", "minimum", "masked_fill", "floor_divide", "abs", "bitwise_and", "bitwise_or",
    "bitwise_xor", "index_put", "where", "_to_copy",
}  # fmt: skip


def origins(tape: Tape, entry: Value) -> dict[Value, Tensor]:
    """The position in `entry`, counted over all its elements, of every element of each value."""
    count = torch.arange(entry.shape.numel(), device=entry.tensor.device)
    found = {entry: count.reshape(entry.shape)}
    for operation in tape.operations:
        if not any(value in found for value in operation.slots):
            continue
        pairs = zip(operation.outputs, _moved(operation, found), strict=False)
        found |= {value: places for value, places in pairs if value is not None}
    return found


def _moved(operation: Operation, found: dict[Value, Tensor]) -> list[Tensor]:
    """The positions at the outputs of one operation; none behind what is not followed."""
    name = operation.name
    followed = [value for value in operation.slots if value in found]
    if name in SHIFTING and _is_one_place(followed, found):
        return [found[followed[0]].expand(operation.output.shape)]
    if name == "constant_pad_nd":
        return [aten.constant_pad_nd(found[followed[0]], operation.arguments[1], NOWHERE)]
    if name in INDEXED and operation.slots[0] in found:
        first = operation.slots[0]
        return operation.again(lambda value: found[first] if value is first else value.tensor)
    if name in MOVING:
        return operation.again(lambda value: _places(value, found))
    return []


def _places(value: Value, found: dict[Value, Tensor]) -> Tensor:
    if value in found:
        return found[value]
    data = value.tensor
    return data if data.dtype is torch.bool else torch.full_like(data, NOWHERE, dtype=torch.long)


def _is_one_place(followed: list[Value], found: dict[Value, Tensor]) -> bool:
    """Whether integers that meet come from one element; those of two are no element any more."""
    first = found[followed[0]]
    return all(found[value].shape == first.shape and torch.equal(found[value], first)
               for value in followed[1:])  # fmt: skip


def touched(tape: Tape, entry: Value) -> set[Value]:
    """All values that integers of an input get to in any way, behind which a signal could go on."""
    found = {entry}
    for operation in tape.operations:
        if operation.name not in STOPS and any(value in found for value in operation.slots):
            found.update(v for v in operation.outputs if v is not None and v.dtype not in CARRYING)
    return found
