"""Adjoints of norms, softmax and attention: each output reads many elements of the input."""

import torch
from torch import Tensor

from pellucid.tape.adjoints.table import Signals, declare, row
from pellucid.tape.operations import Operation, Value, decomposition, fallback_adjoint

aten = torch.ops.aten


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


@row("other", "native_layer_norm")
def _layer_norm(op: Operation, signal: Tensor) -> Signals:
    x, shape, weight, bias = op.arguments[:4]
    mean, deviation = op.result(1).tensor, op.result(2).tensor
    found = aten.native_layer_norm_backward(
        signal.contiguous(), x.tensor, shape, mean, deviation, _data(weight), _data(bias), _mask(op)
    )
    return _of_slots(op, found)


@row("other", "native_group_norm")
def _group_norm(op: Operation, signal: Tensor) -> Signals:
    x, weight, _, *sizes, _ = op.arguments
    mean, deviation = op.result(1).tensor, op.result(2).tensor
    found = aten.native_group_norm_backward(
        signal.contiguous(),
        x.tensor.contiguous(),
        mean,
        deviation,
        _data(weight),
        *sizes,
        _mask(op),
    )
    return _of_slots(op, found)


def _data(value: Value | None) -> Tensor | None:
    return None if value is None else value.tensor


def _affine(op: Operation) -> list[Value | None]:
    """Input, weight and bias of a norm, where the call has them."""
    places = (0, 2, 3) if op.name == "native_layer_norm" else (0, 1, 2)
    return [op.arguments[i] for i in places]


def _mask(op: Operation) -> list[bool]:
    return [value is not None and value.depends for value in _affine(op)]


def _of_slots(op: Operation, found: tuple) -> Signals:
    pairs = zip(_affine(op), found, strict=True)
    return [signal if value.depends else None for value, signal in pairs if value is not None]


@row("other", "_softmax", "_safe_softmax")
def _softmax(op: Operation, signal: Tensor) -> Signals:
    (x,), y, axis = op.slots, op.output.tensor, op.arguments[1]
    return [aten._softmax_backward_data(signal, y, axis, x.dtype)]


@row("other", "_log_softmax")
def _log_softmax(op: Operation, signal: Tensor) -> Signals:
    (x,), y, axis = op.slots, op.output.tensor, op.arguments[1]
    return [aten._log_softmax_backward_data(signal, y, axis, x.dtype)]


declare("other", "_native_batch_norm_legit", "_fused_rms_norm")


@row("other", "_scaled_dot_product_flash_attention_for_cpu")
def _attention(op: Operation, signal: Tensor) -> Signals:
    query, key, value = op.slots[:3]
    mask = op.keywords.get("attn_mask")
    dropout = op.argument(3, 0.0)
    if mask is not None and mask.carries:  # the kernel has no gradient for it
        rest = [None] * (len(op.outputs) - 1)
        return fallback_adjoint(op, [signal, *rest], decomposition(op.function))
    found = aten._scaled_dot_product_flash_attention_for_cpu_backward(
        signal, query.tensor, key.tensor, value.tensor, op.output.tensor, op.result(1).tensor,
        dropout, op.argument(4, False), attn_mask=_data(mask), scale=op.keywords.get("scale"),
    )  # fmt: skip
    return [*found, *[None] * (len(op.slots) - 3)]
