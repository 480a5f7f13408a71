"""Take fused operations on a tape apart, for rules that must see what is inside.

Attention is recorded as the one kernel it runs as, which is fastest, and whose adjoint is known.
A relevance rule has to tell its weights from its values: it reads the expanded tape, where
attention is two products and a softmax.
"""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.tape.operations import Operation, decomposition
from pellucid.tape.record import Tape, remembered
from pellucid.tape.recorder import Recorder

FUSED = {"_scaled_dot_product_flash_attention_for_cpu"}


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float = 0.0,
    causal: bool = False,
    **rest: Any,
) -> tuple[Tensor, ...]:
    """Attention as two products and a softmax, in half as many operations as torch takes."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    plain = not dropout and not causal and rest.get("attn_mask") is None
    given = decomposition(kernel)
    if given is not None and not (plain and query.shape[:-2] == key.shape[:-2]):
        found: tuple[Tensor, ...] = given(query, key, value, dropout, causal, **rest)
        return found
    q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value))
    scale = rest.get("scale") or query.shape[-1] ** -0.5
    weights = (torch.bmm(q, k.transpose(1, 2)) * scale).softmax(-1)
    return (torch.bmm(weights, v).reshape(*query.shape[:-1], value.shape[-1]),)


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
        results = operation.again(run=attention)
    ended = recorder.value_of(results[0])
    for part in recorder.operations:
        part.number = operation.number
        if ended in part.outputs:
            part.outputs = [operation.output if out is ended else out for out in part.outputs]
            position = part.outputs.index(operation.output)
            operation.output.made_by(weakref.ref(part), position, part.carries)
    yield from recorder.operations
