"""An operation with weights, and the constants that its answers are scaled and shifted by.

Torch runs one and the same layer as `addmm`, or as `mm`, a view and `add`, as the batch is laid out
in memory; people write W x + b, or a batch norm by hand. For a neuron it is all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from pellucid.propagate.linear import Linear
from pellucid.tape.operations import Operation, Value

# Through these, numbers stay in their order.
VIEWS = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "squeeze", "unsqueeze", "clone",
    "contiguous", "alias",
}  # fmt: skip
SUMS = {"add", "sub", "rsub"}


@dataclass(frozen=True, eq=False)
class Affine:
    """y = s z + t with z = W x + b of one operation; y is `output`, perhaps in another layout.

    `scale` s and `shift` t have shape (out,), and are `None` where there is none. The outputs are
    along axis `place` of y.
    """

    linear: Linear
    scale: Tensor | None
    shift: Tensor | None
    output: Value
    place: int

    @classmethod
    def of(cls, linear: Linear, readers: Mapping[Value, list[Operation]]) -> "Affine":
        """With all constants of one number for each output that come next."""
        scale = shift = None
        value, axis = linear.output, _axis(linear)
        outputs = value.shape[axis]
        while len(readers.get(value, ())) == 1:
            (reader,) = readers[value]
            moved, step = moved_axis(reader, value, axis), _step(linear, reader, value, axis)
            if moved is not None:
                axis = moved
            elif step is not None:
                slope, addend = (None if each is None else each.expand(outputs) for each in step)
                scale = _times(scale, slope)
                shift = _plus(None if shift is None else _times(shift, slope), addend)
            else:
                break
            value = reader.output
        return cls(linear, scale, shift, value, axis)

    @property
    def operation(self) -> Operation:
        """The one that has the weights."""
        return self.linear.operation

    @property
    def bias(self) -> Tensor | None:
        """What y is where the input is zero, shape (out,)."""
        own = self.linear.bias
        return self.shift if own is None else _plus(_times(own, self.scale), self.shift)

    @property
    def is_left(self) -> bool:
        """Whether the input is the left factor of a product of matrices."""
        return _is_left(self.operation)

    @property
    def axis(self) -> int:
        """The axis of z along which the outputs are."""
        return _axis(self.linear)


def _is_left(product: Operation) -> bool:
    return product.name == "addmm" or product.slots[0].carries


def _axis(linear: Linear) -> int:
    return 1 if linear.is_convolution else product_axis(linear.operation)


def product_axis(product: Operation) -> int:
    """The axis of a product of matrices along which its outputs are."""
    return len(product.output.shape) - (1 if _is_left(product) else 2)


def _times(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one * other


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


def moved_axis(reader: Operation, value: Value, axis: int) -> int | None:
    """Where an axis is after an operation that moves whole axes; `None` for any other."""
    before, after = value.shape, reader.output.shape
    rank = len(before)
    if reader.name in ("t", "transpose", "permute"):
        ranks = list(range(rank))
        if reader.name == "permute":
            ranks = [place % rank for place in reader.arguments[1]]
        elif rank > 1:
            pair = (0, 1) if reader.name == "t" else reader.arguments[1:3]
            one, other = (place % rank for place in pair)
            ranks[one], ranks[other] = other, one
        return ranks.index(axis)
    if reader.name not in VIEWS:
        return None
    if before == after:
        return axis
    # An axis is whole in another shape where as many numbers are before it.
    leading, size = prod(before[:axis]), before[axis]
    fits = (i for i, new in enumerate(after) if new == size and prod(after[:i]) == leading)
    return next(fits, None)


def factors(operation: Operation) -> tuple[float, float]:
    """What the two signals of a sum are multiplied by."""
    scale = operation.keywords.get("alpha", 1)
    if operation.name == "rsub":
        return -operation.argument(2, scale), 1
    return 1, scale if operation.name == "add" else -scale


def _step(
    linear: Linear, operation: Operation, value: Value, axis: int
) -> tuple[Tensor | None, Tensor | None] | None:
    """What an operation multiplies a value by, and what it then adds, for each output.

    `None` if that is not all that it does.
    """
    if operation.output.shape != value.shape:
        return None
    if operation.name == "neg":
        return linear.weight.new_full((1,), -1.0), None
    if operation.name not in SUMS | {"mul", "div"} or len(operation.arguments) < 2:
        return None
    is_first = operation.arguments[0] is value
    given = operation.arguments[1 if is_first else 0]
    exact = torch.promote_types(value.dtype, torch.float32)
    if isinstance(given, int | float):
        constant = linear.weight.new_full((1,), given, dtype=exact)
    elif isinstance(given, Value) and _is_one_each(given, value, axis):
        constant = given.tensor.detach().to(exact).flatten()
    else:
        return None
    if operation.name == "mul":
        return constant, None
    if operation.name == "div":
        whole = is_first and operation.keywords.get("rounding_mode") is None
        return (1 / constant, None) if whole else None
    mine, other = factors(operation) if is_first else factors(operation)[::-1]
    slope = None if mine == 1 else torch.full_like(constant, mine)
    return slope, other * constant


def _is_one_each(given: Value, value: Value, axis: int) -> bool:
    """Whether it is a constant that is the same wherever the output is."""
    if given.depends or given.dtype.is_complex or len(given.shape) > len(value.shape):
        return False
    shape = [1] * (len(value.shape) - len(given.shape)) + list(given.shape)
    return all(size in (1, value.shape[axis] if i == axis else 1) for i, size in enumerate(shape))
