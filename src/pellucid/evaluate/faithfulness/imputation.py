"""Noisy linear imputation: absent elements are weighted means of their neighbours, and noise."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.gradient.smooth import noise_like, value_range
from pellucid.inpainting import inpainted
from pellucid.pooling import channels_last
from pellucid.seeding import seeded

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
# Steps of conjugate gradients from the harmonic solution, which is near.
CORRECTIONS = 12


@dataclass(frozen=True, kw_only=True)
class NoisyLinear:
    """Fill absent elements: see `imputed`; `noise` is a fraction of the range of each sample.

    Every row gets the same noise, so that answers do not depend on the batch.
    """

    noise: float
    seed: int

    def __call__(self, found: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Each input with what is absent filled in; masks are 1 for what is there."""
        pairs = zip(found, masks, strict=True)
        return [self._filled(*pair, seeded(self.seed, i)) for i, pair in enumerate(pairs)]

    def _filled(self, leaf: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        there = mask.to(leaf)
        axis = leaf.ndim - 1 if channels_last(leaf.shape[1:]) else 1
        made = imputed(leaf.movedim(axis, 1), there.movedim(axis, 1)).movedim(1, axis)
        spread = self.noise * value_range(leaf) * noise_like(leaf, generator)
        return made + (1 - there) * spread


def imputed(image: Tensor, there: Tensor) -> Tensor:
    """Images where each absent element is the weighted mean of its neighbours, nearly.

        sum_q w_pq (u_p - u_q) = 0 for absent p,  w = 2, 1, 1/2 for neighbours on 1, 2, 3 axes

    Neighbours beyond the edge do not count. `image` has shape (row, channel, *spatial), `there`
    (row, channel or 1, *spatial), with 1 for what is there. On an image, neighbours count 1/6 and
    diagonal ones 1/12.
    Source: Rong et al. (2022), A Consistent and Efficient Evaluation Strategy for Attribution
    Methods.

    >>> line = torch.tensor([[[0.0, 9.0, 9.0, 3.0]]])
    >>> imputed(line, torch.tensor([[[1.0, 0.0, 0.0, 1.0]]])).round(decimals=2)
    tensor([[[0., 1., 2., 3.]]])
    """
    free = (1 - there).expand(len(image), there.shape[1], *image.shape[2:])
    found = inpainted(image, 1 - free, image.flatten(2).mean(2))
    around = _Neighbours(image)
    left = free * (around.mean(found) - found)
    way = left
    size = around.dot(left, left)
    for _ in range(CORRECTIONS):
        bent = free * (way - around.mean(way))
        step = _ratio(size, around.dot(way, bent))
        found = torch.addcmul(found, step, way)
        left = torch.addcmul(left, step, bent, value=-1)
        new = around.dot(left, left)
        way = torch.addcmul(left, _ratio(new, size), way)
        size = new
    return found


class _Neighbours:
    """Weighted means of the neighbours of each element of images of one shape."""

    def __init__(self, image: Tensor) -> None:
        self.axes = image.ndim - 2
        steps = torch.tensor(list(product((-1, 0, 1), repeat=self.axes))).abs().sum(1)
        weights = (2.0 ** (2 - steps)).where(steps > 0, 0)
        self.kernel = weights.reshape(1, 1, *[3] * self.axes).to(image)
        self.degree = self._sum(image.new_ones(1, 1, *image.shape[2:]))

    def mean(self, image: Tensor) -> Tensor:
        """The weighted mean of the neighbours of each element."""
        return self._sum(image) / self.degree

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """The scalar product in which the mean is symmetric, of each row and channel."""
        found = (a * b * self.degree).flatten(2).sum(2)
        return found.reshape(*found.shape, *[1] * self.axes)

    def _sum(self, image: Tensor) -> Tensor:
        flat = image.reshape(-1, 1, *image.shape[2:])
        return CONVOLUTIONS[self.axes](flat, self.kernel, padding=1).reshape(image.shape)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Divide, with zero where nothing is left to be done."""
    return torch.where(b > torch.finfo(b.dtype).tiny, a / b, 0)
