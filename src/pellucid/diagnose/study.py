"""What all measures of a diagnosis work on: a case, its methods, and seeded noise around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.at import layer_value
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.diagnose.layers import bottlenecks
from pellucid.evaluate.robustness import span_of
from pellucid.gradient.smooth import noise_like
from pellucid.method import Attribution, Method
from pellucid.pooling import channels_last
from pellucid.seeding import seeded
from pellucid.sharing import Recording, SharedCase
from pellucid.structure import Inputs

# Layers that are looked at where the user names none.
DEPTHS = 3


@dataclass(frozen=True, kw_only=True)
class Study:
    """One batch of samples, the methods that are held against each other, and the random draws.

    `layers` are paths of layers, `None` for a choice of some that all ways pass.
    """

    case: Case
    methods: tuple[Method, ...]
    layers: Sequence[str] | None
    draws: int
    seed: int

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """The tensors of the inputs, or of the embeddings in the place of integers."""
        return self.case.inputs.leaves

    @cached_property
    def base(self) -> SharedCase:
        """The case itself, with one recording for all methods."""
        return self.together(self.case, "tape")

    def together(self, case: Case, *others: str) -> SharedCase:
        """A case that is one run for all methods, and for `others` that ask for this of it."""
        reads = frozenset(others).union(*(each.reads for each in self.methods))
        return SharedCase.of(case, Recording((case.target,), reads))

    @cached_property
    def depths(self) -> tuple[str | None, ...]:
        """Where maps are compared: the input, `None`, and layers from the first to the last."""
        if not any(hasattr(method, "at") for method in self.methods):
            return (None,)
        tape = self.base.tape
        if self.layers is None:
            return (None, *bottlenecks(tape, len(self.case), DEPTHS))
        values = {path: layer_value(tape, path, len(self.case)) for path in self.layers}
        return (None, *sorted(values, key=lambda path: values[path].number))

    @cached_property
    def players(self) -> "Players":
        """The elements that are removed one by one."""
        return Players.of(self.case)

    @cached_property
    def directions(self) -> list[list[Tensor]]:
        """For each draw a step for each leaf, of a deviation of the range of each sample."""
        spreads = [span_of(leaf) for leaf in self.leaves]
        found = []
        for draw in range(self.draws):
            generator = seeded(self.seed, draw)
            found.append([
                spread * noise_like(leaf, generator) if leaf.is_floating_point() else spread
                for leaf, spread in zip(self.leaves, spreads, strict=True)
            ])  # fmt: skip
        return found

    def moved(self, draw: int, rows: Tensor, distance: float) -> Inputs:
        """Samples after so many steps in the direction of a draw."""
        pairs = zip(self.leaves, self.directions[draw], strict=True)
        return self.case.inputs.replace([
            leaf[rows] + distance * step[rows] if leaf.is_floating_point() else leaf[rows]
            for leaf, step in pairs
        ])  # fmt: skip


def attributions(
    study: Study, case: SharedCase, depths: Sequence[str | None]
) -> list[list[Attribution | None]]:
    """What each method says at each depth; `None` of one that cannot be asked at a layer."""
    return [[_at(method, path, case) for path in depths] for method in study.methods]


def _at(method: Method, path: str | None, case: Case) -> Attribution | None:
    if path is None:
        return method.attribute(case)
    if not hasattr(method, "at"):
        return None
    options: dict[str, Any] = {"at": path}
    return replace(method, **options).attribute(case)


def flat(attribution: Attribution) -> Tensor:
    """All values of each sample in a row, shape (sample, element), in double precision."""
    values = [v for v in attribution.values if v.is_floating_point()]
    return torch.cat([v.detach().reshape(len(v), -1).to(wide(v)).cpu() for v in values], 1)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each pair of rows, shape (sample,).

    It is 1 for rows that are equal, and not a number where one of two that differ is constant.

    >>> correlation(torch.tensor([[1.0, 2.0], [1.0, 1.0]]), torch.tensor([[4.0, 9.0], [1.0, 1.0]]))
    tensor([1., 1.])
    """
    x, y = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    found = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    found = torch.where((constant(a) | constant(b)), torch.nan, found)
    return torch.where((a == b).all(1), torch.ones_like(found), found.clamp(-1, 1))


def constant(rows: Tensor) -> Tensor:
    """Which rows hold one value only, up to rounding, shape (sample,)."""
    return rows.amax(1) - rows.amin(1) <= 1e-12 * rows.abs().amax(1)


@dataclass(frozen=True, kw_only=True)
class Players:
    """The elements of inputs that are removed: pixels, positions, tokens or features.

    `leaves` are the positions of the inputs that have any, `axes` where their channels are, which
    go together (`None`: there are none), `grids` the axes of the players themselves. Features of a
    table have no `places`: no neighbors.
    """

    leaves: tuple[int, ...]
    axes: tuple[int | None, ...]
    grids: tuple[torch.Size, ...]
    places: bool

    @classmethod
    def of(cls, case: Case) -> "Players":
        """Read them from the shapes of a case."""
        first = None if case.embedded is None else len(case.embedded.inputs.leaves)
        found = [
            (i, _channels(leaf, embedded=first is not None and i >= first))
            for i, leaf in enumerate(case.inputs.leaves)
            if leaf.is_floating_point()
        ]
        leaves = case.inputs.leaves
        grids = [_grid(leaves[i].shape, axis) for i, axis in found]
        return cls(
            leaves=tuple(i for i, _ in found),
            axes=tuple(axis for _, axis in found),
            grids=tuple(grids),
            places=all(axis is not None and grid.numel() > 2
                       for (_, axis), grid in zip(found, grids, strict=True)),
        )  # fmt: skip

    def __len__(self) -> int:
        return sum(grid.numel() for grid in self.grids)

    @property
    def name(self) -> str:
        """What one is called."""
        sizes = {len(grid) for grid in self.grids}
        if not self.places:
            return "features"
        return {1: "positions", 2: "pixels"}.get(max(sizes), "elements")

    def pool(self, values: list[Tensor], *, signed: bool) -> list[Tensor]:
        """One number a player, shape (sample, *grid) for each input: the sum, or that of sizes."""
        return [
            _summed(values[i] if signed else values[i].abs(), axis)
            for i, axis in zip(self.leaves, self.axes, strict=True)
        ]

    def masks(self, chosen: Tensor) -> dict[int, Tensor]:
        """For each input a mask that fits it, from one of shape (sample, player)."""
        parts = chosen.split([grid.numel() for grid in self.grids], 1)
        found = {}
        for i, axis, grid, part in zip(self.leaves, self.axes, self.grids, parts, strict=True):
            mask = part.reshape(len(part), *grid)
            found[i] = mask if axis is None else mask.unsqueeze(axis)
        return found


def _channels(leaf: Tensor, *, embedded: bool) -> int | None:
    """The axis whose elements go together; the features of a table are on their own."""
    if embedded or channels_last(leaf.shape[1:]):
        return leaf.ndim - 1
    return 1 if leaf.ndim >= 3 else None


def _grid(shape: torch.Size, axis: int | None) -> torch.Size:
    """The axes after the batch, without that of the channels."""
    return torch.Size(n for i, n in enumerate(shape) if i not in (0, axis))


def _summed(values: Tensor, axis: int | None) -> Tensor:
    return values if axis is None else values.sum(axis)
