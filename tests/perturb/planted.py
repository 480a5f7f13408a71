"""Images of which one known rectangle alone makes the score."""

import torch
from torch import Tensor, nn

from tests.zoo.network import normal

SIDE = 24
# Rows and columns of the rectangle in each of two images.
PLACES = ((slice(4, 12), slice(12, 20)), (slice(14, 20), slice(2, 12)))


class Rectangle(nn.Module):
    """A score of what is brighter than nothing in a rectangle, the same wherever that is shown.

    Where the rectangle is, is told by a last channel, which is never masked away: it is given to
    the model beside the image.
    """

    def forward(self, image: Tensor, place: Tensor) -> Tensor:
        """Scores of shape (batch, 2): of the rectangle, and of all else."""
        bright = torch.tanh(image.relu().sum(1))
        where = place.double().to(image.dtype)
        inside = (bright * where).flatten(1).sum(1) / where.flatten(1).sum(1)
        outside = (bright * (1 - where)).flatten(1).sum(1) / where.flatten(1).sum(1)
        return torch.stack([inside, outside], 1)


def images() -> tuple[Tensor, Tensor]:
    """Two noisy bright images (batch, channel, height, width), and where their rectangles are."""
    x = normal(2, 3, SIDE, SIDE, seed=4, shift=1.5)
    where = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    for row, (height, width) in enumerate(PLACES):
        where[row, height, width] = True
    return x, where


def overlap(values: Tensor, where: Tensor, above: float = 0.5) -> Tensor:
    """Intersection over union of what is above a value, and of the rectangles."""
    found = (values[:, 0] > above).flatten(1)
    there = where.flatten(1)
    return (found & there).sum(1) / (found | there).sum(1)
