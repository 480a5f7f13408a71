"""What labelled samples cover of those that have no label yet, and how each pick adds to it."""

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.inspect.distances import blocks, nearest


def distance_to(labelled: Tensor, samples: Tensor) -> Tensor:
    """How far each sample is from the nearest labelled one, (sample,); infinite without any."""
    if not len(labelled):
        return samples.new_full((len(samples),), torch.inf, dtype=wide(samples))
    return nearest(samples, labelled, 1)[0][:, 0]


def closer(far: Tensor, samples: Tensor, row: int) -> Tensor:
    """Distances (sample,) to the nearest, once a sample is among the labelled ones."""
    moved = samples.to(wide(samples)) - samples[row]
    return torch.minimum(far, moved.square().sum(1).sqrt())


def middle(samples: Tensor) -> int:
    """The sample with the smallest mean distance to all."""
    means = [block.sqrt_().mean(1) for _, block in blocks(samples, samples)]
    return int(torch.cat(means).argmin())


def cover(labelled: Tensor, samples: Tensor, count: int) -> tuple[list[int], Tensor]:
    """Pick each time the sample that is farthest from all labelled and picked ones.

        row = argmax over samples i of min over labelled and picked j of |x_i - x_j|

    The rows, and how far each was when it was picked, (pick,). The largest distance that is left is
    at most twice the smallest possible. Without labelled samples the first is in the middle.
    Source: Gonzalez (1985), Clustering to Minimize the Maximum Intercluster Distance; Sener,
    Savarese (2018), Active Learning for Convolutional Neural Networks: A Core-Set Approach.
    """
    far = distance_to(labelled, samples)
    rows: list[int] = []
    picked = far.new_zeros(count)
    while len(rows) < count:
        left = far.clone()
        left[rows] = -1
        row = middle(samples) if bool(left.isinf().all()) else int(left.argmax())
        picked[len(rows)] = far[row]
        rows.append(row)
        far = closer(far, samples, row)
    return rows, picked


def covered(labelled: Tensor, samples: Tensor, rows: list[int]) -> Tensor:
    """Mean distance of all samples to the nearest labelled one: before, and after each pick."""
    far = distance_to(labelled, samples)
    means = [far.mean()]
    for row in rows:
        far = closer(far, samples, row)
        means.append(far.mean())
    return torch.stack(means)
