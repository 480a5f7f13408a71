"""Outputs of batches: put together, and cut to some samples, whatever their nesting.

The samples are on the batch axis that the target declares, or on the first. What has neither (a
scalar loss, a table that is returned with every batch) is not a matter of samples, and stays whole.
Lists of detections have one item for each sample.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.structure import children, copy_of, is_plain_sequence, leaves
from pellucid.target.place import is_detections

# What an output may hold besides tensors and still be stored.
PLAIN = (bool, int, float, complex, str, torch.dtype, torch.device, np.ndarray, np.generic)


def kept(output: Any) -> Any:
    """Copies of the tensors, and plain values; other objects (a cache of a model's) are left out.

    >>> kept({"logits": torch.ones(2), "cache": object(), "steps": 3})
    {'logits': tensor([1., 1.]), 'cache': None, 'steps': 3}
    """
    if isinstance(output, Tensor):
        return copy_of(output)
    inner = {key: kept(item) for key, item in children(output)}
    if inner or isinstance(output, tuple | list | Mapping):
        return _like(output, inner)
    return output if isinstance(output, PLAIN) else None


@contextmanager
def put_back(output: Any) -> Iterator[None]:
    """Give the tensors of an output what they held again, where a function writes to them.

    >>> output = torch.ones(2)
    >>> with put_back(output):
    ...     _ = output.zero_()
    >>> output
    tensor([1., 1.])
    """
    held = [(tensor, tensor.clone()) for _, tensor in leaves(output)]
    yield
    for tensor, before in held:
        if not torch.equal(tensor, before):
            tensor.copy_(before)


def concatenate(outputs: list[Any], rows: list[int], batch_axis: int = 0) -> Any:
    """Join the outputs of consecutive batches of so many rows.

    What has no batch axis is that of the first batch.

    >>> parts = [{"logits": torch.ones(2, 3)}, {"logits": torch.ones(1, 3)}]
    >>> concatenate(parts, [2, 1])["logits"].shape
    torch.Size([3, 3])
    """
    first = outputs[0]
    if len(outputs) == 1:
        return first
    if isinstance(first, Tensor):
        axis = _axis(outputs, rows, batch_axis)
        return first if axis is None else torch.cat(outputs, axis)
    if all(_of_samples(each, n) for each, n in zip(outputs, rows, strict=True)):
        return [item for each in outputs for item in each]
    columns = {
        key: concatenate([dict(children(each))[key] for each in outputs], rows, batch_axis)
        for key, _ in children(first)
    }
    return _like(first, columns)


def select_rows(output: Any, index: Tensor, rows: int, batch_axis: int = 0) -> Any:
    """Keep some of the samples of an output of so many rows."""
    if isinstance(output, Tensor):
        axis = _axis([output], [rows], batch_axis)
        return output if axis is None else output.index_select(axis, index.to(output.device))
    if _of_samples(output, rows):
        return [output[i] for i in index.tolist()]
    inner = children(output)
    kept = {key: select_rows(item, index, rows, batch_axis) for key, item in inner}
    return _like(output, kept)


def _axis(tensors: list[Tensor], rows: list[int], batch_axis: int) -> int | None:
    """The axis along which all of these have their rows."""
    for axis in (batch_axis, 0):
        pairs = zip(tensors, rows, strict=True)
        if all(-t.ndim <= axis < t.ndim and t.shape[axis] == n for t, n in pairs):
            return axis
    return None


def _of_samples(output: Any, rows: int) -> bool:
    return is_detections(output) and len(output) == rows


def _like(tree: Any, items: Mapping[Any, Any]) -> Any:
    """A list, a tuple or a dict, as the tree is."""
    if is_plain_sequence(tree):
        return list(items.values()) if isinstance(tree, list) else tuple(items.values())
    return dict(items) if items or isinstance(tree, Mapping) else tree
