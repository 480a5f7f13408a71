"""Ways to cut one input tensor into players by its shape: patches, windows, channels, tokens."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.features.players import NOBODY
from pellucid.features.superpixels import of_skimage, superpixels
from pellucid.pooling import channels_last

# Images with sides of at least this many pixels have superpixels, if nothing is said; smaller
# ones have patches.
SUPERPIXELS_FROM = 64
USUAL_COUNT = 49
# How many parts there are on an axis, if nothing is said, by the number of spatial axes.
USUAL_PARTS = {1: 16, 2: 7, 3: 4}


class Parts(NamedTuple):
    """The players of one input tensor: labels (sample or 1, ...) that count each sample from 0.

    `names` hold one tuple for all samples or one for each; none where they are numbers.
    """

    labels: Tensor
    names: tuple[tuple[str, ...], ...] = ()


class Sample(NamedTuple):
    """What a cut may ask of the inputs: the tensor, its name, and which of all samples it holds.

    `axis` is that of the samples in the user's layout, `columns` are the names of columns, and
    `words` those of each text, one for each of its places.
    """

    leaf: Tensor
    name: str
    rows: Tensor
    total: int
    axis: int = 0
    columns: tuple[str, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cut(ABC):
    """One way to cut a tensor into players; data, so that explanations can be stored with it."""

    @abstractmethod
    def parts(self, sample: Sample) -> Parts:
        """The players; an error where the tensor cannot be cut like this."""

    def check(self, sample: Sample) -> None:
        """Raise unless the tensor can be cut like this."""
        self.parts(sample)

    @property
    def said(self) -> str:
        """What it was made with, in a few words."""
        fields = dataclasses.fields(self)
        return ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__.lower()}({self.said})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(
            _same(getattr(self, each.name), getattr(other, each.name))
            for each in dataclasses.fields(self)
        )

    def __hash__(self) -> int:
        found = [getattr(self, each.name) for each in dataclasses.fields(self)]
        return hash((type(self), *(each for each in found if not isinstance(each, Tensor))))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Auto(Cut):
    """By the shape of the input."""

    def parts(self, sample: Sample) -> Parts:
        """The players of what users expect for such a shape."""
        return self._chosen(sample.leaf, sample.name).parts(sample)

    def check(self, sample: Sample) -> None:
        """Raise unless the tensor can be cut like this."""
        self._chosen(sample.leaf, sample.name).check(sample)

    def _chosen(self, leaf: Tensor, name: str) -> Cut:
        if leaf.dtype is torch.bool or name.endswith(("mask", "type_ids", "position_ids")):
            return Nobody()
        if leaf.ndim < 3 or not leaf.is_floating_point():
            return Elements()
        lengths = [leaf.shape[axis] for axis in spatial(leaf)]
        if len(lengths) == 1:
            return Windows(length=-(-lengths[0] // USUAL_PARTS[1]))
        if len(lengths) == 2 and min(lengths) >= SUPERPIXELS_FROM:
            return Superpixels()
        parts = USUAL_PARTS.get(len(lengths), 2)
        return Patches(size=tuple(-(-length // parts) for length in lengths))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Elements(Cut):
    """Every element."""

    def parts(self, sample: Sample) -> Parts:
        """As many players as a sample has elements."""
        shape = sample.leaf.shape[1:]
        return Parts(torch.arange(shape.numel()).reshape(1, *shape))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Nobody(Cut):
    """No players: all elements are always there."""

    def parts(self, sample: Sample) -> Parts:
        """Labels of nobody."""
        return Parts(torch.full((1,) * sample.leaf.ndim, NOBODY))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Patches(Cut):
    """Rectangles of `size` elements on each spatial axis; channels go together."""

    size: tuple[int, ...]

    def parts(self, sample: Sample) -> Parts:
        """The rectangles in reading order; the last ones may be smaller."""
        axes = spatial(sample.leaf)
        sizes = _each(self.size, axes, sample, "size")
        lengths = [sample.leaf.shape[axis] for axis in axes]
        if any(size > length for size, length in zip(sizes, lengths, strict=True)):
            raise InputError(
                f"The size of patches must be at most that of `{sample.name}`, {lengths}",
                got=self.size,
            )
        pairs = zip(lengths, sizes, strict=True)
        return Parts(_blocks(sample.leaf, axes, [torch.arange(n) // size for n, size in pairs]))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Grid(Cut):
    """So many parts, of equal length but for rounding, on each spatial axis."""

    count: tuple[int, ...]

    def parts(self, sample: Sample) -> Parts:
        """The rectangles in reading order."""
        axes = spatial(sample.leaf)
        counts = _each(self.count, axes, sample, "count")
        lengths = [sample.leaf.shape[axis] for axis in axes]
        if any(count > length for count, length in zip(counts, lengths, strict=True)):
            raise InputError(
                f"A grid must have at most as many parts as `{sample.name}` has elements on each "
                f"axis, {lengths}",
                got=self.count,
            )
        pairs = zip(lengths, counts, strict=True)
        made = [torch.arange(n) * count // n for n, count in pairs]
        return Parts(_blocks(sample.leaf, axes, made))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Superpixels(Cut):
    """Connected regions whose pixels look alike, of each sample."""

    count: int = USUAL_COUNT
    compactness: float = 0.3
    method: Literal["own", "skimage"] = "own"

    def check(self, sample: Sample) -> None:
        """Raise unless the tensor holds images."""
        leaf = sample.leaf
        if leaf.ndim not in (4, 5) or not leaf.is_floating_point():
            raise InputError(
                f"Superpixels must be of images: `{sample.name}` of shape (batch, channel, height, "
                "width), in floating point",
                got=leaf,
                hint="For signals take Features.windows, for integers Features.tokens().",
            )

    def parts(self, sample: Sample) -> Parts:
        """The regions of each sample in reading order."""
        self.check(sample)
        axes = spatial(sample.leaf)
        channel = 1 if axes[0] == 2 else sample.leaf.ndim - 1
        cut = superpixels if self.method == "own" else of_skimage
        images = sample.leaf.movedim(channel, 1)
        found = [cut(image, self.count, self.compactness) for image in images]
        return Parts(torch.stack(found).unsqueeze(channel))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Windows(Cut):
    """Stretches of a signal, of all channels together or of each apart."""

    length: int
    apart: bool = False

    def parts(self, sample: Sample) -> Parts:
        """The windows in order, named by their first and last position."""
        leaf = sample.leaf
        if leaf.ndim not in (2, 3):
            raise InputError(
                f"Windows must be of signals: `{sample.name}` of shape (batch, channel, position)",
                got=leaf,
                hint="For images take Features.patches.",
            )
        total = leaf.shape[-1]
        if self.length > total:
            raise InputError(
                f"A window must be at most as long as `{sample.name}`, {total} positions",
                got=self.length,
            )
        starts = range(0, total, self.length)
        names = [f"{start} to {min(start + self.length, total) - 1}" for start in starts]
        place = torch.arange(total) // self.length
        if not self.apart or leaf.ndim == 2:
            return Parts(place.reshape(1, *[1] * (leaf.ndim - 2), total), (tuple(names),))
        channels = torch.arange(leaf.shape[1])
        labels = (channels.unsqueeze(1) * len(starts) + place).unsqueeze(0)
        named = tuple(f"channel {i}, {each}" for i in channels.tolist() for each in names)
        return Parts(labels, (named,))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Channels(Cut):
    """Every channel, with all its positions."""

    def parts(self, sample: Sample) -> Parts:
        """As many players as channels."""
        leaf = sample.leaf
        if leaf.ndim < 3:
            raise InputError(
                f"Channels must be those of signals or images: `{sample.name}` of shape (batch, "
                "channel, ...)",
                got=leaf,
                hint="The columns of a table are Features.columns().",
            )
        channel = leaf.ndim - 1 if channels_last(leaf.shape[1:]) else 1
        labels = _along(leaf, channel, torch.arange(leaf.shape[channel]))
        return Parts(labels, (tuple(f"channel {i}" for i in range(leaf.shape[channel])),))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Tokens(Cut):
    """Every place on the first axis after the batch, with all its features."""

    def parts(self, sample: Sample) -> Parts:
        """As many players as tokens."""
        if sample.leaf.ndim < 2:
            raise InputError(
                f"Tokens must be those of texts: `{sample.name}` of shape (batch, token) or "
                "(batch, token, feature)",
                got=sample.leaf,
            )
        return Parts(_along(sample.leaf, 1, torch.arange(sample.leaf.shape[1])))


def spatial(leaf: Tensor) -> tuple[int, ...]:
    """The axes of an input, batch and channels apart; all axes of what has no channels.

    >>> spatial(torch.zeros(1, 3, 8, 8)), spatial(torch.zeros(1, 8, 8, 3))
    ((2, 3), (1, 2))
    """
    if channels_last(leaf.shape[1:]) and leaf.is_floating_point():
        return (1, 2)
    return tuple(range(1 if leaf.ndim < 3 or not leaf.is_floating_point() else 2, leaf.ndim))


def _each(
    given: tuple[int, ...], axes: tuple[int, ...], sample: Sample, what: str
) -> tuple[int, ...]:
    """One number for each spatial axis."""
    if len(given) not in (1, len(axes)):
        raise InputError(
            f"`{what}` must be one number, or one for each of the {len(axes)} spatial axes of "
            f"`{sample.name}`",
            got=given,
        )
    return given * len(axes) if len(given) == 1 else given


def _blocks(leaf: Tensor, axes: tuple[int, ...], places: list[Tensor]) -> Tensor:
    """Labels from the number of the part on each of some axes; the others go together."""
    found = torch.zeros((1,) * leaf.ndim, dtype=torch.long)
    for axis, place in zip(axes, places, strict=True):
        found = found * (int(place.max()) + 1) + _along(leaf, axis, place)
    return found


def _along(leaf: Tensor, axis: int, place: Tensor) -> Tensor:
    """Labels that differ on one axis only."""
    return place.reshape([-1 if each == axis else 1 for each in range(leaf.ndim)])


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a.cpu(), b.cpu())
    return bool(a == b) if type(a) is type(b) else False
