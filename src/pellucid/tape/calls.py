"""What is known of an ATen call before it runs: what it writes to, and what it is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.program import is_quantized, quantized
from pellucid.tape.adjoints import ROWS
from pellucid.tape.lookups import BAGS, embedding_bag
from pellucid.tape.operations import by_identity, decomposition, is_random, operation_name

aten = torch.ops.aten

# Torch's table was seen to give another result for these (2.13).
WRONG = {"multilabel_margin_loss_forward"}


@dataclass(frozen=True)
class Call:
    """What is known of an ATen call before it runs.

    `writes` are position and name of the arguments it writes to; `moves` says that it changes the
    geometry of its first one instead, and no data;
    `recorded` is the call to write down, which is another one if it returns what this one writes
    to the keywords `outs`. `parts` computes the same by calls that are better known.
    """

    writes: tuple[tuple[int, str], ...]
    recorded: Any
    outs: frozenset[str] = frozenset()
    moves: bool = False
    parts: Callable[..., Any] | None = None

    def written(self, args: tuple, kwargs: dict) -> list[Tensor]:
        """The tensors that a call with these arguments writes to."""
        found = [args[i] if i < len(args) else kwargs.get(name) for i, name in self.writes]
        return tensors_in(found)


@by_identity
def call_of(function: Any) -> Call:
    """What is known of a call; the same for all that are made of it."""
    arguments = function._schema.arguments
    writes = tuple(
        (i, argument.name)
        for i, argument in enumerate(arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    if torch.Tag.inplace_view in function.tags:
        packet = getattr(aten, operation_name(function))
        return Call((), _overload(packet, _reads(function)) or function, moves=True)
    if not writes and (parts := _parts_of(function)) is not None:
        return Call((), function, parts=parts)
    outs = frozenset(arguments[i].name for i, _ in writes if arguments[i].kwarg_only)
    reads = [read for read in _reads(function) if read[0] not in outs]
    other = _overload(function.overloadpacket, reads) if outs else None
    return Call(writes, function) if other is None else Call(writes, other, outs)


def _reads(function: Any) -> list[tuple[str, str]]:
    """Name and type of every argument of an ATen call."""
    return [(argument.name, str(argument.type)) for argument in function._schema.arguments]


def _overload(packet: Any, reads: list[tuple[str, str]]) -> Any | None:
    """The call of this name that takes these arguments."""
    calls = [getattr(packet, name) for name in packet.overloads()]
    return next((call for call in calls if _reads(call) == reads), None)


def _parts_of(function: Any) -> Callable[..., Any] | None:
    """How torch computes a call from others: composite ones, and those without a row of ours.

    Composite calls arrive whole only where the model itself runs in inference mode. What draws
    random numbers stays whole, since its parts may draw others.
    """
    if is_quantized(function):
        raise quantized(function)
    if function in BAGS:
        return embedding_bag
    name = operation_name(function)
    if function._can_decompose() and name not in ROWS:
        return function.decompose
    known = torch.Tag.core in function.tags or name in ROWS or function.namespace != "aten"
    whole = is_random(function) or known or name in WRONG
    return None if whole else decomposition(function)


def tensors_in(arguments: Any) -> list[Tensor]:
    """All tensors of a call, in order, also those in lists."""
    found: list[Tensor] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            found.append(argument)
        elif isinstance(argument, (tuple, list)) and not is_numbers(argument):
            found += tensors_in(argument)
    return found


def is_numbers(argument: tuple | list) -> bool:
    """Whether there is no tensor in a list: a shape, say."""
    return not argument or type(argument[0]) is int
