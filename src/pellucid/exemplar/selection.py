"""Few samples that stand for many, and those that they do not stand for: the searches."""

import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls
from torch import Tensor

from pellucid.exemplar.kernel import Kernel
from pellucid.inspect.distances import blocks, nearest
from pellucid.seeding import seeded

# Which samples may be criticisms: those with too few prototypes around them, or with too many too.
Side: TypeAlias = Literal["missing", "both"]
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
    samples = kernel.samples
    middles = centers(samples, count, seed)
    rows = unrepeated(nearest(middles, samples, 1)[1].flatten().tolist(), count, len(samples))
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


def centers(samples: Tensor, count: int, seed: int = 0, weights: Tensor | None = None) -> Tensor:
    """The middles of so many groups, (group, feature), by k-means; of copies there are fewer."""
    from sklearn.cluster import KMeans

    points = samples.cpu().double().numpy()
    count = min(count, len(np.unique(points, axis=0)))
    fit = KMeans(count, n_init=4, random_state=seed % 2**32)
    fit.fit(points, sample_weight=None if weights is None else weights.cpu().double().numpy())
    return torch.from_numpy(fit.cluster_centers_).to(samples.device)


def unrepeated(rows: list[int], count: int, total: int) -> list[int]:
    """So many different rows: some, each once, and in the place of others the first that are left.

    >>> unrepeated([2, 0, 2], count=4, total=9)
    [2, 0, 1, 3]
    """
    kept = dict.fromkeys(rows)
    left = (row for row in range(total) if row not in kept)
    return [*kept, *itertools.islice(left, max(0, count - len(kept)))]


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
    kernel: Kernel, chosen: Chosen, count: int, diversity: float = 1.0, side: str = "missing"
) -> list[int]:
    """The samples that the chosen ones stand for worst, one after another, and unlike each other.

        L(C) = sum over C of w(x) + diversity log det K_CC,   with |w(x)| if the side is "both"

    The determinant grows by what is left of k(x, x) when C is projected out. Unless the side is
    "both", those with w(x) above 0 come first. Fewer are found where all others are copies.
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
        lacking = value.where(far > SAME, -torch.inf)
        best = int((lacking if bool(lacking.isfinite().any()) else value).argmax())
        if not bool(value[best].isfinite()):
            break
        row = (kernel.columns([best])[:, 0] - known[:, best] @ known) / left[best].sqrt()
        known, left = torch.cat([known, row[None]]), left - row**2
        rows.append(best)
    return rows
