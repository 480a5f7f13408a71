"""The walk of DeepLIFT: which rule an operation gets, and what the multipliers contribute."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.propagate.deeplift.activation import Activation, is_activation
from pellucid.propagate.deeplift.integral import mean_adjoint, mean_slope
from pellucid.propagate.deeplift.pairs import Pairs, differ, distance
from pellucid.propagate.deeplift.parts import Parts, Role, role_of
from pellucid.propagate.deeplift.ranks import puts_in_order, to_ranks
from pellucid.propagate.deeplift.winners import picks_a_winner, to_winners
from pellucid.propagate.deeplift.written import Written
from pellucid.tape.adjoints import Signals, adjoint, is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import walk

RuleName: TypeAlias = Literal["rescale", "reveal_cancel", "paper"]
RULES: tuple[RuleName, ...] = ("rescale", "reveal_cancel", "paper")

# They are linear while they choose the same elements, and they choose by their values.
CHOOSING = {"sort", "topk", "kthvalue", "median", "mode", "nanmedian"}
LINEAR_KINDS = {"weighted", "linear", "affine", "scale", "route"}


@dataclass(frozen=True, kw_only=True)
class Walked:
    """What was found at the values that a walk went to.

    `around` says that a signal goes around all of them; `unsettled` names the operations of which
    the adjoint changes too often on the way from the reference to be integrated.
    """

    found: dict[Value, Tensor]
    around: bool
    unsettled: tuple[str, ...]


def contributions(
    tape: Tape,
    reference: Tape,
    start: dict[Value, Tensor],
    until: Collection[Value],
    rule: RuleName,
    *,
    consume: bool = False,
    consume_reference: bool = True,
) -> Walked:
    """What each element of the values in `until` adds to the difference of the scores."""
    pairs = Pairs.of(tape, reference, consume=consume_reference)
    last = min((value.number for value in until), default=-1)
    multipliers = Multipliers(pairs, Written.of(tape, {*start, *until}), rule, set(until), last)
    with torch.no_grad():
        found = walk(tape, start, until, multipliers.step, consume=consume)
        return Walked(
            found={v: multipliers.contribution(v, m) for v, m in found.items()},
            around=bool(multipliers.around),
            unsettled=tuple(dict.fromkeys(multipliers.unsettled)),
        )


@dataclass(frozen=True, eq=False)
class Multipliers:
    """The steps of one walk: a multiplier at each output becomes one for each slot.

    The walk ends at `until`, with the operation `last`; `around` has what it leaves behind, and
    `unsettled` the names of operations that could not be integrated.
    """

    pairs: Pairs
    written: Written
    rule: RuleName
    until: set[Value]
    last: int
    around: list[Value] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    parts: Parts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", Parts(self.pairs, self._role))

    def contribution(self, value: Value, multiplier: Tensor) -> Tensor:
        """Multiplier times difference, of both parts where they have two."""
        found = multiplier * self.pairs.difference(value)
        d = self.parts.spread.get(value)
        return found if d is None else found + d * self.parts.size(value)

    def step(self, operation: Operation, signals: Signals) -> Signals:
        """Pass one operation."""
        found = self._pass(operation, self.pairs.partner(operation), signals)
        self.pairs.release(operation)
        for value, signal in zip(operation.slots, found, strict=True):
            if signal is not None and value.carries and value.number <= self.last:
                self.around.extend([] if value in self.until else [value])
        return found

    def _pass(self, operation: Operation, partner: Operation, signals: Signals) -> Signals:
        distances = self.parts.arrived(operation)
        d = next((each for each in distances if each is not None), None)
        role = self._role(operation) if d is not None else "neuron"
        if operation in self.written.routes and not self.written.is_end(operation):
            return self._routed(operation, signals[0])
        if role == "move":
            self.parts.pass_on(operation, distances)
            return adjoint(operation, signals)
        if role == "sum" and d is not None:
            return self.parts.pass_sum(operation, d, adjoint(operation, signals))
        return self._neuron(operation, partner, _settled(operation, partner, signals, distances))

    def _neuron(self, operation: Operation, partner: Operation, signals: Signals) -> Signals:
        """Pass an operation whose result has one multiplier for each element."""
        first = signals[0]
        if first is not None and self._is_activation(operation, partner):
            return self._activation(operation, partner, first)
        if first is not None and operation in self.written.norms:
            region = self.written.norms[operation]
            x = region.entry
            found, settled = mean_slope(region, x.tensor, self.pairs.start(x), first)
            self._note(operation, settled)
            return self._routed(operation, found)
        if first is not None and picks_a_winner(operation):
            return to_winners(operation, partner, first)
        if first is not None and puts_in_order(operation):
            return to_ranks(operation, partner, first)
        if _is_linear(operation) and not any(differ(operation, partner)):
            return adjoint(operation, signals)
        integrated, settled = mean_adjoint(operation, partner, signals)
        self._note(operation, settled)
        return integrated

    def _note(self, operation: Operation, settled: bool) -> None:
        self.unsettled.extend([] if settled else [operation.name])

    def _is_activation(self, operation: Operation, partner: Operation) -> bool:
        """Whether it is, or ends, a function of one element that is the same in both runs."""
        if operation in self.written.activations:
            return True
        return is_activation(operation) and not any(differ(operation, partner))

    def _activation(self, operation: Operation, partner: Operation, signal: Tensor) -> Signals:
        region = self.written.activations.get(operation)
        function = Activation.of(operation) if region is None else Activation.of_region(region)
        x, y0 = function.x, partner.output.tensor
        if region is not None:
            signal, y0 = signal.reshape(x.shape), y0.reshape(x.shape)
        if self._reveals(function):
            found, d = function.reveal(signal, self.pairs, self.parts.size(x))
            self.parts.put(x, d.to(x.dtype))
        else:
            found = function.rescale(signal, self.pairs, y0)
        if region is not None:
            return self._routed(operation, found)
        return [found if value is x else None for value in operation.slots]

    def _reveals(self, function: Activation) -> bool:
        """Whether RevealCancel passes an activation; of parts of one sign Rescale says the same."""
        x = function.x
        if self.rule == "rescale" or not self.parts.is_sum(x) or x.shape != function.y.shape:
            return False
        return self.rule == "reveal_cancel" or not self.parts.after_convolution(x)

    def _routed(self, operation: Operation, signal: Tensor | None) -> Signals:
        """Hand a signal on to the entry of a region."""
        slot = self.written.routes[operation]
        return [signal if i == slot else None for i in range(len(operation.slots))]

    def _role(self, operation: Operation) -> Role:
        """What an operation does to the parts of a difference; not if it is another in each run."""
        role = role_of(operation)
        if role == "neuron" or self.written.is_end(operation):
            return "neuron"
        turned = any(value.depends and not value.carries for value in operation.slots)
        if not turned:
            return role
        return "neuron" if any(differ(operation, self.pairs.partners[operation])) else role


def _settled(
    operation: Operation, partner: Operation, signals: Signals, distances: Signals
) -> Signals:
    """One multiplier for each element: that of the part which its difference is."""
    found = list(signals)
    for i, (signal, d) in enumerate(zip(signals, distances, strict=True)):
        if signal is not None and d is not None:
            way = distance(operation.result(i).tensor, partner.result(i).tensor)
            found[i] = signal + d * way.sign()
    return found


def _is_linear(operation: Operation) -> bool:
    if operation.name in CHOOSING or is_training_norm(operation):
        return False
    return kind(operation) in LINEAR_KINDS
