"""Shallow regression trees as local models, and what each feature adds on the way to a leaf."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pellucid.lime.fit import fidelity


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One tree for each sample: contributions (sample, feature), what they start from, and fit.

    contribution of d = sum over the splits by d on the way of the sample to its leaf of
    (mean of the chosen branch - mean of the node)
    """

    contributions: Tensor
    intercept: Tensor
    fidelity: Tensor


def grow(features: Tensor, scores: Tensor, weights: Tensor, own: Tensor, depth: int) -> Grown:
    """Fit a tree of this depth to the weighted draws of each sample, and follow the sample.

    Axes: features (sample or 1, draw, feature), scores (sample, draw), weights (sample or 1,
    draw), own (sample or 1, feature).
    Source: for the contributions Saabas (2014), Interpreting random forests.
    """
    found = [
        _grown(
            features[row % len(features)].numpy(),
            scores[row].numpy(),
            weights[row % len(weights)].numpy(),
            own[row % len(own)].numpy(),
            depth,
        )
        for row in range(len(scores))
    ]
    contributions, starts, parts, spreads = (
        torch.from_numpy(np.array(column)) for column in zip(*found, strict=True)
    )
    return Grown(
        contributions=contributions,
        intercept=starts,
        fidelity=fidelity(parts, spreads, starts),
    )


def _grown(
    features: np.ndarray, scores: np.ndarray, weights: np.ndarray, own: np.ndarray, depth: int
) -> tuple[np.ndarray, float, float, float]:
    """Contributions and start of one tree, the variance it explains, and all the variance."""
    from sklearn.tree import DecisionTreeRegressor

    made = DecisionTreeRegressor(max_depth=depth, random_state=0)
    made.fit(features, scores, sample_weight=weights)
    tree, means = made.tree_, made.tree_.value[:, 0, 0]
    # Trees compare in single precision.
    row = own.astype(np.float32)
    contributions, node = np.zeros(features.shape[1]), 0
    while tree.children_left[node] >= 0:
        column = tree.feature[node]
        branch = tree.children_left if row[column] <= tree.threshold[node] else tree.children_right
        contributions[column] += means[branch[node]] - means[node]
        node = branch[node]
    share = weights / weights.sum()
    level = share @ scores
    spread = share @ (scores - level) ** 2
    return contributions, means[0], spread - share @ (scores - made.predict(features)) ** 2, spread
