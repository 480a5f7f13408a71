"""What an operation is to a nonlinearity's eye: a rectifier, however written, or another bend.

    relu(x)  clamp(x, min=0)  hardtanh(x, 0, 6)  threshold(x, 0, 0)  leaky_relu(x, 0)
    maximum(x, 0)  stack([x, 0]).amax()  x * (x > 0)  where(x > 0, x, 0)  where(x < 0, 0, x)
    masked_fill(x, x < 0, 0)  x[x < 0] = 0

are one function, and so one form. Constants are recognised by their values, and masks by what they
were computed from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor

from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Operation, Value

FormName: TypeAlias = Literal["rectifier", "bound", "activation"]

# Nonlinear functions of one element that people use as activations.
ACTIVATIONS = {
    "sigmoid", "tanh", "gelu", "silu", "elu", "celu", "mish", "softplus", "hardsigmoid",
    "hardswish", "leaky_relu", "_prelu_kernel", "rrelu_with_noise", "softshrink", "hardshrink",
}  # fmt: skip
COMPARISONS = {"gt": 1, "ge": 1, "lt": -1, "le": -1}
# A mask stays the mask it is through these.
SAME = {"_to_copy", "detach", "alias", "clone", "view", "lift_fresh"}


@dataclass(frozen=True)
class Form:
    """What an operation is, and which of its slots its one signal goes to.

    `bound` is where a rectifier is clipped above. `index` is set where the slot is a stack: the
    axis and the position in it at which the signal entered.
    """

    name: FormName
    slot: int = 0
    bound: float | None = None
    index: tuple[int, int] | None = None

    def place(self, operation: Operation, signal: Tensor) -> Signals:
        """Hand a signal to the slot, and nothing to the others."""
        found: Signals = [None] * len(operation.slots)
        if self.index is not None:
            axis, position = self.index
            stacked = signal.new_zeros(operation.slots[self.slot].shape)
            part = stacked.select(axis, position)
            signal = stacked.select_scatter(signal.reshape(part.shape), axis, position)
        found[self.slot] = signal
        return found


def form_of(operation: Operation) -> Form | None:
    """The form of an operation; `None` for one that is none of them."""
    recognise = FORMS.get(operation.name)
    form = None if recognise is None else recognise(operation)
    if form is None or not operation.slots[form.slot].carries:
        return None
    spread = operation.slots[form.slot].shape != operation.output.shape
    return None if spread and form.index is None else form


def bends(operation: Operation) -> bool:
    """Whether an operation without a form bends a signal as a part of a hidden rectifier could."""
    if operation.name in ("maximum", "minimum"):
        constant = [value for value in operation.slots if not value.carries]
        return not constant or _is_zero(constant[0])
    if operation.name in ("clamp", "clamp_max"):
        least, most = _bounds(operation)
        return least == -math.inf and most == 0
    if operation.name in ("mul", "where", "masked_fill"):
        return any(_is_threshold(value) for value in operation.slots if value.depends)
    return operation.name == "abs"


def _is_threshold(mask: Value) -> bool:
    """Whether a mask compares a signal, and not only data that came with it."""
    made = _bare(mask).producer
    return made is not None and made.name in COMPARISONS and any(v.carries for v in made.slots)


# -- how each operation is recognised

Recognise: TypeAlias = Callable[[Operation], Form | None]


def _always(form: Form) -> Recognise:
    return lambda operation: form


def _bounds(operation: Operation) -> tuple[float | None, float | None]:
    """The two bounds of a clamp; infinite where it has none, `None` for what is no one number."""
    if operation.name == "clamp_max":
        return -math.inf, _number(operation.argument(1), math.inf)
    if operation.name == "clamp_min":
        return _number(operation.argument(1), -math.inf), math.inf
    low = operation.argument(1, operation.keywords.get("min"))
    high = operation.argument(2, operation.keywords.get("max"))
    return _number(low, -math.inf), _number(high, math.inf)


def _clamp(operation: Operation) -> Form | None:
    return _clipped(*_bounds(operation))


def _clipped(least: float | None, most: float | None) -> Form | None:
    """Clipped at zero below, at a positive bound above, or at both sides of zero."""
    if least is None or most is None or not least <= 0 < most:
        return None
    bound = None if math.isinf(most) else most
    if least == 0:
        return Form("rectifier", bound=bound)
    if math.isinf(least):
        return Form("bound", bound=bound)
    return Form("activation") if bound is not None else None


def _hardtanh(operation: Operation) -> Form | None:
    return _clipped(operation.argument(1, -1.0), operation.argument(2, 1.0))


def _threshold(operation: Operation) -> Form | None:
    return Form("rectifier") if operation.arguments[1:3] in ((0, 0), (0.0, 0.0)) else None


def _leaky_relu(operation: Operation) -> Form:
    return Form("rectifier" if operation.argument(1, 0.01) == 0 else "activation")


def _maximum(operation: Operation) -> Form | None:
    return _against(operation, lambda other: Form("rectifier") if _is_zero(other) else None)


def _minimum(operation: Operation) -> Form | None:
    return _against(operation, lambda other: _clipped(-math.inf, _number(other, math.inf)))


def _against(operation: Operation, judge: Callable[[Value], Form | None]) -> Form | None:
    """The form of an operation on a signal of full shape and something that is not one."""
    for slot, other in ((0, 1), (1, 0)):
        x, y = operation.slots[slot], operation.slots[other]
        if x.carries and not y.carries:
            form = judge(y)
            return form and Form(form.name, slot, form.bound)
    return None


def _where(operation: Operation) -> Form | None:
    """where(x > 0, x, 0), or where(x < 0, 0, x)."""
    if len(operation.slots) != 3:
        return None
    mask, *choices = operation.slots
    for slot, sign in ((1, 1), (2, -1)):
        x, other = choices[slot - 1], choices[2 - slot]
        if _is_zero(other) and _sign(mask, x) == sign:
            return Form("rectifier", slot)
    return None


def _masked_fill(operation: Operation) -> Form | None:
    x, mask, value = operation.arguments[:3]
    return Form("rectifier") if _is_zero(value) and _sign(mask, x) == -1 else None


def _index_put(operation: Operation) -> Form | None:
    """x[x < 0] = 0."""
    x, indices, value = operation.arguments[:3]
    if operation.argument(3, False) or len(indices) != 1 or indices[0] is None:
        return None
    return Form("rectifier") if _is_zero(value) and _sign(indices[0], x) == -1 else None


def _product(operation: Operation) -> Form | None:
    """A product with the mask of x > 0, or with sigmoid(x), which is the activation SiLU."""
    if len(operation.slots) != 2:
        return None
    for slot, other in ((0, 1), (1, 0)):
        x, mask = operation.slots[slot], operation.slots[other]
        if not x.carries or mask.producer is None:
            continue
        if not mask.carries and _sign(mask, x) == 1:
            return Form("rectifier", slot)
        if mask.producer.name == "sigmoid" and _bare(mask.producer.slots[0]) is _bare(x):
            return Form("activation", slot)
    return None


def _largest(operation: Operation) -> Form | None:
    """The largest of a stack of a signal and zeros."""
    stack = operation.slots[0].producer
    axes = operation.argument(1)
    axes = axes if isinstance(axes, (list, tuple)) else [axes]
    if stack is None or stack.name != "stack" or len(axes) != 1 or axes[0] is None:
        return None
    rank = len(operation.slots[0].shape)
    axis = stack.argument(1, 0) % rank
    carrying = [i for i, value in enumerate(stack.slots) if value.carries]
    others = [value for value in stack.slots if not value.carries]
    if axes[0] % rank != axis or len(carrying) != 1 or not others:
        return None
    zeros = all(_is_zero(value) for value in others)
    return Form("rectifier", index=(axis, carrying[0])) if zeros else None


FORMS: dict[str, Recognise] = {name: _always(Form("activation")) for name in ACTIVATIONS} | {
    "relu": _always(Form("rectifier")),
    "relu6": _always(Form("rectifier", bound=6.0)),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "hardtanh": _hardtanh,
    "threshold": _threshold,
    "leaky_relu": _leaky_relu,
    "maximum": _maximum,
    "fmax": _maximum,
    "minimum": _minimum,
    "fmin": _minimum,
    "where": _where,
    "masked_fill": _masked_fill,
    "index_put": _index_put,
    "mul": _product,
    "amax": _largest,
    "max": _largest,
}


# -- values


def _is_zero(given: Any) -> bool:
    """Whether a number or a constant tensor is zero everywhere."""
    if isinstance(given, Value):
        return not given.carries and not bool(given.tensor.any())
    return isinstance(given, int | float) and given == 0


def _number(given: Any, absent: float) -> float | None:
    """The one number in a constant, `absent` for nothing, or `None` for what is no one number."""
    if given is None:
        return absent
    if not isinstance(given, Value):
        return float(given)
    if given.carries or not given.shape.numel():
        return None
    least, most = given.tensor.aminmax()
    return float(least) if bool(least == most) else None


def _bare(value: Value) -> Value:
    """The value before it was copied, cast or detached."""
    made = value.producer
    while made is not None and made.name in SAME and made.slots[0].shape == value.shape:
        value = made.slots[0]
        made = value.producer
    return value


def _sign(mask: Any, x: Any) -> int:
    """1 for a mask that says where x is positive, -1 for where it is not, 0 for any other."""
    if not isinstance(mask, Value) or not isinstance(x, Value) or not x.carries:
        return 0
    made = _bare(mask).producer
    if made is None:
        return 0
    if made.name in ("logical_not", "bitwise_not"):
        return -_sign(made.slots[0], x)
    side = COMPARISONS.get(made.name, 0)
    left, right = (*made.arguments, None)[:2]
    if side and _is_same(left, x) and _is_zero(right):
        return side
    return -side if side and _is_zero(left) and _is_same(right, x) else 0


def _is_same(given: Any, x: Value) -> bool:
    return isinstance(given, Value) and _bare(given) is _bare(x)
