"""The search for a mask: what is seen through it, its gradient, and the steps that it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.case import Case
from pellucid.perturb.mask_sheets import Sheet
from pellucid.remarks import Remark, Share, Span
from pellucid.seeding import seeded
from pellucid.structure import Inputs

Mode: TypeAlias = Literal["deletion", "preservation", "hybrid"]
# What the score is asked for: inputs without what a mask holds, or with nothing else.
SIDES: dict[str, tuple[str, ...]] = {
    "deletion": ("without",),
    "preservation": ("within",),
    "hybrid": ("without", "within"),
}
FADED_NOTE = "The baseline has at least the score of the input in {}: a mask can show little there."
# Of Adam (Kingma, Ba 2015): how slowly its two averages move, and what stands for zero.
MOMENTA, TINY = (0.9, 0.99), 1e-8

Shape: TypeAlias = Callable[[Tensor, Sheet], Tensor]
Penalty: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor], int], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """Masks of all samples of a case, each moved against the gradient of its own loss.

        loss = penalty(mask) + u(x without the mask)        deletion
        loss = penalty(mask) - u(x within the mask)         preservation, both for a hybrid
        u(z) = (f(z) - f(x0)) / |f(x) - f(x0)|

    If it is `bounded`, a mask gains nothing by a score below that of the baseline, or above that of
    the input: max(u, 0) and min(u, 1) take the place of u.

    `levels` have for each input what is seen through it, of shape (sample, level, ...), from
    nothing (the baseline x0) to all of it. Where cells move `alike`, one scale of Adam is for all
    cells of a mask, so that those with the largest gradients move the most. A search may be for
    several masks of each sample, `variants`, with one penalty each. `shift` is how far points move
    at most, as a fraction of each axis, at random in each of the `steps`: the same for every
    sample, whatever the batch.
    """

    case: Case
    sheets: Sequence[Sheet]
    levels: Sequence[Tensor]
    mode: Mode
    bounded: bool
    alike: bool
    begin: float
    variants: int
    steps: int
    rate: float
    shift: float
    seed: int
    start: Tensor  # f(x0), of shape (sample,)

    @property
    def unit(self) -> Tensor:
        """|f(x) - f(x0)|, of shape (sample,); one where they are the same."""
        found = (self.case.outcome.score - self.start).abs()
        return torch.where(found > 0, found, 1)

    @property
    def times(self) -> list[tuple[int, str]]:
        """What one step asks of each sample: a mask, and its side."""
        return [(v, side) for v in range(self.variants) for side in SIDES[self.mode]]

    def run(self, shape: Shape, penalty: Penalty) -> list[Tensor]:
        """The masks (variant, sample, *grid) of each sheet that the steps end with.

        What moves are cells between 0 and 1, which `begin` alike; `shape` makes a mask of them.
        `penalty` is asked for the masks, the slopes of the rest of the loss at them, and the step;
        it has shape (variant, sample).
        """
        cells = [self._begun(sheet) for sheet in self.sheets]
        moments = [[torch.zeros_like(each) for each in cells] for _ in MOMENTA]
        for step in range(self.steps):
            slopes = self._slopes(cells, shape, penalty, step)
            cells = [
                self._moved(each, slope, list(pair), step + 1)
                for each, slope, *pair in zip(cells, slopes, *moments, strict=True)
            ]
        return [shape(each, sheet) for each, sheet in zip(cells, self.sheets, strict=True)]

    def scores(self, masks: Sequence[Tensor]) -> Tensor:
        """The values of u behind the masks, of shape (mask and side, sample), without any shift."""
        points = self._points(masks, {})
        found = torch.empty(len(self.times), len(self.case), dtype=wide(self.start))
        for part, rows, times in self.case.stream(len(self.times), self._picked(points)):
            level = (part.outcome.score - self.start[rows]) / self.unit[rows]
            found[times, rows] = level.to(found)
        return found

    def _begun(self, sheet: Sheet) -> Tensor:
        leaf = self.case.inputs.leaves[sheet.leaves[0]]
        shape = (self.variants, len(self.case), *sheet.grid)
        return torch.full(shape, self.begin, dtype=wide(leaf), device=leaf.device)

    def _slopes(
        self, cells: list[Tensor], shape: Shape, penalty: Penalty, step: int
    ) -> Sequence[Tensor]:
        """The gradient of the losses at the cells: by autograd, but through the model by a case."""
        free = [each.detach().requires_grad_() for each in cells]
        with torch.enable_grad():
            masks = [shape(each, sheet) for each, sheet in zip(free, self.sheets, strict=True)]
            points = self._points(masks, self._shifts(step))
        moving = sorted(points)
        signals = self._signals({leaf: points[leaf].detach() for leaf in moving})
        wished = torch.autograd.grad(
            [points[leaf] for leaf in moving],
            masks,
            [signals[leaf] for leaf in moving],
            retain_graph=True,
        )
        with torch.enable_grad():
            loss = penalty(masks, wished, step).sum()
        return torch.autograd.grad([loss, *masks], free, [torch.ones_like(loss), *wished])

    def _moved(self, cells: Tensor, slope: Tensor, moments: list[Tensor], step: int) -> Tensor:
        """Cells after a step of Adam, kept between 0 and 1; its moments are brought up to date.

        Steps become shorter and shorter, so that a bounded search does not end on one side of its
        bound.
        """
        for power, (moment, keep) in enumerate(zip(moments, MOMENTA, strict=True), 1):
            moment.mul_(keep).add_(slope**power, alpha=1 - keep)
        first, second = (m / (1 - keep**step) for m, keep in zip(moments, MOMENTA, strict=True))
        if self.alike and cells.ndim > 2:
            second = second.mean(tuple(range(2, cells.ndim)), keepdim=True)
        rate = self.rate * (1 - (step - 1) / self.steps)
        return (cells - rate * first / (second.sqrt() + TINY)).clamp(0, 1)

    def _points(self, masks: Sequence[Tensor], shifts: dict[int, list[int]]) -> dict[int, Tensor]:
        """What the model is shown of each masked input, of shape (mask and side, sample, ...)."""
        found = {}
        for number, (mask, sheet) in enumerate(zip(masks, self.sheets, strict=True)):
            large = sheet.enlarged(mask)
            there = [large[v] if side == "within" else 1 - large[v] for v, side in self.times]
            for leaf in sheet.leaves:
                levels = self.levels[leaf]
                seen = [fade(levels, sheet.laid(each).to(levels)) for each in there]
                found[leaf] = _shifted(torch.stack(seen), sheet, shifts.get(number, []))
        return found

    def _signals(self, points: dict[int, Tensor]) -> dict[int, Tensor]:
        """The gradient of u at points, with the sign that it has in the loss."""
        found = {leaf: torch.zeros_like(point) for leaf, point in points.items()}
        signs = torch.tensor([1.0 if side == "without" else -1.0 for _, side in self.times])
        for part, rows, times in self.case.stream(len(self.times), self._picked(points)):
            slopes = part.gradient
            factor = self._open(part, rows, signs[times].to(self.unit)) / self.unit[rows]
            for leaf, signal in found.items():
                slope = slopes[leaf]
                scale = factor.to(slope).reshape(-1, *[1] * (slope.ndim - 1))
                signal[times, rows] = slope * scale
        return found

    def _open(self, part: Case, rows: Tensor, signs: Tensor) -> Tensor:
        """The signs of u in the losses; zero where a bounded search has gained all there is."""
        if not self.bounded:
            return signs
        level = (part.outcome.score - self.start[rows]) / self.unit[rows]
        gained = torch.where(signs > 0, level <= 0, level >= 1)
        return signs.masked_fill(gained, 0)

    def _picked(self, points: dict[int, Tensor]) -> Callable[[int, Tensor], Inputs]:
        """Points as a case streams them."""
        leaves = self.case.inputs.leaves

        def point(time: int, rows: Tensor) -> Inputs:
            return self.case.inputs.replace([
                points[i][time][rows] if i in points else leaf[rows]
                for i, leaf in enumerate(leaves)
            ])  # fmt: skip

        return point

    def _shifts(self, step: int) -> dict[int, list[int]]:
        """How far each axis of each sheet with positions moves in one step."""
        generator = seeded(self.seed, step)
        found = {}
        for number, sheet in enumerate(self.sheets):
            reaches = [int(self.shift * n) if sheet.smooth else 0 for n in sheet.size]
            draws = [int(torch.randint(-r, r + 1, (), generator=generator)) for r in reaches]
            if any(draws):
                found[number] = draws
        return found


def fade(levels: Tensor, there: Tensor) -> Tensor:
    """What is seen of inputs of which `there`, between 0 and 1, is there.

    `levels` (sample, level, ...) run from nothing to all; between two of them it is linear.
    """
    steps = levels.shape[1] - 1
    if steps == 1:
        return torch.lerp(levels[:, 0], levels[:, 1], there)
    place = there * steps
    low = place.detach().floor().clamp(0, steps - 1)
    index = low.long().expand_as(levels[:, 0]).unsqueeze(1)
    below, above = levels.gather(1, index)[:, 0], levels.gather(1, index + 1)[:, 0]
    return torch.lerp(below, above, place - low)


def _shifted(points: Tensor, sheet: Sheet, shifts: list[int]) -> Tensor:
    """Points moved along the axes of a sheet; what moves in is what stood at the edge."""
    axes = [axis for axis in range(1, points.ndim - 1) if axis != sheet.channel]
    for axis, shift in zip(axes, shifts, strict=False):
        size = points.shape[axis + 1]
        places = (torch.arange(size, device=points.device) - shift).clamp(0, size - 1)
        points = points.index_select(axis + 1, places)
    return points


def started(case: Case, reference: Inputs) -> tuple[Tensor, Share]:
    """The score of the baseline, and a remark on samples where that is not the lower one."""
    start = case.score_at(reference)
    some = int((start >= case.outcome.score).sum())
    return start, Share(text=FADED_NOTE, some=some, of=len(case))


def spans(text: str, fractions: Tensor) -> Remark:
    """A remark on fractions of each sample, in whole percents."""
    percents = (100 * fractions).round().long()
    return Span(text=text, low=int(percents.min()), high=int(percents.max()))
