"""What a rule returns, and the divisions that all of them are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import MissingRuleError
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
    return _nudge(z, epsilon).add_(z)


def _nudge(z: Tensor, epsilon: float) -> Tensor:
    """Epsilon with the sign of z, and that of zero positive, as a new tensor.

    Adding zero makes -0.0 positive; the choice by `torch.where` takes ten times as long.
    """
    return torch.copysign(torch.full((), epsilon, dtype=z.dtype, device=z.device), z + 0.0)


def preactivation(value: Value, signal: Tensor) -> Tensor:
    """z, or what a rectifier made of it in place, if that is all the signal needs.

    A rectifier that wrote over z kept its positive part. Where the signal is zero wherever that
    part is, the rest of z is multiplied by zero and need not be computed again.
    """
    result = value.rectified
    if value.kept or result is None or not result.kept:
        return value.tensor
    # This keeps the signal where the result is positive, faster than a mask would.
    needed = torch.ops.aten.threshold_backward(signal, result.tensor, 0)
    return result.tensor if torch.equal(needed, signal) else value.tensor


def divide(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples = TOGETHER
) -> tuple[Tensor, Tensor]:
    """Signal / stabilize(z) with 0/0 = 0, and the relevance that the stabilizer keeps."""
    if epsilon == 0:
        ratio = torch.where(signal == 0, 0, signal / z)
        return ratio, signal.new_zeros(())
    if not (z.is_contiguous() and signal.is_contiguous() and z.dtype == signal.dtype):
        nudge = _nudge(z, epsilon)
        ratio = signal / (z + nudge)
        return ratio, samples.inner(ratio, nudge)
    return _divide_in_blocks(signal, z, epsilon, samples)


# Elements worked on at a time: few enough to stay in a core's cache from one step to the next.
BLOCK = 2**16


def _divide_in_blocks(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples
) -> tuple[Tensor, Tensor]:
    apart = samples.ids is not None
    if z.numel() <= BLOCK or (apart and not samples.in_rows):
        nudge = _nudge(z, epsilon)
        stable = nudge + z
        ratio = torch.div(signal, stable, out=stable)
        return ratio, samples.inner(ratio, nudge)
    ratio = torch.empty_like(signal)
    kept = []
    # Blocks of whole samples, where each has a sum of its own.
    flat = [t.flatten(1) if apart else t.flatten() for t in (signal, z, ratio)]
    size = max(1, BLOCK * len(z) // z.numel()) if apart else BLOCK
    blocks = (t.split(size) for t in flat)  # type: ignore[no-untyped-call]  # of torch
    for part, below, out in zip(*blocks, strict=True):
        nudge = _nudge(below, epsilon)
        torch.add(below, nudge, out=out)
        torch.div(part, out, out=out)
        kept.append(_by_rows(out, nudge) if apart else samples.inner(out, nudge))
    return ratio, torch.cat(kept) if apart else torch.stack(kept).sum()


def _by_rows(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products in every row; `b` is overwritten."""
    return b.mul_(a).sum(1, dtype=torch.promote_types(a.dtype, torch.float32))
