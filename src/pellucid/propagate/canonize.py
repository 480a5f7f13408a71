"""What is folded into the operation with weights before it: on the tape, never in the model.

That is a batch norm, and a bias that is added in a step of its own, as `x @ w + b` does; and
before a convolution zeros that are put around what it reads, which its own padding could be.
"""

from collections import Counter

import torch

from pellucid.propagate.axes import moved
from pellucid.propagate.linear import constant_of
from pellucid.tape.adjoints import CONVOLUTIONS, is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# Operations that a bias may come behind.
TURNS = {"transpose", "t", "permute"}
MOVES = {*TURNS, "view", "_unsafe_view", "reshape", "squeeze", "unsqueeze"}
NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training"}


def folded_norms(tape: Tape) -> dict[Operation, Operation]:
    """Map each linear operation to the batch norm that may be folded into it.

    That is one with fixed statistics which is all that reads the operation's output.
    """
    readers = _readers(tape)
    pairs = {}
    for norm in tape.operations:
        if norm.name not in NORMS or is_training_norm(norm) or not norm.slots[0].depends:
            continue
        before = norm.slots[0].producer
        if before is None or kind(before) != "weighted" or readers[norm.slots[0]] != 1:
            continue
        if _channel_axis_is_output(before):
            pairs[before] = norm
    return pairs


def folded_biases(tape: Tape) -> dict[Operation, tuple[Operation, bool]]:
    """Map each matrix product to the addition, or subtraction, of its bias.

    It comes with whether elements are there in the order that the product has them in.

    Torch itself takes a linear layer apart like this for some shapes and strides, so whether a bias
    comes in one step or in two says nothing of the network. The bias may come behind operations
    that move whole axes: W x + b is a product, a view and a transposition.
    """
    readers = _readers(tape)
    pairs = {}
    for operation in tape.operations:
        x, moves = _shifted(operation), []
        while x is not None and x.producer is not None and x.producer.name in MOVES:
            moves.append(x.producer)
            x = x.producer.slots[0] if readers[x] == 1 else None
        made = None if x is None or readers[x] != 1 else x.producer
        if made is not None and _takes_bias(made, moves, constant_of(operation)):
            pairs[made] = operation, all(move.name not in TURNS for move in moves)
    return pairs


def folded_paddings(tape: Tape) -> dict[Operation, Operation]:
    """Map each convolution to the padding with zeros, in space, that only it reads.

    Torch pads by itself where both sides differ, so that also this says nothing of the network.
    """
    readers = _readers(tape)
    pairs = {}
    for operation in tape.operations:
        if operation.name not in CONVOLUTIONS or kind(operation) != "weighted":
            continue
        before = operation.slots[0].producer
        if before is not None and readers[operation.slots[0]] == 1 and _pads_with_zeros(before):
            pairs[operation] = before
    return pairs


def _pads_with_zeros(operation: Operation) -> bool:
    """Whether zeros are put around the axes behind batch and channel, and nothing is cut off."""
    if operation.name != "constant_pad_nd" or not operation.slots[0].carries:
        return False
    pads, fill = operation.arguments[1], operation.argument(2, 0)
    spatial = len(pads) // 2 <= len(operation.output.shape) - 2
    return spatial and fill == 0 and all(pad >= 0 for pad in pads)


def _shifted(operation: Operation) -> Value | None:
    """What a constant is added to, or subtracted from, or what is subtracted from a constant."""
    if operation.name not in ("add", "sub") or len(operation.slots) != 2 or operation.keywords:
        return None
    x, constant = sorted(operation.slots, key=lambda value: not value.carries)
    fits = x.carries and not constant.depends and x.shape == operation.output.shape
    return x if fits and constant.dtype == x.dtype else None


def _takes_bias(product: Operation, moves: list[Operation], constant: Value) -> bool:
    """Whether a constant behind a product has one number for each of its outputs, in order.

    The number of the output that an element belongs to is moved as the elements are.
    """
    if product.name not in ("mm", "bmm") or kind(product) != "weighted":
        return False
    shape = product.output.shape
    axis = len(shape) - (1 if product.slots[0].depends else 2)
    numbers = torch.arange(shape[axis])
    ids = numbers.reshape([-1 if place == axis else 1 for place in range(len(shape))])
    for move in reversed(moves):
        found = moved(move, ids)
        if found is None:
            return False
        ids = found[0]
    given = torch.Size([1] * (ids.ndim - len(constant.shape)) + list(constant.shape))
    return given == ids.shape and torch.equal(ids.flatten(), numbers)


def _readers(tape: Tape) -> Counter[Value]:
    """How many operations read each value; the model's own outputs count as read."""
    readers = Counter(value for op in tape.operations for value in op.slots)
    if tape.aimed is not None:
        readers[tape.score_value] += 1
    return readers


def _channel_axis_is_output(operation: Operation) -> bool:
    """Whether axis 1, which the norm scales, is what the weights produce."""
    return operation.name != "bmm" and (operation.name != "mm" or operation.slots[0].depends)
