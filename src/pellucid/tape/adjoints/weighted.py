"""Adjoints of operations that are linear: with weights, and without."""

import torch
from torch import Tensor

from pellucid.tape.adjoints.convolution import transposed
from pellucid.tape.adjoints.table import Signals, declare, row, sum_to
from pellucid.tape.operations import Operation, fallback_adjoint

aten = torch.ops.aten


# -- with weights


@row("weighted", "convolution", "_convolution")
def _convolution(op: Operation, signal: Tensor) -> Signals:
    x, weight, bias = op.arguments[:3]
    mask = [x.depends, weight.depends, bias is not None and bias.depends]
    places = op.arguments[3:9]  # stride, padding, dilation, transposed, output_padding, groups
    if not any(mask[1:]):
        return [transposed(signal, x.tensor, weight.tensor, places), *[None] * (len(op.slots) - 1)]
    shape = None if bias is None else list(bias.shape)
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


# -- without weights


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


@row("linear", "rsub")
def _rsub(op: Operation, signal: Tensor) -> Signals:
    if op.argument(2, op.keywords.get("alpha", 1)) != 1:
        return fallback_adjoint(op, [signal])
    factors = (-1, 1)
    return [
        sum_to(signal * factor, value.shape) if value.depends else None
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


declare(
    "linear", "avg_pool1d", "avg_pool3d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "cumsum",
    "im2col", "col2im", "index_add", "upsample_nearest1d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "trace",
)  # fmt: skip
