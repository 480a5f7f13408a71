"""Local models as the books have them: one sample at a time, slow, and written apart."""

import itertools
import math

import numpy as np


def least_squares(features, scores, weights, ridge=0.0):
    """Weights, intercept and weighted R2: rows times the root of their weight, by lstsq."""
    root = np.sqrt(weights)[:, None]
    design = np.hstack([features, np.ones((len(features), 1))]) * root
    wanted = scores * root[:, 0]
    if ridge:
        extra = np.sqrt(ridge) * np.eye(features.shape[1], features.shape[1] + 1)
        design, wanted = np.vstack([design, extra]), np.append(wanted, np.zeros(len(extra)))
    found = np.linalg.lstsq(design, wanted, rcond=None)[0]
    level = np.average(scores, weights=weights)
    left = weights @ (scores - features @ found[:-1] - found[-1]) ** 2
    return found[:-1], found[-1], 1 - left / (weights @ (scores - level) ** 2)


def forward_selection(features, scores, weights, k):
    """Add, k times, the feature with which least squares has the highest R2."""
    chosen = []
    for _ in range(k):
        free = [j for j in range(features.shape[1]) if j not in chosen]
        gains = [least_squares(features[:, [*chosen, j]], scores, weights)[2] for j in free]
        chosen.append(free[int(np.argmax(gains))])
    return set(chosen)


def coalitions(count):
    """All subsets as rows of zeros and ones, the full one first."""
    return np.array(list(itertools.product([1, 0], repeat=count)), dtype=float)


def lime(model, x, baseline, width=0.25):
    """All coalitions, weighted by the measure with uniform sizes and the kernel on cosines."""
    there = coalitions(len(x))
    scores = np.array([model(np.where(row, x, baseline)) for row in there])
    weights = []
    for row in there:
        size, count = int(row.sum()), len(x)
        cosine = size / math.sqrt(size * count) if size else 0.0
        near = math.exp(-((1 - cosine) ** 2) / (2 * width**2))
        weights.append(near / math.comb(count, size))
    return least_squares(there, scores, np.array(weights))


def shapley(model, x, baseline):
    """The mean of what a player adds over all orders."""
    values = np.zeros(len(x))
    orders = list(itertools.permutations(range(len(x))))
    for order in orders:
        there = np.array(baseline, dtype=float)
        before = model(there)
        for player in order:
            there[player] = x[player]
            after = model(there)
            values[player] += after - before
            before = after
    return values / len(orders)
