"""An operation with weights and its bias, wherever that is added.

Torch runs one and the same layer as `addmm`, or as `mm`, a view and `add`, as the batch is laid out
in memory; people write W x + b. For a neuron it is all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pellucid.propagate.linear import Linear
from pellucid.tape.operations import Operation, Value

# Through these, numbers stay where they are.
VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "clone", "contiguous", "alias"}


@dataclass(frozen=True, eq=False)
class Affine:
    """y = W x + b; `bias` has shape (out,), and y is `output`, perhaps in another layout."""

    linear: Linear
    bias: Tensor | None
    output: Value

    @classmethod
    def of(cls, linear: Linear, readers: Mapping[Value, list[Operation]]) -> "Affine":
        """With the bias of the operation, or of the norm behind it, or one that is added next."""
        if linear.bias is None and linear.norm is None:
            return _added(linear, readers)
        return cls(linear, linear.bias, linear.output)

    @property
    def operation(self) -> Operation:
        """The one that has the weights."""
        return self.linear.operation

    @property
    def is_left(self) -> bool:
        """Whether the input is the left factor of a product of matrices."""
        return self.operation.name == "addmm" or self.operation.slots[0] is self.linear.entry

    @property
    def axis(self) -> int:
        """The axis of z along which the outputs are."""
        if self.linear.is_convolution:
            return 1
        return len(self.linear.output.shape) - (1 if self.is_left else 2)


def _added(linear: Linear, readers: Mapping[Value, list[Operation]]) -> Affine:
    """Follow z to a constant of one number for each output, if adding that comes next."""
    plain = Affine(linear, None, linear.output)
    value, axis = linear.output, plain.axis
    outputs = value.shape[axis]
    while len(readers.get(value, ())) == 1:
        (reader,) = readers[value]
        if reader.name == "add":
            bias = _bias(reader, value, axis)
            return plain if bias is None else Affine(linear, bias, reader.output)
        moved = _moved(reader, value, axis)
        if moved is None or reader.output.shape[moved] != outputs:
            break
        value, axis = reader.output, moved
    return plain


def _moved(reader: Operation, value: Value, axis: int) -> int | None:
    """Where an axis is after an operation that moves axes; `None` for any other operation."""
    rank = len(value.shape)
    if reader.name in ("t", "transpose", "permute"):
        ranks = list(range(rank))
        if reader.name == "permute":
            ranks = [place % rank for place in reader.arguments[1]]
        else:
            pair = (0, 1) if reader.name == "t" else reader.arguments[1:3]
            one, other = (place % rank for place in pair)
            ranks[one], ranks[other] = other, one
        return ranks.index(axis)
    if reader.name not in VIEWS:
        return None
    if axis == rank - 1:
        return len(reader.output.shape) - 1
    return axis if reader.output.shape == value.shape else None


def _bias(adding: Operation, value: Value, axis: int) -> Tensor | None:
    """What is added, if it is a constant that is the same wherever the output is."""
    others = [slot for slot in adding.slots if slot is not value]
    plain = adding.keywords.get("alpha", 1) == 1 and adding.output.shape == value.shape
    if len(others) != 1 or others[0].depends or not plain:
        return None
    constant = others[0].tensor
    shape = [1] * (len(value.shape) - constant.ndim) + list(constant.shape)
    outputs = value.shape[axis]
    if any(size != (outputs if i == axis else 1) for i, size in enumerate(shape)):
        return None
    return constant.flatten()
