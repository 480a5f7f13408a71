"""What is folded into the operation with weights before it: on the tape, never in the model.

That is a batch norm, and a bias that is added in a step of its own, as `x @ w + b` does.
"""

from collections import Counter

from pellucid.tape.adjoints import is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# Operations that cut up or join the axes before the last.
VIEWS = {"view", "_unsafe_view", "reshape"}
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


def folded_biases(tape: Tape) -> dict[Operation, Operation]:
    """Map each matrix product to the addition of its bias.

    Torch itself takes a linear layer apart like this for some shapes and strides, so whether a bias
    comes in one step or in two says nothing of the network.
    """
    readers = _readers(tape)
    pairs = {}
    for operation in tape.operations:
        x = _shifted(operation)
        while x is not None and x.producer is not None and x.producer.name in VIEWS:
            x = x.producer.slots[0] if readers[x] == 1 else None
        made = None if x is None or readers[x] != 1 else x.producer
        if made is not None and _takes_bias(made, operation):
            pairs[made] = operation
    return pairs


def _shifted(operation: Operation) -> Value | None:
    """What a constant for each element of the last axis is added to."""
    if operation.name != "add" or len(operation.slots) != 2 or operation.keywords:
        return None
    x, bias = sorted(operation.slots, key=lambda value: not value.carries)
    width = operation.output.shape[-1:].numel() if operation.output.shape else 0
    along_last = bias.shape[-1:] == (width,) and bias.shape.numel() == width
    fits = x.carries and not bias.depends and along_last and x.shape == operation.output.shape
    return x if fits and bias.dtype == x.dtype else None


def _takes_bias(made: Operation, shift: Operation) -> bool:
    """Whether a product makes the last axis, and has no bias yet."""
    whole = made.output.shape[-1:] == shift.output.shape[-1:]
    return made.name == "mm" and kind(made) == "weighted" and made.slots[0].depends and whole


def _readers(tape: Tape) -> Counter[Value]:
    """How many operations read each value; the model's own outputs count as read."""
    readers = Counter(value for op in tape.operations for value in op.slots)
    if tape.aimed is not None:
        readers[tape.score_value] += 1
    return readers


def _channel_axis_is_output(operation: Operation) -> bool:
    """Whether axis 1, which the norm scales, is what the weights produce."""
    return operation.name != "bmm" and (operation.name != "mm" or operation.slots[0].depends)
