"""Weighted least squares of scores on interpretable features, for many samples and weightings.

All that a fit needs are weighted second moments of the draws: what is chosen, the weights and how
well they fit follow from them, whatever the number of draws.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# A feature that varies by less than this fraction of what it could is constant, or a sum of others.
DEPENDENT = 1e-10
# Scores that vary by less than this part of their mean do so by rounding.
ROUNDING = 1e-13


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Weighted moments of features z and scores y about their means; a first axis of one is shared.

    `gram` (sample or 1, feature, feature) is the covariance of the features, `cross` (sample,
    feature) theirs with the scores, `spread` (sample,) the variance of the scores, `total` the sum
    of the weights.
    """

    gram: Tensor
    cross: Tensor
    spread: Tensor
    center: Tensor
    level: Tensor
    total: Tensor

    @classmethod
    def of(cls, features: Tensor, scores: Tensor, weights: Tensor) -> "Moments":
        """Of features (sample or 1, draw, feature), scores (sample, draw), weights like them."""
        total = weights.sum(1)
        share = weights / total.unsqueeze(1)
        center = (share.unsqueeze(1) @ features).squeeze(1)
        level = (share * scores).sum(1)
        moved, rest = features - center.unsqueeze(1), scores - level.unsqueeze(1)
        weighted = share.unsqueeze(2) * moved
        gram = moved.mT @ weighted
        flat = (rest.unsqueeze(1) @ weighted).squeeze(1)
        spread = (share * rest**2).sum(1)
        return cls(
            gram=gram, cross=flat, spread=spread, center=center, level=level, total=total
        )  # fmt: skip

    @property
    def size(self) -> Tensor:
        """The standard deviation of each feature, (sample or 1, feature)."""
        return self.gram.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()

    def varying(self) -> Tensor:
        """Which features vary among the draws, (sample or 1, feature)."""
        return self.size > DEPENDENT * (self.center.abs() + self.size.amax(1, keepdim=True))


@dataclass(frozen=True, kw_only=True)
class Linear:
    """g(z) = intercept + weights . z for each sample, and the part of the variance it explains.

    `unique` (sample,) says whether the draws leave no other weights that fit as well.
    """

    weights: Tensor
    intercept: Tensor
    fidelity: Tensor
    unique: Tensor


def least_squares(moments: Moments, ridge: float, chosen: Tensor | None = None) -> Linear:
    """Minimise sum over draws of w (y - g(z))^2 + ridge |weights|^2, over the chosen features.

    A feature that does not vary gets no weight. Where the features are dependent, the weights are
    the shortest of those that fit best.
    """
    keep = moments.varying() if chosen is None else moments.varying() & chosen
    size = torch.where(keep, moments.size, 1)
    pairs = keep.unsqueeze(1) & keep.unsqueeze(2)
    gram = torch.where(pairs, moments.gram, 0) / (size.unsqueeze(1) * size.unsqueeze(2))
    extra = ridge / moments.total.unsqueeze(1) / size**2
    gram = gram + torch.diag_embed(torch.where(keep, extra, 1))
    cross = torch.where(keep, moments.cross, 0) / size
    solved, unique = _solve(gram, cross)
    weights = torch.where(keep, solved / size, 0)
    explained = 2 * (weights * moments.cross).sum(1)
    explained = explained - ((weights.unsqueeze(1) @ moments.gram).squeeze(1) * weights).sum(1)
    return Linear(
        weights=weights,
        intercept=moments.level - (weights * moments.center).sum(1),
        fidelity=fidelity(explained, moments.spread, moments.level),
        unique=unique.expand(len(weights)),
    )


def fidelity(explained: Tensor, spread: Tensor, level: Tensor) -> Tensor:
    """The weighted R2, (sample,): one where the scores do not vary, and there is nothing to say."""
    constant = spread <= (ROUNDING * level) ** 2
    return torch.where(constant, 1, explained / torch.where(constant, 1, spread)).clamp(max=1)


