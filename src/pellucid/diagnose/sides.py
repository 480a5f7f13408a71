"""The activation pattern of a run: on which side of each of its kinks every unit is.

Two points have the same sides only if they lie in one linear region of a piecewise linear program,
since the regions are convex. So a line can be searched for them by halving.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.tape.adjoints import kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# fmt: off
# Of these a result equals the first input where it is not clipped, or not the smaller.
CLIPS = {"clamp", "clamp_min", "clamp_max", "maximum", "minimum", "fmax", "fmin"}
# These bend where their input is zero.
SIGNS = {"abs", "leaky_relu", "_prelu_kernel", "rrelu_with_noise"}
# These bend where their result becomes zero, on both sides of it.
SHRINKS = {"softshrink", "hardshrink"}
# Steps: constant between their jumps.
STEPS = {"sign", "sgn", "floor", "ceil", "round", "trunc", "heaviside"}
# Of these every result is one of the inputs, chosen by its value.
CHOOSERS = {
    "amax", "amin", "max", "min", "median", "nanmedian", "mode", "kthvalue", "sort", "topk",
    "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "fractional_max_pool2d", "fractional_max_pool3d",
}
# What depends on no more than the shape of what it reads, or hands its values on.
STILL = {
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros",
    "new_ones", "new_full", "new_empty", "zero", "fill", "resize", "resize_as",
}
# fmt: on
LINEAR = {"weighted", "linear", "affine", "scale", "route"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Sides:
    """The state of every unit that has a kink.

    `uncounted` names operations that bend smoothly, or whose kinks are not known here.
    """

    states: list[Tensor]
    uncounted: tuple[str, ...]

    @property
    def units(self) -> int:
        """How many there are."""
        return sum(state.numel() for state in self.states)

    def rows(self, count: int) -> list["Sides"]:
        """Those of each sample, where all of its states have the samples first."""
        return [
            replace(self, states=[state[row : row + 1] for state in self.states])
            for row in range(count)
        ]

    def switches(self, other: "Sides") -> int:
        """How many units are in another state there; a unit that is not there is in another."""
        shapes = [[state.shape for state in each.states] for each in (self, other)]
        if shapes[0] != shapes[1]:
            return abs(self.units - other.units) or self.units or 1
        pairs = zip(self.states, other.states, strict=True)
        return sum(int((a != b).sum()) for a, b in pairs)


def sides(tape: Tape) -> Sides:
    """Read those of all operations that the score depends on."""
    states: list[Tensor] = []
    uncounted: dict[str, None] = {}
    for operation in _towards(tape):
        found = _states(operation)
        states += found
        if not found and not _is_linear(operation):
            uncounted[operation.name] = None
    return Sides(states=states, uncounted=tuple(uncounted))


def _towards(tape: Tape) -> list[Operation]:
    """The operations that the score depends on, as a signal or not, in the order they ran."""
    reached: set[Value] = {tape.score_value}
    found = []
    for operation in reversed(tape.operations):
        if any(value in reached for value in operation.outputs):
            found.append(operation)
            reached.update(value for value in operation.slots if value.depends)
    return found[::-1]


def _states(operation: Operation) -> list[Tensor]:
    """On which side of its kinks each unit of an operation is; nothing if it has none."""
    read = STATES.get(operation.name)
    if read is not None and operation.slots[0].tensor.is_floating_point():
        return [read(operation)]
    if operation.name in STEPS:
        return [operation.output.tensor]
    return [
        value.tensor
        for value in operation.outputs
        if value is not None and _is_choice(value.dtype) and _chooses(operation)
    ]


def _is_choice(dtype: torch.dtype) -> bool:
    """Whether values are places, or yes and no."""
    return not dtype.is_floating_point and not dtype.is_complex


def _chooses(operation: Operation) -> bool:
    """Whether it makes a choice of a signal: what only hands choices on adds nothing."""
    return any(value.carries for value in operation.slots) and operation.name not in STILL


def _is_linear(operation: Operation) -> bool:
    """Whether an operation without kinks is linear in the signal, or has none."""
    if operation.name in STILL or not any(value.carries for value in operation.slots):
        return True
    if operation.name == "div":
        return operation.slots[0].carries and kind(operation) in LINEAR
    return kind(operation) in LINEAR and operation.name not in CHOOSERS


def _hardtanh(operation: Operation) -> Tensor:
    low, high = operation.argument(1, -1.0), operation.argument(2, 1.0)
    return _bounded(operation.output.tensor, low, high)


def _bounded(y: Tensor, low: float, high: float) -> Tensor:
    """0 at or below a lower bound, 1 between, 2 at or above the upper one."""
    return (y > low).to(torch.int8) + (y >= high)


def _clipped(operation: Operation) -> Tensor:
    y, x = operation.output.tensor, operation.slots[0].tensor
    return (y > x).to(torch.int8) - (y < x).to(torch.int8)


def _winner(operation: Operation) -> Tensor:
    """Which elements are the extreme ones of their group."""
    x, y = operation.slots[0].tensor, operation.output.tensor
    axes = operation.argument(1, operation.keywords.get("dim", ()))
    listed = [axes] if isinstance(axes, int) else list(axes or range(x.ndim))
    reduced = sorted(axis % x.ndim for axis in listed if x.ndim)
    if not operation.argument(2, operation.keywords.get("keepdim", False)):
        for axis in reduced:
            y = y.unsqueeze(axis)
    return _as_one(x == y) if 0 in reduced else x == y


def _chosen(operation: Operation) -> Tensor:
    """The places of what is chosen along an axis, or which of all elements is chosen."""
    if len(operation.outputs) > 1 and (places := operation.outputs[1]) is not None:
        return places.tensor
    return _as_one(operation.slots[0].tensor == operation.output.tensor)


def _as_one(state: Tensor) -> Tensor:
    """A state that has no samples of its own, so that none is read from its first axis."""
    return state.reshape(1, -1)


STATES: dict[str, Callable[[Operation], Tensor]] = {
    "relu": lambda operation: operation.output.tensor > 0,
    "hardtanh": _hardtanh,
    "relu6": lambda operation: _bounded(operation.output.tensor, 0.0, 6.0),
    "hardsigmoid": lambda operation: _bounded(operation.output.tensor, 0.0, 1.0),
    "threshold": lambda operation: operation.slots[0].tensor > operation.argument(1),
    "amax": _winner,
    "amin": _winner,
    **dict.fromkeys(("max", "min", "median", "nanmedian"), _chosen),
    "frac": lambda operation: operation.slots[0].tensor.trunc(),
    **dict.fromkeys(CLIPS, _clipped),
    **dict.fromkeys(SIGNS, lambda operation: operation.slots[0].tensor > 0),
    **dict.fromkeys(SHRINKS, lambda operation: operation.output.tensor.sign()),
}
