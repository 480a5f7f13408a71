"""Examples to train and to test on, as the user has them and as tensors inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.border.asked import asked
from pellucid.errors import InputError, show
from pellucid.options import number, whole
from pellucid.seeding import seeded
from pellucid.structure import Inputs, outline

# So many samples are explained, or changed, at once, of at most so many elements.
CHUNK = 512
ELEMENTS = 2**23


class Examples(NamedTuple):
    """Inputs (sample, ...) and their labels (sample,), in whatever form the model is trained on."""

    inputs: Any
    labels: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Examples to train on, and others to test on.

    >>> split = Split.of(torch.zeros(10, 3), torch.arange(10) % 2, test=0.3)
    >>> len(split.train.labels), len(split.test.labels)
    (7, 3)
    """

    train: Examples
    test: Examples

    @classmethod
    def of(cls, inputs: Any, labels: Any, *, test: float = 0.2, seed: int = 0) -> "Split":
        """Cut samples in two at random, `test` of them to test on."""
        share = number(test, "test", "a share of the samples, between 0 and 1", above=0, most=1)
        whole_ = _encoded(inputs)
        count = round(share * whole_.rows)
        order = torch.randperm(whole_.rows, generator=seeded(whole(seed, "seed", least=None)))
        tested, trained = order[:count].sort().values, order[count:].sort().values
        if not (len(tested) and len(trained)):
            raise InputError(
                "Both parts of a split must have samples",
                found=f"{len(trained)} to train and {len(tested)} to test on",
            )
        values = labels if isinstance(labels, Tensor) else np.asarray(labels)
        return cls(
            train=Examples(packed(whole_.select(trained)), values[trained]),
            test=Examples(packed(whole_.select(tested)), values[tested]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One part of a split: inputs as tensors, the number of each sample's class, and its label."""

    inputs: Inputs
    classes: Tensor
    labels: Any

    def examples(self, inputs: Inputs) -> Examples:
        """These labels with other inputs, in the user's form."""
        return Examples(packed(inputs), self.labels)

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """Both parts of the data, in the same codes, and the labels that classes have.

    `known` is empty where labels are the numbers of classes already, which are the columns of a
    model's scores; an estimator sorts the labels that it is trained with, whatever they are.
    """

    train: Part
    test: Part
    known: tuple[Any, ...] = ()

    @classmethod
    def of(cls, data: Any, *, sorts: bool = False) -> "Taken":
        """Take a split, or two pairs of inputs and labels, and check it.

        `sorts` says that the model is an estimator.
        """
        split = data if isinstance(data, Split) else _paired(data)
        train, test = _together(split.train.inputs, split.test.inputs)
        known = known_labels(split.train.labels, sorts=sorts)
        parts = [
            Part(inputs=inputs, classes=_numbers(labels, known, inputs.rows, name), labels=labels)
            for inputs, labels, name in (
                (train, split.train.labels, "train"),
                (test, split.test.labels, "test"),
            )
        ]
        if len(parts[0].classes.unique()) < 2:
            raise InputError(
                "The samples to train on must have at least two classes",
                found=f"one, {show(_listed(split.train.labels)[0])}",
            )
        return cls(train=parts[0], test=parts[1], known=known)


def packed(inputs: Inputs) -> Any:
    """Inputs as the user gave them: tensors in their structure, a frame, an array or texts."""
    if inputs.schema is not None:
        return inputs.schema.decode(inputs.leaves[0])
    return inputs.pack(inputs.leaves)


def chunks_of(inputs: Inputs) -> list[Tensor]:
    """The numbers of the samples, so many at once as fit into memory together."""
    size = sum(leaf[0].numel() for leaf in inputs.leaves)
    at_once = max(1, min(CHUNK, ELEMENTS // max(1, size)))
    return list(torch.arange(inputs.rows).split(at_once))


def placed(inputs: Inputs, model: Any) -> Inputs:
    """Inputs on the device of a torch module."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if weight is None:
        return inputs
    return inputs.replace([leaf.to(weight.device) for leaf in inputs.leaves])


def _paired(data: Any) -> Split:
    """A split from two pairs."""
    pairs = list(data) if isinstance(data, tuple | list) else []
    if len(pairs) != 2 or not all(isinstance(each, tuple | list) for each in pairs):
        raise _no_split(data)
    if any(len(each) != 2 for each in pairs):
        raise _no_split(data)
    return Split(train=Examples(*pairs[0]), test=Examples(*pairs[1]))


def _no_split(data: Any) -> InputError:
    return InputError(
        "`data` must be a Split, or ((inputs, labels) to train, (inputs, labels) to test)",
        found=outline(data),
        hint="Cut one set in two: pl.evaluate.Split.of(inputs, labels).",
    )


def _encoded(inputs: Any) -> Inputs:
    """Inputs of any form as tensors; the model is not known yet, and not asked."""
    return asked(_nothing, inputs, [], [], 0).inputs


def _nothing(rows: Any) -> Any:
    return rows


def _together(train: Any, test: Any) -> tuple[Inputs, Inputs]:
    """Both in the same codes; tensors need none."""
    first, second = _encoded(train), _encoded(test)
    if (first.schema is None) != (second.schema is None) or first.paths != second.paths:
        raise InputError(
            "The samples to train and to test on must be of one kind",
            found=f"{show(train)} and {show(test)}",
        )
    if first.schema is not None:
        both = _encoded(_stacked(train, test))
        first, second = both.select(slice(first.rows)), both.select(slice(first.rows, None))
    for a, b in zip(first.leaves, second.leaves, strict=True):
        if a.shape[1:] != b.shape[1:]:
            raise InputError(
                "The samples to train and to test on must have one shape",
                found=f"{list(a.shape[1:])} and {list(b.shape[1:])}",
            )
    return first.copied(), second.copied()


def _stacked(train: Any, test: Any) -> Any:
    """The rows of two frames, arrays or lists of texts."""
    if hasattr(train, "iloc"):
        import pandas as pd

        return pd.concat([train, test], ignore_index=True)
    if isinstance(train, np.ndarray):
        return np.concatenate([train, test])
    return [*train, *test]


def known_labels(labels: Any, *, sorts: bool = False) -> tuple[Any, ...]:
    """The labels of classes, sorted; none for whole numbers, unless the model `sorts` them.

    >>> known_labels(["no", "yes", "no"]), known_labels([0, 2]), known_labels([0, 2], sorts=True)
    (('no', 'yes'), (), (0, 2))
    """
    found = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if not sorts and (isinstance(labels, Tensor) or found.dtype.kind in "biu"):
        return ()
    return tuple(np.unique(found).tolist())


def numbers(labels: Any, known: Sequence[Any], name: str) -> Tensor:
    """The number of the class of each sample."""
    found = _listed(labels)
    if not known:
        return _whole(torch.as_tensor(found), name)
    places = {label: place for place, label in enumerate(known)}
    unknown = [label for label in found if label not in places]
    if unknown:
        raise InputError(
            "The labels to test with must be among those to train with", got=unknown[0]
        )
    return torch.tensor([places[label] for label in found])


def _numbers(labels: Any, known: Sequence[Any], rows: int, name: str) -> Tensor:
    """The number of the class of each of so many samples."""
    found = labels if isinstance(labels, Tensor) else np.asarray(labels)
    if tuple(found.shape) != (rows,):
        raise InputError(
            f"The labels to {name} with must be one for each of {rows} samples", got=found
        )
    if isinstance(found, Tensor):
        _whole(found, name)
    return numbers(labels, known, name)


def _whole(labels: Tensor, name: str) -> Tensor:
    """Numbers of classes, checked."""
    if labels.is_floating_point() or labels.is_complex() or int(labels.min()) < 0:
        raise InputError(
            f"The labels to {name} with must be the numbers of classes, from 0 on",
            got=labels,
            hint="Convert them with labels.long(); regression has no accuracy.",
        )
    return labels.detach().cpu().long()


def _listed(labels: Any) -> list[Any]:
    """Labels as plain numbers or words."""
    found: list[Any] = (labels if isinstance(labels, Tensor) else np.asarray(labels)).tolist()
    return found
