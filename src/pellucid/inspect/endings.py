"""How a model ends: whether its scores went through a sigmoid."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.dispatch import DispatchMode, called
from pellucid.program import AFTER_SOFTMAX, untouched
from pellucid.structure import Inputs, leaves

SIGMOID = {"aten::sigmoid", "aten::sigmoid_"}
# What may follow it and leaves its numbers as they are.
AFTER = AFTER_SOFTMAX | {"aten::select", "aten::slice"}


def ends_in_sigmoid(model: Callable[..., Any], inputs: Inputs) -> bool:
    """Whether what a model returns was made by a sigmoid, which a run on few samples shows.

    >>> ends_in_sigmoid(torch.nn.Sigmoid(), Inputs.of(torch.zeros(2, 1)))
    True
    """
    copied = inputs.replace([leaf.clone() for leaf in inputs.leaves])
    with untouched(model), torch.no_grad(), _Sigmoids() as seen:
        output = copied.call(model)
    return any(id(leaf) in seen.made for _, leaf in leaves(output))


class _Sigmoids(DispatchMode):
    """Remembers what sigmoids made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = called(function, args, kwargs or {})
        name = function._schema.name
        if name in SIGMOID or (name in AFTER and id(args[0]) in self.made):
            self.made[id(result)] = result
        return result
