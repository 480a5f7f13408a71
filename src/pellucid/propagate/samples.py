"""Which sample each element of a value belongs to, so that books are kept for every sample.

Samples need not be on the first axis: tokens and heads are folded into it, sequences come before
it. Where they are is followed from the inputs to the score, mostly by the shapes alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.propagate.axes import moved
from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import carriers

# What stands for an element that belongs to no sample, such as padding.
NOBODY = -1
# Sample n is moved around as MARK + n, a number that no constant of a model is likely to be.
MARK = 2.0**40 + 0.25
# Moving operations that leave every element where it is, up to broadcasting.
STAYING = {"_to_copy", "clone", "alias", "contiguous", "lift_fresh", "masked_fill", "where"}
# Products of matrices, or of batches of them.
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}
# Those that put together what lies along an axis, or the last ones, and keep the shape.
ALONG_AXES = {
    "_softmax", "_safe_softmax", "_log_softmax", "native_layer_norm", "_fused_rms_norm", "cumsum",
}  # fmt: skip
# Those that put together channels and places, or places, of what lies on the first axis.
BEHIND = (*CONVOLUTIONS, "max_pool", "avg_pool", "_adaptive_avg_pool", "adaptive_", "upsample")
# Those that choose by value along the axis `dim`, or of all elements.
CHOOSING = {
    "sort", "topk", "kthvalue", "median", "nanmedian", "mode", "max", "min", "amax", "amin",
    "aminmax", "cummax", "cummin",
}  # fmt: skip
# Those that read the memory of their argument, whatever its shape.
STRIDED = {"as_strided", "as_strided_scatter"}


class MixedError(Exception):
    """A value has an element that depends on several samples."""


@dataclass(frozen=True)
class Samples:
    """To which of `count` samples the elements of one value belong.

    `ids` has the axes of the value, of length one where the sample does not change. It is `None`
    of one sample, or where samples are mixed; then all is summed.
    """

    count: int = 1
    ids: Tensor | None = None

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum for each sample, of shape (sample,), or one sum of shape ().

        In single precision at least; torch adds in blocks, so that many terms do no harm.
        """
        dtype = torch.promote_types(tensor.dtype, torch.float32)
        if self.ids is None:
            return tensor.sum(dtype=dtype)
        if tensor.ndim != self.ids.ndim:
            raise RuntimeError("A sum for each sample must be of a tensor with the value's axes.")
        axes = [axis for axis, length in enumerate(self.ids.shape) if length == 1]
        sums = (tensor.sum(axes, dtype=dtype) if axes else tensor.to(dtype)).flatten()
        if self.in_rows:
            return sums
        return sums.new_zeros(self.count).index_add(0, self.ids.clamp(min=0).flatten(), sums)

    @cached_property
    def in_rows(self) -> bool:
        """Whether sample n is row n of the first axis."""
        ids = self.ids
        if ids is None or ids.shape[:1] != (self.count,) or ids.numel() != self.count:
            return False
        return torch.equal(ids.flatten(), torch.arange(self.count, device=ids.device))


TOGETHER = Samples()


@dataclass(frozen=True)
class Layout:
    """The samples of all values on a tape that carry relevance; none where they are mixed."""

    count: int = 1
    found: dict[Value, Samples] = field(default_factory=dict)

    @classmethod
    def of(cls, tape: Tape) -> "Layout":
        """Follow the samples from the inputs to the score; nothing is to be done for one."""
        rows = tape.inputs.rows
        if rows == 1:
            return cls()
        try:
            ids = _followed(tape, rows)
        except MixedError:
            return cls(rows)
        layout = cls(rows, {value: Samples(rows, found) for value, found in ids.items()})
        score = layout.found.get(tape.score_value)
        return layout if score is None or score.in_rows else cls(rows)

    @property
    def apart(self) -> bool:
        """Whether what is summed is summed for each sample."""
        return bool(self.found)

    def __getitem__(self, value: Value) -> Samples:
        return self.found.get(value, TOGETHER)


