"""A model that counts: calls, rows, rows alive at once; and one that runs out of memory."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Counting(nn.Module):
    """Passes inputs on to a model, and remembers how many rows each call had.

    `most_alive` is the largest number of rows, of this and earlier calls, that were held at once.
    """

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.calls: list[int] = []
        self.alive: dict[int, int] = {}
        self.most_alive = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        self._watch(x)
        out = self.model(x)
        self._watch(out)
        return out

    def _watch(self, tensor: Tensor) -> None:
        key = id(tensor)
        self.alive[key] = len(tensor)
        weakref.finalize(tensor, self.alive.pop, key, None)
        self.most_alive = max(self.most_alive, sum(self.alive.values()))


class Limited(Counting):
    """Runs out of memory on more than `most` rows."""

    def __init__(self, model: Callable[[Tensor], Tensor], most: int, error: Exception) -> None:
        super().__init__(model)
        self.most = most
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise self.error
        return super().forward(x)


def out_of_memory() -> list[Exception]:
    """What the devices raise."""
    return [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError(),
    ]
