"""Distances between many samples, a block of rows at a time, so that memory stays flat."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pellucid.batching import wide

# So many distances are held at a time.
HELD = 2**22
# Which samples may be taken, (row, sample), of so many rows from the first of them on.
Allowed: TypeAlias = Callable[[int, int], Tensor]


def blocks(queries: Tensor, data: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared distances (row, sample) of some rows after others to all samples, and their start.

        d2(a, b) = |a|^2 + |b|^2 - 2 a.b,   of samples about their mean, in double precision

    Where that is so small beside the lengths that half of its digits are gone, as between samples
    that lie together and far from the mean, it is the sum of the squared differences.

    >>> [(start, each.shape) for start, each in blocks(torch.rand(2, 3), torch.rand(5, 3))]
    [(0, torch.Size([2, 5]))]
    """
    queries, data = centered(queries, data)
    lengths = (data * data).sum(1)
    size = max(1, HELD // len(data))
    for start in range(0, len(queries), size):
        some = queries[start : start + size]
        longest = (some * some).sum(1, keepdim=True) + lengths
        both = torch.addmm(longest, some, data.T, alpha=-2)
        rough = both <= longest.mul_(torch.finfo(both.dtype).eps ** 0.5)
        yield start, _taken_anew(both, rough, some, data)


def _taken_anew(found: Tensor, rough: Tensor, some: Tensor, data: Tensor) -> Tensor:
    """Squared distances in which those that are rough are taken from the differences."""
    rows, places = rough.nonzero(as_tuple=True)
    size = max(1, HELD // max(1, data.shape[1]))
    for row, place in zip(rows.split(size), places.split(size), strict=True):
        found[row, place] = (some[row] - data[place]).square().sum(1)
    return found


def centered(queries: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Both about the mean of the samples, so that differences keep their digits."""
    dtype = wide(data)
    middle = data.to(dtype).mean(0)
    return queries.to(dtype) - middle, data.to(dtype) - middle


def nearest(
    queries: Tensor, data: Tensor, k: int, *, allowed: Allowed | None = None
) -> tuple[Tensor, Tensor]:
    """The k nearest samples of each row, nearest first: distances and places, (row, k).

    `allowed` says of rows, by the first and their number, which samples may be taken, (row,
    sample); where there are fewer, the distance is infinite and the place -1. Distances are taken
    anew from the differences, so that copies are at zero.

    >>> distance, place = nearest(torch.tensor([[0.0]]), torch.tensor([[3.0], [1.0]]), 1)
    >>> distance, place
    (tensor([[1.]], dtype=torch.float64), tensor([[1]]))
    """
    distances, places = [], []
    for start, block in blocks(queries, data):
        if allowed is not None:
            block = block.masked_fill(~allowed(start, len(block)), torch.inf)
        found = block.topk(k, largest=False).indices.sort(dim=1).values  # so that ties are in order
        far = _exact(queries[start : start + len(block)], data, found)
        far = far.masked_fill(block.gather(1, found).isinf(), torch.inf)
        ordered = far.sort(dim=1, stable=True)
        distances.append(ordered.values)
        places.append(found.gather(1, ordered.indices))
    distance, place = torch.cat(distances), torch.cat(places)
    return distance, place.masked_fill(distance.isinf(), -1)


def directions(rows: Tensor) -> Tensor:
    """Rows (sample, feature) of length one, so that |a - b|^2 = 2 - 2 cos(a, b).

    Zeros, which have no direction, get one of their own, in a last column: cos 0 with all others.

    >>> directions(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000, 0.0000],
            [0.0000, 0.0000, 1.0000]], dtype=torch.float64)
    """
    rows = rows.to(wide(rows))
    largest = rows.abs().amax(1, keepdim=True)
    scaled = rows / largest.where(largest > 0, 1)  # of which no square is too small
    return normalize(torch.cat([scaled, (largest == 0).to(rows)], 1))


def _exact(queries: Tensor, data: Tensor, places: Tensor) -> Tensor:
    """The distances of rows to samples, (row, k), of which one for each row is held at a time."""
    dtype = wide(data)
    queries = queries.to(dtype)
    return torch.stack(
        [(queries - data[each].to(dtype)).square().sum(1).sqrt() for each in places.T], 1
    )
