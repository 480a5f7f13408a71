"""Calls that look up rows of a table: embeddings, indexing, and bags, whose kernel hides them."""

from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

# Calls that may look up rows -> where they have the numbers of the rows.
LOOKUPS = {
    aten.embedding.default: 1,
    aten.index.Tensor: 1,
    aten.index_select.default: 2,
}
BAGS = {aten._embedding_bag.default, aten._embedding_bag_forward_only.default}
SUM, MEAN, MAX = range(3)


def looks_up_rows(function: Any, arguments: tuple) -> bool:
    """Whether a call looks up rows of a table of floats."""
    return function in LOOKUPS and looked_up(function, arguments) is not None


def looked_up(function: Any, arguments: tuple) -> Any | None:
    """The numbers of the rows that a call looks up in a table of floats; `None` for other calls.

    The arguments are tensors, or what stands for them with a shape and a type.
    """
    table, rows = arguments[0], arguments[LOOKUPS[function]]
    if isinstance(rows, list | tuple):
        rows = rows[0] if len(rows) == 1 else None
    if rows is None or len(table.shape) != 2 or not table.dtype.is_floating_point:
        return None
    by_rows = function is not aten.index_select.default or arguments[1] == 0
    return rows if by_rows and rows.dtype is not torch.bool else None


def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, ...]:
    """What the kernel returns: the bags (bag, feature), the bag of each index, sizes, winners."""
    starts = offsets[:-1] if include_last_offset else offsets
    place = torch.arange(len(indices), device=indices.device)
    bag = torch.searchsorted(starts.contiguous(), place.to(starts.dtype), right=True) - 1
    found = aten.embedding.default(weight, indices)
    kept = indices != padding_idx
    sizes = torch.zeros_like(starts).index_add(0, bag, kept.to(starts.dtype))
    empty = sizes.new_zeros(0)
    if mode == MAX:
        made, winners = _largest(found, bag, kept, len(starts))
        return made, bag, sizes, winners
    found = found * kept.to(found.dtype).unsqueeze(1)
    if per_sample_weights is not None:
        found = found * per_sample_weights.unsqueeze(1)
    made = found.new_zeros(len(starts), found.shape[1]).index_add(0, bag, found)
    if mode == MEAN:
        made = made / sizes.clamp(min=1).to(made.dtype).unsqueeze(1)
    return made, bag, sizes, empty


def _largest(found: Tensor, bag: Tensor, kept: Tensor, bags: int) -> tuple[Tensor, Tensor]:
    """The largest of each feature in a bag, zero in an empty one, and nothing for the winners."""
    rows = [found[(bag == i) & kept] for i in range(bags)]
    made = [part.amax(0) if len(part) else found.new_zeros(found.shape[1]) for part in rows]
    return torch.stack(made), bag.new_zeros(0)
