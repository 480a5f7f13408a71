"""How a gradient passes each operation, and what kind of operation it is.

One row an operation: its name, its kind, and its adjoint, which takes the operation and the signal
at its output and returns one signal for each of its slots (`None` for a constant). An operation
without a row has the adjoint that autograd gives it, found by running it once more; so one
is missing only where autograd has none, and rows are here for speed and for the kind.

Kinds say what a relevance rule may do with an operation:

    weighted   linear in one signal, with weights and perhaps a bias (dense, convolution)
    linear     linear in its signals without weights of its own (sum, mean, average pooling)
    affine     elementwise, times and plus constants (batch norm that is not folded)
    scale      times or divided by a constant
    pass       elementwise nonlinear function of one signal (activations)
    route      moves elements without changing them (views, padding, selection, max-pooling)
    stop       carries nothing (detach, comparison, an index)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pellucid.tape.operations import STOPS, Operation, fallback_adjoint

aten = torch.ops.aten

CONVOLUTIONS = {"convolution", "_convolution"}

Kind = Literal["weighted", "linear", "affine", "scale", "pass", "route", "stop", "other"]
Signals = list[Tensor | None]
Adjoint = Callable[[Operation, Tensor], Signals]


@dataclass(frozen=True)
class Row:
    """What is known of an operation."""

    kind: Kind
    adjoint: Adjoint | None = None


ROWS: dict[str, Row] = {}


def adjoint(operation: Operation, signals: Signals) -> Signals:
    """Pass the gradient at the outputs back to the slots, exactly as autograd does."""
    row = ROWS.get(operation.name)
    first, *others = signals
    if row is None or row.adjoint is None or first is None or any(s is not None for s in others):
        return fallback_adjoint(operation, signals)
    return row.adjoint(operation, first)


def kind(operation: Operation) -> Kind:
    """The kind of an operation, which may depend on which of its slots carry a signal."""
    found = ROWS.get(operation.name)
    if found is None:
        return "other"
    carrying = [value.carries for value in operation.slots]
    if found.kind == "weighted":
        return _kind_of_product(operation, carrying)
    if found.kind in ("scale", "affine", "pass") and sum(carrying) != 1:
        return "other"
    if operation.name == "index_put" and operation.argument(3, False):
        return "linear"  # it adds to what is there
    if operation.name == "scatter" and "reduce" in operation.keywords:
        return "other"
    return found.kind


def _kind_of_product(operation: Operation, carrying: list[bool]) -> Kind:
    """Weighted if the signal is the input, linear if it is a weight or bias, other if both are."""
    if sum(carrying) != 1:
        return "other"
    if operation.name in ("mm", "bmm"):
        return "weighted"
    plain = operation.keywords.get("alpha", 1) == operation.keywords.get("beta", 1) == 1
    entry = 1 if operation.name == "addmm" else 0
    return "weighted" if carrying[entry] and plain else "linear"


def declare(kind: Kind, *names: str) -> None:
    """Say of what kind operations are whose adjoint autograd gives."""
    for name in names:
        ROWS[name] = Row(kind)


def row(kind: Kind, *names: str) -> Callable[[Adjoint], Adjoint]:
    """Enter an adjoint into the table."""

    def enter(function: Adjoint) -> Adjoint:
        for name in names:
            ROWS[name] = Row(kind, function)
        return function

    return enter


def sum_to(signal: Tensor, shape: torch.Size) -> Tensor:
    """Undo broadcasting."""
    return signal if signal.shape == shape else signal.sum_to_size(shape)


# -- with weights


@row("weighted", "convolution", "_convolution")
def _convolution(op: Operation, signal: Tensor) -> Signals:
    x, weight, bias = op.arguments[:3]
    mask = [x.depends, weight.depends, bias is not None and bias.depends]
    shape = None if bias is None else list(bias.shape)
    places = op.arguments[3:9]  # stride, padding, dilation, transposed, output_padding, groups
    found = aten.convolution_backward(signal, x.tensor, weight.tensor, shape, *places, mask)
    return list(found[: len(op.slots)])


@row("weighted", "addmm")
def _addmm(op: Operation, signal: Tensor) -> Signals:
    bias, x, weight = op.slots
    if op.keywords.get("alpha", 1) != 1 or op.keywords.get("beta", 1) != 1:
        return fallback_adjoint(op, [signal])
    return [
        sum_to(signal, bias.shape) if bias.depends else None,
        signal @ weight.tensor.t() if x.depends else None,
        x.tensor.t() @ signal if weight.depends else None,
    ]


@row("weighted", "mm", "bmm")
def _product(op: Operation, signal: Tensor) -> Signals:
    a, b = op.slots
    return [
        signal @ b.tensor.mT if a.depends else None,
        a.tensor.mT @ signal if b.depends else None,
    ]


# -- linear without weights


@row("linear", "add")
def _add(op: Operation, signal: Tensor) -> Signals:
    return _added(op, signal, 1)


@row("linear", "sub")
def _sub(op: Operation, signal: Tensor) -> Signals:
    return _added(op, signal, -1)


def _added(op: Operation, signal: Tensor, sign: float) -> Signals:
    factors = (1, sign * op.keywords.get("alpha", 1))
    return [
        sum_to(signal if factor == 1 else signal * factor, value.shape) if value.depends else None
        for value, factor in zip(op.slots, factors, strict=False)
    ]


@row("linear", "mean", "sum")
def _mean(op: Operation, signal: Tensor) -> Signals:
    (x,) = op.slots
    axes = op.argument(1) or list(range(len(x.shape)))
    axes = [axis % len(x.shape) for axis in axes]
    if not op.argument(2, False):
        for axis in sorted(axes):
            signal = signal.unsqueeze(axis)
    count = 1
    for axis in axes if op.name == "mean" else ():
        count *= x.shape[axis]
    return [(signal / count if count > 1 else signal).expand(x.shape).to(x.tensor.dtype)]


@row("linear", "avg_pool2d")
def _avg_pool2d(op: Operation, signal: Tensor) -> Signals:
    size = op.arguments[1]
    places = (op.argument(2) or size, op.argument(3, 0), op.argument(4, False))
    count, divisor = op.argument(5, True), op.argument(6)
    return [aten.avg_pool2d_backward(signal, op.slots[0].tensor, size, *places, count, divisor)]


@row("linear", "_adaptive_avg_pool2d")
def _adaptive_avg_pool2d(op: Operation, signal: Tensor) -> Signals:
    return [aten._adaptive_avg_pool2d_backward(signal, op.slots[0].tensor)]


# -- elementwise


@row("affine", "native_batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(op: Operation, signal: Tensor) -> Signals:
    if is_training_norm(op) or any(value.depends for value in op.slots[1:]):
        return fallback_adjoint(op, [signal, *[None] * (len(op.outputs) - 1)])
    scale, _ = norm_affine(op)
    shape = (1, -1, *[1] * (signal.ndim - 2))
    return [signal * scale.reshape(shape), *[None] * (len(op.slots) - 1)]


def is_training_norm(op: Operation) -> bool:
    """Whether a batch norm takes its statistics from the batch."""
    return op.name == "native_batch_norm" and bool(op.arguments[5])


def norm_affine(op: Operation) -> tuple[Tensor, Tensor]:
    """Scale and shift, each of shape (channel,), of a batch norm with fixed statistics."""
    weight, bias, mean, var = op.arguments[1:5]
    eps = op.arguments[7] if op.name == "native_batch_norm" else op.arguments[6]
    scale = (var.tensor + eps).rsqrt()
    scale = scale if weight is None else scale * weight.tensor
    shift = -mean.tensor * scale
    return scale, shift if bias is None else shift + bias.tensor


@row("scale", "mul")
def _mul(op: Operation, signal: Tensor) -> Signals:
    if len(op.slots) == 1:
        return [signal * op.arguments[1]]
    a, b = op.slots
    return [
        sum_to(signal * b.tensor, a.shape) if a.depends else None,
        sum_to(signal * a.tensor, b.shape) if b.depends else None,
    ]


@row("scale", "div")
def _div(op: Operation, signal: Tensor) -> Signals:
    divisor = op.arguments[1]
    if len(op.slots) == 1:
        return [signal / divisor if op.keywords.get("rounding_mode") is None else None]
    a, b = op.slots
    if b.depends or op.keywords.get("rounding_mode") is not None:
        return fallback_adjoint(op, [signal])
    return [sum_to(signal / b.tensor, a.shape), None]


@row("linear", "rsub")
def _rsub(op: Operation, signal: Tensor) -> Signals:
    if op.argument(2, op.keywords.get("alpha", 1)) != 1:
        return fallback_adjoint(op, [signal])
    factors = (-1, 1)
    return [
        sum_to(signal * factor, value.shape) if value.depends else None
        for value, factor in zip(op.slots, factors, strict=False)
    ]


@row("scale", "neg")
def _neg(op: Operation, signal: Tensor) -> Signals:
    return [-signal]


@row("pass", "relu")
def _relu(op: Operation, signal: Tensor) -> Signals:
    return [aten.threshold_backward(signal, op.output.tensor, 0)]


@row("pass", "hardtanh")
def _hardtanh(op: Operation, signal: Tensor) -> Signals:
    # The result lies strictly inside the bounds exactly where the input did.
    low, high = op.argument(1, -1.0), op.argument(2, 1.0)
    return [aten.hardtanh_backward(signal, op.output.tensor, low, high)]


@row("pass", "sigmoid")
def _sigmoid(op: Operation, signal: Tensor) -> Signals:
    return [aten.sigmoid_backward(signal, op.output.tensor)]


@row("pass", "tanh")
def _tanh(op: Operation, signal: Tensor) -> Signals:
    return [aten.tanh_backward(signal, op.output.tensor)]


# fmt: off
declare(
    "pass",
    "clamp", "clamp_min", "clamp_max", "threshold", "leaky_relu", "elu", "celu", "gelu", "silu",
    "mish", "hardsigmoid", "hardswish", "softplus", "log_sigmoid_forward", "_prelu_kernel", "abs",
    "exp", "log", "log1p", "sqrt", "rsqrt", "pow", "reciprocal", "erf", "sin", "cos", "square",
)
declare("stop", *STOPS)
declare(
    "route",
    "as_strided", "copy", "index", "index_select", "flip", "roll", "unfold", "diagonal", "amax",
    "max", "sort", "topk", "max_pool1d_with_indices", "max_pool3d_with_indices",
    "adaptive_max_pool2d", "masked_fill", "where", "pixel_shuffle", "reflection_pad1d",
    "reflection_pad2d", "replication_pad1d", "replication_pad2d", "split", "split_with_sizes",
    "unbind", "select_scatter", "slice_scatter", "index_put", "scatter", "repeat",
    "upsample_nearest2d",
)
declare("linear", "avg_pool1d", "avg_pool3d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
        "upsample_bilinear2d", "cumsum")
# fmt: on


# -- moving elements


@row(
    "route", "view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "alias",
    "clone", "contiguous", "lift_fresh", "flatten",
)  # fmt: skip
def _view(op: Operation, signal: Tensor) -> Signals:
    return [signal.reshape(op.slots[0].shape)]


@row("route", "_to_copy")
def _to_copy(op: Operation, signal: Tensor) -> Signals:
    return [signal.to(op.slots[0].tensor)]


@row("route", "t")
def _t(op: Operation, signal: Tensor) -> Signals:
    return [signal.t()]


@row("route", "transpose")
def _transpose(op: Operation, signal: Tensor) -> Signals:
    return [signal.transpose(op.arguments[1], op.arguments[2])]


@row("route", "permute")
def _permute(op: Operation, signal: Tensor) -> Signals:
    axes = [axis % signal.ndim for axis in op.arguments[1]]
    return [signal.permute([axes.index(i) for i in range(len(axes))])]


@row("route", "expand")
def _expand(op: Operation, signal: Tensor) -> Signals:
    return [sum_to(signal, op.slots[0].shape)]


@row("route", "cat")
def _cat(op: Operation, signal: Tensor) -> Signals:
    axis = op.argument(1, 0)
    if any(len(value.shape) != signal.ndim for value in op.slots):
        return fallback_adjoint(op, [signal])
    parts = signal.split([value.shape[axis] for value in op.slots], axis)
    return [part if value.depends else None for part, value in zip(parts, op.slots, strict=True)]


@row("route", "select")
def _select(op: Operation, signal: Tensor) -> Signals:
    x, axis, index = op.arguments
    return [aten.select_backward(signal, x.shape, axis, index)]


@row("route", "gather")
def _gather(op: Operation, signal: Tensor) -> Signals:
    x, axis, index = op.arguments[:3]
    spread = signal.new_zeros(x.shape).scatter_add_(axis, index.tensor, signal)
    return [spread, None]


@row("route", "slice")
def _slice(op: Operation, signal: Tensor) -> Signals:
    (x,), axis, step = op.slots, op.argument(1, 0), op.argument(4, 1)
    start, end = op.argument(2) or 0, op.argument(3)
    end = x.shape[axis] if end is None else end
    return [aten.slice_backward(signal, x.shape, axis, start, end, step)]


@row("route", "stack")
def _stack(op: Operation, signal: Tensor) -> Signals:
    parts = signal.unbind(op.argument(1, 0))
    return [part if value.depends else None for part, value in zip(parts, op.slots, strict=True)]


@row("route", "constant_pad_nd")
def _constant_pad_nd(op: Operation, signal: Tensor) -> Signals:
    return [aten.constant_pad_nd(signal, [-width for width in op.arguments[1]])]


@row("route", "max_pool2d_with_indices")
def _max_pool2d(op: Operation, signal: Tensor) -> Signals:
    x, size = op.arguments[:2]
    places = (op.argument(2) or size, op.argument(3, 0), op.argument(4, 1), op.argument(5, False))
    indices = op.result(1).tensor
    return [aten.max_pool2d_with_indices_backward(signal, x.tensor, size, *places, indices)]


@row("route", "as_strided_scatter")
def _as_strided_scatter(op: Operation, signal: Tensor) -> Signals:
    # Written out: the formula that autograd has for this operation was seen to be wrong for the
    # part that stays (torch 2.13).
    whole, part, size, stride, offset = op.arguments
    layout = whole.tensor
    kept = signal.new_empty_strided(layout.shape, layout.stride()).copy_(signal)
    written = kept.as_strided(size, stride, offset).clone()
    kept.as_strided(size, stride, offset).zero_()
    return [kept if whole.depends else None, written if part.depends else None]
