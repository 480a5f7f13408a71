"""Relevance on the way through chosen channels only: what makes a concept's own map.

    R_c(x) = walk of  R * [channel in chosen]  from the layer down to x

The walk is made in stages: from the score to the layer, where what is not wanted is set aside, and
on from there. What goes around the layer does not pass its channels, and is set aside too. Below
the layer the walk is linear, so that the maps of all its channels sum to that of the layer.
"""

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pellucid.at import Site
from pellucid.errors import InputError
from pellucid.propagate.plan import Plan, propagate
from pellucid.tape.ledger import AMOUNTS, Entry, Ledger
from pellucid.tape.operations import Value
from pellucid.tape.paths import LOOK
from pellucid.tape.record import Tape
from pellucid.target.unit import channel_axis, check_channels

# What a user gives, {"features.5": [3, 17]}, as it is kept: so that methods compare and hash.
Channels: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
ThroughLike: TypeAlias = "Mapping[str, int | Sequence[int]] | Channels | None"

# The rows of a ledger on what was set aside: in other channels, and around the layer.
THROUGH, PAST = "through", "past"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The channels of one value that relevance may pass; `layer` is what the user called it."""

    layer: str
    value: Value
    channels: tuple[int, ...]
    axis: int

    @classmethod
    def of(cls, site: Site, channels: tuple[int, ...], axis: int | None) -> "Gate":
        """The gate at a layer, if the layer has these channels."""
        (value,) = site.values
        check_channels([*channels], value.shape, axis)
        where = channel_axis(value.shape, axis)
        return cls(layer=str(site.path), value=value, channels=channels, axis=where)

    def keep(self, relevance: Tensor) -> Tensor:
        """The relevance of the chosen channels, and zero for the others."""
        chosen = torch.tensor(self.channels, device=relevance.device) % relevance.shape[self.axis]
        kept = torch.zeros_like(relevance)
        return kept.index_copy_(self.axis, chosen, relevance.index_select(self.axis, chosen))


def channels_of(given: Any) -> Channels:
    """Take {layer: channel or channels} in a form that can be compared.

    >>> channels_of({"features.5": [17, 3], "features.8": 4})
    (('features.5', (3, 17)), ('features.8', (4,)))
    """
    pairs = given.items() if isinstance(given, Mapping) else given
    if pairs is None:
        return ()
    try:
        return tuple((_layer(layer), _channels(channels)) for layer, channels in pairs)
    except (TypeError, ValueError) as error:
        raise InputError(
            "`through` must name one or more channels for each layer",
            got=given,
            hint='For example through={"features.5": [3, 17]}.',
        ) from error


def _layer(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError
    return given


def _channels(given: Any) -> tuple[int, ...]:
    """Whole numbers in order, each once; at least one."""
    listed = given.tolist() if hasattr(given, "tolist") else given
    listed = [listed] if isinstance(listed, int) else list(listed)
    found = sorted({operator.index(channel) for channel in listed})
    if not found or any(isinstance(channel, bool) for channel in listed):
        raise ValueError
    return tuple(found)


def propagate_through(
    tape: Tape, made: Plan, gates: Sequence[Gate], until: Collection[Value], *, consume: bool
) -> tuple[dict[Value, Tensor], Ledger]:
    """Walk relevance through all gates, those nearest to the score first, and keep the books."""
    start: dict[Value, Tensor] | None = None
    ledgers: list[Ledger] = []
    above: Gate | None = None
    # Of a score that no signal reaches all are passed, by nothing.
    gates = gates if tape.score_value.carries else ()
    for gate in sorted(gates, key=lambda gate: -gate.value.number):
        found, ledger = propagate(tape, made, [gate.value], start=start)
        if gate.value not in found:
            raise _not_reached(gate, above)
        kept = gate.keep(found[gate.value])
        ledgers.append(_booked(ledger, gate, made, found[gate.value], kept))
        start, above = {gate.value: kept}, gate
    found, ledger = propagate(tape, made, until, start=start, consume=consume)
    return found, _chained([*ledgers, ledger])


def _not_reached(gate: Gate, above: Gate | None) -> InputError:
    """The error of a layer to which nothing comes from the score, or from the layer `above`."""
    if above is None:
        return InputError(
            "Relevance must come to the layers of `through`",
            found=f"`{gate.layer}`, which the score does not use, or to which the rules pass none",
            hint=LOOK,
        )
    return InputError(
        "The layers of `through` must lie on one way from the score to the input",
        found=f"`{above.layer}`, and `{gate.layer}` to which nothing comes from there",
        hint="Take each alone: what passes one and what passes the other adds up.",
    )


def _booked(ledger: Ledger, gate: Gate, made: Plan, arrived: Tensor, kept: Tensor) -> Ledger:
    """Add what a gate set aside to the books of the walk that came to it."""
    rows = [
        replace(row, name=PAST, path=gate.layer) if row.name == "around" else row
        for row in ledger.rows
    ]
    row = Entry(
        number=gate.value.number, name=THROUGH, path=gate.layer, rule="Channels",
        relevance_out=0.0, relevance_in=0.0,
    )  # fmt: skip
    sums = [_sum(each, gate, made, len(ledger.numbers)) for each in (arrived, kept)]
    amounts = torch.stack([*sums, 0 * sums[0], 0 * sums[0], sums[0] - sums[1]], 1)
    numbers = torch.cat([ledger.numbers, amounts.unsqueeze(1)], 1)
    return Ledger.of((*rows, row), numbers, ledger.samples)


def _sum(relevance: Tensor, gate: Gate, made: Plan, count: int) -> Tensor:
    """The relevance of each sample, or of all where the books are kept for them together."""
    found = made.layout[gate.value].sum(relevance).double().cpu().reshape(-1)
    return found if len(found) == count else found.sum().reshape(1)


def _chained(ledgers: list[Ledger]) -> Ledger:
    """The books of consecutive stages as one: the score of the first, the values of the last."""
    together = any(len(ledger.numbers) != len(ledgers[0].numbers) for ledger in ledgers)
    numbers = [
        ledger.numbers.sum(0, keepdim=True) if together else ledger.numbers for ledger in ledgers
    ]
    head = numbers[0][:, :1].clone()
    end = AMOUNTS.index("relevance_in")
    head[:, :, end] = numbers[-1][:, :1, end]
    rows = tuple(row for ledger in ledgers for row in ledger.rows)
    each = torch.cat([head, *(part[:, 1:] for part in numbers)], 1)
    return Ledger.of(rows, each, ledgers[0].samples)
