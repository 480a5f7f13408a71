"""How DeepLIFT passes a maximum: to the winner at the input, or to the winner at the reference.

    C(winner at the input)     = max(y, y0) - y0
    C(winner at the reference) = y - max(y, y0)

One of the two is zero. A contribution is turned into a multiplier by the winner's own distance,
which is never the smaller one.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from pellucid.propagate.deeplift.pairs import distance
from pellucid.tape.adjoints import Signals, sum_to
from pellucid.tape.operations import Operation

# Their second result says where the winner is, counted over the last axes.
POOLS = {
    "max_pool2d_with_indices": 2,
    "max_pool3d_with_indices": 3,
    "adaptive_max_pool2d": 2,
    "adaptive_max_pool3d": 3,
    "fractional_max_pool2d": 2,
    "fractional_max_pool3d": 3,
}
REDUCTIONS = {"amax", "amin", "max", "min"}
CHOICES = {"maximum", "minimum", "fmax", "fmin"}
LEAST = {"amin", "min", "minimum", "fmin"}


def picks_a_winner(operation: Operation) -> bool:
    """Whether every element of the result is the largest, or least, of some of the input."""
    if operation.name in CHOICES:
        return all(value.carries for value in operation.slots)
    return operation.name in POOLS or operation.name in REDUCTIONS


def to_winners(operation: Operation, partner: Operation, signal: Tensor) -> Signals:
    """The multipliers of the input of a maximum, from those of its result."""
    if operation.name in CHOICES:
        return _of_two(operation, partner, signal)
    end, start = _Selection.of(operation), _Selection.of(partner)
    x, x0 = operation.slots[0].tensor, partner.slots[0].tensor
    ways = [distance(chosen.read(x), chosen.read(x0)) for chosen in (end, start)]
    shape = ways[0].shape
    grown = distance(operation.output.tensor, partner.output.tensor).reshape(shape)
    shares = _shares(grown, ways[0], ways[1], sign=-1 if operation.name in LEAST else 1)
    signal = signal.reshape(shape)
    laid = end.room(x)
    for chosen, share in zip((end, start), shares, strict=True):
        laid.scatter_add_(-1, chosen.places, signal * share)
    return [end.back(laid, x.shape), *[None] * (len(operation.slots) - 1)]


def _shares(
    grown: Tensor, end_way: Tensor, start_way: Tensor, *, sign: int
) -> tuple[Tensor, Tensor]:
    """The multipliers of the winner at the input and of that at the reference."""
    up = grown * sign >= 0
    one = torch.ones_like(grown)
    end = torch.where(end_way == 0, one, grown / end_way)
    zero = torch.zeros_like(grown)
    return torch.where(up, end, zero), torch.where(up, zero, grown / start_way)


def _of_two(operation: Operation, partner: Operation, signal: Tensor) -> Signals:
    """The larger, or smaller, of two values, element by element."""
    sign = -1 if operation.name in LEAST else 1
    grown = distance(operation.output.tensor, partner.output.tensor)
    pairs = list(zip(operation.slots, partner.slots, strict=True))
    a, b = (distance(e.tensor, s.tensor).expand(grown.shape) for e, s in pairs)
    first_wins = [_first_wins(each, sign).expand(grown.shape) for each in (operation, partner)]
    chosen = [torch.where(wins, a, b) for wins in first_wins]
    at_end, at_start = (signal * share for share in _shares(grown, chosen[0], chosen[1], sign=sign))
    zero = torch.zeros_like(signal)
    first = torch.where(first_wins[0], at_end, zero) + torch.where(first_wins[1], at_start, zero)
    both = (first, at_end + at_start - first)
    return [sum_to(each, end.shape) for each, (end, _) in zip(both, pairs, strict=True)]


def _first_wins(operation: Operation, sign: int) -> Tensor:
    a, b = (value.tensor for value in operation.slots)
    return a * sign >= b * sign


@dataclass(frozen=True)
class _Selection:
    """Where the winners are: on the last axis of the input, laid out with `axes` at its end."""

    axes: tuple[int, ...]
    places: Tensor

    @classmethod
    def of(cls, operation: Operation) -> "_Selection":
        """Read the places, or find the first of the largest."""
        rank = len(operation.slots[0].shape)
        if operation.name in POOLS:
            axes = tuple(range(rank - POOLS[operation.name], rank))
            return cls(axes, operation.result(1).tensor.flatten(axes[0]))
        given = operation.argument(1)
        listed = given if isinstance(given, list | tuple) else [given]
        axes = tuple(axis % rank for axis in listed if axis is not None) or tuple(range(rank))
        x = cls(axes, torch.empty(0))._laid(operation.slots[0].tensor)
        x = -x if operation.name in LEAST else x
        return cls(axes, x.argmax(-1, keepdim=True))

    def read(self, tensor: Tensor) -> Tensor:
        """The elements at the winners."""
        return self._laid(tensor).gather(-1, self.places)

    def room(self, like: Tensor) -> Tensor:
        """Zeros in the layout in which the places count."""
        kept = [like.shape[axis] for axis in self._kept(like.ndim)]
        return like.new_zeros(*kept, prod(like.shape[axis] for axis in self.axes))

    def back(self, laid: Tensor, shape: torch.Size) -> Tensor:
        """From that layout to the axes of the input."""
        order = [*self._kept(len(shape)), *self.axes]
        laid = laid.reshape([shape[axis] for axis in order])
        return laid.permute([order.index(axis) for axis in range(len(shape))])

    def _laid(self, tensor: Tensor) -> Tensor:
        moved = tensor.permute([*self._kept(tensor.ndim), *self.axes])
        return moved.flatten(tensor.ndim - len(self.axes))

    def _kept(self, rank: int) -> list[int]:
        return [axis for axis in range(rank) if axis not in self.axes]
