"""Extremal perturbations: of all smooth masks of one area, the one that keeps the score highest."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.method import Attribution, Method, register
from pellucid.options import number, one_of
from pellucid.perturb.mask import LEFT_NOTES, evidence, flat, settle_search
from pellucid.perturb.mask_levels import reference
from pellucid.perturb.mask_search import SIDES, Mode, Search, spans, started
from pellucid.perturb.mask_sheets import GridLike, Sheet, cells_of, check_grid, sheets, strengths
from pellucid.remarks import Remark
from pellucid.structure import Inputs

AREA_NOTE = "The mask for {area:g} % of the input holds {{}} % of it."
# The widest Gaussian of the pyramid, as in the paper's code 20 pixels of 224, and its levels.
WIDEST, LEVELS = 20 / 224, 7
# The temperature of the smooth maximum, and below what a kernel is as good as zero: the paper's.
TEMPERATURE, NOTHING = 1 / 20, 0.01
# Cells begin where everything is seen: in a faded input gradients lead nowhere.
BEGIN = 1.0
# Of cells that are as good as equal, those come first that the score wants to be larger.
TIES = 1e-3
# The weight of the area grows by so much while a mask is searched for: first comes the score.
GROWTH = 100.0


@register("extremal_perturbation")
@dataclass(frozen=True, kw_only=True)
class ExtremalPerturbation(Method):
    """Among smooth masks that hold a given part of the input, find that with the highest score.

        preservation:  max over m of  u(x within m) - weight s |sort(m) - r_a|^2 / 2
        deletion:      min over m of  u(x without m) + weight s |sort(m) - r_a|^2 / 2
        m_i = smooth maximum over cells j of k(i - j) c_j,  0 <= c_j <= 1
        u(z) = (f(z) - f(x0)) / |f(x) - f(x0)|

    r_a is the sorted mask that holds an `area` a of n cells: zeros, then a n ones. Cells begin at
    one. The weight of the area, in units of s, the root mean square of the slopes of u at the
    cells, grows from a hundredth to `weight` while Adam, with one scale for all cells, takes its
    `steps`: at the end masks are as good as zero or one, and hold that area, for at most one cell
    in weight^2 has a slope that resists. k is a Gaussian as wide as `smoothness`, a fraction of the
    longest axis, so that a mask is made of blobs no thinner than that; columns and tokens have
    none. Without a `baseline`, what positions hold fades through a pyramid of ever wider Gaussians;
    of columns and tokens absent is zero. Of several areas the masks are summed. `jitter`, `mode`
    and `grid` are as for meaningful perturbations.
    Axes: values have shape (batch, 1, *spatial), (batch, feature) or (batch, token), from 0 to the
    number of areas. Every sample has masks of its own. Notes say what each holds and leaves.
    Laws: on an affine score of columns, preservation keeps those with the largest contributions.
    Source: Fong, Patrick, Vedaldi (2019), Understanding Deep Networks via Extremal Perturbations
    and Smooth Masks.

    >>> line = lambda x: (x * torch.tensor([5.0, 0.1, 3.0, -1.0])).sum(1, keepdim=True)
    >>> found = ExtremalPerturbation(area=0.5, steps=50)(line, torch.ones(1, 4))
    >>> found.values.round()
    tensor([[1., 0., 1., 0.]])
    """

    answers: ClassVar[str] = "Which part of a given size keeps the most of the score?"
    weakness: ClassVar[str] = (
        "Costs hundreds of passes for each area, which has to be chosen, and depends on the "
        "baseline."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    area: float | Sequence[float] = 0.1
    mode: Mode = "preservation"
    baseline: BaselineLike = None
    grid: GridLike = 28
    smoothness: float = 0.06
    weight: float = 30.0
    jitter: float = 0.02
    steps: int = 300
    rate: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self.mode, "`mode` of extremal_perturbation", SIDES)
        if self.baseline is not None:
            object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "area", _areas(self.area))
        object.__setattr__(self, "grid", cells_of(self.grid))
        smoothness = number(
            self.smoothness, "smoothness", "a fraction of the longest axis", least=0, most=1
        )
        object.__setattr__(self, "smoothness", smoothness)
        weight = number(self.weight, "weight", "a positive weight", above=0)
        object.__setattr__(self, "weight", weight)
        settle_search(self)

    @property
    def areas(self) -> tuple[float, ...]:
        """The fractions of the input that masks hold, one mask for each."""
        return _areas(self.area)

    def check(self, inputs: Inputs) -> None:
        """Raise unless baseline and grid fit the inputs."""
        super().check(inputs)
        check_grid(self.grid, inputs)

    def attribute(self, case: Case) -> Attribution:
        """Move the masks of all areas and samples together."""
        found = sheets(case, self.grid)
        absent, levels = reference(case, self.baseline, found, WIDEST, LEVELS)
        start, faded = started(case, absent)
        search = Search(
            case=case,
            sheets=found,
            levels=levels,
            mode=self.mode,
            bounded=False,
            alike=True,
            begin=BEGIN,
            variants=len(self.areas),
            steps=self.steps,
            rate=self.rate,
            shift=self.jitter,
            seed=self.seed,
            start=start,
        )
        masks = search.run(partial(smoothed, width=self.smoothness), self._penalty)
        left = search.scores(masks)
        summed = [s.enlarged(m).sum(0) for s, m in zip(found, masks, strict=True)]
        return Attribution(
            values=strengths(case, found, summed),
            notes=(faded, *self._notes(search, masks, left)),
            evidence=evidence(search, masks, left),
        )

    def _penalty(self, masks: Sequence[Tensor], wished: Sequence[Tensor], step: int) -> Tensor:
        """How far masks are from such as hold their area, of shape (area, sample)."""
        cells, slopes = flat(masks), flat(wished)
        size = slopes.square().mean(2, keepdim=True).sqrt()
        size = torch.where(size > 0, size, 1)
        order = (cells.detach() - TIES * slopes / size).argsort(2)
        aim = torch.stack([template(area, cells.shape[2]) for area in self.areas]).to(cells)
        off = (cells.gather(2, order) - aim.unsqueeze(1)) ** 2
        weight = self.weight * GROWTH ** (step / self.steps - 1)
        return weight * (size * off / 2).sum(2)

    def _notes(self, search: Search, masks: Sequence[Tensor], left: Tensor) -> Iterator[Remark]:
        """What each mask holds, and what it leaves of the score."""
        held = flat(masks).mean(2)
        for (variant, side), each in zip(search.times, left, strict=True):
            if side == SIDES[self.mode][0]:
                said = AREA_NOTE.format(area=round(100 * self.areas[variant], 2))
                yield spans(said, held[variant])
            text = LEFT_NOTES[side]
            if len(self.areas) > 1:
                text = f"At {100 * self.areas[variant]:g} %: {text[0].lower()}{text[1:]}"
            yield spans(text, each)


def _areas(area: Any) -> tuple[float, ...]:
    """The option `area`: one fraction, or several that differ; also as an array or tensor."""
    plain = area.tolist() if hasattr(area, "tolist") else area
    given = plain if isinstance(plain, list | tuple) else (plain,)
    must = "a fraction of the input, between 0 and 1, or several"
    found = tuple(number(each, "area", must, above=0, most=1) for each in given)
    if not found or len(set(found)) < len(found):
        raise InputError("`area` must be one fraction, or several that differ", got=area)
    return found


def template(area: float, cells: int) -> Tensor:
    """The sorted mask of an area, of shape (cell,): zeros, then ones; it sums to area * cells."""
    return (area * cells - torch.arange(cells - 1, -1, -1, dtype=torch.float64)).clamp(0, 1)


def smoothed(cells: Tensor, sheet: Sheet, width: float) -> Tensor:
    """Max-convolution of cells (variant, sample, *grid) with a Gaussian, where there is an order.

    The smooth maximum of values v is sum v exp(v / T) / sum exp(v / T).
    """
    kernel = gaussian(sheet, width) if sheet.smooth else torch.ones(())
    if kernel.numel() == 1:
        return cells
    places = tuple(range(2, cells.ndim))
    around = nn_pad(cells, [n // 2 for n in kernel.shape])
    for axis, size in zip(places, kernel.shape, strict=True):
        around = around.unfold(axis, size, 1)
    values = (around * kernel.to(around)).flatten(cells.ndim)
    return ((values / TEMPERATURE).softmax(-1) * values).sum(-1)


def nn_pad(cells: Tensor, reaches: Sequence[int]) -> Tensor:
    """Cells with zeros around, as many on each side of an axis as a kernel reaches."""
    return torch.nn.functional.pad(cells, [r for reach in reversed(reaches) for r in (reach,) * 2])


def gaussian(sheet: Sheet, width: float) -> Tensor:
    """A Gaussian over cells, one in its middle; `width` is a fraction of the longest axis."""
    wide = width * max(sheet.size)
    steps = [n / g for n, g in zip(sheet.size, sheet.grid, strict=True)]  # positions a cell
    reaches = [int(wide * math.sqrt(-2 * math.log(NOTHING)) / step) for step in steps]
    ranges = [range(-reach, reach + 1) for reach in reaches]
    squares = [
        sum((offset * step) ** 2 for offset, step in zip(offsets, steps, strict=True))
        for offsets in product(*ranges)
    ]
    found = torch.tensor(squares, dtype=torch.float64) / max(wide, 1e-9) ** 2
    return torch.exp(-found / 2).reshape([2 * reach + 1 for reach in reaches])
