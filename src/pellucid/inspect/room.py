"""How many samples may be followed backwards at once, by what a model makes of each on the way."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pellucid.batching import BatchSize
from pellucid.program import call, untouched
from pellucid.structure import Inputs

# What runs under autograd keep of the samples of one batch, in bytes: 6 photographs of 224 by 224
# in EfficientNet-lite0. A single sample may take more.
BYTES = 2**29
# So few input elements are not looked at: no batch of them is large.
SMALL = 2**17


def kept(run: Callable[[], Any], known: Iterable[Tensor] = ()) -> int:
    """The bytes that autograd keeps of a run until it is followed backwards, each memory once.

    What is `known`, as the parameters of a model, is there anyway.

    >>> x = torch.ones(4, requires_grad=True)
    >>> kept(lambda: x.exp().sum())
    16
    """
    there = {each.untyped_storage().data_ptr() for each in known}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in there:
            sizes[memory.data_ptr()] = memory.nbytes()
        return tensor

    graph = saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.inference_mode(False), torch.enable_grad(), graph:
        held = run()  # so that no memory is taken twice
        del held
    return sum(sizes.values())


def rows_within(run: Callable[[], Any], known: Iterable[Tensor] = ()) -> int:
    """How many samples fit, if that is what is run of one of them: at least one."""
    return max(1, BYTES // max(1, kept(run, known)))


def at_once(model: Callable[..., Any], inputs: Inputs, batch_size: BatchSize) -> BatchSize:
    """So many samples are explained at once, where that is left open, that they fit."""
    leaf = inputs.leaves[0]
    if batch_size != "auto" or len(leaf) == 1 or leaf.numel() <= SMALL:
        return batch_size
    one = inputs.select(slice(1))

    def run() -> Any:
        return call(model, one.replace([_followed(each) for each in one.leaves]))

    with untouched(model):
        most = rows_within(run, memory_of(model))
    return most if most < len(leaf) else "auto"


def _followed(leaf: Tensor) -> Tensor:
    """A copy of inputs that autograd follows, if they are such."""
    return leaf.clone().requires_grad_(leaf.is_floating_point())


def memory_of(model: Any) -> list[Tensor]:
    """The parameters and buffers of a model, if it is a module."""
    if not isinstance(model, torch.nn.Module):
        return []
    return [*model.parameters(), *model.buffers()]
