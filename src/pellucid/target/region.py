"""Parts of a map of scores: a mask, a pixel, slices."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import TargetError, UnknownNameError
from pellucid.target.place import Choose, Place

Reduce: TypeAlias = Literal["mean", "sum"]
# One position of an axis, or the start, stop and step of several.
Span: TypeAlias = "int | tuple[int | None, int | None, int | None]"


@dataclass(frozen=True, kw_only=True, eq=False)
class Region(Place):
    """The mean or sum over a part of a map of shape (sample, class, *position).

    The part is a boolean mask, of shape (*position) for all samples or (sample, *position), or a
    span of each axis, or everything. Whether there is a mask for each sample, `each`, is known
    once an output is; until then `rows` are those that were selected of `total`.
    """

    shape: ClassVar[str] = "({rows}, class, height, width), or with other axes after the class"

    spans: tuple[Span, ...] | None = None
    mask: Tensor | None = None
    reduce: Reduce = "mean"
    each: bool | None = None
    rows: tuple[int, ...] | None = None
    total: int | None = None

    def fits(self, entry: Any, rows: int) -> bool:
        """Any number of axes after the class."""
        return isinstance(entry, Tensor) and entry.ndim > 2 and entry.shape[0] == rows

    def read(self, entry: Tensor, choose: Choose) -> Tensor:
        """What is chosen in each cell, as a mean or sum over the cells of the region."""
        if self.mask is None:
            cells = entry if self.spans is None else self._cut(entry)
            return self._reduced(choose(cells.flatten(2)))
        each, mask = self._settled(entry, self.mask)
        if not each:
            return self._reduced(choose(entry.flatten(2)[:, :, mask.flatten().to(entry.device)]))
        chosen, inside = choose(entry.flatten(2)), mask.flatten(1).to(entry.device)
        inside = inside if chosen.ndim == 2 else inside.unsqueeze(1)
        total = torch.where(inside, chosen, 0).sum(-1)
        return total if self.reduce == "sum" else total / inside.sum(-1)

    def settle(self, entry: Any) -> "Region":
        """Find out, and check, whether there is a mask for each sample."""
        if self.mask is None:
            return self
        each, mask = self._settled(entry, self.mask)
        return replace(self, mask=mask, each=each, rows=None, total=None)

    def _settled(self, entry: Tensor, mask: Tensor) -> tuple[bool, Tensor]:
        """Whether there is a mask for each sample, and those of the samples that are meant."""
        shape, total = list(entry.shape[2:]), self.total or len(entry)
        if list(mask.shape) not in (shape, [total, *shape]):
            raise TargetError(
                f"The mask of a region must have the shape of the map, {shape}, or one such for "
                f"each of the {total} samples",
                got=mask,
            )
        each = mask.ndim > len(shape)
        if self.each is not None:
            return each, mask
        if each and self.rows is not None:
            mask = mask[list(self.rows)]
        empty = (~mask.flatten(1 if each else 0).any(-1)).reshape(-1).nonzero().flatten().tolist()
        if empty:
            first = self.rows[empty[0]] if self.rows is not None else empty[0]
            where = f" in the mask of sample {first}" if each else ""
            raise TargetError("A region must have at least one cell", found=f"none{where}")
        return each, mask

    def for_rows(self, rows: int) -> "Region":
        """Remember how many samples there are, for when it is known that each has its mask."""
        if self.each and self.mask is not None and len(self.mask) != rows:
            raise TargetError(f"There must be a mask for each of the {rows} samples", got=self.mask)
        return replace(self, total=None if self.each is not None else rows)

    def select(self, rows: Tensor) -> "Region":
        """Keep the masks of some samples; or which they are, until it is known if they matter."""
        if self.mask is None or self.each is False:
            return self
        if self.each:
            return replace(self, mask=self.mask[rows.to(self.mask.device)])
        kept = rows.tolist() if self.rows is None else [self.rows[i] for i in rows.tolist()]
        return replace(self, rows=tuple(kept))

    def join(self, parts: list[Place], rows: list[int]) -> Place:
        """The masks of all samples, now that it is known what they are."""
        first = parts[0]
        each = first.each if isinstance(first, Region) else None
        return replace(self, each=each, rows=None, total=None)

    def describe(self, inner: str) -> str:
        """Target.region(3, mask of [8, 8])."""
        if self.mask is not None:
            inner += f", mask of {list(self.mask.shape)}"
        if self.spans is not None:
            inner += f", ({', '.join(map(_written, self.spans))})"
        return f"Target.region({inner}{'' if self.reduce == 'mean' else ', reduce=sum'})"

    def words(self) -> str:
        """In a region."""
        how = "summed" if self.reduce == "sum" else "on average"
        whole = self.mask is None and self.spans is None
        return f", {how} over {'all positions' if whole else 'a region'}"

    def _reduced(self, cells: Tensor) -> Tensor:
        return cells.mean(-1) if self.reduce == "mean" else cells.sum(-1)

    def _cut(self, entry: Tensor) -> Tensor:
        """Cut each axis after the class to its span; a single position keeps its axis."""
        spans, axes = self.spans or (), entry.ndim - 2
        if len(spans) != axes:
            raise TargetError(
                f"A region must name a position or a slice for each of the {axes} axes after the "
                f"class, {list(entry.shape[2:])}",
                found=f"({', '.join(map(_written, spans))})",
            )
        for axis, span in enumerate(spans, 2):
            length = entry.shape[axis]
            taken = range(length)[_sliced(span)]
            if not taken or (isinstance(span, int) and not -length <= span < length):
                raise TargetError(
                    f"A region must hold positions of axis {axis} of the output, from 0 to "
                    f"{length - 1}",
                    found=_written(span),
                )
            entry = entry[(slice(None),) * axis + (_sliced(span),)]
        return entry

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        if (self.spans, self.reduce, self.rows) != (other.spans, other.reduce, other.rows):
            return False
        if self.mask is None or other.mask is None:
            return self.mask is other.mask
        return torch.equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.spans, self.reduce, self.rows))


def region(where: Any, reduce: str) -> Region:
    """Take a boolean mask, a position or a slice for each axis, or `None` for everything."""
    if reduce not in ("mean", "sum"):
        raise UnknownNameError("`reduce` of a region", reduce, ("mean", "sum"))
    whole = Region(reduce="sum" if reduce == "sum" else "mean")
    if where is None:
        return whole
    if hasattr(where, "dtype") and getattr(where, "ndim", 0) > 0:
        mask = torch.as_tensor(where)
        if mask.dtype is not torch.bool:
            raise TargetError(
                "The mask of a region must be boolean", got=where, hint="For example: mask > 0."
            )
        return replace(whole, mask=mask.detach().clone())
    given = where if isinstance(where, tuple) else (where,)
    return replace(whole, spans=tuple(map(_span, given)))


def _span(given: Any) -> Span:
    """A position or a slice, as what can be compared and stored."""
    if isinstance(given, slice):
        parts = (given.start, given.stop, given.step)
        if all(p is None or isinstance(p, int) for p in parts) and (given.step or 1) > 0:
            return parts
    elif hasattr(given, "__index__") and not isinstance(given, bool):
        return int(given.__index__())
    raise TargetError(
        "A region must be a boolean mask, or a position or a slice with a positive step for each "
        "axis after the class",
        got=given,
    )


def _sliced(span: Span) -> slice:
    if isinstance(span, int):
        return slice(span, span + 1 or None)
    return slice(*span)


def _written(span: Span) -> str:
    """Write a span as in an index: 3, 1:5 or ::2."""
    if isinstance(span, int):
        return str(span)
    parts = ["" if p is None else str(p) for p in span]
    return ":".join(parts if parts[2] else parts[:2])
