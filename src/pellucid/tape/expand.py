"""Take fused operations on a tape apart, for rules that must see what is inside.

Attention is recorded as the one kernel it runs as, which is fastest, and whose adjoint is known.
A relevance rule has to tell its weights from its values: it reads the expanded tape, where
attention is two products and a softmax.
"""

import weakref
from collections.abc import Iterator
from dataclasses import replace

import torch

from pellucid.tape.operations import Operation, decomposition
from pellucid.tape.record import Tape, remembered
from pellucid.tape.recorder import Recorder

FUSED = {"_scaled_dot_product_flash_attention_for_cpu"}


def expanded(tape: Tape) -> Tape:
    """The same run, with every fused operation replaced by the operations it is made of.

    They have the number and the layer of the fused one, and end in the same value.
    """
    if not any(operation.name in FUSED for operation in tape.operations):
        return tape
    made = remembered(tape.memory, "expanded", lambda: _expanded(tape.recorder))
    return replace(tape, recorder=made)


def _expanded(recorder: Recorder) -> Recorder:
    made = recorder.copy()
    made.operations = [part for operation in made.operations for part in _parts(operation)]
    return made


def _parts(operation: Operation) -> Iterator[Operation]:
    if operation.name not in FUSED:
        yield operation
        return
    recorder = Recorder()
    recorder.paths = [operation.path]
    for value in operation.slots:
        recorder.adopt(value)
    with torch.no_grad(), recorder:
        results = operation.again(lambda value: value.tensor, run=decomposition(operation.function))
    ended = recorder.value_of(results[0])
    for part in recorder.operations:
        part.number = operation.number
        if ended in part.outputs:
            part.outputs = [operation.output if out is ended else out for out in part.outputs]
            position = part.outputs.index(operation.output)
            operation.output.made_by(weakref.ref(part), position, part.carries)
    yield from recorder.operations
