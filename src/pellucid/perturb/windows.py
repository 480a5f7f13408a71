"""Windows that slide over an input: where they lie, what they cover, and means over overlaps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.options import whole
from pellucid.pooling import channels_last

# One number for every spatial axis, or one for each axis after the batch.
Extent: TypeAlias = int | Sequence[int] | None

# An axis that no window is given for is covered by windows of this part of it; columns of a table
# and tokens, of shape (batch, feature), by windows of one.
PART = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """All windows of one input tensor, over its axes after the batch.

    `shape` is that of one sample, with one channel where channels go together; `size` and `stride`
    have one number for each of its axes. There are ceil((n - size) / stride) + 1 windows on an
    axis of length n, or one if that is less; the last may reach beyond the end.

    >>> windows = Windows(shape=(5,), size=(2,), stride=(2,))
    >>> windows.counts, windows.starts(torch.arange(3)).tolist()
    ((3,), [[0], [2], [4]])
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(
        cls,
        leaf: Tensor,
        window: Extent,
        stride: Extent,
        label: str = "inputs",
        *,
        cut: bool = False,
    ) -> "Windows":
        """The windows that these options mean on an input of shape (batch, ...).

        With `cut`, a number that is too large is the length of the axis.
        """
        shape = tuple(leaf.shape[1:])
        channel = _channel(leaf) if not isinstance(window, tuple) else None
        spatial = tuple(n for axis, n in enumerate(shape) if axis != channel)
        sizes = _extents(window, spatial, "window", label)
        if sizes is None:
            sizes = tuple(1 if leaf.ndim == 2 else -(-n // PART) for n in spatial)
        if cut and isinstance(window, int):
            sizes = tuple(min(size, n) for size, n in zip(sizes, spatial, strict=True))
        _check_size(sizes, spatial, label)
        steps = _extents(stride, shape if isinstance(stride, tuple) else spatial, "stride", label)
        if steps is None:
            steps = tuple(-(-n // 2) for n in sizes)
        if channel is not None:
            if len(steps) == len(shape):
                steps = _without(steps, channel)
            shape, sizes, steps = (_with_one(each, channel) for each in (spatial, sizes, steps))
        return cls(shape=shape, size=sizes, stride=steps)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of windows on each axis."""
        axes = zip(self.shape, self.size, self.stride, strict=True)
        return tuple(max(0, -(-(n - size) // stride)) + 1 for n, size, stride in axes)

    @property
    def total(self) -> int:
        """The number of windows."""
        return math.prod(self.counts)

    @property
    def leave_gaps(self) -> bool:
        """Whether there are elements that no window covers."""
        return any(bool((covered.sum(0) == 0).any()) for covered in self._covers)

    def places(self, numbers: Tensor) -> Tensor:
        """The place of windows in the grid of all, of shape (window, axis)."""
        found = torch.empty(len(numbers), len(self.counts), dtype=torch.long)
        for axis in reversed(range(len(self.counts))):
            found[:, axis] = numbers % self.counts[axis]
            numbers = numbers // self.counts[axis]
        return found

    def starts(self, numbers: Tensor) -> Tensor:
        """The first element of windows on each axis, of shape (window, axis)."""
        return self.places(numbers) * torch.tensor(self.stride, dtype=torch.long)

    def members(self, numbers: Tensor) -> Tensor:
        """Which elements windows cover, of shape (window, *shape)."""
        places = self.places(numbers)
        found = torch.ones(len(numbers), *[1] * len(self.shape), dtype=torch.bool)
        for axis, covered in enumerate(self._covers):
            along = [1] * len(self.shape)
            along[axis] = self.shape[axis]
            found = found & covered[places[:, axis]].reshape(len(numbers), *along)
        return found.expand(-1, *self.shape)

    def average(self, values: Tensor) -> Tensor:
        """For each element, the mean of the windows that cover it; 0 where none does.

        `values` has shape (sample, window), the result (sample, *shape).
        """
        found = values.reshape(len(values), *self.counts)
        for axis, covered in enumerate(self._covers):
            share = covered.to(found) / covered.sum(0).clamp(min=1).to(found)
            found = torch.tensordot(found, share, ([axis + 1], [0])).movedim(-1, axis + 1)
        return found

    @cached_property
    def _covers(self) -> list[Tensor]:
        """For each axis, which elements a window covers, of shape (window, element)."""
        found = []
        axes = zip(self.shape, self.size, self.stride, self.counts, strict=True)
        for n, size, stride, count in axes:
            start = (torch.arange(count) * stride).unsqueeze(1)
            element = torch.arange(n)
            found.append((element >= start) & (element < start + size))
        return found


def _channel(leaf: Tensor) -> int | None:
    """The axis after the batch on which channels are, that go together; none of a table."""
    if leaf.ndim < 3:
        return None
    return leaf.ndim - 2 if channels_last(leaf.shape[1:]) else 0


def _with_one(lengths: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*lengths[:axis], 1, *lengths[axis:])


def _without(lengths: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*lengths[:axis], *lengths[axis + 1 :])


def checked(extent: Any, name: str) -> "int | tuple[int, ...] | None":
    """A number or numbers of elements, all at least one; with lists as tuples."""
    if extent is None:
        return None
    if isinstance(extent, list | tuple):
        return tuple(whole(each, name) for each in extent)
    return whole(extent, name)


def _extents(
    extent: Extent, shape: tuple[int, ...], name: str, label: str
) -> tuple[int, ...] | None:
    """One number for each axis."""
    if extent is None or isinstance(extent, int):
        return None if extent is None else (extent,) * len(shape)
    if len(extent) != len(shape):
        raise InputError(
            f"`{name}` must be a whole number, or one for each of the {len(shape)} axes of "
            f"`{label}` after the batch",
            found=f"{len(extent)} numbers, {tuple(extent)}",
            hint="A number counts for every spatial axis, and channels go together.",
        )
    return tuple(extent)


def _check_size(sizes: tuple[int, ...], shape: tuple[int, ...], label: str) -> None:
    if any(size > n for size, n in zip(sizes, shape, strict=True)):
        raise InputError(
            f"`window` must not be larger than a sample of `{label}`, of {list(shape)}",
            got=tuple(sizes),
            hint="A window as large as the sample occludes all of it.",
        )
