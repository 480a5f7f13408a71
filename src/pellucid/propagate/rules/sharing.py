"""What a rule returns, and the divisions that all of them are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
    return z + _nudge(z, epsilon)


def _nudge(z: Tensor, epsilon: float) -> Tensor:
    """Epsilon with the sign of z, and that of zero positive, as a new tensor.

    Adding zero makes -0.0 positive; the choice by `torch.where` takes ten times as long.
    """
    return torch.copysign(torch.full((), epsilon, dtype=z.dtype, device=z.device), z + 0.0)


# What a step makes of some elements: results of their shape, and last what it keeps of each.
Step = Callable[..., tuple[Tensor, ...]]
# Elements worked on at a time: few enough to stay in a core's cache from one step to the next.
BLOCK = 2**16


def divide(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples = TOGETHER
) -> tuple[Tensor, Tensor]:
    """Signal / stabilize(z) with 0/0 = 0, and the relevance that the stabilizer keeps."""
    if epsilon > 0 and not torch.is_grad_enabled() and _in_blocks((signal, z), samples):
        return _divide_over(signal, z, epsilon, samples)
    (ratio,), kept = blockwise(partial(divided, epsilon=epsilon), (signal, z), samples)
    return ratio, kept


def divide_positive(
    signal: Tensor, total: Tensor, epsilon: float, samples: Samples = TOGETHER
) -> tuple[Tensor, Tensor, Any]:
    """The same by a sum of positive contributions; last what outputs without any keep.

    They have no one to give it to, so that it is no stabilizer that keeps it.
    """
    silent = total == 0
    if not bool(silent.any()):
        return *divide(signal, total, epsilon, samples), 0.0
    stopped = samples.sum(torch.where(silent, signal, 0))
    return *divide(torch.where(silent, 0, signal), total, epsilon, samples), stopped


def _divide_over(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples
) -> tuple[Tensor, Tensor]:
    """The same, block by block into memory that is reused: the step that walks consist of.

    The sign of a zero is left as it is. Where it is that of -0.0 all contributions are zero, and
    so is what they get; and what the stabilizer keeps does not depend on it.
    """
    apart = samples.ids is not None
    ratio = torch.empty_like(signal)
    flat = [t.reshape(len(t) if apart else 1, -1) for t in (signal, z, ratio)]
    count, length = flat[0].shape
    high, wide = max(1, BLOCK // length), min(length, BLOCK)
    small = torch.full((), epsilon, dtype=z.dtype, device=z.device)
    sums = z.new_zeros(count, dtype=torch.promote_types(z.dtype, torch.float32))
    for top in range(0, count, high):
        for left in range(0, length, wide):
            place = slice(top, top + high), slice(left, left + wide)
            part, below, out = (t[place] for t in flat)
            nudge = torch.copysign(small, below)
            torch.add(below, nudge, out=out)
            torch.div(part, out, out=out)
            sums[place[0]] += nudge.mul_(out).sum(1, dtype=sums.dtype)
    return ratio, sums if apart else sums.sum()


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


def blockwise(
    step: Step, tensors: Sequence[Tensor], samples: Samples = TOGETHER
) -> tuple[list[Tensor], Tensor]:
    """Apply an elementwise step to tensors of one shape: its results, and the sum of what it keeps.

    The step sees a block after the other, so that what it makes on the way stays in the cache;
    under autograd, which holds on to all of that, it sees everything at once.
    """
    apart = samples.ids is not None
    small = tensors[0].numel() <= BLOCK
    if torch.is_grad_enabled() or small or not _in_blocks(tensors, samples):
        *made, kept = step(*tensors)
        return made, samples.sum(kept)
    rows = [t.reshape(len(t) if apart else 1, -1) for t in tensors]
    made, sums = _by_blocks(step, rows)
    return [part.reshape(tensors[0].shape) for part in made], sums if apart else sums.sum()


def _in_blocks(tensors: Sequence[Tensor], samples: Samples) -> bool:
    """Whether tensors lie in memory alike, each sample (where they are told apart) in rows."""
    plain = all(t.is_contiguous() and t.dtype == tensors[0].dtype for t in tensors)
    return plain and tensors[0].numel() > 0 and (samples.ids is None or samples.in_rows)


def _by_blocks(step: Step, rows: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Of tensors (row, element): results of a step, and for each row the sum of what it kept."""
    count, length = rows[0].shape
    high, wide = max(1, BLOCK // length), min(length, BLOCK)
    dtype = torch.promote_types(rows[0].dtype, torch.float32)
    made: list[Tensor] = []
    sums = rows[0].new_zeros(count, dtype=dtype)
    for top in range(0, count, high):
        for left in range(0, length, wide):
            place = slice(top, top + high), slice(left, left + wide)
            *parts, kept = step(*(t[place] for t in rows))
            made = made or [torch.empty_like(rows[0]) for _ in parts]
            for whole, part in zip(made, parts, strict=True):
                whole[place] = part
            sums[place[0]] += kept.sum(1, dtype=dtype)
    return made, sums
