"""Derivatives of many things at once, where torch can; else one by one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from pellucid.batching import is_out_of_memory
from pellucid.errors import ModelError
from pellucid.exemplar.influence.gradients import VECTORS
from pellucid.tape.record import FLAGS


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as products and a softmax: of fused kernels, less can be derived."""
    with FLAGS, sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Where second derivatives are taken: an operation that has none is an error that says so."""
    try:
        with plain_attention():
            yield
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise ModelError(
            "The network must have second derivatives where the curvature of its loss is taken",
            found=str(error).partition("\n")[0].rstrip("."),
            hint="Take `ekfac` or `tracin`, which need first ones alone; or ask about the "
            "`parameters` of layers behind that operation.",
        ) from error


def pulled(end: Tensor, start: Tensor, vectors: Tensor) -> Tensor:
    """The slope in `start` of the product of `end` with each of some vectors (vector, ...).

    All at once; or one by one, where torch has no rule for an operation.
    """
    options: dict[str, Any] = {"retain_graph": True, "materialize_grads": True}
    if not end.requires_grad:  # a loss that is linear, or a network that is
        return vectors.new_zeros(len(vectors), *start.shape)
    try:
        parts = vectors.split(VECTORS)
        found = [
            torch.autograd.grad(end, start, part, is_grads_batched=True, **options)[0]
            for part in parts
        ]
        return torch.cat(found)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
    return torch.stack([torch.autograd.grad(end, start, v, **options)[0] for v in vectors])


def mapped(function: Callable[..., Tensor], *columns: Any) -> Tensor:
    """What a function makes of each row, all at once; or one by one, where torch cannot.

    >>> mapped(lambda row: row.sum(), torch.ones(3, 2))
    tensor([2., 2., 2.])
    """
    try:
        with plain_attention():
            found: Tensor = vmap(function)(*columns)
        return found
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
    rows = [zip(*each, strict=True) if isinstance(each, tuple) else each for each in columns]
    return torch.stack([function(*row) for row in zip(*rows, strict=True)])
