"""Elementwise work on large tensors, block by block, so that it stays in a core's cache."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pellucid.propagate.samples import TOGETHER, Samples

# What a step makes of some elements: results of their shape, and last what it keeps of each.
Step = Callable[..., tuple[Tensor, ...]]
# What makes a tensor of another, element by element.
Change = Callable[[Tensor], Tensor]
# Elements worked on at a time: few enough to stay in a core's cache from one step to the next.
BLOCK = 2**16


def blockwise(
    step: Step, tensors: Sequence[Tensor], samples: Samples = TOGETHER
) -> tuple[list[Tensor], Tensor]:
    """Apply an elementwise step to tensors of one shape: its results, and the sum of what it keeps.

    The step sees a block after the other, so that what it makes on the way stays in the cache;
    under autograd, which holds on to all of that, it sees everything at once.
    """
    small = tensors[0].numel() <= BLOCK
    if torch.is_grad_enabled() or small or not in_blocks(tensors, samples):
        *parts, kept = step(*tensors)
        return parts, samples.sum(kept)
    made: list[Tensor] = []
    sums = []
    for number, taken in enumerate(zip(*(blocks(t, samples) for t in tensors), strict=True)):
        *found, kept = step(*taken)
        if not made:
            made = [torch.empty_like(tensors[0]) for _ in found]
            places = [blocks(whole, samples) for whole in made]
        for place, part in zip(places, found, strict=True):
            place[number].copy_(part)
        sums.append(total(kept))
    return made, summed(sums, samples)


def blocks(tensor: Tensor, samples: Samples) -> tuple[Tensor, ...]:
    """Views of a tensor that lies in blocks: parts of a row, or rows as a whole where they fit.

    A row is a sample, where they are told apart.
    """
    rows = tensor.reshape(1 if samples.ids is None else len(tensor), -1)
    length = rows.shape[1]
    if length <= BLOCK:
        return cut(rows, BLOCK // length)
    return tuple(part for row in rows.unbind() for part in cut(row, BLOCK))


def cut(tensor: Tensor, length: int) -> tuple[Tensor, ...]:
    """Views of so many rows each."""
    return tuple(tensor[start : start + length] for start in range(0, len(tensor), length))


def total(block: Tensor) -> Tensor:
    """The sum of a part of a row, or of each of some rows, in single precision at least."""
    return block.sum(-1, dtype=torch.promote_types(block.dtype, torch.float32))


def summed(sums: Sequence[Tensor], samples: Samples) -> Tensor:
    """What the totals of all blocks make for each sample, or for all together."""
    if sums[0].ndim:
        found = torch.cat(list(sums))
    else:
        found = torch.stack(list(sums)).reshape(samples.count if samples.ids is not None else 1, -1)
        found = found.sum(1)
    return found.sum() if samples.ids is None else found


def in_blocks(tensors: Sequence[Tensor], samples: Samples) -> bool:
    """Whether tensors lie in memory alike, each sample (where they are told apart) in rows."""
    plain = all(t.is_contiguous() and t.dtype == tensors[0].dtype for t in tensors)
    return plain and tensors[0].numel() > 0 and (samples.ids is None or samples.in_rows)


def is_zero_where(result: Tensor, signal: Tensor) -> bool:
    """Whether a signal is zero wherever a result is not positive."""
    pairs = [(result, signal)]
    if result.is_contiguous() and signal.is_contiguous():
        pairs = list(zip(cut(result.flatten(), BLOCK), cut(signal.flatten(), BLOCK), strict=True))
    return all(
        # This keeps the signal where the result is positive, faster than a mask would.
        torch.equal(torch.ops.aten.threshold_backward(arriving, part, 0), arriving)
        for part, arriving in pairs
    )
