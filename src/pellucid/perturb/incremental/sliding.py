"""Kernels that slide over a map, run on boxes: convolutions, also transposed, and pooling."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.perturb.incremental.boxes import Boxes, Sliding, cut
from pellucid.perturb.incremental.local import Dirty, Local, Reader, map_of
from pellucid.tape.operations import Operation

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Slide:
    """A convolution, or a maximum, over a neighbourhood: without padding on a crop that has it."""

    operation: Operation
    sliding: Sliding
    compute: Callable[[Reader, Tensor], Tensor]
    fill: float = 0.0

    def felt(self, dirty: Dirty) -> Boxes:
        """Where kernels read the box."""
        return self.sliding.felt(dirty[self.operation.slots[0]], map_of(self.operation.output))

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """The output from what its kernels read, outside of the map the padding."""
        x = self.operation.slots[0]
        return [
            self.compute(reader, reader.crop(x, self.sliding.read(boxes, map_of(x)), self.fill))
        ]


def convolution(operation: Operation, dirty: Dirty) -> Local | None:
    """A convolution with constant weights, also transposed."""
    x, weight, bias, stride, padding, dilation, transposed, _, groups = operation.arguments[:9]
    if x not in dirty or weight.depends or (bias is not None and bias.depends):
        return None
    rank = len(x.shape) - 2
    stride, padding, dilation = (_each(each, rank) for each in (stride, padding, dilation))
    sliding = Sliding(tuple(weight.shape[2:]), stride, padding, dilation)
    zeros = (0,) * rank

    def compute(reader: Reader, crop: Tensor) -> Tensor:
        fixed = (reader.weight(weight), None if bias is None else bias.tensor)
        found: Tensor = aten.convolution(
            crop, *fixed, stride, zeros, dilation, transposed, zeros, groups
        )
        return found

    made = Spread if transposed else Slide
    return made(operation, sliding, compute)


def _each(given: Any, rank: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """One number for each spatial axis, of an argument that may have one for all."""
    given = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not given:
        return default
    return tuple(given) * rank if len(given) == 1 else given


@dataclass(frozen=True, eq=False)
class Spread(Slide):
    """A transposed convolution: each input is spread over a neighbourhood."""

    def felt(self, dirty: Dirty) -> Boxes:
        """What kernels write from the box."""
        boxes, sliding = dirty[self.operation.slots[0]], self.sliding
        found = sliding.read(boxes, map_of(self.operation.output))
        return Boxes.spanning(found.starts, found.ends, found.shape)

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """Spread all inputs that reach the boxes, and cut out what was asked for."""
        x, s = self.operation.slots[0], self.sliding
        stride, padding = torch.tensor(s.stride), torch.tensor(s.padding)
        starts = (boxes.starts + padding - s.reach).div(stride, rounding_mode="floor")
        skipped = boxes.starts - (starts * stride - padding)
        end = skipped.amax(0) + torch.tensor(boxes.size)
        written = -(-(end - s.reach - 1) // stride)  # the last input must reach the end, and more
        size = torch.maximum(written, (end - 1) // stride).clamp(min=0) + 1
        crop = reader.crop(x, Boxes(starts, tuple(size.tolist()), map_of(x)), 0.0)
        return [cut(self.compute(reader, crop), replace(boxes, starts=skipped))]


def max_pool(operation: Operation) -> Local:
    """The largest element under a kernel; outside of the map there is none."""
    rank = int(operation.name[len("max_pool")])
    kernel = _each(operation.arguments[1], rank)
    stride = _each(operation.argument(2, ()), rank, kernel)
    padding = _each(operation.argument(3, 0), rank)
    dilation = _each(operation.argument(4, 1), rank)
    function = aten.max_pool2d_with_indices if rank == 2 else aten.max_pool3d_with_indices

    def compute(_: Reader, crop: Tensor) -> Tensor:
        found: Tensor = function(crop, kernel, stride, (0,) * rank, dilation)[0]
        return found

    sliding = Sliding(kernel, stride, padding, dilation)
    return Slide(operation, sliding, compute, fill=-math.inf)


@dataclass(frozen=True, eq=False)
class Mean(Slide):
    """Average pooling, whose divisor differs where its kernel reaches beyond the map.

    `beyond` says whether the padding counts, `divisor` is that of the user's.
    """

    beyond: bool = True
    divisor: int | None = None

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """Sums over the kernel, each by its divisor."""
        x, s = self.operation.slots[0], self.sliding
        (found,) = super().run(reader, boxes)
        if self.divisor is not None:
            return [found * (math.prod(s.kernel) / self.divisor)]
        places = boxes.indices(found.device)
        for axis, (n, k) in enumerate(zip(map_of(x), s.kernel, strict=True)):
            low = places[axis] * s.stride[axis] - s.padding[axis]
            around = s.padding[axis] if self.beyond else 0
            count = (low + k).clamp(max=n + around) - low.clamp(min=-around)
            found = found * (k / count.to(found)).unsqueeze(1)
        return [found]


def mean_pool(operation: Operation) -> Local:
    """The mean under a kernel."""
    rank = int(operation.name[len("avg_pool")])
    kernel = _each(operation.arguments[1], rank)
    stride = _each(operation.argument(2, ()), rank, kernel)
    padding = _each(operation.argument(3, 0), rank)
    function = {1: aten.avg_pool1d, 2: aten.avg_pool2d, 3: aten.avg_pool3d}[rank]

    def compute(_: Reader, crop: Tensor) -> Tensor:
        found: Tensor = function(crop, kernel, stride)
        return found

    return Mean(
        operation,
        Sliding(kernel, stride, padding, (1,) * rank),
        compute,
        beyond=operation.argument(5, True),
        divisor=operation.argument(6),
    )
