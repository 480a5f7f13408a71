"""From the grid of a map to the size of an input."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.cam.frame import Frame
from pellucid.cam.maps import Maps, Spots

# The operations themselves: the function that wraps them imports a computer algebra system first.
LINEAR = {
    1: torch.ops.aten.upsample_linear1d,
    2: torch.ops.aten.upsample_bilinear2d,
    3: torch.ops.aten.upsample_trilinear3d,
}
NEAREST = {
    1: torch.ops.aten.upsample_nearest1d,
    2: torch.ops.aten.upsample_nearest2d,
    3: torch.ops.aten.upsample_nearest3d,
}


def enlarge(values: Tensor, leaf: Tensor, frame: Frame, *, smooth: bool = True) -> Tensor:
    """Bring maps (batch, 1, *grid) to the size of an input, with its order of axes.

    Linearly, between the middles of positions; or each position repeated.
    """
    size, places = list(frame.size), values.ndim - 2
    if tuple(values.shape[2:]) != frame.size and smooth:
        values = LINEAR[places](values, size, align_corners=False)
    elif tuple(values.shape[2:]) != frame.size:
        values = NEAREST[places](values, size)
    return frame.turn(values).to(leaf.dtype)


def render(
    leaves: Sequence[Tensor], spots: Spots, answers: dict[Maps, Tensor], *, upsample: bool
) -> list[Tensor]:
    """The map of each input, of its size, or as small as it is; zeros for one without maps."""
    return [
        torch.zeros_like(leaf)
        if spot is None
        else enlarge(answers[spot.maps], leaf, spot.frame)
        if upsample
        else spot.frame.turn(answers[spot.maps]).to(leaf.dtype)
        for spot, leaf in zip(spots, leaves, strict=True)
    ]
