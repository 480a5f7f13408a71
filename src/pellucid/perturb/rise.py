"""RISE: random masks, each weighted by the score of what is seen through it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.background import Background
from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import Case
from pellucid.errors import InputError, show
from pellucid.features import Features, FeaturesLike
from pellucid.game import Game
from pellucid.gradient.references import scores_of
from pellucid.method import Attribution, Method, register
from pellucid.options import number, whole
from pellucid.perturb.mask_sheets import GridLike, cells_of, check_grid, sheets
from pellucid.perturb.rise_draws import Coalitions, Grids, Masks, Source
from pellucid.perturb.rise_sums import Sums
from pellucid.remarks import Remark, Share, Span
from pellucid.seeding import seeded
from pellucid.structure import Inputs

# Where a tolerance is asked for, errors are looked at after so many draws, and twice as many, ...
FIRST_LOOK = 128
DRAWS_NOTE = "Stopped after {} masks."
LOOSE_NOTE = "After all masks, the standard errors of {} are above the tolerance. Take more."


@register("rise")
@dataclass(frozen=True, kw_only=True)
class RISE(Method):
    """The mean score of inputs seen through random masks, where a mask shows an element.

        R_i = E[f(x . M) M_i] / p - E[f(x . M)],   x . M = M x + (1 - M) x0,   E[M_i] = p

    Without `center` the second mean is not taken off, as in the paper: a constant for each sample,
    which changes no order of elements. A mask has `grid` cells on the longest axis, each one with
    `probability` p and else zero; it is interpolated linearly to one cell more than the input
    has, and cut out at random. Of tables and tokens each column or token is a cell, without
    interpolation, and so are the players of `features`. Every sample of the batch sees the same
    masks, drawn from `seed`, whatever the batch size. Where the `baseline` has several rows, each
    mask has one of them behind it at random.
    Axes: values have shape (batch, 1, *spatial), (batch, feature) or (batch, token). `samples`
    counts masks, one forward pass each for each sample; the paper takes 4000 to 8000. With a
    `tolerance`, errors are looked at after 128 masks, 256, 512 and so on, and a sample is done when
    its largest standard error is at most `tolerance` times the range of its values, max - min.
    Laws: without bias, since c = p f(x) + (1 - p) mean f(x0), known before any mask, is taken off
    each score, and put back; `error` is the standard error of each value. In expectation, an affine
    score of columns or players with contributions c_i = w_i (x_i - x0_i) has R_i = (1 - p) c_i.
    Source: Petsiuk, Das, Saenko (2018), RISE: Randomized Input Sampling for Explanation of
    Black-box Models.

    >>> line = lambda x: (x * torch.tensor([4.0, 0.0, -2.0])).sum(1, keepdim=True)
    >>> RISE(samples=2000)(line, torch.ones(1, 3)).values.round(decimals=0) + 0
    tensor([[ 2.,  0., -1.]])
    """

    answers: ClassVar[str] = "What has to be seen for the score to be high, whatever else is seen?"
    weakness: ClassVar[str] = (
        "Costs thousands of passes, and is no sharper than the cells of its masks."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True
    agnostic: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    samples: int = 1000
    grid: GridLike = 7
    probability: float = 0.5
    center: bool = True
    tolerance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        if self.features is not None:
            object.__setattr__(self, "features", Features.of(self.features))
        object.__setattr__(self, "samples", whole(self.samples, "samples", least=2))
        object.__setattr__(self, "grid", cells_of(self.grid))
        must = "a probability, above 0 and below 1"
        inside = number(self.probability, "probability", must, above=0, most=1 - 1e-6)
        object.__setattr__(self, "probability", inside)
        if not isinstance(self.center, bool):
            raise InputError("`center` must be True or False", found=show(self.center))
        if self.tolerance is not None:
            must = "a positive fraction of the range of the values, or None"
            found = number(self.tolerance, "tolerance", must, above=0)
            object.__setattr__(self, "tolerance", found)
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def check(self, inputs: Inputs) -> None:
        """Raise unless baseline, features and grid fit the inputs."""
        super().check(inputs)
        if self.features is None:
            check_grid(self.grid, inputs)

    def attribute(self, case: Case) -> Attribution:
        """Stream the scores of masked inputs into running sums of first and second powers."""
        background = case.background(self.baseline)
        masks, score = self._masks(case, background), case.outcome.score
        shares = weights_of(background)
        starts = shares.to(score) @ scores_of(case, background).to(score)
        middle = self.probability * score + (1 - self.probability) * starts
        sums = Sums(
            case=case,
            masks=masks,
            probability=self.probability,
            center=float(self.center),
            middle=middle,
            references=self._behind(shares),
        )
        active, done = torch.arange(len(case)), 0
        for upto in self._looks():
            sums.add(done, upto, active)
            done = upto
            if self.tolerance is not None:
                active = active[sums.loose(self.tolerance, active)]
                if not len(active):
                    break
        values, errors = sums.moments()
        if not self.center:
            values = [value + middle.to(value).unsqueeze(1) for value in values]
        found = masks.attribution(values, errors)
        return replace(found, notes=self._notes(sums, active), evidence={"masks": sums.taken})

    def _behind(self, shares: Tensor) -> Tensor:
        """Which of several references is behind each mask, drawn by their shares."""
        # One before the seed of the first block of masks.
        generator = seeded(self.seed, -1)
        return torch.multinomial(shares, self.samples, replacement=True, generator=generator)

    def _masks(self, case: Case, background: Sequence[Inputs]) -> Masks:
        """Cells of a grid where anything has positions, else players."""
        source = Source(
            probability=self.probability, seed=self.seed, device=case.inputs.leaves[0].device
        )
        if self.features is None:
            found = sheets(case, self.grid, integers=self.keeps_integers)
            if any(sheet.smooth for sheet in found):
                if isinstance(background, Background) and background.filling is not None:
                    raise InputError(
                        "What is filled in needs parts that are there or not",
                        found=f"{self.baseline!r}, and masks of a grid, which fade",
                        hint="Give `features`, for example Features.patches(32).",
                    )
                return Grids(case=case, sheets=found, background=background, source=source)
        game = Game(case, case.players(self.features), background)
        return Coalitions(game=game, source=source)

    def _looks(self) -> list[int]:
        """After how many masks to look at the errors, and at last to stop."""
        if self.tolerance is None:
            return [self.samples]
        powers = range(self.samples.bit_length())
        looks = [FIRST_LOOK * 2**k for k in powers if FIRST_LOOK * 2**k < self.samples]
        return [*looks, self.samples]

    def _notes(self, sums: Sums, active: Tensor) -> tuple[Remark, ...]:
        """How many masks were enough, where that was asked."""
        if self.tolerance is None:
            return ()
        taken = sums.taken
        return (
            Span(text=DRAWS_NOTE, low=int(taken.min()), high=int(taken.max())),
            Share(text=LOOSE_NOTE, some=len(active), of=len(taken)),
        )


def weights_of(background: Sequence[Inputs]) -> Tensor:
    """The shares of the references in a mean, of shape (reference,)."""
    weights = background.weights if isinstance(background, Background) else ()
    count = len(background)
    return torch.tensor(weights or [1 / count] * count, dtype=torch.float64)
