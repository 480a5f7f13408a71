"""Which operations run on boxes of their maps, and how."""

from collections.abc import Callable
from typing import TypeAlias

import torch

from pellucid.perturb.incremental.local import ALIKE, NORMS, Alike, Dirty, Local, Norm
from pellucid.perturb.incremental.moved import Enlarge, padding, squeeze, unsqueeze
from pellucid.perturb.incremental.sliding import convolution, max_pool, mean_pool
from pellucid.perturb.incremental.whole import indexed
from pellucid.tape.adjoints import CONVOLUTIONS, is_training_norm
from pellucid.tape.operations import Operation

# Operations that choose among channels, by the position of the argument that names the axis.
OF_CHANNELS = {"split": 2, "split_with_sizes": 2, "slice": 1, "flip": 1, "softmax": 1,
               "_softmax": 1, "_log_softmax": 1}  # fmt: skip
Made: TypeAlias = Callable[[Operation], Local | None]
MAX_POOLS = {f"max_pool{rank}d_with_indices": max_pool for rank in (2, 3)}
MEAN_POOLS = {f"avg_pool{rank}d": mean_pool for rank in (1, 2, 3)}
ENLARGED = ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "trilinear3d",
            "bicubic2d")  # fmt: skip
RULES: dict[str, Made] = {
    **MAX_POOLS,
    **MEAN_POOLS,
    **{f"upsample_{kind}": Enlarge.of for kind in ENLARGED},
    **{f"_upsample_nearest_exact{rank}d": Enlarge.of for rank in (1, 2, 3)},
    "constant_pad_nd": padding,
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
}


def local(operation: Operation, dirty: Dirty) -> Local | None:
    """The rule of an operation, or `None` if all of its output may depend on any input."""
    felt = [value for value in operation.slots if value in dirty]
    if any(len(value.shape) < 3 for value in (*felt, *operation.outputs[:1]) if value is not None):
        return None
    name = operation.name
    if name in CONVOLUTIONS:
        return convolution(operation, dirty)
    if name in ALIKE or torch.Tag.pointwise in operation.function.tags:
        return Alike.of(operation)
    if name in NORMS:
        return None if is_training_norm(operation) else Norm.of(operation)
    if name == "cat":
        return Alike.of(operation) if _axis(operation, 1) == 1 else None
    if name == "index":
        return Norm.of(operation) if indexed(operation) == 1 else None
    if name in OF_CHANNELS:
        return Norm.of(operation) if _axis(operation, OF_CHANNELS[name]) == 1 else None
    made = RULES.get(name)
    return made(operation) if made is not None else None


def _axis(operation: Operation, position: int) -> int:
    """An axis that is named by an argument, counted from the front; 0 by default."""
    given = operation.argument(position, operation.keywords.get("dim", 0))
    if isinstance(given, list | tuple):
        given = given[0] if len(given) == 1 else 0
    axis: int = given
    return axis % len(operation.output.shape)
