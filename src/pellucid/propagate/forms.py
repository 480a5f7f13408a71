"""What an operation is to a nonlinearity's eye: a rectifier, however written, or another bend.

Most activations are one operation, and known by name: relu(x), clamp(x, min=0), gelu(x). Any other
way to write one is a region of the tape: a value y that is computed, element by element, from one
value x. What the region does is not read from its text but tried: it runs again on a grid of
points, and is a rectifier if it answers as one.

    maximum(x, 0)  x * (x > 0)  where(x < 0, 0, x)  x[x < 0] = 0  (x + |x|) / 2    rectifiers
    x * sigmoid(x)  x / (1 + exp(-x))  0.5 x (1 + erf(x / sqrt 2))                 activations
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Size, Tensor

from pellucid.tape.operations import Operation, Value

FormName: TypeAlias = Literal["rectifier", "bound", "activation", "route", "inside"]

# Nonlinear functions of one element that people use as activations.
# fmt: off
ACTIVATIONS = {
    "sigmoid", "tanh", "gelu", "silu", "elu", "celu", "mish", "softplus", "hardsigmoid",
    "hardswish", "leaky_relu", "_prelu_kernel", "rrelu_with_noise", "softshrink", "hardshrink",
}
# A value stays the same through these, or is moved.
SAME = {
    "_to_copy", "detach", "alias", "clone", "view", "_unsafe_view", "lift_fresh", "permute",
    "transpose", "t", "unsqueeze", "squeeze", "expand",
}
# These may bend a value at one point.
KINKS = {
    "abs", "maximum", "minimum", "fmax", "fmin", "clamp", "clamp_min", "clamp_max", "threshold",
    "hardtanh", "amax", "max",
}
COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne", "sign", "sgn", "isnan"}
# fmt: on


@dataclass(frozen=True)
class Form:
    """What an operation is.

    `bound` is where a rectifier is clipped above. The last operation of a region has the form of
    the region, and the `shape` of the value it starts from; `scale` is the slope of a rectifier,
    negative for one of what is negative. A `route` leads from there to that value by `slot`.
    What is `doubtful` is zero in a part, as rectifiers are, but is none of them.
    """

    name: FormName
    bound: float | None = None
    slot: int = 0
    shape: Size | None = None
    scale: float = 1.0
    doubtful: bool = False

    def place(self, operation: Operation, signal: Tensor) -> list[Tensor | None]:
        """Hand a signal on by one slot, and nothing to the others."""
        found: list[Tensor | None] = [None] * len(operation.slots)
        found[self.slot] = signal if self.shape is None else signal.reshape(self.shape)
        return found


# -- one operation


def form_of(operation: Operation) -> Form | None:
    """The form of an operation by itself; `None` for one that is none that is known."""
    recognise = FORMS.get(operation.name)
    known = recognise is not None and operation.slots[0].carries
    return recognise(operation) if known and recognise else None


def bends(operation: Operation) -> bool:
    """Whether an operation without a form bends a signal as a part of a hidden rectifier could."""
    if operation.name in ("mul", "where", "masked_fill", "index_put", "masked_scatter"):
        return any(_is_threshold(value) for value in operation.slots if value.depends)
    if operation.name not in KINKS - {"amax", "max"}:
        return False
    x, *others = [value for value in operation.slots if value.carries]
    y = operation.output
    if others or x.dtype != y.dtype:
        return True
    return not torch.equal(x.tensor.expand(y.shape), y.tensor)  # a guard changes nothing


def _is_threshold(mask: Value) -> bool:
    """Whether a mask is made by comparing a signal, and not only data that came with it."""
    waiting, seen = [mask], set()
    while waiting:
        value = waiting.pop()
        made = value.producer
        if value.carries or value in seen or made is None:
            continue
        if made.name in COMPARISONS and any(slot.carries for slot in made.slots):
            return True
        seen.add(value)
        waiting += made.slots
    return False


def _clamp(operation: Operation) -> Form | None:
    """Clipped at zero below, at a positive bound above, or at both sides of zero."""
    if operation.name == "clamp_max":
        low, high = None, operation.argument(1)
    else:
        low = operation.argument(1, operation.keywords.get("min"))
        high = operation.argument(2, operation.keywords.get("max"))
    if isinstance(low, Value) or isinstance(high, Value):
        return None
    return _clipped(-math.inf if low is None else low, math.inf if high is None else high)


def _clipped(least: float, most: float) -> Form | None:
    if not least <= 0 < most:
        return None
    bound = None if math.isinf(most) else most
    if least == 0:
        return Form("rectifier", bound)
    if math.isinf(least):
        return None if bound is None else Form("bound", bound)
    return Form("activation") if bound is not None else None


def _hardtanh(operation: Operation) -> Form | None:
    return _clipped(operation.argument(1, -1.0), operation.argument(2, 1.0))


def _threshold(operation: Operation) -> Form | None:
    return Form("rectifier") if operation.arguments[1:3] in ((0, 0), (0.0, 0.0)) else None


def _leaky(*slopes: tuple[int, float]) -> Callable[[Operation], Form]:
    """An activation that is a rectifier where its slope below zero, an argument, is zero."""

    def recognise(operation: Operation) -> Form:
        given = [operation.argument(position, absent) for position, absent in slopes]
        plain = operation.name != "elu" or operation.argument(2, 1) == 1
        zero = plain and all(_is_zero(slope) for slope in given)
        return Form("rectifier" if zero else "activation")

    return recognise


def _is_zero(given: Any) -> bool:
    if isinstance(given, Value):
        return not given.depends and not bool(given.tensor.any())
    return bool(given == 0)


Recognise: TypeAlias = Callable[[Operation], Form | None]


def _always(form: Form) -> Recognise:
    return lambda operation: form


FORMS: dict[str, Recognise] = {name: _always(Form("activation")) for name in ACTIVATIONS} | {
    "relu": _always(Form("rectifier")),
    "relu6": _always(Form("rectifier", 6.0)),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "hardtanh": _hardtanh,
    "threshold": _threshold,
    "leaky_relu": _leaky((1, 0.01)),
    "elu": _leaky((1, 1.0)),
    "_prelu_kernel": _leaky((1, 1.0)),
    "rrelu_with_noise": _leaky((2, 0.125), (3, 1 / 3)),
}
