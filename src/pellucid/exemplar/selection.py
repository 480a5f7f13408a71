"""Few samples that stand for many, and those that they do not stand for: the searches."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls
from torch import Tensor

from pellucid.exemplar.kernel import Kernel
from pellucid.inspect.distances import blocks, nearest
from pellucid.seeding import seeded

# What a sample adds to those that are chosen, below which it is one of them again.
SAME = 1e-10
# Rounds of k-medoids, which as a rule ends after some ten.
ROUNDS = 100


class Chosen(NamedTuple):
    """Samples in the order in which they were chosen, and the weight of each."""

    rows: list[int]
    weights: list[float]


def greedy_mmd(kernel: Kernel, count: int, seed: int = 0) -> Chosen:
    """One sample after another, each such that all then lie nearest to the data.

        J(S) = 2 / (n |S|) sum_{i in data, j in S} k(i, j) - 1 / |S|^2 sum_{i, j in S} k(i, j)

    The larger J, the smaller the MMD: MMD^2 = mean of k over the data - J. Weights are 1 / |S|.
    Source: Kim, Khanna, Koyejo (2016), Examples Are Not Enough, Learn to Criticize!.
    """
    mean, rows = kernel.mean, list[int]()
    with_chosen = torch.zeros_like(mean)
    for size in range(1, count + 1):
        linear = mean[rows].sum() + mean
        square = with_chosen[rows].sum() + 2 * with_chosen + 1
        value = 2 * linear / size - square / size**2
        value[rows] = -torch.inf
        rows.append(int(value.argmax()))
        with_chosen = with_chosen + kernel.columns(rows[-1:])[:, 0]
    return Chosen(rows, [1 / count] * count)


def protodash(kernel: Kernel, count: int, seed: int = 0) -> Chosen:
    """Samples with weights: the steepest next, and then the best weights of all.

        l(w) = mu.w - w.K w / 2,   w >= 0,   mu_j = mean over the data of k(i, j)

    It ends before `count` where no sample can be given a weight above zero.
    Source: Gurumoorthy, Dhurandhar, Cecchi, Aggarwal (2019), Efficient Data Representation by
    Selecting Prototypes with Importance Weights.
    """
    mean, rows = kernel.mean, list[int]()
    weights, columns = np.zeros(0), mean.new_zeros(len(mean), 0)
    while len(rows) < count:
        slope = mean - columns @ torch.from_numpy(weights).to(mean)
        slope[rows] = -torch.inf
        best = int(slope.argmax())
        if float(slope[best]) <= SAME:
            break
        rows.append(best)
        columns = torch.cat([columns, kernel.columns([best])], 1)
        weights = best_weights(kernel.within(rows), mean[rows])
    return Chosen(rows, weights.tolist())


def best_weights(among: Tensor, mean: Tensor) -> np.ndarray:
    """The weights w >= 0 with the largest mu.w - w.K w / 2, by least squares with K = R'R."""
    square = among.cpu().double().numpy()
    root = cholesky(square + SAME * np.eye(len(square)))
    target = solve_triangular(root, mean.cpu().double().numpy(), trans="T")
    return nnls(root, target)[0]


def kmedoids(kernel: Kernel, count: int, seed: int = 0) -> Chosen:
    """The samples in the middle of groups: k-means, then the medoid of each group in turn.

        sum over samples of the distance to the nearest medoid, made smaller until it stays

    Weights are the shares of the groups.
    Source: Park, Jun (2009), A Simple and Fast Algorithm for K-Medoids Clustering.
    """
    from sklearn.cluster import KMeans

    samples = kernel.samples
    points = samples.cpu().double().numpy()
    fit = KMeans(count, n_init=4, random_state=seed % 2**32).fit(points)
    centers = torch.from_numpy(fit.cluster_centers_).to(samples.device)
    rows = _without_repeats(nearest(centers, samples, 1)[1].flatten().tolist(), len(samples))
    for _ in range(ROUNDS):
        group = nearest(samples, samples[rows], 1)[1].flatten()
        group[rows] = torch.arange(len(rows), device=group.device)
        moved = [_medoid(samples, (group == place).nonzero().flatten()) for place in range(count)]
        if moved == rows:
            break
        rows = moved
    shares = torch.bincount(group, minlength=count).double() / len(samples)
    return Chosen(rows, shares.tolist())


def _medoid(samples: Tensor, members: Tensor) -> int:
    """The member of a group that is nearest to the others."""
    some = samples[members]
    sums = torch.cat([block.sqrt_().sum(1) for _, block in blocks(some, some)])
    return int(members[sums.argmin()])


def _without_repeats(rows: list[int], total: int) -> list[int]:
    """Different samples: one that is there twice is replaced by the first that is not."""
    free = (row for row in range(total) if row not in set(rows))
    seen: set[int] = set()
    found = []
    for row in rows:
        found.append(row if row not in seen else next(free))
        seen.add(row)
    return found


def at_random(kernel: Kernel, count: int, seed: int = 0) -> Chosen:
    """Samples at random, what others have to beat."""
    order = torch.randperm(len(kernel.samples), generator=seeded(seed))
    return Chosen(order[:count].tolist(), [1 / count] * count)


SEARCHES: dict[str, Callable[[Kernel, int, int], Chosen]] = {
    "mmd": greedy_mmd,
    "protodash": protodash,
    "kmedoids": kmedoids,
    "random": at_random,
}


def squared_mmd(kernel: Kernel, chosen: Chosen) -> float:
    """How far the chosen samples, with their weights, are from the data.

    MMD^2 = mean of k over the data - 2 w.mu + w.K w
    """
    weights = torch.tensor(chosen.weights).to(kernel.mean)
    own = weights @ kernel.within(chosen.rows) @ weights
    return float(kernel.mean.mean() - 2 * weights @ kernel.mean[chosen.rows] + own)


def witness(kernel: Kernel, chosen: Chosen) -> Tensor:
    """Where the data have more (above 0) or less than the chosen samples say: (sample,).

    w(x) = mean over the data of k(x, i) - sum over the chosen of w_j k(x, j)
    """
    weights = torch.tensor(chosen.weights).to(kernel.mean)
    return kernel.mean - kernel.columns(chosen.rows) @ weights


def criticize(
    kernel: Kernel, chosen: Chosen, count: int, diversity: float = 1.0, side: str = "both"
) -> list[int]:
    """The samples that the chosen ones stand for worst, one after another, and unlike each other.

        L(C) = sum over C of |w(x)| + diversity log det K_CC

    The determinant grows by what is left of k(x, x) when C is projected out. With `side="missing"`,
    w(x) stands in the place of |w(x)|. Fewer are found where all others are copies of those that
    are there.
    Source: Kim, Khanna, Koyejo (2016), Examples Are Not Enough, Learn to Criticize!; Chen, Zhang,
    Zhou (2018), Fast Greedy MAP Inference for Determinantal Point Process.
    """
    far = witness(kernel, chosen)
    far = far.abs() if side == "both" else far
    left, rows = torch.ones_like(far), list[int]()
    known = far.new_zeros(0, len(far))
    while len(rows) < count:
        value = far + diversity * left.clamp(min=SAME).log()
        value[left <= SAME] = -torch.inf
        value[chosen.rows + rows] = -torch.inf
        best = int(value.argmax())
        if not bool(value[best].isfinite()):
            break
        row = (kernel.columns([best])[:, 0] - known[:, best] @ known) / left[best].sqrt()
        known, left = torch.cat([known, row[None]]), left - row**2
        rows.append(best)
    return rows
