"""How an input is cut into players: the option `features` of every method that removes parts."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.features.players import NOBODY, Players
from pellucid.structure import Inputs

FeaturesLike: TypeAlias = "Features | Tensor | None"
Kind: TypeAlias = Literal["auto", "elements", "patches", "mask"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What counts as one player.

    | made by | players |
    |---|---|
    | `None` | by the shape of the input: columns, tokens, or patches of an image |
    | `Features.elements()` | every element |
    | `Features.patches(size)` | rectangles over all spatial axes; channels go together |
    | an integer tensor | the elements of one number; those below zero are always there |
    """

    kind: Kind = "auto"
    size: tuple[int, ...] = ()
    labels: Tensor | None = None

    @classmethod
    def of(cls, given: FeaturesLike) -> "Features":
        """Take any of the forms in the table above."""
        if isinstance(given, Features):
            return given
        if given is None:
            return cls()
        if isinstance(given, Tensor):
            return cls.mask(given)
        raise InputError(
            "`features` must be a Features or a tensor of whole numbers",
            got=given,
            hint="For example Features.patches(16).",
        )

    @classmethod
    def elements(cls) -> "Features":
        """Every element is a player."""
        return cls(kind="elements")

    @classmethod
    def patches(cls, size: int | tuple[int, ...]) -> "Features":
        """Rectangles of `size` elements on every spatial axis; the last ones may be smaller."""
        return cls(kind="patches", size=(size,) if isinstance(size, int) else tuple(size))

    @classmethod
    def mask(cls, labels: Tensor) -> "Features":
        """The player of each element; of the shape of one sample, or of the batch."""
        return cls(kind="mask", labels=labels)

    def players(self, inputs: Inputs) -> Players:
        """The players of a batch of inputs."""
        found, count = [], 0
        for leaf in inputs.leaves:
            labels = self._labels(leaf)
            found.append(torch.where(labels < 0, NOBODY, labels + count))
            count += int(labels.max()) + 1
        return Players(labels=tuple(found), count=count)

    def _labels(self, leaf: Tensor) -> Tensor:
        """The players of one input tensor, counted from 0."""
        if self.labels is not None:
            return _of_mask(self.labels, leaf)
        if self.kind == "elements" or leaf.ndim < 3:
            return torch.arange(leaf[0].numel(), device=leaf.device).reshape(1, *leaf.shape[1:])
        return _patches(leaf, self.size or tuple(-(-n // 7) for n in leaf.shape[2:]))


def _of_mask(labels: Tensor, leaf: Tensor) -> Tensor:
    return labels.unsqueeze(0) if labels.ndim < leaf.ndim else labels


def _patches(leaf: Tensor, size: tuple[int, ...]) -> Tensor:
    """Rectangles over the spatial axes, of shape (1, 1, *spatial)."""
    shape: Any = leaf.shape[2:]
    sizes = size * len(shape) if len(size) == 1 else size
    found = torch.zeros((), dtype=torch.long, device=leaf.device)
    for length, step in zip(shape, sizes, strict=True):
        place = torch.arange(length, device=leaf.device) // step
        found = found.unsqueeze(-1) * (-(-length // step)) + place
    return found.reshape(1, 1, *shape)
