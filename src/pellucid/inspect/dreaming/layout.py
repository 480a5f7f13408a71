"""The axes of what is dreamed: which one has the channels, and which have positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from pellucid.errors import InputError
from pellucid.options import whole

# The part of a dream that a unit sees: a range of indices for each axis with positions.
Field: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One dream has this `shape`; a batch of them has the dreams first.

    | shape | `channel_axis` | what it is |
    |---|---|---|
    | (channel, height, width) | 1 | an image, or with more axes a volume |
    | (channel, length) | 1 | a signal |
    | (token, feature) | 2 | embeddings, whose channels are their features |
    | (feature,) | 1 | a row of a table, which has no positions |

    >>> Layout(shape=(3, 8, 8)).positions, Layout(shape=(16, 384), channel_axis=2).positions
    ((2, 3), (1,))
    """

    shape: tuple[int, ...]
    channel_axis: int = 1

    def __post_init__(self) -> None:
        if not self.shape:
            raise InputError("The shape of a dream must have at least one axis", found="()")
        for length in self.shape:
            whole(length, "shape")
        axis = whole(self.channel_axis, "channel_axis", least=None)
        axes = len(self.shape) + 1
        if not -axes < axis < axes or axis == 0:
            raise InputError(
                f"`channel_axis` must be an axis after that of the dreams, from 1 to {axes - 1}",
                got=axis,
            )
        object.__setattr__(self, "channel_axis", axis % axes)

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes of a batch along which there are neighbours."""
        axes = range(1, len(self.shape) + 1)
        return tuple(axis for axis in axes if axis != self.channel_axis)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The lengths of the axes with positions."""
        return tuple(self.shape[axis - 1] for axis in self.positions)

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return self.shape[self.channel_axis - 1]

    def first(self, x: Tensor) -> Tensor:
        """A batch with its channels first: (dream, channel, *position)."""
        return x.movedim(self.channel_axis, 1)

    def back(self, x: Tensor) -> Tensor:
        """Undo `first`."""
        return x.movedim(1, self.channel_axis)

    def cut(self, x: Tensor, field: "Field | None") -> Tensor:
        """The part of a batch at a range of indices on each axis with positions; all, for none."""
        if field is None:
            return x
        parts = [slice(None)] * x.ndim
        for axis, part in zip(self.positions, field, strict=True):
            parts[axis] = part
        return x[tuple(parts)]

    def sized(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The shape of one dream with other lengths along its positions.

        >>> Layout(shape=(16, 384), channel_axis=2).sized([20])
        (20, 384)
        """
        found = list(self.shape)
        for axis, size in zip(self.positions, sizes, strict=True):
            found[axis - 1] = size
        return tuple(found)

    def check_positions(self, what: str, least: int = 1, most: int | None = None) -> None:
        """Raise unless there are so many axes with positions."""
        count = len(self.positions)
        if count < least or (most is not None and count > most):
            wanted = "positions" if most is None else f"{least} to {most} axes of positions"
            wanted = f"{least} axes of positions" if least == most else wanted
            raise InputError(
                f"{what} must be used on dreams that have {wanted}",
                found=f"dreams of shape {list(self.shape)}",
                hint="Leave it out: terms=(...) and parameterization= choose what is used.",
            )
