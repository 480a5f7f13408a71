"""Data that are read part by part: tensors, tables, texts, and what is opened when it is needed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pellucid.baseline import Baseline
from pellucid.errors import InputError
from pellucid.features import Features
from pellucid.features.cuts import Cut, Parts, Sample
from pellucid.features.groups import Mask, Words
from pellucid.run.described import described
from pellucid.structure import Inputs
from pellucid.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """So many `rows` of data, of which `read(start, stop)` gives some as a model is called with.

    What is opened from files is made by hand, and read when its turn comes; `mark` then tells it
    from other data (by the names of the files, say).

    >>> whole = Samples.of(torch.arange(6.0).reshape(3, 2))
    >>> whole.rows, whole.read(1, 2)
    (3, tensor([[2., 3.]]))
    """

    rows: int
    read: Callable[[int, int], Any]
    mark: str
    batch_axis: Any = 0

    @classmethod
    def of(cls, data: Any, batch_axis: Any = 0) -> "Samples":
        """Take tensors in any structure, an array, a data frame or a list of texts."""
        if isinstance(data, Samples):
            return data
        if type(data).__module__.partition(".")[0] == "pandas":
            return cls._of_items(data, len(data), lambda a, b: data.iloc[a:b])
        texts = isinstance(data, list | tuple) and bool(data) and isinstance(data[0], str)
        if isinstance(data, np.ndarray) or texts:
            return cls._of_items(data, len(data), lambda a, b: data[a:b])
        if isinstance(data, Dataset | DataLoader):
            raise InputError(
                "`data` must be tensors, an array, a data frame, texts, or Samples",
                got=data,
                hint="Samples(rows=len(dataset), mark='a name', read=lambda start, stop: "
                "torch.stack([dataset[k][0] for k in range(start, stop)])) reads from a data set.",
            )
        taken = Inputs.of(data, batch_axis)

        def read(start: int, stop: int) -> Any:
            part = taken.select(slice(start, stop))
            return part.pack(part.leaves)

        return cls(rows=taken.rows, read=read, mark=mark_of(data), batch_axis=batch_axis)

    @classmethod
    def _of_items(cls, data: Any, rows: int, read: Callable[[int, int], Any]) -> "Samples":
        if not rows:
            raise InputError("`data` must have at least one row", got=data)
        return cls(rows=rows, read=read, mark=mark_of(data))


def part_of(given: Any, start: int, stop: int, total: int, what: str) -> Any:
    """Some of what has one entry for each sample; `None` stays."""
    if given is None:
        return None
    if not hasattr(given, "__len__") or len(given) != total:
        raise InputError(f"`{what}` must have one entry for each of the {total} samples", got=given)
    if type(given).__module__.partition(".")[0] == "pandas":
        return given.iloc[start:stop].to_numpy()
    return given[start:stop]


def aim_of(target: Any, start: int, stop: int, total: int) -> Any:
    """The target of some samples: one for all, or that of each."""
    if isinstance(target, Target):
        return target.check_rows(total).select(torch.arange(start, stop))
    if hasattr(target, "ndim") and target.ndim == 1:
        target = target.tolist()
    several = isinstance(target, list)
    return part_of(target, start, stop, total, "target") if several else target


def option_part(holder: Any, start: int, stop: int, total: int) -> Any:
    """A method or metric whose options are those of some samples, where each has its own."""
    changed = {}
    for each in fields(holder):
        given = getattr(holder, each.name)
        made = _option(each.name, given, range(start, stop), total)
        if made is not given:
            changed[each.name] = made
    return replace(holder, **changed) if changed else holder


def _option(name: str, given: Any, rows: range, total: int) -> Any:
    if isinstance(given, Baseline) and given.kind == "per_sample":
        return given.select(torch.tensor(rows), total)
    if name == "features" and given is not None:
        made = Features.of(given)
        if any(isinstance(cut, Mask | Words) for cut in made.cuts):
            cuts = tuple(_Part(cut=cut, rows=rows, total=total) for cut in made.cuts)
            return replace(made, cuts=cuts)
    return given


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Part(Cut):
    """What a cut says of some of all samples."""

    cut: Cut
    rows: range
    total: int

    @property
    def said(self) -> str:
        return self.cut.said

    def parts(self, sample: Sample) -> Parts:
        rows = sample.rows + self.rows.start
        return self.cut.parts(sample._replace(rows=rows, total=self.total))


def mark_of(data: Any) -> str:
    """A short text that differs where data do.

    >>> mark_of(torch.zeros(2)) == mark_of(torch.zeros(2)) != mark_of(torch.ones(2))
    True
    """
    if type(data).__module__.partition(".")[0] == "pandas":
        import pandas as pd

        names = [str(each) for each in getattr(data, "columns", [])]
        rows = pd.util.hash_pandas_object(data).to_numpy().tobytes()
        content = repr(names).encode() + rows
    else:
        if isinstance(data, np.ndarray) and data.dtype.kind in "OUS":
            data = data.tolist()
        content = json.dumps(described(data)).encode()
    return hashlib.sha256(content).hexdigest()[:16]