def _followed(tape: Tape, rows: int) -> dict[Value, Tensor]:
    """The samples of every value that a signal from the score may come to."""
    found = {}
    for entry in tape.entries:
        if entry.shape[:1] == (rows,):
            ids = torch.arange(rows, device=entry.tensor.device)
            found[entry] = ids.reshape(-1, *[1] * (len(entry.shape) - 1))
    for operation in reversed(carriers(tape)):
        if any(value in found for value in operation.slots):
            outputs = (value if value and value.carries else None for value in operation.outputs)
            found.update(_Step(operation, found, rows).outputs(list(outputs)))
    return found


@dataclass(frozen=True)
class _Step:
    """One operation, and the samples of the values before it."""

    operation: Operation
    found: dict[Value, Tensor]
    rows: int

    def outputs(self, values: list[Value | None]) -> dict[Value, Tensor]:
        """The samples of those outputs that are wanted."""
        known = {value: self._by_shape(value) for value in values if value is not None}
        if any(ids is None for ids in known.values()):
            if self._chooses_among():
                raise MixedError
            moves = kind(self.operation) == "route"
            made = (self._along() or self._moved()) if moves else self._traced()
            known = {
                value: _narrow(ids)
                for value, ids in zip(values, made, strict=False)
                if value is not None
            }
        return {value: ids for value, ids in known.items() if ids is not None}

    @cached_property
    def given(self) -> list[Value]:
        """The slots whose samples are known."""
        return [value for value in self.operation.slots if value in self.found]

    def _by_shape(self, output: Value) -> Tensor | None:
        """The samples of an output of which the shapes tell."""
        name, given = self.operation.name, self.given
        moves = kind(self.operation) == "route" and name not in STAYING
        if moves and not name.startswith(("max_pool", "adaptive_max_pool")):
            return None
        if any(len(value.shape) > len(output.shape) for value in given):
            return None
        ids = _agreed([self.found[value] for value in given], len(output.shape))
        if ids is None or not _fits(ids.shape, output.shape):
            return None
        shapes = [_front(value.shape, len(output.shape)) for value in given]
        alike = all(_fits(shape, output.shape) for shape in shapes)
        return ids if (alike and self._is_by_element()) or self._keeps(ids) else None

    def _is_by_element(self) -> bool:
        """Whether an element of the output reads one of each slot, at its own place."""
        operation = self.operation
        if operation.name in STAYING or kind(operation) in ("pass", "scale", "affine"):
            return True
        return torch.Tag.pointwise in operation.function.tags

    def _keeps(self, ids: Tensor) -> bool:
        """Whether samples do not change along what an operation puts together."""
        name = self.operation.name
        if name in PRODUCTS:
            return not self._contracts()
        if name.startswith(BEHIND):
            return self._is_apart_behind(ids)
        return name in ALONG_AXES and self._is_apart_along(ids)

    def _is_apart_along(self, ids: Tensor) -> bool:
        """Whether samples do not change along the axes that are normalized together."""
        axes = self.operation.arguments[1]
        if isinstance(axes, int):
            return ids.shape[axes] == 1
        return all(length == 1 for length in ids.shape[ids.ndim - len(axes) :])

    def _is_apart_behind(self, ids: Tensor) -> bool:
        """Whether samples do not change along channels and places; of what pools, along places."""
        places = next((int(each) for each in self.operation.name if each.isdigit()), ids.ndim - 1)
        return all(length == 1 for length in ids.shape[ids.ndim - places :])

    def _chooses_among(self) -> bool:
        """Whether elements of several samples compete, so that a mark says not who has won."""
        name, ids = self.operation.name, self.found[self.given[0]]
        if name.startswith(("max_pool", "adaptive_max_pool")):
            return not self._is_apart_behind(ids)
        if name not in CHOOSING or ids.ndim == 0:
            return False
        axes = _named(self.operation, "dim")
        axes = [axes] if isinstance(axes, int) else axes or range(ids.ndim)
        return any(ids.shape[axis] > 1 for axis in axes)

    def _contracts(self) -> bool:
        """Whether a product sums over an axis along which samples change."""
        left, right = self.operation.slots[-2:]
        pairs = ((self.found.get(left), -1), (self.found.get(right), -2))
        return any(ids is not None and ids.shape[axis] > 1 for ids, axis in pairs)

    def _along(self) -> list[Tensor] | None:
        """The samples where whole axes are moved, or `None` if more than that happens."""
        ids = self.found.get(self.operation.slots[0])
        return None if ids is None else moved(self.operation, ids)

    def _moved(self) -> list[Tensor]:
        """The samples themselves, moved by the operation as it moves the elements."""
        strided = self.operation.name in STRIDED

        def read(value: Value) -> Tensor:
            if not value.dtype.is_floating_point and not value.dtype.is_complex:
                return value.tensor
            ids = self.found.get(value)
            device = value.tensor.device if ids is None else ids.device
            marks = torch.full((), 0.0, dtype=torch.float64, device=device)
            marks = marks if ids is None else torch.where(ids == NOBODY, marks, ids.double() + MARK)
            # Some operations misread strides of zero.
            marks = marks.expand(value.shape).contiguous()
            if strided:
                marks = torch.empty_like(value.tensor, dtype=torch.float64).copy_(marks)
            return marks

        return [_read_back(out, self.rows) for out in self._again(read)]

    def _traced(self) -> list[Tensor]:
        """The samples on which each output depends: what is no number before is none behind.

        One bit of the number of the sample at a time: elements of samples that have it, and of
        those that do not, are made no number, and seen again in the output.
        """
        made: list[Tensor] = []
        for bit in range((self.rows - 1).bit_length()):
            pairs = zip(self._depends(bit, 1), self._depends(bit, 0), strict=True)
            for position, (one, zero) in enumerate(pairs):
                if bool((one & zero).any()):
                    raise MixedError
                if bit == 0:
                    made.append(torch.where(one | zero, 0, NOBODY))
                made[position] += one.long() << bit
        return made

    def _depends(self, bit: int, wanted: int) -> list[Tensor]:
        """Where the outputs depend on samples whose number has, or has not, a bit."""

        def read(value: Value) -> Tensor:
            ids = self.found.get(value)
            if ids is None:
                return value.tensor
            chosen = (ids != NOBODY) & ((ids >> bit) & 1 == wanted)
            return torch.where(chosen, torch.nan, value.tensor)

        return [out.isnan() for out in self._again(read)]

    def _again(self, read: Callable[[Value], Tensor]) -> list[Tensor]:
        try:
            return self.operation.again(read)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise MixedError from error


