"""How DeepLIFT passes what puts elements in order: by how long each of them has each rank.

On the line x(t) = x0 + t (x - x0) the result is straight between the crossings of two elements, so
that its mean adjoint is exact, and that of one row needs nothing of the others:

    S_in[i] = sum over k of S_out[k] * (how long i has rank k)

    i and j cross at t = (x0_j - x0_i) / (way_i - way_j), where their order is another at the end
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.propagate.deeplift.halves import single
from pellucid.propagate.deeplift.pairs import distance
from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Operation

ORDERING = {"sort", "topk", "kthvalue", "median"}
# Longer rows have more pairs than it is worth: they are integrated.
LONGEST = 8192
# So many pairs are looked at together.
PAIRS = 2**20


def puts_in_order(operation: Operation) -> bool:
    """Whether every element of the result is the one of a known rank."""
    if operation.name not in ORDERING:
        return False
    options = _options(operation)
    return options.get("sorted", True) and _length(operation.slots[0].shape, options) <= LONGEST


def to_ranks(operation: Operation, partner: Operation, signal: Tensor) -> Signals:
    """The multipliers of what is ordered, from those of its result."""
    options = _options(operation)
    end, start = (single(each.slots[0].tensor) for each in (operation, partner))
    shape, axis = end.shape, options.get("dim")
    if axis is None or end.ndim == 0:
        axis, end, start, signal = 0, end.flatten(), start.flatten(), signal.reshape(-1)
    length = end.shape[axis]
    if signal.ndim < end.ndim:
        signal = signal.unsqueeze(axis)
    ranks = _ranks_of_results(operation, options, length).to(end.device)
    by_rank = end.new_zeros(end.numel() // length, length)
    by_rank[:, ranks] = signal.movedim(axis, -1).reshape(len(by_rank), -1).to(end.dtype)
    end, start = end.movedim(axis, -1), start.movedim(axis, -1)
    found = _by_element(end.reshape(-1, length), start.reshape(-1, length), by_rank)
    back = found.reshape(end.shape).movedim(-1, axis).reshape(shape)
    return [back, *[None] * (len(operation.slots) - 1)]


def _options(operation: Operation) -> dict[str, Any]:
    """The arguments of a call by their names, given or not; `dim` is `None` for all elements."""
    options = {
        argument.name: operation.argument(i, argument.default_value)
        for i, argument in enumerate(operation.function._schema.arguments)
    }
    return options | dict(operation.keywords)


def _length(shape: torch.Size, options: dict[str, Any]) -> int:
    """How many elements are put in order together."""
    axis = options.get("dim")
    return shape.numel() if axis is None or not shape else shape[axis]


def _ranks_of_results(operation: Operation, options: dict[str, Any], length: int) -> Tensor:
    """The rank, from the least, of each element along the axis of the result."""
    if operation.name == "kthvalue":
        return torch.tensor([options["k"] - 1])
    if operation.name == "median":
        return torch.tensor([(length - 1) // 2])
    ranks = torch.arange(options.get("k", length))
    downwards = options.get("largest", options.get("descending"))
    return length - 1 - ranks if downwards else ranks


def _by_element(end: Tensor, start: Tensor, by_rank: Tensor) -> Tensor:
    """The multiplier of each element of rows, from those of the ranks."""
    length, way = end.shape[1], distance(end, start)
    before, after = _ranks(start, way), _ranks(end, -way)
    found = [end.new_zeros(0)]
    for first in range(0, end.numel(), step := max(1, PAIRS // length)):
        part = torch.arange(first, min(first + step, end.numel()), device=end.device)
        row, own = part // length, (part // length, part % length)
        change = (after[row] < after[own][:, None]).long()
        change -= (before[row] < before[own][:, None]).long()
        times = (start[row] - start[own][:, None]) / (way[own][:, None] - way[row])
        times = times.masked_fill(change == 0, 1).nan_to_num(1).clamp(0, 1)
        times, order = times.sort(1)
        ranks = before[own][:, None] + change.gather(1, order).cumsum(1)
        ranks = torch.cat([before[own][:, None], ranks.clamp(0, length - 1)], 1)
        lasting = F.pad(F.pad(times, (1, 0)), (0, 1), value=1).diff(dim=1)
        found.append((lasting * by_rank[row].gather(1, ranks)).sum(1))
    return torch.cat(found).reshape(end.shape)


def _ranks(values: Tensor, then: Tensor) -> Tensor:
    """The rank of each element of rows; of equal ones by `then`, and by their places."""
    order = then.argsort(dim=1, stable=True)
    order = order.gather(1, values.gather(1, order).argsort(dim=1, stable=True))
    places = torch.arange(values.shape[1], device=values.device).expand(order.shape)
    return torch.empty_like(order).scatter_(1, order, places)
