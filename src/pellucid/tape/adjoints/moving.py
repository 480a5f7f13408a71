"""Adjoints of operations that move elements without changing them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.tape.adjoints.table import Signals, declare, joint_row, row, sum_to
from pellucid.tape.operations import Operation, fallback_adjoint

aten = torch.ops.aten


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


@row("route", "as_strided")
def _as_strided(op: Operation, signal: Tensor) -> Signals:
    x, size, stride = op.arguments[:3]
    layout = x.tensor
    offset = op.argument(3, layout.storage_offset())
    if layout.storage_offset() or not (_is_dense(layout.shape, layout.stride(), gaps=False)
                                       and _is_dense(size, stride, gaps=True)):  # fmt: skip
        return fallback_adjoint(op, [signal])
    spread = signal.new_empty_strided(layout.shape, layout.stride()).zero_()
    spread.as_strided(size, stride, offset).copy_(signal)
    return [spread]


def _is_dense(shape: Sequence[int], strides: Sequence[int], *, gaps: bool) -> bool:
    """Whether no two elements share memory, and (unless they may) there are no gaps."""
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1 and (stride < expected if gaps else stride != expected):
            return False
        expected = size * stride if size != 1 else expected
    return True


@row("route", "masked_fill")
def _masked_fill(op: Operation, signal: Tensor) -> Signals:
    x, mask = op.slots[:2]
    if any(value.depends for value in op.slots[2:]):
        return fallback_adjoint(op, [signal])
    kept = sum_to(signal.masked_fill(mask.tensor, 0), x.shape) if x.depends else None
    return [kept, *[None] * (len(op.slots) - 1)]


@joint_row("route", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes")
def _split(op: Operation, signals: Signals) -> Signals:
    axis = op.argument(2, op.keywords.get("dim", 0))
    return [torch.cat(_whole(op, signals), axis)]


@joint_row("route", "unbind")
def _unbind(op: Operation, signals: Signals) -> Signals:
    return [torch.stack(_whole(op, signals), op.argument(1, op.keywords.get("dim", 0)))]


def _whole(op: Operation, signals: Signals) -> list[Tensor]:
    """The signals of all outputs, zeros where none arrived."""
    some = next(signal for signal in signals if signal is not None)
    return [
        some.new_zeros(value.shape) if signal is None else signal
        for signal, value in zip(signals, op.outputs, strict=True)
        if value is not None
    ]


# fmt: off
declare(
    "route",
    "copy", "index", "_unsafe_index", "index_select", "index_copy", "index_fill", "masked_select",
    "masked_scatter", "flip", "roll", "unfold", "diagonal", "diag_embed", "amax", "max", "min",
    "amin", "sort", "topk", "kthvalue", "median", "max_pool1d_with_indices",
    "max_pool3d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "fractional_max_pool2d", "fractional_max_pool3d", "max_unpool2d", "max_unpool3d", "where",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d", "select_scatter", "slice_scatter", "index_put",
    "scatter", "repeat", "repeat_interleave", "tril", "triu", "upsample_nearest2d", "take",
    "select_copy", "_pack_padded_sequence", "_pad_packed_sequence",
)
# fmt: on