def _named(operation: Operation, name: str) -> Any:
    """The argument of this name, as it was given or by default; `None` if there is none."""
    for place, known in enumerate(operation.function._schema.arguments):
        if known.name == name:
            return operation.argument(place, operation.keywords.get(name, known.default_value))
    return None


def _front(shape: torch.Size, ndim: int) -> torch.Size:
    """A shape with axes of length one in front."""
    return torch.Size([1] * (ndim - len(shape)) + list(shape))


def _fits(shape: torch.Size, whole: torch.Size) -> bool:
    """Whether a tensor of one shape broadcasts to another."""
    return all(a in (1, b) for a, b in zip(shape, whole, strict=True))


def _read_back(marks: Tensor, rows: int) -> Tensor:
    """Samples from their marks; what is no mark is a constant."""
    ids = marks - MARK
    known = (ids >= 0) & (ids < rows)
    return torch.where(known, ids, NOBODY).long()


def _agreed(ids: list[Tensor], ndim: int) -> Tensor | None:
    """The samples of values that meet element by element; `None` where they are not the same."""
    first, *others = (each.reshape(_front(each.shape, ndim)) for each in ids)
    for other in others:
        if first.shape == other.shape and torch.equal(first, other):
            continue
        if not all(a == b or 1 in (a, b) for a, b in zip(first.shape, other.shape, strict=True)):
            return None
        differ = (first != other) & (first != NOBODY) & (other != NOBODY)
        if bool(differ.any()):
            return None
        first = torch.maximum(first, other)
    return first


def _narrow(ids: Tensor) -> Tensor:
    """Length one for every axis along which the sample does not change."""
    for axis in range(ids.ndim):
        if ids.shape[axis] > 1:
            one = ids.amax(axis, keepdim=True)
            if bool(((ids == one) | (ids == NOBODY)).all()):
                ids = one
    return ids
