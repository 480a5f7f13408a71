"""Superpixels: connected regions of an image of about equal size, whose pixels look alike."""

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from pellucid.errors import MissingExtraError

STEPS = 10
# Regions of less than this part of the usual size are joined to a neighbour.
LEAST = 0.25


def superpixels(image: Tensor, count: int, compactness: float) -> Tensor:
    """Cut one image into about `count` connected regions, by simple linear iterative clustering.

    Pixels go to the nearest of the centers that start in the cells around them, by

        D^2 = |c - c_k|^2 + (compactness |p - p_k| / S)^2

    where c are colors as fractions of the image's range, p positions and S the side of a cell; a
    center moves to the mean of its pixels, ten times. What is not connected to the largest part of
    its region then goes to the neighbour with the longest border. `image` has shape (channel,
    *spatial), the result (*spatial), counted from 0 in reading order.

    R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua, S. Süsstrunk, 2012, SLIC superpixels compared
    to state-of-the-art superpixel methods.

    >>> image = torch.zeros(1, 4, 4)
    >>> image[:, :, 2:] = 1
    >>> superpixels(image, 2, 0.1)
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [0, 0, 1, 1],
            [0, 0, 1, 1]])
    """
    shape = image.shape[1:]
    grid = cells(shape, count)
    colors = _smooth(_ranged(image.detach().cpu().double()))
    side = (shape.numel() / math.prod(grid)) ** (1 / len(shape))
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")) + 0.5
    points = torch.cat([colors, places * (compactness / side)]).flatten(1).float()
    labels = _clustered(points, shape, grid)
    return connected(labels.reshape(shape), least=LEAST * side ** len(shape))


def of_skimage(image: Tensor, count: int, compactness: float) -> Tensor:
    """The same by scikit-image's `slic`, in its own scale of colors (those of the image here)."""
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise MissingExtraError("Superpixels of scikit-image", extra="superpixels") from error
    colors = _ranged(image.detach().cpu().double()).movedim(0, -1).numpy()
    found = slic(
        colors,
        n_segments=count,
        compactness=compactness,
        convert2lab=False,
        start_label=0,
        channel_axis=-1,
    )
    return connected(torch.as_tensor(found, dtype=torch.long), least=0)


def cells(shape: torch.Size, count: int) -> tuple[int, ...]:
    """The grid of about so many cells, as square as may be, over axes of these lengths.

    >>> cells(torch.Size([224, 224]), 49), cells(torch.Size([100, 200]), 50)
    ((7, 7), (5, 10))
    """
    side = (shape.numel() / count) ** (1 / len(shape))
    near = [
        sorted({min(n, max(1, math.floor(n / side))), min(n, math.ceil(n / side))}) for n in shape
    ]
    return min(product(*near), key=lambda grid: (abs(math.prod(grid) - count), grid))


def connected(labels: Tensor, least: float) -> Tensor:
    """Regions of one piece each: the largest piece of a region stays, if it has `least` elements.

    Other pieces go to the neighbour that they have the longest border with.
    """
    pairs = _neighbours(labels)
    flat = labels.flatten()
    pieces = _components(flat, pairs)
    sizes = pieces.bincount()
    region = torch.zeros_like(sizes).scatter_(0, pieces, flat)
    # The largest piece of each region, the first on a tie.
    order = sizes.argsort(descending=True, stable=True)
    kept = torch.zeros(len(sizes), dtype=torch.bool)
    kept[order[_first(region[order])]] = True
    kept &= (sizes >= least) | (sizes == sizes.max())
    return _numbered(_absorbed(kept, pieces[pairs])[pieces]).reshape(labels.shape)


def _ranged(image: Tensor) -> Tensor:
    """Values as fractions of the range of the image; a flat image is zero."""
    spread = image.max() - image.min()
    return (image - image.min()) / torch.where(spread > 0, spread, 1)


