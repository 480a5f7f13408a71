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
    inputs = case.inputs
    absent = list(case.reference(baseline).leaves)
    between = {place: [start] for place, start in enumerate(absent)}
    for sheet in sheets:
        if baseline is None and sheet.smooth:
            (place,) = sheet.leaves
            scales = widths(max(sheet.size), widest, most)
            between[place] = [blurred(inputs.leaves[place], scale) for scale in scales]
            absent[place] = between[place][0]
    levels = [torch.stack([*between[i], leaf], 1) for i, leaf in enumerate(inputs.leaves)]
    return inputs.replace(absent), levels


def widths(positions: int, widest: float, most: int) -> list[float]:
    """Widths of Gaussians as fractions of an axis of so many positions, from the widest down.

    The widest is one position at least, and none is too narrow to mix neighbours.

    >>> widths(10, 0.2, 2), widths(2, 0.1, 5)
    ([0.2, 0.1], [0.5, 0.25])
    """
    first = max(widest * positions, 1.0)
    count = min(most, int(first / NARROW))
    return [first * (1 - level / count) / positions for level in range(count)]
