"""Remove sets of features: does the score fall by as much as the explanation gives them?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, get_args

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.evaluate.faithfulness.coalitions import (
    Request,
    by_count,
    members,
    precision,
    scores,
    subsets,
)
from pellucid.evaluate.measurement import Curve
from pellucid.evaluate.metric import Found, Metric, register_metric
from pellucid.evaluate.similarity import Correlation
from pellucid.evaluate.trial import Scale, Trial
from pellucid.features import FeaturesLike
from pellucid.options import number, one_of, whole
from pellucid.remarks import Remark, Share
from pellucid.seeding import seeded

UNDEFINED = "In {} what is compared does not vary, and there is no correlation."
SHARE = "a share of the features, above 0 and below 1"


def drops(
    trial: Trial,
    features: FeaturesLike,
    baseline: BaselineLike,
    scale: Scale,
    removed: Sequence[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    """How far the score of samples falls, (sample, set), without each of some sets of players.

    `removed` has pairs: samples that have equally many players, and the sets (set, player). What
    is less than the precision of the scores is no fall, and no difference between two.
    """
    aimed = trial.on_scale(scale)
    score = aimed.case.outcome.score
    whole, part = score.double().cpu(), precision(score)
    asked = [Request.without(sets, rows) for rows, sets in removed]
    found = scores(aimed.game(features, baseline), asked, "removing")
    return [
        _falls(whole[rows, None], each, part)
        for (rows, _), each in zip(removed, found, strict=True)
    ]


def _falls(whole: Tensor, left: Tensor, part: float) -> Tensor:
    """How far scores (sample, set) are below the whole one, but for rounding."""
    if not left.numel():
        return whole - left
    least = part * torch.maximum(whole.abs(), left.abs().amax(1, keepdim=True))
    fall = whole - left
    fall = fall.masked_fill(fall.abs() <= least, 0)
    alike = fall.amax(1, keepdim=True) - fall.amin(1, keepdim=True) <= least
    return torch.where(alike, fall[:, :1], fall)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """The correlation of rows (..., number), which are broadcast; of shape (...)."""
    a, b = torch.broadcast_tensors(a, b)
    return Correlation()([a.flatten(0, -2)], [b.flatten(0, -2)]).reshape(a.shape[:-1])


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """The correlation of the ranks of rows (..., number), which are broadcast; shape (...)."""
    a, b = torch.broadcast_tensors(a, b)
    return Correlation(ranks=True)([a.flatten(0, -2)], [b.flatten(0, -2)]).reshape(a.shape[:-1])


@dataclass(frozen=True, kw_only=True)
class Removing:
    """Sets of players are removed from the inputs, the same for all methods.

    `features` are the players, `baseline` takes their place, and `scale` says what is read: the
    score, or the "probability", the "log_odds" or the "margin" of its class.
    """

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    scale: Scale = "score"
    seed: int = 0

    name: ClassVar[str]

    def __post_init__(self) -> None:
        one_of(self.scale, f"`scale` of {self.name}", get_args(Scale))
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def removed(self, trial: Trial, sets: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """How far the score falls without each of some sets: see `drops`."""
        return drops(trial, self.features, self.baseline, self.scale, sets)

    def groups(self, trial: Trial) -> dict[int, Tensor]:
        """The samples that have so many players each."""
        return by_count(trial.players(self.features), len(trial))

    def found(self, values: Tensor, curves: Sequence[dict[str, Curve]] = ()) -> list[Found]:
        """What was found for each rival, of `values` (rival, sample)."""
        notes: list[tuple[Remark, ...]] = [
            (Share(text=UNDEFINED, some=int((~each.isfinite()).sum()), of=len(each)),)
            for each in values
        ]
        own = curves or [{} for _ in values]
        return [
            Found(values=value, curves=made, notes=said)
            for value, made, said in zip(values, own, notes, strict=True)
        ]


def _correlations(
    metric: Removing, trial: Trial, shares: Sequence[float], draws: int
) -> Sequence[Found]:
    """Correlate what sets are given, and how far the score falls, for sizes that are shares.

    The sets are the same for all rivals.
    """
    groups, relevance = metric.groups(trial), trial.relevance(metric.features)
    sizes = {n: [_size(share, n) for share in shares] for n in groups}
    asked = [
        (n, rows, size, subsets(n, size, draws, metric.seed))
        for n, rows in groups.items()
        for size in sorted(set(sizes[n]))
        if 0 < size < n
    ]
    drop = metric.removed(trial, [(rows, sets) for _, rows, _, sets in asked])
    shape = (len(relevance), len(trial), len(shares))
    curves = torch.full(shape, torch.nan, dtype=torch.float64)
    total, known = torch.zeros(2, *shape[:2], dtype=torch.float64)
    for (n, rows, size, sets), each in zip(asked, drop, strict=True):
        own = pearson(relevance[:, rows, :n] @ sets.double().T, each)
        places = [place for place, other in enumerate(sizes[n]) if other == size]
        curves[:, rows[:, None], torch.tensor(places)] = own[..., None]
        total[:, rows] += own.nan_to_num()
        known[:, rows] += own.isfinite()
    x = torch.tensor(shares, dtype=torch.float64)
    made = partial(Curve, x=x, xlabel="features removed", ylabel="correlation")
    return metric.found(total / known, [{"correlation": made(y=each)} for each in curves])


def _size(share: float, count: int) -> int:
    return min(max(1, round(share * count)), count - 1)


@register_metric("sensitivity_n")
@dataclass(frozen=True, kw_only=True)
class SensitivityN(Removing, Metric):
    """Do sets of n features get as much as the score falls without them? For several n.

        mean over n of corr over sets S of size n of (sum over S of R_p, f(x) - f(x without S))

    `sizes` are the n, as shares of all features; of each, `draws` random sets are removed, or all
    where there are no more. All methods are asked about the same sets. Sizes for which nothing
    varies do not count.
    Laws: it is 1 for w (x - baseline) on a linear model; a positive factor changes nothing, a
    negative one the sign.
    Source: Ancona et al. (2018), Towards Better Understanding of Gradient-based Attribution Methods
    for Deep Neural Networks.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> SensitivityN()(line, found).values.round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """

    sizes: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    draws: int = 100

    answers: ClassVar[str] = "Do sets of features get as much as the score falls without them?"
    weakness: ClassVar[str] = "A correlation hides which sets are wrong, and by how much."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.sizes if isinstance(self.sizes, Sequence) else (self.sizes,)
        must = f"{SHARE}, or several"
        made = tuple(number(each, "sizes", must, above=0, most=1 - 1e-9) for each in given)
        if not made:
            number(self.sizes, "sizes", must)
        object.__setattr__(self, "sizes", tuple(sorted(set(made))))
        object.__setattr__(self, "draws", whole(self.draws, "draws", least=2))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Remove sets of each size."""
        return _correlations(self, trial, self.sizes, self.draws)


