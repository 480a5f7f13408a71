"""Distances between many samples, a block of rows at a time, so that memory stays flat."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pellucid.batching import wide

# So many distances are held at a time.
HELD = 2**22


def blocks(queries: Tensor, data: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared distances (row, sample) of some rows after others to all samples, and their start.

        d2(a, b) = |a|^2 + |b|^2 - 2 a.b,   of samples about their mean, in double precision

    >>> [(start, each.shape) for start, each in blocks(torch.rand(2, 3), torch.rand(5, 3))]
    [(0, torch.Size([2, 5]))]
    """
    queries, data = centered(queries, data)
    lengths = (data * data).sum(1)
    size = max(1, HELD // len(data))
    for start in range(0, len(queries), size):
        some = queries[start : start + size]
        both = (some * some).sum(1, keepdim=True) + lengths - 2 * some @ data.T
        yield start, both.clamp_(min=0)


def centered(queries: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Both about the mean of the samples, so that differences keep their digits."""
    dtype = wide(data)
    middle = data.to(dtype).mean(0)
    return queries.to(dtype) - middle, data.to(dtype) - middle


def nearest(
    queries: Tensor, data: Tensor, k: int, *, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k nearest samples of each row, nearest first: distances and places, (row, k).

    `allowed` (row, sample) says which may be taken; where there are fewer, the distance is infinite
    and the place -1.

    >>> distance, place = nearest(torch.tensor([[0.0]]), torch.tensor([[3.0], [1.0]]), 1)
    >>> distance, place
    (tensor([[1.]], dtype=torch.float64), tensor([[1]]))
    """
    found = []
    for start, block in blocks(queries, data):
        if allowed is not None:
            block = block.masked_fill(~allowed[start : start + len(block)], torch.inf)
        found.append(block.topk(k, largest=False))
    distance = torch.cat([each.values for each in found]).sqrt()
    place = torch.cat([each.indices for each in found])
    return distance, place.masked_fill(distance.isinf(), -1)
