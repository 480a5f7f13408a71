"""The neighbourhoods of t-SNE: how alike samples are to each, and how many that makes."""

import math

import torch
from torch import Tensor

from pellucid.inspect.distances import blocks

# So many neighbours of each sample count for each of the perplexity, as in Barnes-Hut t-SNE.
NEIGHBOURS = 3
# Halvings of the interval in which the width of a neighbourhood lies.
HALVINGS = 100


def affinities(samples: Tensor, perplexity: float) -> tuple[Tensor, Tensor]:
    """The neighbours of each sample and their affinities, (sample, neighbour).

        p(j|i) = exp(-beta_i |x_i - x_j|^2) / sum_k exp(-beta_i |x_i - x_k|^2),
        beta_i such that 2^(-sum_j p(j|i) log2 p(j|i)) is the perplexity

    The neighbours are the 3 x perplexity + 1 nearest, without the sample itself.
    Source: van der Maaten, Hinton (2008), Visualizing Data using t-SNE; van der Maaten (2014),
    Accelerating t-SNE using Tree-Based Algorithms.
    """
    count = min(len(samples) - 1, int(NEIGHBOURS * perplexity + 1))
    far, near = [], []
    for start, block in blocks(samples, samples):
        rows = torch.arange(len(block), device=block.device)
        block[rows, start + rows] = torch.inf
        found = block.topk(count, largest=False)
        far.append(found.values)
        near.append(found.indices)
    return torch.cat(near), _conditional(torch.cat(far), perplexity)


def _conditional(distances: Tensor, perplexity: float) -> Tensor:
    """The affinities that have a perplexity, by halving the logarithm of each row's beta."""
    moved = distances - distances[:, :1]
    scale = moved.mean(1, keepdim=True).clamp(min=torch.finfo(moved.dtype).tiny)
    low, high = torch.full_like(scale, -50.0), torch.full_like(scale, 50.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wide = perplexities(_softmax(moved, scale, middle)).unsqueeze(1) > perplexity
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return _softmax(moved, scale, (low + high) / 2)


def _softmax(distances: Tensor, scale: Tensor, log_beta: Tensor) -> Tensor:
    return (-distances / scale * log_beta.exp()).softmax(1)


def perplexities(affinity: Tensor) -> Tensor:
    """How many neighbours each sample has in effect, 2^H, of shape (sample,).

    >>> perplexities(torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]]))
    tensor([4., 1.])
    """
    return (-torch.xlogy(affinity, affinity).sum(1) / math.log(2)).exp2()


def trustworthiness(samples: Tensor, points: Tensor, k: int) -> float:
    """How far neighbours in a picture are neighbours in the data, from 0 to 1.

        T = 1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j among the k nearest points of i} max(0, r - k)

    where j is the r-th nearest sample of i. It is computed in blocks of rows.
    Source: Venna, Kaski (2001), Neighborhood Preservation in Nonlinear Projection Methods.

    >>> line = torch.arange(8.0)[:, None]
    >>> trustworthiness(line, -line, k=2)
    1.0
    """
    total, wrong = len(samples), 0.0
    pairs = zip(blocks(points, points), blocks(samples, samples), strict=True)
    for (start, near), (_, far) in pairs:
        rows = torch.arange(len(near), device=near.device)
        near[rows, start + rows] = torch.inf
        far[rows, start + rows] = -1  # the sample itself comes first, whatever equals it
        order = near.topk(k, largest=False).indices
        for place in range(k):
            rank = (far < far.gather(1, order[:, place : place + 1])).sum(1)
            wrong += float((rank - k).clamp(min=0).sum())
    return 1 - 2 / (total * k * (2 * total - 3 * k - 1)) * wrong
