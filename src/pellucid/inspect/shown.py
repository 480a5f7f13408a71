"""Single samples of a data set, read again to be shown."""

from collections.abc import Callable, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from pellucid.errors import InputError
from pellucid.inspect.passes import source_of
from pellucid.inspect.passes import taken as of_batch
from pellucid.run.samples import Samples
from pellucid.structure import Inputs

# What reads samples by their rows, as one batch or as several.
Reader: TypeAlias = Callable[[Sequence[int]], list[Any]]


def taken(data: Any, rows: Tensor) -> Any:
    """Some samples of the data, as a model takes them; `None` where they cannot be read again.

    Read again is what has places: tensors, tables, texts, `Samples`, a list of batches, a data set,
    and a loader that does not shuffle.

    >>> taken((torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0])), torch.tensor([2]))
    tensor([[4., 5.]])
    """
    data = unpaired(data)[0]
    if not len(rows):
        return None
    if is_table(data):
        return _table(Samples.of(data), rows.tolist())
    source = source_of(data)
    if isinstance(source, Samples) and is_table(source):
        return _table(source, rows.tolist())
    read = _reader(source)
    if read is None:
        return None
    axis = source.batch_axis if isinstance(source, Samples) else 0
    return _joined([of_batch(part, axis)[0] for part in read(rows.tolist())])


def is_table(data: Any) -> bool:
    """Whether data are none that torch knows: a frame, an array or texts."""
    part = data.read(0, 1) if isinstance(data, Samples) else data
    texts = isinstance(part, list | tuple) and bool(part) and isinstance(part[0], str)
    return texts or isinstance(part, np.ndarray) or hasattr(part, "iloc")


def is_shuffled(data: Any) -> bool:
    """Whether data are a loader that may bring samples in another order each time."""
    if not isinstance(data, DataLoader) or isinstance(data.dataset, IterableDataset):
        return False
    sampler = data.sampler if data.batch_size is not None else data.batch_sampler
    return not isinstance(getattr(sampler, "sampler", sampler), SequentialSampler)


def check_order(data: Any, what: str) -> None:
    """Raise for data whose rows say nothing, since they come in another order each time."""
    if is_shuffled(data):
        raise InputError(
            f"{what} must come in the same order each time, so that rows say which they are",
            found="a loader that shuffles",
            hint="Pass a loader without shuffle=True.",
        )


def unpaired(data: Any) -> tuple[Any, Any]:
    """A table or texts, and the labels that may come with them; other data as they are.

    >>> unpaired((np.eye(2), [0, 1]))[1]
    [0, 1]
    """
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Sized):
        first, second = data
        alike = is_table(first) and len(first) == len(second)
        if alike and np.ndim(second) == 1:
            return first, second
    return data, None


def _table(samples: Samples, places: Sequence[int]) -> Any:
    parts = [samples.read(place, place + 1) for place in places]
    if hasattr(parts[0], "iloc"):
        import pandas as pd

        return pd.concat(parts)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [text for part in parts for text in part]


def _reader(source: Any) -> Reader | None:
    """What reads samples of data by their rows, if these have places."""
    if isinstance(source, Samples):
        return lambda places: [source.read(place, place + 1) for place in places]
    if isinstance(source, Sequence):
        return lambda places: _of_batches(source, places)
    if not isinstance(source, DataLoader) or source.batch_size is None or is_shuffled(source):
        return None
    if isinstance(source.dataset, IterableDataset):
        return None
    return lambda places: [source.collate_fn([source.dataset[place] for place in places])]


def _of_batches(batches: Sequence[Any], places: Sequence[int]) -> list[Any]:
    found: dict[int, Inputs] = {}
    start = 0
    for batch in batches:
        inputs = of_batch(batch)[0]
        for place in places:
            if start <= place < start + inputs.rows:
                found[place] = inputs.select(slice(place - start, place - start + 1))
        start += inputs.rows
    return [found[place] for place in places]


def _joined(parts: Sequence[Inputs]) -> Any:
    columns = zip(*(part.leaves for part in parts), strict=True)
    return parts[0].pack([torch.cat(leaves) for leaves in columns])
