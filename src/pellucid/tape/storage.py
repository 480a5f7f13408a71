"""Pieces of memory, the values that live in them, and how tensors lie there."""

import torch
from torch import Tensor

from pellucid.tape.operations import Value


class Storage:
    """The values that live in one piece of memory; once it was written in part, whole first.

    `objects` are the tensor objects that stand for them, and `memory` is that memory: they are
    held, so that the id of one is not given to another while the recording lasts.
    """

    __slots__ = ("memory", "objects", "values")

    def __init__(self, memory: torch.UntypedStorage | None = None) -> None:
        self.memory = memory
        self.values: list[Value] = []
        self.objects: list[Tensor] = []

    def copy(self) -> "Storage":
        """The same, to which another recorder may add."""
        made = Storage(self.memory)
        made.values, made.objects = list(self.values), list(self.objects)
        return made


def geometry(tensor: Tensor) -> tuple[list[int], list[int], int, torch.dtype]:
    """Shape, strides, offset and type: two tensors on one memory that agree here are the same."""
    return list(tensor.shape), list(tensor.stride()), int(tensor.storage_offset()), tensor.dtype


def strides(tensor: Tensor) -> list[int]:
    """How far apart neighbors are along each axis."""
    return list(tensor.stride())


def covers(tensor: Tensor) -> bool:
    """Whether a tensor is all of its storage, each element once."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return whole and _is_dense(tensor)


def _is_dense(tensor: Tensor) -> bool:
    """Whether no two elements share memory and there are no gaps, in whatever order of axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
