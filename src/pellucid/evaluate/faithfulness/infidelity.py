"""How far what an explanation expects is from what happens, where features are removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import comb
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.background import Background, tables
from pellucid.baseline import BaselineLike
from pellucid.evaluate.faithfulness.coalitions import members
from pellucid.evaluate.faithfulness.correlation import Removing
from pellucid.evaluate.metric import Better, Found, Metric, register_metric
from pellucid.evaluate.relevance import relevance
from pellucid.evaluate.trial import Trial
from pellucid.options import whole
from pellucid.seeding import seeded

SIZES = "The method gives slopes at what has no distance from the baseline: their sizes count."
# All sets are asked for of not more players than that.
FEW = 20


@register_metric("infidelity")
@dataclass(frozen=True, kw_only=True)
class Infidelity(Removing, Metric):
    """The mean squared error of what an explanation expects where features are removed.

        E (b sum over S of R_p - (f(x) - f(x without S)))^2

    The expectation is over sets S: of a size from one to all features, each as likely, and of a set
    of that size; `draws` of them, or all, where there are no more. Of values that are slopes, R_p
    is the sum of (x - baseline) times these. The factor b is 1, or, `scaled`, that with the least
    error: then methods compare, whatever the unit of their values.
    Laws: it is 0 for w (x - baseline) on a linear model; scaled, for any multiple of it; of slopes
    and of slopes times (x - baseline) it is the same.
    Source: Yeh et al. (2019), On the (In)fidelity and Sensitivity of Explanations.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> Infidelity()(line, found).values.round(decimals=3)
    tensor([0.], dtype=torch.float64)
    """

    draws: int = 100
    scaled: bool = True

    answers: ClassVar[str] = "How wrong is what it expects where features are removed?"
    weakness: ClassVar[str] = "Its unit is that of the squared score: models do not compare."
    better: ClassVar[Better] = "lower"
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})  # where scaled

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "draws", whole(self.draws, "draws"))
        object.__setattr__(self, "scaled", bool(self.scaled))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Remove the same sets for all rivals."""
        shares, notes = self._shares(trial)
        chosen = {n: random_sets(n, self.draws, self.seed) for n in self.groups(trial)}
        pairs = [(rows, chosen[n][0]) for n, rows in self.groups(trial).items()]
        values = torch.full(shares.shape[:2], torch.nan, dtype=torch.float64)
        for (rows, sets), drop in zip(pairs, self.removed(trial, pairs), strict=True):
            weights = chosen[sets.shape[1]][1]
            expected = shares[:, rows, : sets.shape[1]] @ sets.double().T
            if self.scaled:
                expected = _fitted(expected, drop, weights)
            values[:, rows] = (weights * (expected - drop).square()).sum(-1)
        return [
            Found(values=found.values, notes=(*found.notes, *said))
            for found, said in zip(self.found(values), notes, strict=True)
        ]

    def _shares(self, trial: Trial) -> tuple[Tensor, list[tuple[str, ...]]]:
        """What each rival expects of each player, (rival, sample, player), and what to say."""
        slopes = [each.method.is_slope for each in trial.rivals]
        step = _step(trial, self.baseline) if any(slopes) else None
        players = trial.players(self.features)
        found = [relevance(each, players, step).cpu() for each in trial.rivals]
        return torch.stack(found), [(SIZES,) if s and step is None else () for s in slopes]


def _step(trial: Trial, baseline: BaselineLike) -> list[Tensor] | None:
    """How far each element is from the mean of the references; `None` where that is unknown."""
    case = trial.case
    if case.embedded is not None or not all(x.is_floating_point() for x in case.inputs.leaves):
        return None
    background = case.background(baseline)
    weights: tuple[float, ...] = ()
    if isinstance(background, Background):
        if background.filling is not None:
            return None
        weights = background.weights
    shares = torch.tensor(weights or [1 / len(background)] * len(background)).double()
    pairs = zip(case.inputs.leaves, tables(background), strict=True)
    return [x.double() - torch.einsum("r,r...->...", shares.to(t), t).double() for x, t in pairs]


def _fitted(expected: Tensor, drop: Tensor, weights: Tensor) -> Tensor:
    """What is expected, times the factor with which it is nearest to what happens."""
    above = (weights * expected * drop).sum(-1, keepdim=True)
    below = (weights * expected.square()).sum(-1, keepdim=True)
    return expected * torch.where(below > 0, above / below, 0)


def random_sets(count: int, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sets of players that are not empty, (set, player), and their weights, which sum to one.

    Each size is as likely as any other, and so is each set of a size.
    """
    if count <= FEW and 2**count - 1 <= draws:
        every = chain.from_iterable(combinations(range(count), m + 1) for m in range(count))
        sets = members(list(every), count)
        weights = [1 / (count * comb(count, int(size))) for size in sets.sum(1)]
        return sets, torch.tensor(weights, dtype=torch.float64)
    generator = seeded(seed, count)
    sizes = torch.randint(1, count + 1, (draws, 1), generator=generator)
    places = torch.rand(draws, count, generator=generator).argsort(1).argsort(1)
    return places < sizes, torch.full((draws,), 1 / draws, dtype=torch.float64)
