"""How sure a model is of samples, and uncertain samples that differ from each other."""

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.exemplar.selection import centers, unrepeated
from pellucid.inspect.distances import nearest

# Of so many times the samples that are wanted, the most uncertain ones are told apart.
POOL = 10
# What a sample of which the model is sure counts among those.
LEAST = 1e-9


def shares(scores: Tensor) -> Tensor:
    """Probabilities of scores (sample, class), in double precision.

    p = softmax(scores); of one score, its sigmoid and the rest; scores that are probabilities stay

    >>> shares(torch.tensor([[0.0, 0.0], [0.25, 0.75]])[1:])
    tensor([[0.2500, 0.7500]], dtype=torch.float64)
    """
    scores = scores.double()
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], 1)
    given = bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-4).all())
    return scores if given else scores.softmax(1)


def entropies(scores: Tensor) -> Tensor:
    """The entropy of the probabilities of scores (sample, class), in nats: (sample,).

    H = -sum_k p_k log p_k

    >>> entropies(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    tensor([0.6931, 0.5822], dtype=torch.float64)
    """
    chances = shares(scores)
    return _varied(-torch.xlogy(chances, chances).sum(1))


def doubts(scores: Tensor) -> Tensor:
    """How near the second class comes to the first, from scores (sample, class): (sample,).

    1 - (p_1 - p_2),   of the two largest probabilities

    >>> doubts(torch.tensor([[0.5, 0.4, 0.1], [0.9, 0.1, 0.0]]))
    tensor([0.9000, 0.2000], dtype=torch.float64)
    """
    first, second = shares(scores).topk(2, dim=1).values.T
    return _varied(1 - (first - second))


def _varied(values: Tensor) -> Tensor:
    """Values that tell samples apart: a model that is sure of all has none."""
    if bool((values <= 0).all()):
        raise InputError(
            "A model must be less sure of some samples than of others",
            found=f"probabilities of 0 and 1 alone for {len(values)} samples",
            hint='Take a model with predict_proba that is not certain, or how="coverage".',
        )
    return values


def diverse(scores: Tensor, samples: Tensor, count: int, seed: int) -> tuple[list[int], Tensor]:
    """Samples that are uncertain and unlike each other, the most uncertain first, and how far.

    Of the 10 x `count` samples with the smallest margins, k-means makes `count` groups, in which
    these count as much as they are uncertain; of each group the sample next to the middle is taken.
    Source: Zhdanov (2019), Diverse Mini-Batch Active Learning.
    """
    doubt = doubts(scores)
    pool = doubt.sort(descending=True, stable=True).indices[: POOL * count]
    among = samples[pool.to(samples.device)]
    middles = centers(among, count, seed, weights=doubt[pool] + LEAST)
    near = nearest(middles, among, 1)[1].flatten().tolist()
    rows = pool[torch.tensor(unrepeated(near, count, len(pool)))]
    order = doubt[rows].sort(descending=True, stable=True)
    return rows[order.indices].tolist(), order.values
