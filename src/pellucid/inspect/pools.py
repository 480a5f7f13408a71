"""How what a layer returns for a sample becomes one row of features."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pellucid.errors import InputError, UnknownNameError, show
from pellucid.pooling import channels_last
from pellucid.structure import Inputs
from pellucid.tape.paths import Paths

Pool: TypeAlias = "str | Callable[[Tensor], Tensor]"

# How what a layer returned, (sample, ...), becomes (sample, feature).
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda v: v.flatten(2).mean(2) if v.ndim > 2 else v,
    "max": lambda v: v.flatten(2).amax(2) if v.ndim > 2 else v,
    "tokens": lambda v: v.flatten(1, -2).mean(1) if v.ndim > 2 else v,
    "first": lambda v: v[:, 0] if v.ndim > 2 else v,
    "flatten": lambda v: v.flatten(1) if v.ndim > 1 else v.unsqueeze(1),
}
# Layers of torch whose last axis is that of the features; classes derived from them may turn it.
FEATURES_LAST = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm)
# So is that of these, which may be told to have the samples on their second axis.
SEQUENTIAL = (
    nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer,
    nn.TransformerDecoder, nn.TransformerDecoderLayer,
)  # fmt: skip


def check_pool(pool: Pool) -> None:
    """Raise unless a way to pool is known."""
    if not callable(pool) and pool not in ("auto", *POOLS):
        raise UnknownNameError("`pool`", pool, ["auto", *POOLS], hint="Or pass a function.")


def of_layer(model: Any, layer: str, pool: Pool, found: Tensor, inputs: Inputs) -> Tensor:
    """What was found at a layer for some samples, (sample, feature)."""
    module = Paths(model).layer(layer)
    if _is_time_first(module) and found.ndim > 2 and found.shape[1] == inputs.rows:
        found = found.transpose(0, 1)
    how = "tokens" if pool == "auto" and _ends_in_features(module) else pool
    return pooled(found, how, inputs, _no_padding(model, inputs, found))


def pooled(found: Tensor, pool: Pool, inputs: Inputs, kept: Tensor | None = None) -> Tensor:
    """What a layer returned for some samples as rows of features.

    `kept` says which tokens are no padding, (sample, token), if anything does.
    """
    if callable(pool):
        made = pool(found)
        if not isinstance(made, Tensor) or made.ndim != 2 or len(made) != inputs.rows:
            raise InputError(
                "`pool` must make (sample, feature) of what the layer returns",
                found=f"{show(made)} of {show(found)} for {inputs.rows} samples",
            )
        return made
    if not found.ndim or len(found) != inputs.rows:
        raise InputError(
            "A layer must return one row for each sample to have features of samples",
            found=f"{show(found)} for {inputs.rows} samples",
            hint="Where samples are on another axis, `pool` may be a function: lambda v: v.mean(0)",
        )
    how = _auto(found, inputs) if pool == "auto" else pool
    if how == "tokens" and kept is not None:
        weight = kept.to(found).unsqueeze(2)
        return (found * weight).sum(1) / weight.sum(1).clamp(min=1)
    return POOLS[how](found)


def _auto(found: Tensor, inputs: Inputs) -> str:
    """The way to pool that what went in shows to be right."""
    if found.ndim < 3:
        return "flatten"
    if found.ndim > 3:
        return "tokens" if _is_turned(found, inputs) else "mean"
    if any(not leaf.is_floating_point() or leaf.ndim == 4 for leaf in inputs.leaves):
        return "tokens"  # of ids, or of patches of an image
    raise InputError(
        "`pool` must say what the three axes of a layer are",
        got=found,
        hint='pool="mean" where channels are the second axis; pool="tokens" where features are the '
        'last one, as those of a sequence; pool="flatten" for all elements.',
    )


def _is_turned(found: Tensor, inputs: Inputs) -> bool:
    """Whether a map has the form of its image on the axes 1 and 2, rather than on the last two."""
    shape = next((leaf.shape for leaf in inputs.leaves if leaf.ndim == 4), None)
    if found.ndim != 4 or shape is None:
        return False
    high, wide = shape[1:3] if channels_last(shape[1:]) else shape[2:]

    def off(rows: int, columns: int) -> int:  # a pixel too many or too few is less than a side
        return abs(rows * wide - columns * high)

    return off(*found.shape[1:3]) < min(max(high, wide), off(*found.shape[2:]))


def _is_time_first(layer: nn.Module | None) -> bool:
    """Whether a layer of torch says that the samples are on the second axis."""
    inner = layer.modules() if isinstance(layer, SEQUENTIAL) else ()
    return any(getattr(each, "batch_first", True) is False for each in inner)


def _ends_in_features(layer: nn.Module | None) -> bool:
    """Whether the last axis of what a layer returns is that of the features, for certain."""
    alone = len(getattr(layer, "normalized_shape", [0])) == 1
    return isinstance(layer, SEQUENTIAL) or (type(layer) in FEATURES_LAST and alone)


def _no_padding(model: Any, inputs: Inputs, found: Tensor) -> Tensor | None:
    """Which tokens (sample, token) of what a layer returned are no padding, if an input says so."""
    for path, leaf in zip(inputs.paths, inputs.leaves, strict=True):
        if leaf.shape != found.shape[:2] or found.ndim != 3:
            continue
        name = _argument(model, path)
        if name.endswith("attention_mask"):
            return leaf
        if name.endswith("padding_mask") and leaf.dtype is torch.bool:  # true is padding, in torch
            return ~leaf
    return None


def _argument(model: Any, path: tuple[str | int, ...]) -> str:
    """As what a model is given a tensor: its key, or the name of the argument at its position."""
    first = path[0] if path else ""
    if isinstance(first, str) or len(path) > 1:
        return str(path[-1]) if path else ""
    try:
        known = list(inspect.signature(getattr(model, "forward", model)).parameters)
    except (TypeError, ValueError):  # what is not written in Python has no names
        return ""
    return known[first] if first < len(known) else ""
