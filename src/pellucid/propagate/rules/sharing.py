"""What a rule returns, and the divisions that all of them are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import MissingRuleError
from pellucid.propagate.blocks import blocks, blockwise, in_blocks, summed, total
from pellucid.propagate.samples import TOGETHER, Samples
from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Value

EPSILON = 1e-6


@dataclass(frozen=True)
class Share:
    """Relevance for each slot of an operation, and what was kept of it.

    What was kept has one number for each sample, as `linear.samples.sum(tensor)` gives it.
    """

    signals: Signals
    bias: Any = 0.0
    stabilizer: Any = 0.0
    stopped: Any = 0.0


def first(signals: Signals) -> Tensor:
    """The signal at the one output that operations of most kinds have."""
    signal = signals[0]
    if signal is None:
        raise MissingRuleError("Relevance must arrive at the first output of an operation")
    return signal


def pairs(signals: Signals, values: Sequence[Value | None]) -> list[tuple[Tensor, Value]]:
    """Signals with their values, where there are both."""
    both = zip(signals, values, strict=True)
    return [(s, v) for s, v in both if s is not None and v is not None]


def stabilize(z: Tensor, epsilon: float) -> Tensor:
    """Z + epsilon * (1 if z >= 0 else -1), as a new tensor.

    >>> stabilize(torch.tensor([0.0, -1.0]), 0.5)
    tensor([ 0.5000, -1.5000])
    """
    return z + _nudge(z, epsilon)


def _nudge(z: Tensor, epsilon: float) -> Tensor:
    """Epsilon with the sign of z, and that of zero positive, as a new tensor.

    Adding zero makes -0.0 positive; the choice by `torch.where` takes ten times as long.
    """
    return torch.copysign(torch.full((), epsilon, dtype=z.dtype, device=z.device), z + 0.0)


def divide(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples = TOGETHER
) -> tuple[Tensor, Tensor]:
    """Signal / stabilize(z) with 0/0 = 0, and the relevance that the stabilizer keeps."""
    if epsilon > 0 and not torch.is_grad_enabled() and in_blocks((signal, z), samples):
        return _divide_over(signal, z, epsilon, samples)
    (ratio,), kept = blockwise(partial(divided, epsilon=epsilon), (signal, z), samples)
    return ratio, kept


def divide_positive(
    signal: Tensor, whole: Tensor, epsilon: float, samples: Samples = TOGETHER
) -> tuple[Tensor, Tensor, Any]:
    """The same by a sum of positive contributions; last what outputs without any keep.

    They have no one to give it to, so that it is no stabilizer that keeps it.
    """
    if bool(whole.min() > 0):
        return *divide(signal, whole, epsilon, samples), 0.0
    silent = whole == 0
    stopped = samples.sum(torch.where(silent, signal, 0))
    return *divide(torch.where(silent, 0, signal), whole, epsilon, samples), stopped


def _divide_over(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples
) -> tuple[Tensor, Tensor]:
    """The same, block by block into memory that is reused: the step that walks consist of.

    The sign of a zero is left as it is. Where it is that of -0.0 all contributions are zero, and
    so is what they get; and what the stabilizer keeps does not depend on it.
    """
    ratio = torch.empty_like(signal)
    small = torch.full((), epsilon, dtype=z.dtype, device=z.device)
    sums = []
    parts = (blocks(tensor, samples) for tensor in (signal, z, ratio))
    for arriving, below, out in zip(*parts, strict=True):
        if bool(below.min() >= 0):  # as after a rectifier
            torch.add(below, epsilon, out=out)
            sums.append(total(torch.div(arriving, out, out=out)) * epsilon)
        else:
            nudge = torch.copysign(small, below)
            torch.add(below, nudge, out=out)
            torch.div(arriving, out, out=out)
            sums.append(total(nudge.mul_(out)))
    return ratio, summed(sums, samples)


def divided(signal: Tensor, z: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """One step: signal / stabilize(z), and what the stabilizer keeps of each element.

    Without a stabilizer an element keeps its signal where z is zero, for there is no share of it.
    """
    if epsilon == 0:
        nothing = z == 0
        ratio = torch.where(nothing, 0, signal / torch.where(nothing, 1, z))
        return ratio, torch.where(nothing, signal, 0)
    nudge = _nudge(z, epsilon)
    ratio = signal / (z + nudge)
    return ratio, ratio * nudge
