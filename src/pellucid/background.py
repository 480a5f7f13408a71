"""Backgrounds: the points that stand for absence, how they are weighed, and how they are made."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from pellucid.errors import InputError
from pellucid.inpainting import inpainted
from pellucid.pooling import channels_last
from pellucid.seeding import seeded
from pellucid.structure import Inputs, Structure, children, leaves, transform

# From inputs, and 1 or 0 for each of their elements (there or absent): inputs without these.
Filling: TypeAlias = Callable[[list[Tensor], list[Tensor]], list[Tensor]]


class Background(list[Inputs]):
    """References, each with one row for every sample.

    `weights` sum to one where the references do not count alike; `filling` is there where what
    stands for absent elements depends on those that are present.
    """

    def __init__(
        self,
        references: Iterable[Inputs],
        weights: tuple[float, ...] = (),
        filling: Filling | None = None,
    ) -> None:
        super().__init__(references)
        self.weights = weights
        self.filling = filling


def drawn(data: Structure, count: int | None, seed: int) -> Structure:
    """So many rows of data, in their order, drawn without putting back; all, if `None`."""
    total = _rows(data)
    rows = torch.randperm(total, generator=seeded(seed))[:count].sort().values
    if hasattr(data, "iloc"):
        return data.iloc[rows.numpy()]
    if _is_texts(data):
        return [data[row] for row in rows.tolist()]
    if hasattr(data, "__array__") and not isinstance(data, Tensor):
        return data[rows.numpy()]
    return transform(lambda t: t[rows.to(t.device)], data)


def centers(data: Any, count: int, seed: int) -> tuple[Tensor, tuple[float, ...]]:
    """The centers of k-means of rows of numbers, and the share of the rows of each."""
    from sklearn.cluster import KMeans

    rows = numbers(data)
    flat = rows.flatten(1).numpy()
    groups = min(count, len(set(map(bytes, flat))))
    found = KMeans(groups, n_init=10, random_state=seed % 2**32)
    labels = torch.from_numpy(found.fit_predict(flat)).long()
    shares = labels.bincount(minlength=groups).double() / len(rows)
    order = shares.argsort(descending=True, stable=True)
    made = torch.from_numpy(found.cluster_centers_)[order].reshape(-1, *rows.shape[1:])
    return made, tuple(shares[order].tolist())


def mean_of_channels(leaf: Tensor) -> Tensor:
    """The mean of every channel of each sample; of a table that of its row."""
    channel = _channel(leaf)
    axes = tuple(axis for axis in range(1, leaf.ndim) if axis != channel) or (1,)
    return leaf.mean(axes, keepdim=True).expand_as(leaf).contiguous()


def blurred(leaf: Tensor, sigma: float) -> Tensor:
    """Convolve every spatial axis with a Gaussian of width sigma times its length."""
    for axis in (each for each in range(1, leaf.ndim) if each != _channel(leaf)):
        width = max(sigma * leaf.shape[axis], 1e-6)
        reach = min(int(3 * width) + 1, leaf.shape[axis] - 1)
        offsets = torch.arange(-reach, reach + 1, device=leaf.device, dtype=leaf.dtype)
        kernel = torch.exp(-0.5 * (offsets / width) ** 2)
        kernel = (kernel / kernel.sum()).reshape(1, 1, -1)
        moved = leaf.movedim(axis, -1)
        lines = moved.reshape(-1, 1, moved.shape[-1])
        padded = pad(lines, (reach, reach), mode="replicate")
        leaf = conv1d(padded, kernel).reshape(moved.shape).movedim(-1, axis)
    return leaf.contiguous()


def filled(found: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    """Images and signals with what is absent filled in from what is present."""
    return [_inpainted(*pair) for pair in zip(found, masks, strict=True)]


def _inpainted(leaf: Tensor, mask: Tensor) -> Tensor:
    channel = _channel(leaf)
    image, there = leaf.movedim(channel, 1), mask.to(leaf).movedim(channel, 1)
    shape = (len(image), there.shape[1], *image.shape[2:])
    empty = image.flatten(2).mean(2)
    return inpainted(image, there.expand(shape), empty).movedim(1, channel)


def _channel(leaf: Tensor) -> int:
    """The axis of the channels; that of the samples where there are none."""
    return leaf.ndim - 1 if channels_last(leaf.shape[1:]) else min(1, max(0, leaf.ndim - 2))


def _is_texts(data: Any) -> bool:
    return isinstance(data, list) and all(isinstance(each, str) for each in data)


def _rows(data: Any) -> int:
    """The number of rows of data: of each of several tensors the same."""
    nested = children(data) and not _is_texts(data)
    sizes = {len(t) if t.ndim else 0 for _, t in leaves(data)} if nested else set()
    if not nested and hasattr(data, "__len__") and not isinstance(data, str | dict):
        sizes = {len(data)}
    if len(sizes) != 1 or sizes == {0}:
        raise InputError("`data` must have rows, as many for each input", got=data)
    return sizes.pop()


def numbers(data: Any) -> Tensor:
    """Rows of data as numbers in double precision."""
    import numpy as np

    try:
        found = data if isinstance(data, Tensor) else torch.from_numpy(np.array(data, float))
    except (TypeError, ValueError) as error:
        raise InputError(
            "`data` must be numbers",
            found=f"{type(data).__name__} with other columns",
            hint="As a baseline of categories take Baseline.samples(data, count).",
        ) from error
    if found.ndim < 2 or len(found) == 0 or not found.isfinite().all():
        raise InputError(
            "`data` must be finite rows, of shape (row, ...)",
            got=found,
            hint="Drop rows with missing values first.",
        )
    return found.detach().cpu().double()


def tables(background: Sequence[Inputs]) -> list[Tensor]:
    """The references for each input, (reference, sample, ...); one sample if all share them."""
    found = []
    for column in zip(*(each.leaves for each in background), strict=True):
        shared = all(len(t) == 1 or t.stride(0) == 0 for t in column)
        found.append(torch.stack([t[:1] if shared else t for t in column]))
    return found
