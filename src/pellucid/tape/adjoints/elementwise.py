"""Adjoints of operations on single elements."""

import torch
from torch import Tensor

from pellucid.tape.adjoints.table import Signals, declare, row, sum_to
from pellucid.tape.operations import STOPS, Operation, fallback_adjoint

aten = torch.ops.aten


# -- products


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


@row("scale", "neg")
def _neg(op: Operation, signal: Tensor) -> Signals:
    return [-signal]


# -- functions of one element


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


@row("pass", "gelu")
def _gelu(op: Operation, signal: Tensor) -> Signals:
    approximate = op.keywords.get("approximate", "none")
    return [aten.gelu_backward(signal, op.slots[0].tensor, approximate=approximate)]


@row("pass", "silu")
def _silu(op: Operation, signal: Tensor) -> Signals:
    return [aten.silu_backward(signal, op.slots[0].tensor)]


@row("pass", "hardswish")
def _hardswish(op: Operation, signal: Tensor) -> Signals:
    return [aten.hardswish_backward(signal, op.slots[0].tensor)]


@row("pass", "leaky_relu")
def _leaky_relu(op: Operation, signal: Tensor) -> Signals:
    return [aten.leaky_relu_backward(signal, op.slots[0].tensor, op.argument(1, 0.01), False)]


# fmt: off
declare(
    "pass",
    "clamp", "clamp_min", "clamp_max", "threshold", "elu", "celu", "mish", "hardsigmoid",
    "softplus", "log_sigmoid_forward", "_prelu_kernel", "softshrink", "hardshrink", "relu6",
    "rrelu_with_noise", "logit", "abs", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p",
    "sqrt", "rsqrt", "pow", "reciprocal", "erf", "erfc", "erfinv", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "sinc", "square", "frac", "lgamma",
    "digamma", "nan_to_num", "special_log_ndtr", "special_i0", "special_ndtri",
)
declare("stop", *STOPS)
# fmt: on
