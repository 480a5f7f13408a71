"""Run a recorded tape once more under autograd, so that what is walked on it has gradients.

Recording sees tensors below autograd. Replayed, every value is again a function of the inputs and
of the parameters, and a walk made of differentiable steps is one as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape


def replay(tape: Tape, inputs: Sequence[Tensor]) -> Tape:
    """Compute all values of a tape again, from these tensors in the place of its inputs.

    The values are those it had, with gradients; they take the place of the old ones, and so does
    the score. Parameters that the recorded run read take part as they are.
    """
    with torch.enable_grad():
        for entry, leaf in zip(tape.entries, inputs, strict=True):
            entry.keep(leaf.clone())
        for operation in tape.operations:
            for value, result in zip(operation.outputs, _results(operation), strict=True):
                if value is not None and value.depends:
                    value.keep(result)
    if tape.aimed is None:
        return tape
    outcome = replace(tape.outcome, score=tape.score_value.tensor)
    return replace(tape, aimed=replace(tape.aimed, outcome=outcome))


def _results(operation: Operation) -> list[Tensor]:
    """The results of an operation, all of them with gradients.

    Autograd gives none to the statistics that norms return beside their result: those are computed
    by the operations that torch says a norm is made of.
    """
    if operation.name == "as_strided_scatter":
        return operation.again(run=_written_over)
    if operation.name == "view":  # fused attention, taken apart, leaves another order in memory
        return operation.again(run=torch.reshape)
    if "norm" in operation.name and sum(value is not None for value in operation.outputs) > 1:
        return operation.again(_apart, run=_written_out(operation.function))
    return operation.again()


def _apart(value: Value) -> Tensor:
    """A value, or a copy of what is none of the program's parameters: norms write to buffers."""
    constant = not value.depends and not value.tensor.requires_grad
    return value.tensor.clone() if constant else value.tensor


def _written_over(
    whole: Tensor, part: Tensor, size: Sequence[int], stride: Sequence[int], offset: int
) -> Tensor:
    """A write to a part of memory; what autograd has for the call itself is wrong (torch 2.13)."""
    copied = whole.new_empty_strided(whole.shape, whole.stride()).copy_(whole)
    copied.as_strided(size, stride, offset).copy_(part)
    return copied


def _written_out(function: Any) -> Callable[..., Any] | None:
    """An ATen call in terms of others, also of those that recording keeps whole."""
    from torch._decomp import get_decompositions  # takes a moment

    found: Callable[..., Any] | None = get_decompositions([function]).get(function)
    return found
