"""Half precision: what lies between reference and input is computed in single precision.

A difference of two results of a half has few digits left, where both are near. What a function
does on the way from reference to input is asked of the same operations in single precision.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pellucid.tape.operations import Operation, Value

HALVES = {torch.float16, torch.bfloat16}


def has_half(values: Iterable[Value | None]) -> bool:
    """Whether one of the values is of half precision."""
    return any(value is not None and value.dtype in HALVES for value in values)


def single(tensor: Tensor) -> Tensor:
    """A tensor in single precision at least."""
    return tensor.float() if tensor.dtype in HALVES else tensor


def again(operation: Operation, read: Callable[[Value], Tensor]) -> list[Tensor]:
    """Run an operation on other values, and no part of it in half precision.

    What was drawn is drawn in the type it was drawn in: in another type it is something else.
    """
    if operation.random is not None:
        return operation.again(lambda value: read(value).to(value.dtype))
    if operation.name == "_to_copy" and operation.output.dtype in HALVES:
        return [single(read(operation.slots[0]))]
    return operation.again(lambda value: single(read(value)))