def _solve(gram: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
    """Solve gram w = cross, (sample or 1, ...) by Cholesky; by pseudo-inverse where it is flat."""
    factor, info = torch.linalg.cholesky_ex(gram)
    # The squares on its diagonal are what of a feature does not follow from those before it.
    left = factor.diagonal(dim1=1, dim2=2).square().amin(1)
    unique = (info == 0) & (left > DEPENDENT)
    if len(gram) < len(cross):
        gram, factor = (each.expand(len(cross), -1, -1) for each in (gram, factor))
        unique = unique.expand(len(cross))
    found = torch.zeros_like(cross)
    good, bad = unique.nonzero().squeeze(1), (~unique).nonzero().squeeze(1)
    if len(good):
        found[good] = torch.cholesky_solve(cross[good].unsqueeze(2), factor[good]).squeeze(2)
    if len(bad):
        inverse = torch.linalg.pinv(gram[bad], rtol=DEPENDENT, hermitian=True)
        found[bad] = (inverse @ cross[bad].unsqueeze(2)).squeeze(2)
    return found, unique


def select(moments: Moments, k: int, how: str, ridge: float, own: Tensor) -> Tensor:
    """Which k features a sparse model has, (sample, feature); all that vary where there are fewer.

    `forward` adds the feature that lowers the error most, one after the other; `lasso` takes the
    last point with so many weights on the path of the lasso of standardised features; `weights`
    takes the largest contributions |w z| of the full model at the sample's own z.
    """
    if how == "forward":
        return _forward(moments, k)
    if how == "lasso":
        return _lasso(moments, k)
    found = (least_squares(moments, ridge).weights * own).abs()
    places = found.topk(min(k, found.shape[1]), 1).indices
    return torch.zeros_like(found, dtype=torch.bool).scatter_(1, places, True)


def _forward(moments: Moments, k: int) -> Tensor:
    """Greedy least squares: a pivoted Cholesky factorisation of the moments, row by row."""
    cross = moments.cross.clone()
    start = moments.gram.diagonal(dim1=1, dim2=2).expand_as(cross)
    left = torch.where(moments.varying(), start, 0).clone()
    rows, gram = torch.arange(len(cross)), moments.gram.expand(len(cross), -1, -1)
    chosen = torch.zeros_like(cross, dtype=torch.bool)
    factors: list[Tensor] = []
    for _ in range(min(k, cross.shape[1])):
        free = ~chosen & (left > DEPENDENT * start) & (start > 0)
        gain = torch.where(free, cross**2 / torch.where(free, left, 1), -1)
        pick = gain.argmax(1)
        usable = gain[rows, pick] >= 0
        row = gram[rows, pick] - sum(f[rows, pick].unsqueeze(1) * f for f in factors)
        pivot = torch.where(usable, left[rows, pick], 1).sqrt().unsqueeze(1)
        row = torch.where(usable.unsqueeze(1), row / pivot, 0)
        cross -= row * (cross[rows, pick].unsqueeze(1) / pivot)
        left -= row**2
        chosen[rows, pick] |= usable
        factors.append(row)
    return chosen


def _lasso(moments: Moments, k: int) -> Tensor:
    """Follow the path of each sample until more than k features are in."""
    from sklearn.linear_model import lars_path_gram

    keep = moments.varying().expand_as(moments.cross)
    chosen = torch.zeros_like(moments.cross, dtype=torch.bool)
    gram = moments.gram.expand(len(keep), -1, -1)
    for row, kept in enumerate(keep):
        places = kept.nonzero().squeeze(1)
        size = moments.size.expand_as(moments.cross)[row, places]
        if not len(places):
            continue
        scaled = gram[row][places][:, places] / (size.unsqueeze(0) * size.unsqueeze(1))
        _, _, path = lars_path_gram(
            (moments.cross[row, places] / size).cpu().numpy(),
            scaled.cpu().numpy(),
            n_samples=1,
            method="lasso",
            max_iter=4 * k + 8,
        )
        within = np.flatnonzero((path != 0).sum(0) <= k)[-1]
        chosen[row, places] = torch.from_numpy(path[:, within] != 0).to(chosen.device)
    return chosen
