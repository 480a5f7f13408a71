"""How the channels of a map become one."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from torch import Tensor

Pooling: TypeAlias = Literal["sum", "max", "abs_sum", "l2", "positive", "negative"]

# How a map of shape (batch, channel, ...) becomes one of shape (batch, 1, ...).
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda v: v.sum(1, keepdim=True),
    "max": lambda v: v.amax(1, keepdim=True),
    "abs_sum": lambda v: v.abs().sum(1, keepdim=True),
    "l2": lambda v: v.norm(dim=1, keepdim=True),
    "positive": lambda v: v.clamp(min=0).sum(1, keepdim=True),
    "negative": lambda v: v.clamp(max=0).sum(1, keepdim=True),
}


def channels_last(shape: Sequence[int]) -> bool:
    """Whether an input's shape, without the batch, is (height, width, 1 or 3 channels).

    >>> channels_last((32, 32, 3)), channels_last((3, 32, 32)), channels_last((64, 3, 3))
    (True, False, False)
    """
    return len(shape) == 3 and shape[2] in (1, 3) and min(shape[:2]) > 4
