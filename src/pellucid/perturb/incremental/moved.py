"""Maps whose elements move: enlarged, padded, or with an axis more or less; run on boxes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.perturb.incremental.boxes import Boxes, cut
from pellucid.perturb.incremental.local import Dirty, Local, Norm, Reader, map_of
from pellucid.tape.operations import Operation


@dataclass(frozen=True, eq=False)
class Enlarge:
    """Every element becomes a block of elements; those of neighbours are mixed if it is smooth."""

    operation: Operation
    factors: tuple[int, ...]
    mode: str

    @classmethod
    def of(cls, operation: Operation) -> "Enlarge | None":
        """The rule, where the map grows by whole numbers and corners are not aligned."""
        x, out = operation.slots[0], operation.output
        smooth = "nearest" not in operation.name
        pairs = list(zip(map_of(x), map_of(out), strict=True))
        if any(b % a for a, b in pairs) or (smooth and operation.argument(2)):
            return None
        factors = tuple(b // a for a, b in pairs)
        scales = [each for each in operation.arguments[2:] if isinstance(each, float)]
        if any(scale not in factors for scale in scales):
            return None
        mode = operation.name.removeprefix("upsample_").rstrip("123d")
        mode = mode if smooth else "nearest"  # exact or not, if maps grow by whole numbers
        return cls(operation, factors, mode)

    @property
    def _margin(self) -> int:
        return {"nearest": 0, "bicubic": 2}.get(self.mode, 1)

    def felt(self, dirty: Dirty) -> Boxes:
        """The blocks of the box, and those of its neighbours."""
        boxes, factors = dirty[self.operation.slots[0]], torch.tensor(self.factors)
        low, high = boxes.starts - self._margin, boxes.ends + self._margin
        return Boxes.spanning(low * factors, high * factors, map_of(self.operation.output))

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """Enlarge a crop with its neighbours, and cut out what was asked for."""
        factors = torch.tensor(self.factors)
        x, size = self.operation.slots[0], torch.tensor(boxes.size)
        starts = boxes.starts.div(factors, rounding_mode="floor") - self._margin
        skipped = boxes.starts - starts * factors
        blocks = -(-(skipped.amax(0) + size) // factors) + self._margin
        crop = reader.crop(x, Boxes(starts, tuple(blocks.tolist()), map_of(x)))
        smooth = {} if self.mode == "nearest" else {"align_corners": False}
        large = interpolate(
            crop, scale_factor=tuple(map(float, self.factors)), mode=self.mode, **smooth
        )
        return [cut(large, replace(boxes, starts=skipped))]


@dataclass(frozen=True, eq=False)
class Moved:
    """The same elements at other places: of constant padding, or of an axis of length one."""

    operation: Operation
    move: Callable[[Boxes], Boxes]
    back: Callable[[Boxes], Boxes]
    reshape: Callable[[Tensor], Tensor] = lambda maps: maps
    fill: float | None = None

    def felt(self, dirty: Dirty) -> Boxes:
        """The boxes, moved."""
        return self.move(dirty[self.operation.slots[0]])

    def run(self, reader: Reader, boxes: Boxes) -> list[Tensor]:
        """The elements that come to the boxes."""
        x = self.operation.slots[0]
        return [self.reshape(reader.crop(x, self.back(boxes), self.fill))]


def padding(operation: Operation) -> Local | None:
    """A constant around the map."""
    x, widths = operation.slots[0], list(operation.arguments[1])
    widths += [0] * (2 * len(x.shape) - len(widths))
    low, high = widths[::2][::-1], widths[1::2][::-1]
    if min(widths) < 0 or any(low[:2]) or any(high[:2]):
        return None
    before, shape = torch.tensor(low[2:]), map_of(operation.output)
    return Moved(
        operation,
        lambda boxes: Boxes(boxes.starts + before, boxes.size, shape),
        lambda boxes: Boxes(boxes.starts - before, boxes.size, map_of(x)),
        fill=float(operation.argument(2, 0.0)),
    )


def unsqueeze(operation: Operation) -> Local | None:
    """A new axis of length one among the spatial ones."""
    axis = operation.argument(1) % len(operation.output.shape)
    if axis < 2:
        return None
    return Moved(
        operation,
        lambda boxes: _with_axis(boxes, axis - 2),
        lambda boxes: _without_axis(boxes, axis - 2),
        lambda maps: maps.unsqueeze(axis),
    )


def squeeze(operation: Operation) -> Local | None:
    """A spatial axis of length one goes."""
    x, given = operation.slots[0], operation.argument(1)
    given = given[0] if isinstance(given, list) and len(given) == 1 else given
    if not isinstance(given, int) or given % len(x.shape) < 2:
        return None
    axis = given % len(x.shape)
    if x.shape[axis] != 1:
        return Norm.of(operation)
    return Moved(
        operation,
        lambda boxes: _without_axis(boxes, axis - 2),
        lambda boxes: _with_axis(boxes, axis - 2),
        lambda maps: maps.squeeze(axis),
    )


def _with_axis(boxes: Boxes, axis: int) -> Boxes:
    columns = list(boxes.starts.unbind(1))
    columns.insert(axis, torch.zeros_like(columns[0]))
    size, shape = ((*each[:axis], 1, *each[axis:]) for each in (boxes.size, boxes.shape))
    return Boxes(torch.stack(columns, 1), size, shape)


def _without_axis(boxes: Boxes, axis: int) -> Boxes:
    columns = list(boxes.starts.unbind(1))
    columns.pop(axis)
    size, shape = ((*each[:axis], *each[axis + 1 :]) for each in (boxes.size, boxes.shape))
    return Boxes(torch.stack(columns, 1), size, shape)
