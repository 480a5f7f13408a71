"""Local models of samples: fitted to draws near them, and fitted again to see how far they hold."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.lime.fit import Moments, least_squares, select
from pellucid.lime.near import Near
from pellucid.lime.trees import grow
from pellucid.seeding import seeded

LocalModel = Literal["linear", "tree"]
Select = Literal["forward", "lasso", "weights"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What kind of local model is fitted, of how many features, and how often again."""

    local: LocalModel
    k: int | None
    select: Select
    ridge: float
    depth: int
    runs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Local:
    """The local models of some samples.

    `values` (sample, player) are contributions at the sample itself, `weights` what they are made
    of, `intercept`, `fidelity`, `unique` and `effective`, the number of draws that the kernel
    leaves, (sum w)^2 / sum w^2, have shape (sample,). `error` (sample, player) and `agreement`
    (sample,) are known where the fit was repeated.
    """

    values: Tensor
    weights: Tensor
    intercept: Tensor
    fidelity: Tensor
    unique: Tensor
    effective: Tensor
    error: Tensor | None = None
    agreement: Tensor | None = None

    def evidence(self) -> dict[str, Tensor]:
        """What there is to know besides the values, by name."""
        names = ("weights", "intercept", "fidelity", "agreement")
        found = {name: getattr(self, name) for name in names}
        return {name: each for name, each in found.items() if each is not None}

    @classmethod
    def join(cls, parts: "Sequence[Local]", order: Tensor) -> "Local":
        """The models of several parts of the samples, put in order."""
        columns: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            column = [getattr(part, name) for part in parts]
            columns[name] = None if column[0] is None else torch.cat(column)[order]
        return cls(**columns)


def fit(near: Near, scores: Tensor, weights: Tensor, own: Tensor, recipe: Recipe) -> Local:
    """One local model a sample; scores (sample, draw), weights and own features as in `near`."""
    shifted = scores - scores[:, :1]  # no digits are lost to what all draws share
    found = _tree if recipe.local == "tree" else _linear
    return found(near.features, shifted, scores[:, 0], weights, own, recipe)


def _linear(
    features: Tensor, scores: Tensor, level: Tensor, weights: Tensor, own: Tensor, recipe: Recipe
) -> Local:
    moments, chosen = Moments.of(features, scores, weights), None
    if recipe.k is not None and recipe.k < features.shape[2]:
        chosen = select(moments, recipe.k, recipe.select, recipe.ridge, own)
    made = least_squares(moments, recipe.ridge, chosen)
    return Local(
        values=made.weights * own,
        weights=made.weights,
        intercept=made.intercept + level,
        fidelity=made.fidelity,
        unique=made.unique,
        effective=_effective(weights, len(scores)),
    )


def _tree(
    features: Tensor, scores: Tensor, level: Tensor, weights: Tensor, own: Tensor, recipe: Recipe
) -> Local:
    """A tree of the features that a linear model chooses, if there are to be k."""
    used = features
    if recipe.k is not None and recipe.k < features.shape[2]:
        moments = Moments.of(features, scores, weights)
        chosen = select(moments, recipe.k, recipe.select, recipe.ridge, own)
        used = torch.where(chosen.unsqueeze(1), features, 0)
        own = torch.where(chosen, own, 0)
    made = grow(used, scores, weights, own, recipe.depth)
    return Local(
        values=made.contributions,
        weights=made.contributions,
        intercept=made.intercept + level,
        fidelity=made.fidelity,
        unique=torch.ones(len(scores), dtype=torch.bool),
        effective=_effective(weights, len(scores)),
    )


def _effective(weights: Tensor, samples: int) -> Tensor:
    """As many draws of equal weight would tell as much, (sample,); the sample itself is none."""
    drawn = weights[:, 1:]
    squares = drawn.square().sum(1)
    found = torch.where(squares > 0, drawn.sum(1) ** 2 / squares, 0)
    return found.expand(samples)


def repeated(
    local: Local,
    near: Near,
    scores: Tensor,
    weights: Tensor,
    own: Tensor,
    alive: Tensor,
    recipe: Recipe,
) -> Local:
    """The same with the standard error of the values, and how far their ranks agree.

    The fit, with its choice of features, is repeated with random weights of the draws, each from
    an exponential distribution (the Bayesian bootstrap): as if other draws had been made.
    Agreement is Spearman's correlation of the values of a repetition with those of the fit, on
    average. The sample itself, the first, is no draw.
    """
    generator = seeded(recipe.seed + 2 * 1_000_003)
    ranks = _ranks(local.values, alive)
    runs, agreement = [], torch.zeros_like(local.fidelity)
    for _ in range(recipe.runs):
        uniform = torch.rand(near.mass.shape[1] - 1, generator=generator, dtype=torch.float64)
        factor = torch.cat([torch.ones(1, dtype=torch.float64), -(1 - uniform).log()])
        again = fit(near, scores, weights * factor, own, recipe).values
        runs.append(again)
        agreement += _correlation(ranks, _ranks(again, alive), alive)
    return replace(local, error=torch.stack(runs).std(0), agreement=agreement / recipe.runs)


def _ranks(values: Tensor, alive: Tensor) -> Tensor:
    """The rank of each value of a sample, equal ones with the mean of theirs; (sample, player)."""
    placed = torch.where(alive, values, torch.inf)
    ordered = placed.sort(1).values
    first = torch.searchsorted(ordered, placed)
    last = torch.searchsorted(ordered, placed, right=True)
    return (first + last - 1).double() / 2


def _correlation(a: Tensor, b: Tensor, alive: Tensor) -> Tensor:
    """The correlation of ranks of those that are alive; one where there is nothing to rank."""
    count = alive.sum(1, keepdim=True).clamp(min=1)

    def centered(ranks: Tensor) -> Tensor:
        kept = torch.where(alive, ranks, 0)
        return torch.where(alive, kept - kept.sum(1, keepdim=True) / count, 0)

    a, b = centered(a), centered(b)
    size = (a.square().sum(1) * b.square().sum(1)).sqrt()
    same = (a == b).all(1)
    return torch.where(same, 1, (a * b).sum(1) / torch.where(size > 0, size, 1))
