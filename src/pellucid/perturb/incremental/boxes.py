"""Boxes of equal size in a map, one for each window: where the window can be felt."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes over the spatial axes of a map of some `shape`, all of one `size`.

    `starts` has shape (window, axis). What is read for an operation may reach beyond the map.
    """

    starts: Tensor
    size: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def spanning(cls, low: Tensor, high: Tensor, shape: tuple[int, ...]) -> "Boxes":
        """The boxes of one size that hold what lies from `low` up to `high`, inside of the map."""
        end = torch.tensor(shape)
        low, high = low.clamp(min=0), torch.minimum(high, end)
        extents = (high - low).amax(0).clamp(min=1).tolist()
        size = tuple(min(int(a), n) for a, n in zip(extents, shape, strict=True))
        starts = torch.minimum(low, end - torch.tensor(size)).clamp(min=0)
        return cls(starts, size, shape)

    @property
    def ends(self) -> Tensor:
        """The first elements behind the boxes."""
        return self.starts + torch.tensor(self.size)

    @property
    def share(self) -> float:
        """The size of a box as a part of the map."""
        return math.prod(self.size) / max(1, math.prod(self.shape))

    def select(self, windows: Tensor) -> "Boxes":
        """The boxes of some windows."""
        return replace(self, starts=self.starts[windows])

    def union(self, other: "Boxes") -> "Boxes":
        """Boxes that hold both."""
        if other is self or self.same(other):
            return self
        low = torch.minimum(self.starts, other.starts)
        return Boxes.spanning(low, torch.maximum(self.ends, other.ends), self.shape)

    def same(self, other: "Boxes") -> bool:
        """Whether these are the same boxes."""
        return self.size == other.size and torch.equal(self.starts, other.starts)

    def indices(self, device: Any) -> list[Tensor]:
        """For each axis the elements of the boxes, of shape (window, 1, ..., element, 1, ...)."""
        found = []
        for axis, length in enumerate(self.size):
            along = [1] * len(self.size)
            along[axis] = length
            each = self.starts[:, axis].unsqueeze(1) + torch.arange(length)
            found.append(each.reshape(-1, *along).to(device))
        return found


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides over a map, one number for each spatial axis.

    Output o reads the inputs o * stride - padding + k * dilation, for k in range(kernel).
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def reach(self) -> Tensor:
        """The distance from the first input that an output reads to the last."""
        return torch.tensor(self.dilation) * (torch.tensor(self.kernel) - 1)

    def felt(self, boxes: Boxes, shape: tuple[int, ...]) -> Boxes:
        """Where in an output of this shape the inputs in boxes are felt."""
        stride, padding = torch.tensor(self.stride), torch.tensor(self.padding)
        low = -((self.reach - boxes.starts - padding) // stride)  # rounded up
        high = (boxes.ends - 1 + padding).div(stride, rounding_mode="floor") + 1
        return Boxes.spanning(low, high, shape)

    def read(self, boxes: Boxes, shape: tuple[int, ...]) -> Boxes:
        """What is read of an input of this shape for the outputs in boxes, also outside of it."""
        stride, padding = torch.tensor(self.stride), torch.tensor(self.padding)
        size = (torch.tensor(boxes.size) - 1) * stride + self.reach + 1
        starts = boxes.starts * stride - padding
        return Boxes(starts, tuple(size.tolist()), shape)


def table(maps: Tensor) -> Tensor:
    """Maps (sample, channel, *spatial) as rows (sample and place, channel)."""
    return maps.movedim(1, -1).reshape(-1, maps.shape[1])


def from_rows(rows: Tensor, count: int, size: tuple[int, ...]) -> Tensor:
    """Rows (sample and place, channel) as maps (sample, channel, *size), with channels last."""
    return rows.reshape(count, *size, rows.shape[1]).movedim(-1, 1)


def rows_of(boxes: Boxes, samples: Tensor) -> tuple[Tensor, Tensor | None]:
    """The rows of a table that boxes of samples hold, and which of them lie outside of the map.

    Both have shape (window, *size). Those outside are given the nearest row.
    """
    found, outside = samples.reshape(-1, *[1] * len(boxes.size)), None
    reaching = bool((boxes.starts < 0).any()) or bool(
        (boxes.ends > torch.tensor(boxes.shape)).any()
    )
    for places, n in zip(boxes.indices(samples.device), boxes.shape, strict=True):
        inner = places
        if reaching:
            inner = places.clamp(0, n - 1)
            beyond = inner != places
            outside = beyond if outside is None else outside | beyond
        found = found * n + inner
    return found, outside


def cut(maps: Tensor, boxes: Boxes) -> Tensor:
    """From each map the part in its box, which lies inside."""
    here = replace(boxes, shape=tuple(maps.shape[2:]))
    rows, _ = rows_of(here, torch.arange(len(maps), device=maps.device))
    return from_rows(table(maps).index_select(0, rows.flatten()), len(maps), boxes.size)


def paste(rows: Tensor, part: Tensor, boxes: Boxes) -> None:
    """Write parts, each in its box, over the rows of maps; what lies outside is left out."""
    places, outside = rows_of(boxes, torch.arange(len(part), device=part.device))
    source, flat = table(part), places.flatten()
    if outside is not None:
        inside = ~outside.expand(places.shape).flatten()
        flat, source = flat[inside], source[inside]
    rows[flat] = source


def extended(rows: Tensor, boxes: Boxes, count: int) -> Tensor:
    """Rows of boxes in which those outside of the map are what the nearest inside now is."""
    places = torch.arange(count, device=rows.device).reshape(-1, *[1] * len(boxes.size))
    for axis, indices in enumerate(boxes.indices(rows.device)):
        start = boxes.starts[:, axis].reshape(-1, *[1] * len(boxes.size)).to(rows.device)
        inner = indices.clamp(0, boxes.shape[axis] - 1) - start
        places = places * boxes.size[axis] + inner
    return rows.index_select(0, places.flatten())
