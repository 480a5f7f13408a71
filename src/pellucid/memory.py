"""What a run takes: the bytes that its operations return, and how many rows fit.

All that a run returns on the way is what autograd and a tape keep of it. Relevance and reference
points come on top on the way back: twice as much in all for LRP, up to five times for DeepLIFT on a
transformer.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.dispatch import DispatchMode, called

# The bound for the rows of one batch together; a single row may take more.
BYTES = 2**29


class Budget:
    """How many rows fit in memory: as many as anybody likes, until a run has shown what one takes.

    >>> budget = Budget()
    >>> budget.learn(2**30, rows=16)
    >>> budget.rows
    8
    """

    def __init__(self) -> None:
        self.row = 0.0

    def learn(self, made: int, rows: int) -> None:
        """What a run of some rows has made, in bytes; it is the most demanding run that counts."""
        self.row = max(self.row, made / max(1, rows))

    @property
    def rows(self) -> int:
        """How many rows fit; at least one."""
        return max(1, int(BYTES / self.row)) if self.row else sys.maxsize


class Made(DispatchMode):
    """Counts the bytes that ATen calls return anew."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = called(function, args, kwargs or {})
        self.made += fresh_bytes(function, args, result)
        return result


def rows_within(run: Callable[[], Any]) -> int:
    """How many rows fit, if this is the run of one of them: at least one.

    >>> rows_within(lambda: torch.ones(2**26) * 2)
    1
    """
    budget = Budget()
    with Made() as mode:
        run()
    budget.learn(mode.made, rows=1)
    return budget.rows


def fresh_bytes(function: Any, args: Any, result: Any) -> int:
    """The bytes that a call has returned in new memory; of parameters alone nothing is made."""
    given = [isinstance(each, nn.Parameter) for each in args if isinstance(each, Tensor)]
    if given and all(given):
        return 0
    returned = result if isinstance(result, tuple | list) else (result,)
    own = _owns(function)
    return sum(
        each.numel() * each.element_size()
        for number, each in enumerate(returned)
        if isinstance(each, Tensor) and own[min(number, len(own) - 1)]
    )


@cache
def _owns(function: Any) -> list[bool]:
    """Whether each result of an ATen call is new memory, and no view of an argument."""
    if function is torch.ops.aten._unsafe_view.default:  # a view that says it is none
        return [False]
    return [each.alias_info is None for each in function._schema.returns] or [False]
