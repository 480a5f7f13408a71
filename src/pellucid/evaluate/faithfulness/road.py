"""Remove and debias: what is removed is imputed from its neighbours, so that no mask shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.background import Background
from pellucid.baseline import Baseline, BaselineLike
from pellucid.errors import InputError
from pellucid.evaluate.faithfulness.flips import Flipped, Schedule, curve, flips
from pellucid.evaluate.faithfulness.imputation import NoisyLinear
from pellucid.evaluate.faithfulness.selectivity import remarks
from pellucid.evaluate.metric import Found, Metric, register_metric
from pellucid.evaluate.trial import Trial
from pellucid.features import Features, FeaturesLike
from pellucid.game import Game
from pellucid.options import number, one_of, whole
from pellucid.structure import Inputs

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)


@dataclass(frozen=True, kw_only=True)
class Imputing(Schedule):
    """Given shares of all players are removed, and what is gone is imputed with noise."""

    shares: tuple[float, ...]
    noise: float

    def cuts(self, count: int) -> list[int]:
        """How many of all players are gone: none, and each share."""
        return sorted(set(self.gone(count)))

    def gone(self, count: int) -> list[int]:
        """How many are gone for each share, the first of them none at all."""
        return [0, *(max(1, round(share * count)) for share in self.shares)]

    def fractions(self, count: int) -> Tensor:
        """The shares of all players that are gone."""
        return torch.tensor([0.0, *self.shares], dtype=torch.float64)

    def kept(self, flipped: Flipped, name: str) -> Flipped:
        """Whether the class is still the best, 1 or 0, for each share."""
        cuts, gone = torch.tensor(self.cuts(flipped.count)), self.gone(flipped.count)
        found = (flipped.lines[name] >= 0).double()
        return replace(
            flipped, lines={name: found[..., torch.searchsorted(cuts, torch.tensor(gone))]}
        )

    def game(self, trial: Trial) -> Game:
        """The scores where players are gone."""
        if self.baseline is not None:
            return super().game(trial)
        mean = trial.case.background(Baseline.mean())
        made = super().game(trial)
        filling = NoisyLinear(noise=self.noise, seed=self.seed)
        return replace(made, background=Background(mean, (), filling))


@register_metric("road")
@dataclass(frozen=True, kw_only=True)
class ROAD(Metric):
    """How often the decision is lost without the most relevant features, which are imputed.

        mean over shares s of [class is no longer the best without the s most relevant]
                                                                         (first="most")
        mean over shares s of [class is still the best without the s least relevant]
                                                                         (first="least")

    `shares` of all features are removed. What is gone gets the weighted mean of its neighbours,
    and noise of a deviation of `noise` times the sample's range: so the shape of what was removed
    does not tell the class. Features are pixels, or positions, unless `features` says otherwise;
    with a `baseline`, as tables and texts need it, that takes the place of what is gone; of several
    references, the mean margin to the best other class decides. The class is that which was
    explained; the mean of the curve over samples is its accuracy.
    Laws: all methods share the start; on a linear model of two classes, no order loses the decision
    sooner than w (x - baseline).
    Source: Rong et al. (2022), A Consistent and Efficient Evaluation Strategy for Attribution
    Methods.

    >>> import pellucid as pl
    >>> x, line = torch.rand(2, 1, 6, 6), torch.nn.Linear(36, 2)
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), line)
    >>> found = pl.explain(model, x, "gradient_x_input")
    >>> [curve] = ROAD()(model, found).curves.values()
    >>> curve.y[:, 0]
    tensor([1., 1.], dtype=torch.float64)
    """

    features: FeaturesLike = field(default_factory=lambda: Features.patches(1))
    baseline: BaselineLike = None
    shares: tuple[float, ...] = SHARES
    first: Literal["most", "least"] = "most"
    noise: float = 0.01
    seed: int = 0

    answers: ClassVar[str] = "Is the decision lost with what is relevant, where no mask shows?"
    weakness: ClassVar[str] = "Neighbours may tell what was removed; then nothing is lost."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "order"})

    def __post_init__(self) -> None:
        one_of(self.first, "`first` of road", ("most", "least"))
        if self.baseline is not None:
            object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        given = self.shares if isinstance(self.shares, Sequence) else (self.shares,)
        must = "shares of the features, above 0 and below 1"
        made = {number(each, "shares", must, above=0, most=1 - 1e-9) for each in given}
        if not made:
            raise InputError(f"`shares` must be {must}", got=self.shares)
        object.__setattr__(self, "shares", tuple(sorted(made)))
        noise = number(self.noise, "noise", "a fraction of the range of the input", least=0)
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def check(self, inputs: Inputs) -> None:
        """Raise unless there are neighbours to impute from, or a baseline."""
        if self.baseline is None:
            for name, leaf in zip(inputs.labels(), inputs.leaves, strict=True):
                if not (leaf.is_floating_point() and 3 <= leaf.ndim <= 5):
                    raise InputError(
                        f"What road imputes must be images or signals: `{name}` of shape (batch, "
                        "channel, ...)",
                        got=leaf,
                        hint="Give what takes the place of features that are gone, and what these "
                        "are: baseline=0.0, features=None.",
                    )
        super().check(inputs)

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Remove players, of all rivals in one stream, and see whether the class is the best."""
        schedule = Imputing(
            features=self.features,
            baseline=self.baseline,
            scale="margin",
            seed=self.seed,
            shares=self.shares,
            noise=self.noise,
        )
        name = {"most": "morf", "least": "lerf"}[self.first]
        found = flips(trial.on_scale("margin"), schedule, [name])
        kept = [schedule.kept(part, name) for part in found]
        values = torch.full((len(trial.rivals), len(trial)), torch.nan, dtype=torch.float64)
        for part in kept:
            share = part.lines[name][..., 1:].mean(-1)
            values[:, part.rows] = 1 - share if self.first == "most" else share
        return [
            Found(
                values=values[rival],
                curves={
                    name: replace(curve(kept, name, rival, "margin", len(trial)), ylabel="accuracy")
                },
                notes=remarks(trial, self.features, rival),
            )
            for rival in range(len(trial.rivals))
        ]
