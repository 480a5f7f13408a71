"""Sparse linear models: the features that the lasso lets in first, with weights fitted to them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.inspect.surrogate.columns import Floats

# Penalties that the path of several outputs is followed at, down to this part of the first.
STEPS, LAST = 200, 1e-4


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What one feature counts for: for each output, per unit of it and per standard deviation."""

    feature: int
    slope: tuple[float, ...]
    scale: float

    @property
    def standardized(self) -> tuple[float, ...]:
        """The change of each output with one standard deviation."""
        return tuple(each * self.scale for each in self.slope)

    @property
    def strength(self) -> float:
        """The largest of these, without its sign."""
        return max(map(abs, self.standardized))


@dataclass(frozen=True, kw_only=True)
class LinearModel:
    """A linear model: `intercept` + sum over features of slope x value, the strongest first."""

    weights: tuple[Weight, ...]
    intercept: tuple[float, ...]

    @property
    def size(self) -> int:
        """The number of features with a weight."""
        return len(self.weights)

    @property
    def features(self) -> tuple[int, ...]:
        """The features that are read."""
        return tuple(weight.feature for weight in self.weights)

    def answer(self, features: Floats) -> Floats:
        """What the model says, of shape (sample, output)."""
        slopes = np.array([weight.slope for weight in self.weights]).reshape(
            -1, len(self.intercept)
        )
        return features[:, list(self.features)] @ slopes + np.array(self.intercept)


def grow(features: Floats, answers: Floats, *, most: int) -> list[LinearModel]:
    """Linear models of 0, 1, 2, ... features, in the order in which the lasso lets them in.

    Features have standard deviation one while they are chosen, and penalties of several outputs
    are those of the group lasso, which lets a feature in for all outputs at once. The weights of
    those that were chosen are then fitted by least squares, without a penalty.

    Law: the residual is orthogonal to every chosen feature, and has the mean zero.
    Source: Tibshirani (1996), Regression Shrinkage and Selection via the Lasso; Yuan and Lin (2006)
    for groups; Efron, Hastie, Johnstone and Tibshirani (2004), Least Angle Regression, for the path
    and the weights.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    # What varies by rounding alone is constant.
    varies = np.flatnonzero(scale > 1e-12 * np.maximum(1e-300, np.abs(mean)))
    standard = (features[:, varies] - mean[varies]) / scale[varies]
    order = varies[_order(standard, answers - answers.mean(axis=0), most)]
    return [_fit(features, answers, order[:k], scale) for k in range(len(order) + 1)]


def _order(standard: Floats, centered: Floats, most: int) -> list[int]:
    """The features in the order in which they first get a weight on the path."""
    size = float(np.abs(centered).max(initial=0))
    if not standard.shape[1] or size == 0:
        return []
    answers = centered / size
    norms = _path(standard, answers[:, np.square(answers).sum(axis=0) > 0])
    entered = np.where((norms > 0).any(axis=1), (norms > 0).argmax(axis=1), norms.shape[1])
    at = np.minimum(entered, norms.shape[1] - 1)
    # Of those that come in at one step, the one with the largest weight is the first.
    order = np.lexsort((-norms[np.arange(len(norms)), at], entered))
    return _independent(standard, [int(i) for i in order if entered[i] < norms.shape[1]], most)


def _path(standard: Floats, answers: Floats) -> Floats:
    """How large the weights are, (feature, step), as the penalty falls from step to step."""
    from sklearn.linear_model import enet_path, lars_path

    with warnings.catch_warnings():
        # That the end of the path is not exact does not matter: only the order is used.
        warnings.simplefilter("ignore")
        if answers.shape[1] == 1:
            return np.abs(lars_path(standard, answers[:, 0], method="lasso")[2])
        shares = LAST ** (np.arange(STEPS) / (STEPS - 1))
        first = np.linalg.norm(standard.T @ answers, axis=1).max() / len(answers)
        path = enet_path(standard, answers, l1_ratio=1.0, alphas=first * shares, tol=1e-6)[1]
    return np.linalg.norm(path, axis=0)


def _independent(standard: Floats, order: Sequence[int], most: int) -> list[int]:
    """The first so many of which none is a combination of those before it."""
    chosen: list[int] = []
    directions = np.empty((len(standard), 0))
    for i in order:
        if len(chosen) == most:
            break
        left = standard[:, i] - directions @ (directions.T @ standard[:, i])
        length = np.linalg.norm(left)
        if length > 1e-6 * np.sqrt(len(standard)):
            chosen.append(i)
            directions = np.column_stack([directions, left / length])
    return chosen


def _fit(features: Floats, answers: Floats, chosen: np.ndarray, scale: Floats) -> LinearModel:
    """Least squares on some features."""
    mean, middle = answers.mean(axis=0), features[:, chosen].mean(axis=0)
    standard = (features[:, chosen] - middle) / scale[chosen]
    slopes = np.linalg.lstsq(standard, answers - mean, rcond=None)[0] / scale[chosen, None]
    weights = (
        Weight(feature=int(i), slope=tuple(slope.tolist()), scale=float(scale[i]))
        for i, slope in zip(chosen, slopes, strict=True)
    )
    return LinearModel(
        weights=tuple(sorted(weights, key=lambda weight: -weight.strength)),
        intercept=tuple((mean - middle @ slopes).tolist()),
    )
