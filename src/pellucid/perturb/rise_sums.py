"""Running sums over random masks, of which one batch at a time is in memory."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.case import Case
from pellucid.perturb.rise_draws import Masks


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Sums over masks M of a (M / p - center), a = f(x . M) - middle, and of its square.

    They are made of sums of a M, a^2 M and a^2 M^2 in double precision, so that a batch of large
    masks is read as it is. `middle` (sample,) is near the mean score; `references` (mask,) say what
    is behind each mask. `taken` (sample,) counts masks.
    """

    case: Case
    masks: Masks
    probability: float
    center: float
    middle: Tensor
    references: Tensor
    _sums: list[tuple[Tensor, Tensor]] = field(default_factory=list)

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
        """Add a batch: products of scores (sample, draw) and masks (draw, element), which go.

        All of them first, since a batch that memory runs out for comes again.
        """
        if not self._sums:
            self._sums.extend([self._room(mask) for mask in masks])
        count, made = len(samples), []
        for mask in masks:
            share = mask.flatten(1)
            table = share.new_zeros(count, len(share))
            table[place, draws] = above.to(share)
            powers = torch.cat([table, table.square()])
            met = torch.cat([powers @ share, powers[count:] @ share.square_()])
            made += [powers.sum(1), met]
        for into, more in zip(chain(*self._sums), made, strict=True):
            each = more.reshape(-1, count, *more.shape[1:])
            if count == len(self.case):
                into += each
            else:
                into[:, samples.to(into.device)] += each.to(into)

    def _room(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of a and a^2, (2, sample), and of a M, a^2 M and a^2 M^2, (3, sample, element)."""
        shapes = (2, len(self.case)), (3, len(self.case), mask[0].numel())
        totals, sums = (torch.zeros(s, dtype=wide(mask), device=mask.device) for s in shapes)
        return totals, sums

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """The mean of each element (sample, element), and its standard error."""
        means, errors, p, c = [], [], self.probability, self.center
        for totals, (once, crossed, squares) in self._sums:
            count = self.taken.to(once).unsqueeze(1)
            total, middle = totals.unsqueeze(2)
            mean = (once / p - c * total) / count
            second = squares / p**2 - 2 * c / p * crossed + c**2 * middle
            variance = (second / count - mean**2).clamp(min=0)
            means.append(mean)
            errors.append((variance / (count - 1)).sqrt())
        return means, errors

    def loose(self, tolerance: float, samples: Tensor) -> Tensor:
        """In which samples an error is above the tolerance, a fraction of the range of values."""
        values, errors = (torch.cat(each, 1)[samples] for each in self.moments())
        spread = values.amax(1) - values.amin(1)
        return (errors.amax(1) > tolerance * spread).cpu()
