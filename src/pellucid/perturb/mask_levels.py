"""What is seen of an input through a mask: from nothing, its baseline, to all of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.background import blurred
from pellucid.baseline import BaselineLike
from pellucid.case import Case
from pellucid.perturb.mask_sheets import Sheet
from pellucid.structure import Inputs

# The narrowest Gaussian that still mixes neighbours, in positions.
NARROW = 0.5


def reference(
    case: Case, baseline: BaselineLike, sheets: Sequence[Sheet], widest: float, most: int
) -> tuple[Inputs, list[Tensor]]:
    """The point where nothing is seen, and the levels of every input, (sample, level, ...).

    A baseline that is given is the one level but the input itself. Without one, inputs with
    positions are blurred by up to `most` Gaussians, the widest first, and others are zero.
    """
    inputs, absent = case.inputs, case.reference(baseline).leaves
    on = {place: sheet for sheet in sheets for place in sheet.leaves}
    levels = [
        between(leaf, start, on.get(place), baseline is None, widest, most)
        for place, (leaf, start) in enumerate(zip(inputs.leaves, absent, strict=True))
    ]
    return inputs.replace([each[:, 0] for each in levels]), levels


def between(
    leaf: Tensor, absent: Tensor, sheet: Sheet | None, blurs: bool, widest: float, most: int
) -> Tensor:
    """The levels of one input (sample, level, ...), from what stands for nothing to all of it."""
    if not blurs or sheet is None or not sheet.smooth:
        return torch.stack([absent, leaf], 1)
    scales = widths(max(sheet.size), widest, most)
    return torch.stack([*(blurred(leaf, scale) for scale in scales), leaf], 1)


def widths(positions: int, widest: float, most: int) -> list[float]:
    """Widths of Gaussians as fractions of an axis of so many positions, from the widest down.

    The widest is one position at least, and none is too narrow to mix neighbours.

    >>> widths(10, 0.2, 2), widths(2, 0.1, 5)
    ([0.2, 0.1], [0.5, 0.25])
    """
    first = max(widest * positions, 1.0)
    count = min(most, int(first / NARROW))
    return [first * (1 - level / count) / positions for level in range(count)]