@register_metric("faithfulness_correlation")
@dataclass(frozen=True, kw_only=True)
class FaithfulnessCorrelation(Removing, Metric):
    """Do sets of features get as much as the score falls without them? For sets of one size.

        corr over sets S of (sum over S of R_p, f(x) - f(x without S))

    `size` is that of the sets, as a share of all features; `draws` random sets are removed, or all
    where there are no more. It is `sensitivity_n` of one size.
    Laws: it is 1 for w (x - baseline) on a linear model; a positive factor changes nothing, a
    negative one the sign.
    Source: Bhatt, Weller and Moura (2020), Evaluating and Aggregating Feature-based Model
    Explanations.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> FaithfulnessCorrelation()(line, found).values.round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """

    size: float = 0.2
    draws: int = 100

    answers: ClassVar[str] = "Do sets of one size get as much as the score falls without them?"
    weakness: ClassVar[str] = "Another size of the sets may order methods otherwise."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    def __post_init__(self) -> None:
        super().__post_init__()
        made = number(self.size, "size", SHARE, above=0, most=1 - 1e-9)
        object.__setattr__(self, "size", made)
        object.__setattr__(self, "draws", whole(self.draws, "draws", least=2))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Remove sets of one size."""
        return _correlations(self, trial, (self.size,), self.draws)


@register_metric("monotonicity_correlation")
@dataclass(frozen=True, kw_only=True)
class MonotonicityCorrelation(Removing, Metric):
    """Do the features that move the score furthest, each by itself, get the most?

        rank correlation over players p of (|R_p|, |f(x) - f(x without p)|)

    Of more players than `most`, so many are drawn. Of several references, the change is that of
    the mean score.
    Laws: it is 1 for w (x - baseline) on a linear model; the signs and the scale of values do not
    matter.
    Source: Nguyen and Martinez (2020), On Quantitative Aspects of Model Interpretability.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [-2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> MonotonicityCorrelation()(line, found).values.round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """

    most: int = 256

    answers: ClassVar[str] = "Do features that move the score furthest get the most?"
    weakness: ClassVar[str] = "Features that stand in for each other matter little one by one."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "sign"})

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "most", whole(self.most, "most", least=3))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Remove players one by one, the same for all rivals."""
        relevance = trial.relevance(self.features).abs()
        chosen = {n: self._chosen(n) for n in self.groups(trial)}
        pairs = [
            (rows, members(chosen[n].unsqueeze(1).tolist(), n))
            for n, rows in self.groups(trial).items()
        ]
        found = self.removed(trial, pairs)
        values = torch.full(relevance.shape[:2], torch.nan, dtype=torch.float64)
        for (rows, sets), drop in zip(pairs, found, strict=True):
            given = relevance[:, rows][..., chosen[sets.shape[1]]]
            values[:, rows] = spearman(given, drop.abs())
        return self.found(values)

    def _chosen(self, count: int) -> Tensor:
        """The numbers of those players that are removed."""
        return torch.randperm(count, generator=seeded(self.seed, count))[: self.most]
