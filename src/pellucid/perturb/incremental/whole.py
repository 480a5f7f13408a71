"""Operations that run on the whole maps of other samples than those that were recorded.

On a tape, the first axis of every value belongs to samples: it has so many entries for each of
them, one after another. An operation that treats these entries one by one runs on any number of
samples; what it was called with (the shape of a view, say) may name how many there were.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.perturb.incremental.local import ALIKE, NORMS
from pellucid.tape.adjoints import CONVOLUTIONS, is_training_norm
from pellucid.tape.operations import Operation, Value

VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy"}
# Operations along the axes that an argument names: its position, and what it is by default.
REDUCTIONS = (
    "mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp", "all", "any",
    "_softmax", "_log_softmax", "_safe_softmax", "softmax", "cumsum", "squeeze", "flip",
)  # fmt: skip
ALONG: dict[str, tuple[int, Any]] = {
    **dict.fromkeys(REDUCTIONS, (1, None)),
    **dict.fromkeys(("select", "slice", "index_select", "unbind", "cat", "stack"), (1, 0)),
    **dict.fromkeys(("split", "split_with_sizes"), (2, 0)),
    "roll": (2, None),
    **dict.fromkeys(("linalg_vector_norm", "norm"), (2, None)),
}
# Operations of each sample for itself, whatever their other arguments.
EACH = {
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "constant_pad_nd", "reflection_pad1d",
    "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d", "pixel_shuffle", "pixel_unshuffle", "native_layer_norm", "addmm", "mm",
    "bmm",
}  # fmt: skip


def allows(operation: Operation, samples: int) -> bool:
    """Whether an operation runs on any number of samples, where it ran on so many."""
    outputs = [value for value in operation.outputs if value is not None]
    values = [*(value for value in operation.slots if value.depends), *outputs]
    if operation.random is not None or is_training_norm(operation):
        return False
    if any(len(v.shape) == 0 or v.shape[0] % samples for v in values):
        return False
    name = operation.name
    if name in VIEWS or name in EACH | NORMS | CONVOLUTIONS or name == "native_group_norm":
        return _fixed(operation)
    if name.startswith(("upsample_", "_upsample_nearest_exact")):
        return True
    if name == "index":
        return bool(indexed(operation))
    if name == "unsqueeze":
        return bool(operation.argument(1) % len(outputs[0].shape))
    if name in ("transpose", "permute", "t"):
        return _keeps_first(operation)
    if name == "expand":
        return outputs[0].shape[0] == values[0].shape[0]
    if name in ALONG:
        return _is_along(operation)
    if name in ALIKE or torch.Tag.pointwise in operation.function.tags:
        return _lined_up(operation)
    return False


def _fixed(operation: Operation) -> bool:
    """Whether what an operation computes with, weights say, depends on no input."""
    name, slots = operation.name, operation.slots
    if name == "addmm":
        return slots[1].depends and not slots[0].depends and not slots[2].depends
    if name == "bmm":
        return all(value.depends for value in slots)
    if name == "native_layer_norm" and len(operation.argument(1)) == len(slots[0].shape):
        return False
    return slots[0].depends and not any(value.depends for value in slots[1:])


def indexed(operation: Operation) -> int | None:
    """The axis of which an operation takes some places, if it is one, and they are constant."""
    given = operation.argument(1)
    axes = [axis for axis, places in enumerate(given) if places is not None]
    constant = not any(value.depends for value in operation.slots[1:])
    plain = len(axes) == 1 and len(given[axes[0]].shape) == 1 and constant
    return axes[0] if plain else None


def _keeps_first(operation: Operation) -> bool:
    """Whether the first axis stays the first."""
    rank = len(operation.output.shape)
    if operation.name == "permute":
        return bool(operation.argument(1)[0] % rank == 0)
    if operation.name == "t":
        return False
    return all(each % rank for each in operation.arguments[1:3])


def _is_along(operation: Operation) -> bool:
    """Whether an operation is along other axes than the first."""
    position, default = ALONG[operation.name]
    axes = operation.argument(position, operation.keywords.get("dim", default))
    if axes is None or axes == []:
        return False
    value = next(value for value in operation.slots if value.depends)
    rank = len(value.shape) + (operation.name == "stack")
    axes = axes if isinstance(axes, list | tuple) else [axes]
    return all(isinstance(axis, int) and axis % rank for axis in axes)


def _lined_up(operation: Operation) -> bool:
    """Whether the first axis of all that depends on the inputs is that of the output."""
    shape = operation.output.shape
    return all(
        len(value.shape) == len(shape) and value.shape[0] == shape[0]
        for value in operation.slots
        if value.depends
    )


def run(
    operation: Operation, read: Callable[[Value], Tensor], recorded: int, samples: int
) -> list[Tensor]:
    """Run an operation on so many samples; `read` gives what it reads of them."""
    shapes = [
        (v.shape[0] // recorded * samples, *v.shape[1:]) for v in operation.outputs if v is not None
    ]
    function = operation.function
    if operation.name in VIEWS:
        return [read(operation.slots[0]).reshape(shapes[0])]
    if operation.name == "expand":
        return [read(operation.slots[0]).expand(shapes[0])]
    if operation.name == "native_group_norm":

        def normalize(x: Tensor, weight: Any, bias: Any, _: int, *rest: Any) -> Any:
            return function(x.contiguous(), weight, bias, len(x), *rest)

        return operation.again(read, normalize)
    return operation.again(read)


def reads_samples(operation: Operation, value: Value, recorded: int) -> bool:
    """Whether what an operation reads is laid out by samples, though it may be a constant."""
    if value.depends:
        return True
    name, shape = operation.name, operation.output.shape
    by_element = name in ALIKE or torch.Tag.pointwise in operation.function.tags
    if name in ("cat", "stack"):
        return True
    return by_element and len(value.shape) == len(shape) and value.shape[0] == shape[0] > 1
