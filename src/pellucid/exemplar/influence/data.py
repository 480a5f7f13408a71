"""Examples with labels, read part by part: pairs of tensors, data sets and loaders of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from pellucid.errors import InputError
from pellucid.run.samples import Samples, mark_of, part_of
from pellucid.structure import Inputs, outline

# Examples of a data set, from its first to its last, by which it is told from others.
MARKED = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """So many `rows` of inputs with labels, of which `read(rows)` gives those of these numbers.

    There are no labels (`None`) where only inputs are known. `marked` makes a text that tells the
    data from others; of a data set it is its type, its length and a few of its examples.

    >>> data = Labelled.of((torch.zeros(3, 2), torch.tensor([0, 1, 1])), "train")
    >>> data.rows, data.read(range(1, 3))[1]
    (3, tensor([1, 1]))
    """

    rows: int
    read: Callable[[Sequence[int]], tuple[Any, Tensor | None]]
    marked: Callable[[], str]

    @property
    def mark(self) -> str:
        """A text that tells the data from others, for which they are read."""
        return self.marked()

    def part(self, rows: Sequence[int]) -> "Labelled":
        """Some of the examples, as data of their own.

        >>> data = Labelled.of((torch.zeros(3, 2), torch.tensor([0, 1, 2])), "train")
        >>> data.part([0, 2]).read([1])[1]
        tensor([2])
        """
        return Labelled(
            rows=len(rows), read=lambda some: self.read(_chosen(rows, some)), marked=str
        )

    @classmethod
    def of(cls, given: Any, what: str) -> "Labelled":
        """Take (inputs, labels), a data set of such pairs, or a loader, in its data set's order."""
        if isinstance(given, Labelled):
            return given
        if isinstance(given, DataLoader):
            return cls._of_dataset(given.dataset, given.collate_fn, what)
        if isinstance(given, TensorDataset) and len(given.tensors) == 2:
            given = given.tensors
        if isinstance(given, Dataset):
            return cls._of_dataset(given, default_collate, what)
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise _no_pairs(what, given)
        inputs, labels = cls.inputs_of(given[0]), _as_tensor(given[1], what)
        if not labels.ndim:
            raise InputError(
                f"The labels of `{what}` must be one for each of the {inputs.rows} examples",
                got=labels,
                hint="Add the axis: labels.unsqueeze(0).",
            )
        part_of(labels, 0, 1, inputs.rows, f"the labels of {what}")

        def read(rows: Sequence[int]) -> tuple[Any, Tensor]:
            return inputs.read(rows)[0], labels[list(rows)]

        return cls(rows=inputs.rows, read=read, marked=lambda: f"{inputs.mark} {mark_of(labels)}")

    @classmethod
    def asked(cls, given: Any, like: "Labelled") -> "Labelled":
        """Inputs alone of which scores are asked, as those of other data; labels say nothing."""
        if isinstance(given, DataLoader | Dataset):
            return cls.of(given, "test")
        made = cls.inputs_of(given)
        if isinstance(given, tuple | list) and not isinstance(like.read([0])[0], tuple | list):
            raise InputError(
                "`test` must be inputs alone, like those of `train`, where `of` asks for a score",
                got=outline(given),
                hint="Pass the inputs without their labels: test=inputs.",
            )
        return made

    @classmethod
    def inputs_of(cls, given: Any) -> "Labelled":
        """Inputs alone, as the model takes them."""
        if isinstance(given, Samples):
            return cls(
                rows=given.rows,
                read=lambda rows: (_taken(given, rows), None),
                marked=lambda: given.mark,
            )
        inputs = Inputs.of(given)

        def read(rows: Sequence[int]) -> tuple[Any, None]:
            some = slice(rows.start, rows.stop) if isinstance(rows, range) else list(rows)
            return inputs.select(some), None

        return cls(rows=inputs.rows, read=read, marked=lambda: mark_of(given))

    @classmethod
    def _of_dataset(cls, data: Any, collate: Any, what: str) -> "Labelled":
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or not len(data):
            raise InputError(
                f"`{what}` must be a data set whose examples have numbers, at least one",
                got=data,
                hint="An iterable data set must be put into tensors first.",
            )

        def read(rows: Sequence[int]) -> tuple[Any, Tensor]:
            found = collate([data[k] for k in rows])
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise _no_pairs(what, found)
            return found[0], _as_tensor(found[1], what)

        def marked() -> str:
            rows = sorted({k * (len(data) - 1) // (MARKED - 1) for k in range(MARKED)})
            return f"{type(data).__name__} {len(data)} {mark_of([list(read([k])) for k in rows])}"

        return cls(rows=len(data), read=read, marked=marked)


def _chosen(rows: Sequence[int], some: Sequence[int]) -> Sequence[int]:
    """Those rows whose places are given; what follows each other is left a range."""
    if isinstance(rows, range) and isinstance(some, range):
        return rows[some.start : some.stop]
    return [rows[each] for each in some]


def _taken(inputs: Samples, rows: Sequence[int]) -> Any:
    """Some rows: in one piece where they follow each other, else put together one by one."""
    if isinstance(rows, range):
        return inputs.read(rows.start, rows.stop)
    parts = [Inputs.of(inputs.read(row, row + 1)) for row in rows]
    leaves = zip(*(part.leaves for part in parts), strict=True)
    return parts[0].replace([torch.cat(each) for each in leaves])


def _as_tensor(labels: Any, what: str) -> Tensor:
    found = labels if isinstance(labels, Tensor) else np.asarray(labels)
    if not isinstance(found, Tensor) and found.dtype.kind not in "biuf":
        raise InputError(
            f"The labels of `{what}` must be numbers, one for each example",
            got=labels,
            hint="Number the classes in the order of the model's scores.",
        )
    return torch.as_tensor(found).detach()


def _no_pairs(what: str, found: Any) -> InputError:
    return InputError(
        f"`{what}` must be (inputs, labels), or a data set or DataLoader of such pairs",
        found=outline(found),
        hint="For the influence on a score instead of the loss, which needs no labels to test "
        "with, say which: of=None, of=3."
        if what == "test"
        else "",
    )
