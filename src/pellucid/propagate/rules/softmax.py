"""Rules for softmax and its logarithm."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide, first
from pellucid.propagate.rules.signals import check_stabilizer
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Operation


@dataclass(frozen=True, kw_only=True)
class Softmax(SignalRule):
    """A softmax hands relevance on as any activation does; its logarithm is a difference.

        R_i = R_i                                    s = softmax(x)
        R_i = x_i r_i - s_i l sum over j of r_j      y = log softmax(x) = x - l,  l = log sum exp x

    with r = R / stabilize(y). It is met where a softmax is no gate: gates get no relevance.
    Law: it conserves relevance up to the stabilizer.

    >>> Softmax().name
    'Pass'
    """

    families: ClassVar[frozenset[str]] = frozenset({"softmax"})
    label: ClassVar[str] = "Pass"

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """The signal as it is; of a logarithm, a division and a sum over the axis."""
        signal = first(signals)
        if operation.name != "_log_softmax":
            return Share([signal])
        y, axis = operation.output.tensor, operation.arguments[1]
        x = operation.slots[0].tensor
        ratio, stabilizer = divide(signal, y, self.epsilon, layout[operation.output])
        level = x.logsumexp(axis, keepdim=True)
        shared = x * ratio - y.exp() * level * ratio.sum(axis, keepdim=True)
        return Share([shared], 0.0, stabilizer)


@dataclass(frozen=True, kw_only=True)
class TaylorSoftmax(SignalRule):
    """A softmax is expanded at its input to first order; what that lacks of it is booked.

        R_i = x_i (R_i - s_i sum over j of R_j)              s = softmax(x)
        R_i = x_i (r_i - s_i sum over j of r_j),  r = R / stabilize(y)      y = log softmax(x)

    Law: with what is booked as stopped, relevance adds up. An element without weight gets none.
    Source: Achtibat et al. (2024), AttnLRP, proposition on softmax.

    >>> TaylorSoftmax().name
    'Taylor'
    """

    families: ClassVar[frozenset[str]] = frozenset({"softmax"})
    label: ClassVar[str] = "Taylor"

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """A sum over the axis, and two passes over the elements."""
        signal, y, axis = first(signals), operation.output.tensor, operation.arguments[1]
        samples = layout[operation.output]
        weights, arriving, stabilizer = y, signal, signal.new_zeros(())
        if operation.name == "_log_softmax":
            weights = y.exp()
            arriving, stabilizer = divide(signal, y, self.epsilon, samples)
        x = operation.slots[0].tensor
        total = arriving.sum(axis, keepdim=True)
        apart = torch.addcmul(arriving, weights, total, value=-1)
        shared = apart * x
        passed = samples.sum(shared)
        if not bool(passed.isfinite().all()):
            # Masked elements are -inf, which times zero would be no number.
            shared = apart * x.clamp(min=torch.finfo(x.dtype).min)
            passed = samples.sum(shared)
        arrived = samples.sum(total if arriving is signal else signal)
        stopped = arrived - passed - stabilizer
        return Share([shared], 0.0, stabilizer, stopped)
