"""Dreams that are turned or made larger or smaller before the model sees them."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import TERMS, Motion
from pellucid.options import number


@TERMS.register("rotate")
@dataclass(frozen=True, kw_only=True)
class Rotate(Motion):
    """In every step turn an image about its middle, by at most so many degrees.

    Source: Olah, Mordvintsev and Schubert (2017), Feature Visualization.
    """

    degrees: float = 5.0

    def __post_init__(self) -> None:
        number(self.degrees, "degrees", "an angle, at most 180", above=0, most=180)

    def check(self, layout: Layout) -> None:
        """Raise unless these are images."""
        layout.check_positions("Rotate", 2, 2)

    def moved(self, x: Tensor, layout: Layout, draw: Generator) -> Tensor:
        """Images turned, interpolated linearly, and reflected at their borders."""
        angle = math.radians(self.degrees) * _between(draw)
        height, width = layout.sizes
        along = math.sin(angle)  # of coordinates that run from -1 to 1 on both axes
        turn = [
            [math.cos(angle), -along * height / width, 0.0],
            [along * width / height, math.cos(angle), 0.0],
        ]
        return layout.back(_warped(layout.first(x), turn))


@TERMS.register("scale")
@dataclass(frozen=True, kw_only=True)
class Scale(Motion):
    """In every step enlarge or shrink about the middle, by at most a share; the size stays.

    Source: Olah, Mordvintsev and Schubert (2017), Feature Visualization.
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        number(self.share, "share", "a share, below 1", above=0, most=0.99)

    def check(self, layout: Layout) -> None:
        """Raise unless these are images or signals."""
        layout.check_positions("Scale", 1, 2)

    def moved(self, x: Tensor, layout: Layout, draw: Generator) -> Tensor:
        """Dreams scaled, interpolated linearly, and reflected at their borders."""
        factor = 1 / (1 + self.share * _between(draw))
        images = layout.first(x)
        flat = images.ndim == 3
        images = images.unsqueeze(2) if flat else images
        moved = _warped(images, [[factor, 0.0, 0.0], [0.0, 1.0 if flat else factor, 0.0]])
        return layout.back(moved.squeeze(2) if flat else moved)


def _between(draw: Generator) -> float:
    """A number between -1 and 1."""
    return 2 * float(torch.rand((), generator=draw)) - 1


def _warped(images: Tensor, matrix: list[list[float]]) -> Tensor:
    """Images (dream, channel, height, width) read at the places that a matrix takes each to."""
    turn = torch.tensor(matrix, device=images.device, dtype=images.dtype)
    places = affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, places, padding_mode="reflection", align_corners=False)