def _smooth(colors: Tensor) -> Tensor:
    """Mean over three pixels along each axis, which keeps noise from fraying the borders."""
    for axis in range(1, colors.ndim):
        moved = colors.movedim(axis, -1)
        lines = pad(moved.reshape(1, -1, moved.shape[-1]), (1, 1), mode="replicate")
        colors = avg_pool1d(lines, 3, 1).reshape(moved.shape).movedim(-1, axis)
    return colors


def _clustered(points: Tensor, shape: torch.Size, grid: tuple[int, ...]) -> Tensor:
    """The region of each pixel; `points` are (feature, pixel), regions the cells of a grid."""
    axes = [torch.arange(n) * cut // n for n, cut in zip(shape, grid, strict=True)]
    cell = torch.meshgrid(*axes, indexing="ij")
    around = [_cell_at(cell, step, grid) for step in product((-1, 0, 1), repeat=len(grid))]
    count = math.prod(grid)
    labels = around[len(around) // 2]
    for _ in range(STEPS):
        sums = points.new_zeros(len(points), count).index_add_(1, labels, points)
        centers = sums / labels.bincount(minlength=count).clamp(min=1)
        nearest = points.new_full((points.shape[1],), math.inf)
        found = labels
        for candidate in around:
            distance = (points - centers[:, candidate]).square_().sum(0)
            closer = distance < nearest
            nearest = torch.minimum(nearest, distance)
            found = torch.where(closer, candidate, found)
        if torch.equal(found, labels):
            break
        labels = found
    return labels


def _cell_at(cell: tuple[Tensor, ...], step: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """The number of the cell so many steps from that of each pixel; at the edge, of the last."""
    number = torch.zeros((), dtype=torch.long)
    for place, by, cut in zip(cell, step, grid, strict=True):
        number = number * cut + (place + by).clamp(0, cut - 1)
    return number.flatten()


def _neighbours(labels: Tensor) -> Tensor:
    """The elements that lie side by side, of shape (2, pair)."""
    number = torch.arange(labels.numel()).reshape(labels.shape)
    pairs = []
    for axis, length in enumerate(labels.shape):
        ends = number.narrow(axis, 0, length - 1), number.narrow(axis, 1, length - 1)
        pairs.append(torch.stack([end.flatten() for end in ends]))
    return torch.cat(pairs, 1)


def _components(flat: Tensor, pairs: Tensor) -> Tensor:
    """The connected piece that each element is in, of those of one label."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    same = pairs[:, flat[pairs[0]] == flat[pairs[1]]].numpy()
    graph = coo_matrix((np.ones(same.shape[1], dtype=bool), same), shape=(len(flat),) * 2)
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


def _absorbed(kept: Tensor, borders: Tensor) -> Tensor:
    """For each piece the kept one that it goes to; `borders` are pairs of pieces side by side."""
    apart = borders[:, borders[0] != borders[1]]
    both = torch.cat([apart, apart.flip(0)], 1)
    pairs, lengths = both.unique(dim=1, return_counts=True)
    # The longest border first, so that the first of each piece is its neighbour to be.
    pairs = pairs[:, lengths.argsort(descending=True, stable=True)]
    home = torch.where(kept, torch.arange(len(kept)), -1)
    while bool((home < 0).any()):
        piece, other = pairs[:, (home[pairs[0]] < 0) & (home[pairs[1]] >= 0)]
        longest = _first(piece)
        home[piece[longest]] = home[other[longest]]
    return home


def _numbered(flat: Tensor) -> Tensor:
    """The same regions, counted from 0 in the order in which they come."""
    known, index = flat.unique(return_inverse=True)
    rank = torch.empty_like(known)
    rank[_first(flat).argsort()] = torch.arange(len(known))
    return rank[index]


def _first(flat: Tensor) -> Tensor:
    """Where each number is for the first time, in the order of the numbers."""
    known, index = flat.unique(return_inverse=True)
    places = torch.full((len(known),), len(flat))
    return places.scatter_reduce(0, index, torch.arange(len(flat)), "amin")
