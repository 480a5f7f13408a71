"""The positive and the negative part of a difference, for RevealCancel.

A neuron's difference is the sum of what its inputs contribute: D = D+ + D-. What is kept of both
is their distance, the size s = D+ - D- >= |D|, so that D+ = (s + D) / 2 and D- = (D - s) / 2. A
signal is a pair of multipliers too, kept as their mean m and half their distance d:

    m+ = m + d,  m- = m - d,  and the contribution  m+ D+ + m- D-  =  m D + d s

Where inputs are summed (a dense layer, a convolution, a mean), each one's contribution w D goes to
the part of its sign. What has one input for each element, and what adds such up (a bias, a norm
with fixed statistics, a view, a residual connection), hands on the parts it gets, so that one sum
may be written as several. Anything else is a neuron of its own, all of which has one sign.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.propagate.deeplift.pairs import Pairs
from pellucid.propagate.linear import Linear
from pellucid.tape.adjoints import (
    CONVOLUTIONS,
    Signals,
    adjoint,
    is_training_norm,
    kind,
    norm_affine,
    sum_to,
)
from pellucid.tape.operations import Operation, Value

# Every weight of these is positive.
# fmt: off
SUMS = {
    "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "cumsum",
}
ADDITIONS = {"add", "sub", "rsub", "neg"}
FACTORS = {"mul", "div"}
MOVES = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "alias", "clone",
    "contiguous", "lift_fresh", "flatten", "_to_copy", "t", "transpose", "permute", "expand", "cat",
    "stack", "select", "slice", "split", "split_with_sizes", "unsafe_split",
    "unsafe_split_with_sizes", "unbind", "gather", "index", "index_select", "flip", "roll",
    "repeat", "as_strided", "as_strided_scatter", "select_scatter", "slice_scatter", "copy",
    "upsample_nearest2d", "pixel_shuffle", "pixel_unshuffle", "diagonal",
}
# fmt: on


Role: TypeAlias = Literal["sum", "move", "neuron"]


def role_of(operation: Operation) -> Role:
    """What an operation does to the parts of a difference.

    A `sum` adds up contributions of several inputs, by weights that are known. Through a `move`
    parts stay as they are, up to a factor. The result of any other has parts of its own.
    """
    of_kind = kind(operation)
    if of_kind == "weighted" or operation.name in SUMS:
        return "sum"
    if operation.name in FACTORS:
        scales = of_kind == "scale" and not operation.keywords.get("rounding_mode")
        return "move" if scales else "neuron"
    fixed = of_kind == "affine" and not is_training_norm(operation)
    return "move" if fixed or operation.name in ADDITIONS | MOVES else "neuron"


@dataclass(frozen=True, eq=False)
class Parts:
    """The sizes of differences, and half the distance of multipliers where they are two.

    `role` says what an operation is.
    """

    pairs: Pairs
    role: Callable[[Operation], Role] = role_of
    spread: dict[Value, Tensor] = field(default_factory=dict)
    sizes: dict[Value, Tensor] = field(default_factory=dict)

    # -- sizes, forwards

    def size(self, value: Value) -> Tensor:
        """D+ - D- of a value, found from the neurons that it is a sum of."""
        if value not in self.sizes:
            self.sizes[value] = self._size(value)
        return self.sizes[value]

    def is_sum(self, value: Value) -> bool:
        """Whether a value may have parts of both signs in one element."""
        return value.producer is not None and self.role(value.producer) != "neuron"

    def after_convolution(self, value: Value) -> bool:
        """Whether a convolution is among the sums that a value is made of."""
        made = value.producer
        if made is None or self.role(made) != "move":
            return made is not None and made.name in CONVOLUTIONS
        return any(self.after_convolution(slot) for slot in made.slots if slot.carries)

    def _size(self, value: Value) -> Tensor:
        made = value.producer
        role = "neuron" if made is None else self.role(made)
        if made is None or role == "neuron":
            return self.pairs.difference(value).abs()
        if role == "sum":
            return self._summed(made)
        if made.name in ADDITIONS:
            sizes = [self.size(slot) * factor for slot, factor in _factors(made) if slot.carries]
            return sum(sizes[1:], sizes[0]).expand(value.shape)
        scale = _scale(made)
        if scale is not None:
            (slot,) = [slot for slot in made.slots if slot.carries]
            return self.size(slot) * scale
        return made.again(lambda slot: self._moved(made, slot))[value.position]

    def _summed(self, operation: Operation) -> Tensor:
        if kind(operation) == "weighted":
            linear = Linear(operation=operation)
            return linear.forward(self._absolute(linear.entry), linear.weight.abs())
        return operation.again(self._absolute)[0]

    def _absolute(self, value: Value) -> Tensor:
        return self.pairs.difference(value).abs()

    def _moved(self, operation: Operation, slot: Value) -> Tensor:
        """What is moved in the place of a slot: its size, nothing for a constant, an index."""
        if not slot.dtype.is_floating_point:
            return slot.tensor
        size = self.size(slot) if slot.carries else torch.zeros_like(slot.tensor)
        if not operation.name.startswith("as_strided"):
            return size
        layout = slot.tensor
        return size.new_empty_strided(layout.shape, layout.stride()).copy_(size)

    # -- multipliers, backwards

    def arrived(self, operation: Operation) -> Signals:
        """The distances at the outputs of an operation, which are done with there."""
        outputs = [value for value in operation.outputs if value is not None]
        for value in outputs:
            self.sizes.pop(value, None)
        return [None if v is None else self.spread.pop(v, None) for v in operation.outputs]

    def put(self, value: Value, distance: Tensor) -> None:
        """Let a distance wait at a value."""
        held = self.spread.get(value)
        self.spread[value] = distance if held is None else held + distance

    def pass_sum(self, operation: Operation, d: Tensor, signals: Signals) -> Signals:
        """Each input of a sum is in the part of its contribution's sign."""
        if kind(operation) == "weighted":
            linear = Linear(operation=operation)
            entry, back = linear.entry, linear.backward(d, linear.weight.abs())
        else:
            (entry,) = [value for value in operation.slots if value.carries]
            (back,) = [found for found in adjoint(operation, [d]) if found is not None]
        more = back * self.pairs.difference(entry).sign()
        return [
            signal + more if value is entry and signal is not None else signal
            for value, signal in zip(operation.slots, signals, strict=True)
        ]

    def pass_on(self, operation: Operation, distances: Signals) -> None:
        """Hand distances on, with positive factors."""
        for value, distance in zip(operation.slots, _moved_back(operation, distances), strict=True):
            if distance is not None and value.carries:
                self.put(value, distance)


