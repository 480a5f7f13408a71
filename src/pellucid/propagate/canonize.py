"""Batch norm folded into the linear operation before it: on the tape, never in the model."""

from collections import Counter

from pellucid.tape.adjoints import is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

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


def _readers(tape: Tape) -> Counter[Value]:
    """How many operations read each value; the model's own outputs count as read."""
    readers = Counter(value for op in tape.operations for value in op.slots)
    if tape.aimed is not None:
        readers[tape.score_value] += 1
    return readers


def _channel_axis_is_output(operation: Operation) -> bool:
    """Whether axis 1, which the norm scales, is what the weights produce."""
    return operation.name != "bmm" and (operation.name != "mm" or operation.slots[0].depends)
