"""LIME: a simple model, fitted to the scores of what lies near a sample."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError, ModelError
from pellucid.features import FeaturesLike, Players
from pellucid.lime.fitted import Space, models
from pellucid.lime.local import Local, LocalModel, Recipe, Select
from pellucid.lime.removal import Distance, Removal
from pellucid.lime.table import Around, Table, check_table, rows_of
from pellucid.method import Attribution, Method, register
from pellucid.options import number, one_of, whole
from pellucid.remarks import Remark, Share, Span
from pellucid.structure import Inputs

# The widths of kernels that users of the method know: of the cosine distance, and for each square
# root of a player in Euclidean distances.
COSINE_WIDTH, L2_WIDTH = 0.25, 0.75
FIDELITY_NOTE = "The local model explains {} % of the variance of the score nearby (weighted R2)."
UNIQUE_NOTE = (
    "In {} the draws do not tell all players apart: the shortest weights that fit are given. "
    "Take more samples or a wider kernel."
)
THIN_NOTE = (
    "In {} the kernel leaves fewer draws than the local model has numbers, by what they count. "
    "Take more samples or a wider kernel."
)
EXACT_NOTE = "All coalitions of the players of {} were run: nothing is left to chance."
FEW_NOTE = "{} have no more than k = {} players: all are kept."
UNSEEN_NOTE = "{} have a category that is nowhere in the data."
DRAWS_NOTE = "{} draws were made, until the errors were within the tolerance or there were no more."
TOLERANCE_NOTE = "{} have errors above the tolerance after all draws. Take more samples."
# Where draws are made until the errors are small, they are looked at after these parts of them.
ROUNDS = (1 / 8, 1 / 4, 1 / 2, 1)


@register("lime")
@dataclass(frozen=True, kw_only=True)
class LIME(Method):
    """The contributions of a simple local model g that is fitted to the scores near a sample.

        g(z') = w_0 + sum over d of w_d z'_d  minimises  sum over draws z of
        exp(-D(x, z)^2 / (2 width^2)) (f(z) - g(z'))^2 + ridge |w|^2;  value of d: w_d x'_d

    Players are kept (z'_d = 1) or removed (z'_d = 0, the baseline): how many is drawn uniformly,
    then which. All coalitions are run, with the weights they would be drawn with, where they are
    no more than `samples`; of texts, `features=Features.words(together=True)` removes equal words
    at once, as one player. D is 1 - cos(x', z') with width 0.25, or with `distance="l2"` the root
    of the number of removed players, with width 0.75 sqrt(players).
    With `data`, rows (row, column) of a table, nothing is removed: numbers are drawn from a normal
    distribution with the standard deviation of their column, `around` the sample or the mean of
    the data, and z'_d is the standardised number; with `bins` (4: quartiles, 10: deciles), and for
    categories (columns numbered in `categorical`, or of a data frame) and columns that are one
    player, from the rows of the data, and z'_d is one in the bin or category of the sample. D is
    the Euclidean distance of these features, width 0.75 sqrt(players).

    `samples` counts draws besides the sample itself. `k` features are chosen by `select`:
    `forward` selection, the `lasso` path or the largest contributions of all (`weights`).
    `local="tree"` fits a regression tree of this `depth`; its values are what the splits on the
    way to the sample's leaf add. The fit is repeated on `runs` bootstrap samples of the draws:
    `error` is the standard error of each value. With `tolerance`, drawing stops as soon as the
    errors of a sample are at most that fraction of its largest value.
    `evidence` has for each sample the `weights` w and `intercept` of the model, its `fidelity` (the
    weighted R2), the `agreement` (mean rank correlation of the repeated fits with the fit) and the
    `scores` of the `draws` made.
    Axes: values have those of the inputs, each with the value of its player.
    Laws: exact where the score is linear in the features, for any width.
    Source: Ribeiro, Singh, Guestrin (2016), "Why Should I Trust You?": Explaining the Predictions
    of Any Classifier.

    >>> line = lambda x: (x * torch.tensor([2.0, -1.0])).sum(1, keepdim=True)
    >>> LIME()(line, torch.tensor([[1.0, 3.0]])).players.round(decimals=6)
    tensor([[ 2., -3.]], dtype=torch.float64)
    """

    answers: ClassVar[str] = "Which simple model behaves like this one, near this input?"
    weakness: ClassVar[str] = (
        "What is near is a choice, on which the answer depends, and drawn inputs look unnatural."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"linear"})
    reads: ClassVar[frozenset[str]] = frozenset()
    agnostic: ClassVar[bool] = True

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    data: Any = None
    samples: int = 1000
    width: float | None = None
    k: int | None = None
    seed: int = 0
    local: LocalModel = "linear"
    select: Select = "forward"
    distance: Distance = "cosine"
    around: Around = "sample"
    bins: int | None = None
    categorical: tuple[int, ...] = ()
    ridge: float = 0.0
    depth: int = 3
    runs: int = 20
    tolerance: float | None = None

    def __post_init__(self) -> None:
        one_of(self.local, "`local` of lime", ("linear", "tree"))
        one_of(self.select, "`select` of lime", ("forward", "lasso", "weights"))
        one_of(self.distance, "`distance` of lime", ("cosine", "l2"))
        one_of(self.around, "`around` of lime", ("sample", "mean"))
        for name, least in {"samples": 1, "seed": None, "depth": 1, "runs": 0}.items():
            self._set(name, whole(getattr(self, name), name, least=least))
        for name, least in {"k": 1, "bins": 2}.items():
            if getattr(self, name) is not None:
                self._set(name, whole(getattr(self, name), name, least=least))
        self._set("ridge", number(self.ridge, "ridge", "a number, 0 or more", least=0))
        for name, must in {"width": "the width of a kernel", "tolerance": "a fraction"}.items():
            if getattr(self, name) is not None:
                self._set(name, number(getattr(self, name), name, f"{must}, above 0", above=0))
        self._set("baseline", Baseline.of(self.baseline))
        self._set("data", rows_of(self.data))
        columns = tuple(whole(c, "categorical", least=0) for c in _listed(self.categorical))
        self._set("categorical", columns)
        self._check_together()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_together(self) -> None:
        """Raise for options that say nothing, or two things, about each other."""
        if self.data is not None and self.baseline != Baseline():
            raise InputError(
                "`data` or `baseline` must be given, not both",
                found=f"data={self.data!r} and baseline={self.baseline!r}",
                hint="With a baseline players are kept or removed; with data they are drawn anew.",
            )
        if self.data is None and (self.bins is not None or self.categorical):
            raise InputError(
                "`bins` and `categorical` must be of columns that are drawn from `data`",
                found="no data",
                hint="Pass data=rows of the table, the training data say.",
            )
        if self.tolerance is not None and self.runs < 2:
            raise InputError(
                "`runs` must be 2 or more where `tolerance` is given",
                got=self.runs,
                hint="The errors are those of repeated fits.",
            )

    @property
    def keeps_integers(self) -> bool:
        """Whether integer inputs stay what they are, as a baseline or data of integers says."""
        drawn = isinstance(self.data, Baseline) and self.data.is_integer
        return drawn or super().keeps_integers

    def check(self, inputs: Inputs) -> None:
        """Raise, before any run of the model, unless the options fit the inputs."""
        super().check(inputs)
        if self.data is not None:
            table = check_table(inputs, self.data, self.bins)
            wrong = [column for column in self.categorical if column >= table.shape[1]]
            if wrong:
                raise InputError(
                    f"`categorical` must be columns, from 0 to {table.shape[1] - 1}", got=wrong[0]
                )

    def attribute(self, case: Case) -> Attribution:
        """Score the draws, fit the local models and repeat the fits."""
        players = case.players(self.features)
        space = self.space(case.inputs, players)
        self._check_enough(players)
        scores, used = self._scored(case, space)
        if not scores.isfinite().all():
            raise ModelError(
                "The scores of all draws near a sample must be finite",
                found="scores that are infinite or not a number",
                hint="The model may not take what it is given in the place of removed players: "
                "try another baseline.",
            )
        local = models(space, scores, used, self.widths(space), self.recipe)
        score = case.outcome.score
        like = torch.empty(0, dtype=wide(score), device=score.device)
        return Attribution.of_players(
            players,
            local.values.to(like),
            case.inputs,
            error=None if local.error is None else local.error.to(like),
            notes=tuple(self._notes(space, local, used)),
            evidence={name: found.to(like) for name, found in local.evidence().items()}
            | {"scores": scores.to(like), "draws": used.to(score.device)},
        )

    def space(self, inputs: Inputs, players: Players) -> Space:
        """Where draws come from, for these samples and players."""
        if self.data is None:
            return Removal(
                players=players, samples=self.samples, seed=self.seed, distance=self.distance
            )
        if not players.shared:
            raise InputError(
                "`features` must be the same columns for all samples where `data` are given",
                found="those of each sample",
                hint="Without data, players of each sample are kept or removed.",
            )
        return Table(
            inputs=inputs,
            players=players,
            data=check_table(inputs, self.data, self.bins),
            categorical=_categories(inputs, self.categorical),
            bins=self.bins,
            around=self.around,
            samples=self.samples,
            seed=self.seed,
        )

    @property
    def recipe(self) -> Recipe:
        """How local models are fitted."""
        names = [each.name for each in fields(Recipe)]
        return Recipe(**{name: getattr(self, name) for name in names})

    def widths(self, space: Space) -> Tensor:
        """The width of the kernel of each sample, (sample or 1,)."""
        counts = space.counts.double()
        if self.width is not None:
            return torch.full_like(counts, self.width)
        if self.data is None and self.distance == "cosine":
            return torch.full_like(counts, COSINE_WIDTH)
        return L2_WIDTH * counts.clamp(min=1).sqrt()

    def _check_enough(self, players: Players) -> None:
        """Raise where a linear model has more weights than there are draws."""
        most = int(players.counts.max())
        fitted = most if self.k is None or self.select == "weights" else min(most, self.k)
        if self.local == "linear" and self.ridge == 0 and fitted >= self.samples + 1:
            raise InputError(
                f"`samples` must be at least {fitted}, one for each weight of the local model",
                got=self.samples,
                hint="Draw more, ask for fewer features by `k`, cut the input into fewer players "
                "by `features`, or pass ridge=1.",
            )

    def _scored(self, case: Case, space: Space) -> tuple[Tensor, Tensor]:
        """The scores of each sample and its draws (sample, 1 + draw), and how many draws it used.

        With a tolerance, samples whose errors are small enough are not drawn for any more.
        """
        own = case.outcome.score.detach().to("cpu", torch.float64)
        scores = torch.zeros(len(case), space.draws, dtype=torch.float64)
        scores = torch.cat([own.unsqueeze(1), scores], 1)
        used, start = torch.zeros(len(case), dtype=torch.long), 0
        lengths, exact = (each.expand(len(case)) for each in (space.lengths, space.exact))
        active = torch.arange(len(case))
        for stop in self._stops():
            ends = torch.where(exact, lengths, lengths.clamp(max=stop))[active]
            found = space.scores(case, Baseline.of(self.baseline), active, start, ends)
            scores[active, start + 1 : start + 1 + found.shape[1]] = found.to(scores)
            used[active], start = ends, stop
            active = self._unsettled(space, scores, used, active[ends < lengths[active]])
            if not len(active):
                break
        return scores, used

    def _stops(self) -> list[int]:
        """After how many draws the errors are looked at, whatever other samples there are."""
        if self.tolerance is None:
            return [self.samples]
        return sorted({max(1, int(part * self.samples)) for part in ROUNDS})

    def _unsettled(self, space: Space, scores: Tensor, used: Tensor, rows: Tensor) -> Tensor:
        """Which of some samples need further draws, by their number and their errors up to now."""
        enough = used[rows] >= 2 * space.counts.expand(len(scores))[rows]
        few, told = rows[~enough], rows[enough]
        if not len(told):
            return few
        local = models(space, scores, used, self.widths(space), self.recipe, told)
        return torch.cat([few, told[~self._small(local)]]).sort().values

    def _small(self, local: Local) -> Tensor:
        """Whether the largest error of each sample is at most a fraction of its largest value."""
        if local.error is None or self.tolerance is None:
            return torch.zeros(len(local.values), dtype=torch.bool)
        return local.error.amax(1) <= self.tolerance * local.values.abs().amax(1)

    def _notes(self, space: Space, local: Local, used: Tensor) -> Iterator[Remark]:
        """What a user should know of the local models."""
        samples = len(used)
        percent = (100 * local.fidelity).round().long()
        yield Span(text=FIDELITY_NOTE, low=int(percent.min()), high=int(percent.max()))
        yield Share(text=UNIQUE_NOTE, some=int((~local.unique).sum()), of=samples)
        exact = space.exact.expand(samples)
        wanted = space.counts.clamp(max=self.k or space.features).expand(samples)
        wanted = wanted + 1 if self.local == "linear" else 2 ** wanted.clamp(max=self.depth)
        thin = ~exact & (local.effective < wanted)
        yield Share(text=THIN_NOTE, some=int(thin.sum()), of=samples)
        yield Share(text=EXACT_NOTE, some=int(exact.sum()), of=samples)
        if self.k is not None:
            few = space.counts.expand(samples) <= self.k
            yield Share(text=FEW_NOTE.format("{}", self.k), some=int(few.sum()), of=samples)
        if isinstance(space, Table):
            yield Share(text=UNSEEN_NOTE, some=int(space.unseen().sum()), of=samples)
        if self.tolerance is not None:
            yield Span(text=DRAWS_NOTE, low=int(used.min()), high=int(used.max()))
            far = ~exact & ~self._small(local)
            yield Share(text=TOLERANCE_NOTE, some=int(far.sum()), of=samples)


def _listed(columns: Any) -> tuple[Any, ...]:
    """Columns as a tuple, if they can be one."""
    if isinstance(columns, Iterable) and not isinstance(columns, str):
        return tuple(columns)
    raise InputError("`categorical` must be a list of numbers of columns", got=columns)


def _categories(inputs: Inputs, columns: tuple[int, ...]) -> tuple[int, ...]:
    """Which columns hold categories: those that are said to, and those of a data frame."""
    if not inputs.leaves[0].is_floating_point():
        return tuple(range(inputs.leaves[0].shape[1]))
    schema = getattr(inputs, "schema", None)
    kinds = () if schema is None else schema.kinds
    return tuple({*columns, *(i for i, kind in enumerate(kinds) if kind == "categorical")})
