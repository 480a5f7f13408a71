"""Meaningful perturbations: the smallest part of an input that the score hangs on, learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import Case
from pellucid.method import Attribution, Method, register
from pellucid.options import number, one_of, whole
from pellucid.perturb.mask_levels import reference
from pellucid.perturb.mask_search import SIDES, Mode, Search, spans, started
from pellucid.perturb.mask_sheets import GridLike, Sheet, cells_of, check_grid, sheets, strengths
from pellucid.structure import Inputs

AREA_NOTE = "The mask holds {} % of the input."
LEFT_NOTES = {
    "without": "Without it {} % of what the score has over that of the baseline are left.",
    "within": "With nothing else {} % of what the score has over that of the baseline are left.",
}
# The width of the Gaussian that blurs an input if no baseline is given: 10 pixels of 224, as in the
# paper; one position at least.
WIDTH = 10 / 224


@register("meaningful_perturbation")
@dataclass(frozen=True, kw_only=True)
class MeaningfulPerturbation(Method):
    """Learn a mask, as small and smooth as can be, without which the score is gone.

        deletion:      min over m of  sparsity mean(m) + smoothness TV(m) + max(u(x without m), 0)
        preservation:  min over m of  sparsity mean(m) + smoothness TV(m) - min(u(x within m), 1)
        TV(m) = sum over neighbours of |m_i - m_j|^power, a cell
        x without m = (1 - m) x + m x0,  u(z) = (f(z) - f(x0)) / |f(x) - f(x0)|

    u is one at the input and zero at its baseline x0, so that the weights mean the same whatever
    the scale of the score, and there is an end to what a mask can gain, as there is to the paper's
    f, a probability (`target=Target.probability(k)`). `hybrid` asks for both, of the same mask.
    Inputs with positions (images, signals, volumes) have a mask with `grid` cells on their longest
    axis, interpolated linearly, and without a `baseline` they are blurred; of tables and tokens
    each column or token is a cell, without total variation, and absent is zero. In each of the
    `steps` of Adam, all that has positions is shifted at random by at most `jitter`, a fraction of
    each axis.
    Axes: values have shape (batch, 1, *spatial), (batch, feature) or (batch, token), from 0 to 1:
    one where an element must be deleted (or kept, for preservation). Every sample has a mask of its
    own. Notes say how much the masks hold, and what is left of the score.
    Laws: on an affine score of columns, deletion chooses exactly those whose contribution
    w_i (x_i - x0_i) is more than sparsity |f(x) - f(x0)| / columns, if the others sum to zero or
    more.
    Source: Fong, Vedaldi (2017), Interpretable Explanations of Black Boxes by Meaningful
    Perturbation.

    >>> line = lambda x: (x * torch.tensor([5.0, 0.1, 1.0])).sum(1, keepdim=True)
    >>> MeaningfulPerturbation(steps=20)(line, torch.ones(1, 3)).values
    tensor([[1., 0., 0.]])
    """

    answers: ClassVar[str] = "What is the least that must be hidden for the score to be gone?"
    weakness: ClassVar[str] = (
        "Costs hundreds of passes; depends on the weights of its loss and on the baseline, and may "
        "find an artifact that fools the model."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    mode: Mode = "deletion"
    baseline: BaselineLike = None
    grid: GridLike = 28
    sparsity: float = 1.0
    smoothness: float = 1.0
    power: float = 3.0
    jitter: float = 0.02
    steps: int = 200
    rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self.mode, "`mode` of meaningful_perturbation", SIDES)
        if self.baseline is not None:
            object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "grid", cells_of(self.grid))
        for name in ("sparsity", "smoothness"):
            made = number(getattr(self, name), name, "a weight, 0 or more", least=0)
            object.__setattr__(self, name, made)
        object.__setattr__(self, "power", number(self.power, "power", "at least 1", least=1))
        settle_search(self)

    def check(self, inputs: Inputs) -> None:
        """Raise unless baseline and grid fit the inputs."""
        super().check(inputs)
        check_grid(self.grid, inputs)

    def attribute(self, case: Case) -> Attribution:
        """Move the masks of all samples together, a pass forward and back for each step."""
        found = sheets(case, self.grid)
        absent, levels = reference(case, self.baseline, found, WIDTH, 1)
        start, faded = started(case, absent)
        search = Search(
            case=case,
            sheets=found,
            levels=levels,
            mode=self.mode,
            bounded=True,
            alike=False,
            begin=0.5,
            variants=1,
            steps=self.steps,
            rate=self.rate,
            shift=self.jitter,
            seed=self.seed,
            start=start,
        )
        masks = search.run(
            lambda cells, sheet: cells, lambda m, wished, step: self._penalty(m, found)
        )
        left = search.scores(masks)
        pairs = zip(SIDES[self.mode], left, strict=True)
        return Attribution(
            values=strengths(
                case, found, [s.enlarged(m[0]) for s, m in zip(found, masks, strict=True)]
            ),
            notes=(
                faded,
                spans(AREA_NOTE, flat(masks).mean(2)),
                *(spans(LEFT_NOTES[side], each) for side, each in pairs),
            ),
            evidence=evidence(search, masks, left),
        )

    def _penalty(self, masks: Sequence[Tensor], found: Sequence[Sheet]) -> Tensor:
        """What masks cost by themselves, of shape (variant, sample)."""
        cells = flat(masks)
        rough = sum(variation(m, self.power) for m, s in zip(masks, found, strict=True) if s.smooth)
        return self.sparsity * cells.mean(2) + self.smoothness * rough / cells.shape[2]


def evidence(search: Search, masks: Sequence[Tensor], left: Tensor) -> dict[str, Tensor]:
    """What masks hold and leave, of shape (sample, mask): area, and u without or within them."""
    sides = [side for _, side in search.times]
    found = {side: left[[s == side for s in sides]].T for side in SIDES[search.mode]}
    return {"area": flat(masks).mean(2).T, **found}


def settle_search(method: Method) -> None:
    """Check the options that all methods which search for a mask share."""
    made = {
        name: getattr(method, name) for name in ("jitter", "steps", "rate", "seed")
    }  # of one of these classes
    jitter = number(made["jitter"], "jitter", "a fraction of each axis", least=0, most=0.5)
    object.__setattr__(method, "jitter", jitter)
    object.__setattr__(method, "steps", whole(made["steps"], "steps"))
    rate = number(made["rate"], "rate", "a positive step, at most 1", above=0, most=1)
    object.__setattr__(method, "rate", rate)
    object.__setattr__(method, "seed", whole(made["seed"], "seed", least=None))


def flat(masks: Sequence[Tensor]) -> Tensor:
    """All cells of all masks of a sample, of shape (variant, sample, cell)."""
    return torch.cat([mask.reshape(*mask.shape[:2], -1) for mask in masks], 2)


def variation(mask: Tensor, power: float) -> Tensor:
    """Total variation: the sum over neighbours on all axes of |m_i - m_j|^power.

    Masks have shape (variant, sample, *grid), the sums (variant, sample).
    """
    total = mask.new_zeros(mask.shape[:2])
    for axis in range(2, mask.ndim):
        total = total + (mask.diff(dim=axis).abs() ** power).flatten(2).sum(2)
    return total
