"""Rules for sums, activations and what only moves elements: they follow from the kind alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide, first, pairs, preactivation
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals, adjoint, norm_affine, sum_to
from pellucid.tape.operations import Operation

# Route operations with constants that are no tensors.
PUTS_IN_CONSTANTS = {"constant_pad_nd", "masked_fill"}


@dataclass(frozen=True, kw_only=True)
class Sum(SignalRule):
    """Epsilon for sums, means and average pooling: by contribution to the output.

        R_i = c_i x_i / stabilize(z) R,  z = sum over i of c_i x_i

    Law: without constants it conserves relevance up to the stabilizer.
    """

    families: ClassVar[frozenset[str]] = frozenset({"sum"})
    label: ClassVar[str] = "Epsilon"

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """One adjoint."""
        signal = first(signals)
        z, samples = preactivation(operation.output, signal), layout[operation.output]
        ratio, stabilizer = divide(signal, z, EPSILON, samples)
        back = adjoint(operation, [ratio, *signals[1:]])
        both = list(zip(back, operation.slots, strict=True))
        shared = [s * v.tensor if s is not None and v.carries else None for s, v in both]
        if not _has_constant(operation):
            return Share(shared, 0.0, stabilizer)
        passed = [layout[v].sum(s) for s, v in pairs(shared, operation.slots)]
        return Share(shared, samples.sum(signal) - sum(passed) - stabilizer, stabilizer)


@dataclass(frozen=True, kw_only=True)
class Affine(SignalRule):
    """Epsilon for a batch norm that could not be folded: x * scale against its shift."""

    families: ClassVar[frozenset[str]] = frozenset({"affine"})
    label: ClassVar[str] = "Epsilon"

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """Elementwise."""
        signal = first(signals)
        scale, shift = norm_affine(operation)
        shape = (1, -1, *[1] * (signal.ndim - 2))
        z, samples = preactivation(operation.output, signal), layout[operation.output]
        ratio, stabilizer = divide(signal, z, EPSILON, samples)
        shared = ratio * operation.slots[0].tensor * scale.reshape(shape)
        rest = [None] * (len(operation.slots) - 1)
        return Share([shared, *rest], samples.sum(ratio * shift.reshape(shape)), stabilizer)


@dataclass(frozen=True, kw_only=True)
class Elementwise(SignalRule):
    """An activation hands its relevance on; a constant divisor or factor receives none.

        R_i = R_j

    Law: it conserves relevance.
    """

    families: ClassVar[frozenset[str]] = frozenset({"activation", "scale"})
    label: ClassVar[str] = "Pass"

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """The signal as it is."""
        slots = operation.slots
        return Share([sum_to(first(signals), v.shape) if v.carries else None for v in slots])


@dataclass(frozen=True, kw_only=True)
class Route(SignalRule):
    """Relevance moves with the elements; max-pooling sends all to the winner.

    Elements that were selected away, or written over, carried no relevance and get none. What
    goes to constants that were put in (padding, a fill value) is booked with the biases.
    Law: it conserves relevance.
    """

    families: ClassVar[frozenset[str]] = frozenset({"route"})

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """One adjoint."""
        shared = _winner(operation, signals) or adjoint(operation, signals)
        constants = [v for v in operation.slots if not v.depends and v.dtype.is_floating_point]
        if operation.name not in PUTS_IN_CONSTANTS and not constants:
            return Share(shared)
        arrived = [layout[v].sum(s) for s, v in pairs(signals, operation.outputs)]
        both = [(s, v) for s, v in pairs(shared, operation.slots) if v.carries]
        return Share(shared, bias=sum(arrived) - sum(layout[v].sum(s) for s, v in both))


def _winner(operation: Operation, signals: Signals) -> Signals | None:
    """For `amax` along one axis, all to the first of the largest, where autograd divides ties."""
    axes = operation.argument(1) or []
    if operation.name != "amax" or len(axes) != 1:
        return None
    x, signal = operation.slots[0].tensor, first(signals)
    signal = signal if operation.argument(2, False) else signal.unsqueeze(axes[0])
    place = x.argmax(axes[0], keepdim=True)
    return [torch.zeros_like(x).scatter(axes[0], place, signal)]


def _has_constant(operation: Operation) -> bool:
    """Whether something other than signals enters a sum: a constant tensor or number."""
    if any(not value.depends for value in operation.slots):
        return True
    return operation.name in ("add", "sub", "rsub") and len(operation.slots) == 1
