"""Which layers a survey is of, and which of their channels."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.passes import passes
from pellucid.tape.operations import Operation
from pellucid.tape.record import Tape, record

# So many layers are taken where none are named.
USUAL_LAYERS = 4
# Layers that have channels: those whose main operation is one of these.
WEIGHTED = ("convolution", "addmm", "mm", "linear")


def chosen_layers(
    model: Callable[..., Any], example: Tensor, named: Sequence[str] | None
) -> list[str]:
    """The layers that are named, all of which must be there; or some from the first to the last.

    Those are convolutions that mix channels and dense layers on tokens, or all dense layers of a
    model that has neither.
    """
    tape = record(model, example)
    known = _layers(tape)
    if named:
        for layer in named:
            if tape.layers.layer(layer) is None:
                raise UnknownNameError("A layer of the model", layer, tape.layers.known())
        return list(dict.fromkeys(named))
    if not known:
        raise InputError(
            "The model must have layers with channels to be surveyed",
            found="no convolution and no dense layer in a module",
            hint="Put them in modules; or name layers that have channels, if there are modules.",
        )
    return spread(known, USUAL_LAYERS)


def shapes_of(
    model: Callable[..., Any], example: Tensor, layers: Sequence[str]
) -> dict[str, torch.Size]:
    """The shape of what each layer returns of one sample, with the batch first."""
    (part,) = passes(model, example, layers)
    return {layer: part.returned[layer].shape for layer in layers}


def channel_axis_of(shape: Sequence[int]) -> int:
    """Where the channels of a layer are: of tokens (sample, token, channel) they come last.

    >>> channel_axis_of((1, 64, 7, 7)), channel_axis_of((1, 50, 192))
    (1, 2)
    """
    return 2 if len(shape) == 3 else 1


def _layers(tape: Tape) -> list[str]:
    """The modules that are one operation each with answers at several places; else all of them."""
    own = [
        each
        for each in tape.operations
        if each.name in WEIGHTED and each.path and "<" not in each.path
    ]
    found = [each.path for each in own if _has_places(tape, each)] or [each.path for each in own]
    return list(dict.fromkeys(found))


def _has_places(tape: Tape, operation: Operation) -> bool:
    """Whether this is a convolution that mixes channels, or a dense layer on tokens."""
    if operation.name == "convolution":
        return _mixes(operation)
    return len(tape.layer(operation.path).shape) == 3


def _mixes(operation: Operation) -> bool:
    """Whether a convolution has fewer groups than channels."""
    groups, channels = operation.arguments[-1], operation.output.shape[1]
    return isinstance(groups, int) and (groups == 1 or groups < channels)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """So many of some items at most, from the first to the last, evenly.

    >>> spread(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[0]]
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]
