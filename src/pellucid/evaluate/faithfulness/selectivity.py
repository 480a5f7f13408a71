"""Remove what an explanation calls relevant, and watch the score fall: pixel flipping."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.evaluate.faithfulness.flips import Flipped, Schedule, curve, flips
from pellucid.evaluate.measurement import Curve
from pellucid.evaluate.metric import Better, Found, Metric, register_metric
from pellucid.evaluate.trial import Scale, Trial
from pellucid.features import FeaturesLike
from pellucid.options import number, one_of, whole
from pellucid.remarks import Remark, Share

STEPS = 50
CONSTANT = "All features have the same relevance in {}: their order there is one of chance."
NOBODY = "{} have no feature that could be removed, and no value."
Order = Literal["most", "least", "both"]


@dataclass(frozen=True, kw_only=True)
class Flipping:
    """Players are removed in the order of their relevance, and the score is read at each step.

    | option | what it does |
    |---|---|
    | `features` | the players that are removed: pixels, patches, superpixels, tokens, columns |
    | `baseline` | what takes their place, as for every method that removes parts |
    | `scale` | the score, or the "probability", the "log_odds" or the "margin" of its class |
    | `steps` | at most so many steps of equal size; the fewer players, the fewer |
    | `removed` | the share of all players that is gone in the end |
    | `seed` | of the order of players that have the same relevance |

    Players are ordered by the sum of their values; where values are slopes, by that of their sizes.
    """

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    scale: Scale = "score"
    steps: int = STEPS
    removed: float = 1.0
    seed: int = 0

    name: ClassVar[str]
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "order"})

    def __post_init__(self) -> None:
        must = "a share of the features, above 0 and at most 1"
        one_of(self.scale, f"`scale` of {self.name}", get_args(Scale))
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "steps", whole(self.steps, "steps"))
        object.__setattr__(self, "removed", number(self.removed, "removed", must, above=0, most=1))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that it needs: "morf", "lerf", "random"."""
        return ("morf",)

    @property
    def orders(self) -> int:
        """How many random orders it needs."""
        return 0

    @abstractmethod
    def value(self, flipped: Flipped) -> Tensor:
        """What the lines say, of shape (rival, sample)."""

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Remove players, of all rivals in one stream, and sum up what happens."""
        aimed = trial.on_scale(self.scale)
        schedule = Schedule(
            features=self.features,
            baseline=self.baseline,
            scale=self.scale,
            steps=self.steps,
            removed=self.removed,
            seed=self.seed,
            draws=self.orders,
        )
        found = flips(aimed, schedule, self.lines)
        values = torch.full((len(trial.rivals), len(trial)), torch.nan, dtype=torch.float64)
        for part in found:
            values[:, part.rows] = self.value(part)
        return [
            Found(
                values=values[number],
                curves=self.curves(found, number, len(trial)),
                notes=remarks(trial, self.features, number),
            )
            for number in range(len(trial.rivals))
        ]

    def curves(self, found: Sequence[Flipped], rival: int, rows: int) -> dict[str, Curve]:
        """The lines of one rival."""
        return {name: curve(found, name, rival, self.scale, rows) for name in self.lines}


def remarks(trial: Trial, features: FeaturesLike, rival: int) -> tuple[Remark, ...]:
    """For which samples the order is one of chance, or there is none."""
    players, rows = trial.players(features), len(trial)
    counts, relevance = players.counts.expand(rows).cpu(), trial.relevance(features)[rival]
    own = players.alive.cpu().expand(rows, -1)
    high = relevance.masked_fill(~own, -torch.inf).amax(1)
    low = relevance.masked_fill(~own, torch.inf).amin(1)
    return (
        Share(text=CONSTANT, some=int(((high == low) & (counts > 1)).sum()), of=rows),
        Share(text=NOBODY, some=int((counts == 0).sum()), of=rows),
    )


def area(line: Tensor) -> Tensor:
    """The area under each line over equal steps from 0 to 1, by trapezoids.

    >>> area(torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    tensor([0.5000, 0.2500])
    """
    return torch.trapezoid(line, dx=1 / max(1, line.shape[-1] - 1))


@register_metric("selectivity")
@dataclass(frozen=True, kw_only=True)
class Selectivity(Flipping, Metric):
    """How much faster the score falls in the order of the explanation than in random orders.

        area of the random line - area of the most relevant first    (first="most")
        area of the least relevant first - area of the random line   (first="least")
        half of the sum of both                                      (first="both")

    Areas are those under the score over the share of features that is gone. Zero is as good as
    chance. The random line is the mean over `draws` random orders, each second of which is the one
    before it, backwards; after steps at which there are not more sets of features than that, it is
    the mean over all of them. All methods share it, and the two ends of all lines.
    Laws: on a linear model, w (x - baseline) has the largest value that any order can have, and
    the area of the random line, for an even number of draws, is exactly that of all orders.
    Source: Bach et al. (2015), On Pixel-Wise Explanations; Samek et al. (2017), Evaluating the
    Visualization of What a Deep Neural Network Has Learned, for the random line.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> Selectivity()(line, found).values.round(decimals=3)
    tensor([0.6670], dtype=torch.float64)
    """

    first: Order = "most"
    draws: int = 10

    answers: ClassVar[str] = "Does the score fall faster than by chance, without what is relevant?"
    weakness: ClassVar[str] = "The model has never seen inputs with holes."

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self.first, "`first` of selectivity", get_args(Order))
        object.__setattr__(self, "draws", whole(self.draws, "draws"))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that it needs."""
        own = {"most": ("morf",), "least": ("lerf",), "both": ("morf", "lerf")}
        return (*own[self.first], "random")

    @property
    def orders(self) -> int:
        """How many random orders it needs."""
        return self.draws

    def value(self, flipped: Flipped) -> Tensor:
        """The areas between the lines."""
        areas = {name: area(line) for name, line in flipped.lines.items()}
        chance = areas["random"]
        gains = {"morf": lambda own: chance - own, "lerf": lambda own: own - chance}
        found = [gains[name](areas[name]) for name in self.lines[:-1]]
        return torch.stack(found).mean(0)


@register_metric("aopc")
@dataclass(frozen=True, kw_only=True)
class AOPC(Flipping, Metric):
    """The mean fall of the score, the most relevant features first: area over the curve.

        1 / (L + 1) sum_(k = 0)^L f(x) - f(x without the k most relevant)

    Laws: on a linear model, w (x - baseline) has the largest value that any order can have.
    Source: Samek et al. (2017), Evaluating the Visualization of What a Deep Neural Network Has
    Learned.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> AOPC()(line, found).values  # (0 + 3 + 5 + 6) / 4
    tensor([3.5000], dtype=torch.float64)
    """

    answers: ClassVar[str] = "How far does the score fall without what is called relevant?"
    weakness: ClassVar[str] = "Has no zero line: a steep model has a large one for any order."

    def value(self, flipped: Flipped) -> Tensor:
        """The mean over the steps."""
        line = flipped.lines["morf"]
        return (line[..., :1] - line).mean(-1)


@register_metric("abpc")
@dataclass(frozen=True, kw_only=True)
class ABPC(Flipping, Metric):
    """The area between the lines of the least and of the most relevant features first.

        1 / (L + 1) sum_(k = 0)^L f(x without the k least relevant) - f(... most relevant)

    What a baseline does to every input alike, it does to both. Zero is as good as chance.
    Laws: on a linear model, w (x - baseline) has the largest value that any order can have; of the
    values with another sign it is the negative.
    Source: Samek et al. (2017), Evaluating the Visualization of What a Deep Neural Network Has
    Learned.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> ABPC()(line, found).values  # (0 + 2 + 2 + 0) / 4
    tensor([1.], dtype=torch.float64)
    """

    answers: ClassVar[str] = "How far apart are the most and the least relevant features?"
    weakness: ClassVar[str] = "Costs both lines, and does not say which of them is good."

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that it needs."""
        return ("morf", "lerf")

    def value(self, flipped: Flipped) -> Tensor:
        """The mean distance over the steps."""
        return (flipped.lines["lerf"] - flipped.lines["morf"]).mean(-1)


@register_metric("deletion")
@dataclass(frozen=True, kw_only=True)
class Deletion(Flipping, Metric):
    """The area under the probability while the most relevant features are removed.

    The axis is the share of the features that is gone, from 0 to 1; trapezoids. Samples whose
    target is no class take `scale="score"`.
    Source: Petsiuk, Das and Saenko (2018), RISE: Randomized Input Sampling for Explanation.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> Deletion(scale="score")(line, found).values.round(decimals=3)  # (6 / 2 + 3 + 1 + 0) / 3
    tensor([2.3330], dtype=torch.float64)
    """

    scale: Scale = "probability"

    answers: ClassVar[str] = "How soon is the decision gone without the most relevant features?"
    weakness: ClassVar[str] = "Holes may destroy the decision by themselves."
    better: ClassVar[Better] = "lower"

    def value(self, flipped: Flipped) -> Tensor:
        """The area."""
        return area(flipped.lines["morf"])


@register_metric("insertion")
@dataclass(frozen=True, kw_only=True)
class Insertion(Flipping, Metric):
    """The area under the probability while the most relevant features are put in.

    It starts from the baseline (in its source, a blurred copy: `Baseline.blur()`), and the axis
    is the share of the features that is there. Samples whose target is no class take
    `scale="score"`.
    Source: Petsiuk, Das and Saenko (2018), RISE: Randomized Input Sampling for Explanation.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> Insertion(scale="score")(line, found).values.round(decimals=3)  # (0 + 3 + 5 + 6 / 2) / 3
    tensor([3.6670], dtype=torch.float64)
    """

    scale: Scale = "probability"

    answers: ClassVar[str] = "How soon do the most relevant features alone make the decision?"
    weakness: ClassVar[str] = "Depends on the baseline that it starts from."

    @property
    def lines(self) -> tuple[str, ...]:
        """Who is there when the least relevant are gone: the most relevant."""
        return ("lerf",)

    def value(self, flipped: Flipped) -> Tensor:
        """The area."""
        return area(flipped.lines["lerf"])

    def curves(self, found: Sequence[Flipped], rival: int, rows: int) -> dict[str, Curve]:
        """The line backwards, over the share of the features that is there."""
        own = curve(found, "lerf", rival, self.scale, rows)
        made = Curve(
            x=(1 - own.x).flip(0),
            y=own.y.flip(1),
            xlabel="features inserted",
            ylabel=own.ylabel,
        )
        return {"insertion": made}


@register_metric("monotonicity")
@dataclass(frozen=True, kw_only=True)
class Monotonicity(Flipping, Metric):
    """How often the score does not fall while features come in, the least relevant first.

        the share of steps k with f(x with k + 1 players) >= f(x with k players)

    It is 1 where the score never falls (the published answer, yes or no). Falls below the precision
    of the score do not count.
    Laws: it is 1 on an increasing model, whatever the order.
    Source: Luss et al. (2021), Leveraging Latent Features for Local Explanations; Arya et al.
    (2019), One Explanation Does Not Fit All.

    >>> import pellucid as pl
    >>> line = lambda x: x @ torch.tensor([[3.0], [-1.0], [2.0]])
    >>> found = pl.explain(line, torch.ones(1, 3), "gradient_x_input")
    >>> Monotonicity()(line, found).values.round(decimals=3)
    tensor([0.6670], dtype=torch.float64)
    """

    answers: ClassVar[str] = "Does the score rise with every feature that is put in?"
    weakness: ClassVar[str] = "Features that speak against a class lower it rightly."

    def value(self, flipped: Flipped) -> Tensor:
        """Falls are rises of the line of the most relevant first, which is this one backwards."""
        line = flipped.lines["morf"]
        least = flipped.precision * line.abs().amax(-1, keepdim=True)
        return (line.diff(dim=-1) <= least).double().mean(-1)
