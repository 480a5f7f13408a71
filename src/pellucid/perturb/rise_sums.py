"""Running sums over random masks, of which one batch at a time is in memory."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.case import Case
from pellucid.perturb.rise_draws import Masks


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Sums over masks M of (f(x . M) - middle) (M / p - center), and of its square.

    Both have shape (sample, element), in double precision. `middle` (sample,) is near the mean
    score; `references` (mask,) say what is behind each mask. `taken` (sample,) counts masks.
    """

    case: Case
    masks: Masks
    probability: float
    center: float
    middle: Tensor
    references: Tensor
    _sums: list[list[Tensor]] = field(default_factory=list)

    @cached_property
    def taken(self) -> Tensor:
        """How many masks each sample has been seen through so far."""
        return torch.zeros(len(self.case), dtype=torch.long)

    def add(self, start: int, stop: int, samples: Tensor) -> None:
        """Look at some samples through masks from `start` to `stop`, in full batches."""
        case, count = self.case, len(samples)

        def work(first: int, last: int) -> None:
            flat = torch.arange(first, last)
            place, draws = flat % count, start + flat // count
            low = int(draws[0])
            masks = self.masks.drawn(low, int(draws[-1]) + 1)
            seen = masks if count == 1 else [m[(draws - low).to(m.device)] for m in masks]
            rows = samples[place]
            point = self.masks.points(seen, rows, self.references[draws])
            score = case.moved(point, rows, fresh=True).outcome.score
            above = score - self.middle[rows.to(score.device)].to(score)
            self._book(masks, above, place, draws - low, samples)

        batcher = case.batcher.forward(case.inputs.leaves[0])
        for _ in batcher.run((stop - start) * count, work, "rise"):
            pass
        self.taken[samples] += stop - start

    def _book(
        self, masks: list[Tensor], above: Tensor, place: Tensor, draws: Tensor, samples: Tensor
    ) -> None:
        """Add a batch: a product of scores (sample, draw) and masks (draw, element)."""
        if not self._sums:
            self._sums.extend(self._room(mask) for mask in masks)
        for mask, (first, second) in zip(masks, self._sums, strict=True):
            share = (mask.flatten(1) / self.probability).sub_(self.center)
            table = share.new_zeros(len(samples), len(share))
            table[place, draws] = above.to(share)
            rows = samples.to(first.device)
            first.index_add_(0, rows, (table @ share).to(first))
            second.index_add_(0, rows, (table.square() @ share.square_()).to(second))

    def _room(self, mask: Tensor) -> list[Tensor]:
        shape = (len(self.case), mask[0].numel())
        return [torch.zeros(shape, dtype=wide(mask), device=mask.device) for _ in range(2)]

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """The mean of each element (sample, element), and its standard error."""
        means, errors = [], []
        for first, second in self._sums:
            count = self.taken.to(first).unsqueeze(1)
            mean = first / count
            variance = (second / count - mean**2).clamp(min=0)
            means.append(mean)
            errors.append((variance / (count - 1)).sqrt())
        return means, errors

    def loose(self, tolerance: float, samples: Tensor) -> Tensor:
        """In which samples an error is above the tolerance, a fraction of the range of values."""
        values, errors = (torch.cat(each, 1)[samples] for each in self.moments())
        spread = values.amax(1) - values.amin(1)
        return (errors.amax(1) > tolerance * spread).cpu()
