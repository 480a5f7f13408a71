"""Inpainting: what is absent is filled in smoothly from what is there around it."""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

# How many steps of conjugate gradients are taken at each scale: as many as compute so many elements
# of a row, within bounds. Coarse scales are cheap, and carry what is known far.
WORK = 60_000
LEAST_STEPS, MOST_STEPS = 6, 64
POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def inpainted(image: Tensor, there: Tensor, empty: Tensor) -> Tensor:
    """Fill absent elements such that each is the mean of its neighbours, nearly.

        u = image where it is there, Laplace(u) = 0 elsewhere, no slope at the edge of the image

    It is solved from the coarsest scale to the finest: each starts from the one before, and takes
    some steps of conjugate gradients. What is absent differs from the solution by about a hundredth
    of the image's range. `image` has shape (row, channel, *spatial), with one to three
    spatial axes; `there` (row, channel or 1, *spatial) holds 1 for what is there and 0 for what is
    absent; `empty` (row, channel) is the value where nothing is there at all.

    T. Chan, J. Shen, 2001, Mathematical models for local nontexture inpaintings.

    >>> line = torch.tensor([[[0.0, 9.0, 9.0, 3.0]]])
    >>> there = torch.tensor([[[1.0, 0.0, 0.0, 1.0]]])
    >>> inpainted(line, there, torch.zeros(1, 1)).round(decimals=2)
    tensor([[[0., 1., 2., 3.]]])
    """
    kind = torch.float64 if image.dtype is torch.float64 else torch.float32
    fixed, there = (image * there).to(kind), there.to(kind)
    filled = _solved(fixed, there, empty.to(kind))
    return torch.where(there.bool(), image, filled.to(image.dtype))


def _solved(fixed: Tensor, there: Tensor, empty: Tensor) -> Tensor:
    """The solution at one scale, from that at half of it."""
    shape = fixed.shape[2:]
    if max(shape) == 1:
        start = empty.reshape(*empty.shape, *[1] * len(shape))
        return fixed + (1 - there) * start
    pooled, share = _pooled(fixed), _pooled(there)
    known = (share > 0).to(share)
    coarse = _solved(pooled / share.where(share > 0, 1), known, empty)
    guess = functional.interpolate(coarse, size=shape, mode=MODES[len(shape)])
    return _refined(torch.addcmul(fixed, 1 - there, guess), 1 - there)


def _refined(found: Tensor, free: Tensor) -> Tensor:
    """Some steps of conjugate gradients for free (u - mean of its neighbours) = 0."""
    left = free * (_around(found) - found)
    way, size = left, _dot(left, left)
    for _ in range(min(MOST_STEPS, max(LEAST_STEPS, WORK // found[0, 0].numel()))):
        bent = free * (way - _around(way))
        step = _ratio(size, _dot(way, bent))
        found = torch.addcmul(found, step, way)
        left = torch.addcmul(left, step, bent, value=-1)
        new = _dot(left, left)
        way = torch.addcmul(left, _ratio(new, size), way)
        size = new
    return found


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The scalar product for each row and channel, with axes of length one for the others."""
    return (a * b).flatten(2).sum(2).reshape(*a.shape[:2], *[1] * (a.ndim - 2))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Divide, with zero where nothing is left to be done."""
    return torch.where(b > torch.finfo(b.dtype).tiny, a / b, 0)


def _pooled(image: Tensor) -> Tensor:
    """Means over blocks of two elements on each axis; smaller ones at the end of an odd axis."""
    pool = POOLS[image.ndim - 2]
    size = [min(2, n) for n in image.shape[2:]]
    return pool(image, size, size, ceil_mode=True, count_include_pad=False)


def _around(image: Tensor) -> Tensor:
    """The mean of the neighbours of each element; beyond the edge, the element itself."""
    axes = image.ndim - 2
    wide = functional.pad(image, (1, 1) * axes, mode="replicate")
    total = torch.zeros_like(image)
    for axis, start in product(range(2, image.ndim), (0, 2)):
        part = wide
        for each in range(2, image.ndim):
            part = part.narrow(each, start if each == axis else 1, image.shape[each])
        total.add_(part)
    return total.div_(2 * axes)