def _factors(operation: Operation) -> list[tuple[Value, float]]:
    """The slots of an addition with the size of the factor that each has."""
    alpha = abs(operation.keywords.get("alpha", 1))
    if operation.name == "rsub":
        alpha = abs(operation.argument(2, operation.keywords.get("alpha", 1)))
    scaled = 0 if operation.name == "rsub" else 1
    return [(slot, alpha if i == scaled else 1) for i, slot in enumerate(operation.slots)]


def _scale(operation: Operation) -> Tensor | float | None:
    """The size of the factor that an operation has for every element, if it is such a one."""
    if kind(operation) == "affine":
        scale, _ = norm_affine(operation)
        rank = len(operation.slots[0].shape)
        return scale.abs().reshape(1, -1, *[1] * (rank - 2))
    if operation.name not in FACTORS:
        return None
    given: Any = next(argument for argument in operation.arguments[:2] if not _carries(argument))
    factor = given.tensor.abs() if isinstance(given, Value) else abs(given)
    return 1 / factor if operation.name == "div" else factor


def _carries(argument: object) -> bool:
    return isinstance(argument, Value) and argument.carries


def _moved_back(operation: Operation, distances: Signals) -> Signals:
    if operation.name in MOVES:
        return adjoint(operation, distances)
    distance = distances[0]
    if distance is None:
        return [None] * len(operation.slots)
    scale = _scale(operation)
    if scale is not None:
        back = distance * scale
        return [sum_to(back, v.shape) if v.carries else None for v in operation.slots]
    return [
        sum_to(distance * factor, value.shape) if value.carries else None
        for value, factor in _factors(operation)
    ]
