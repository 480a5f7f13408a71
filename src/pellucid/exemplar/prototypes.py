"""Prototypes, which stand for many samples, and criticisms, which they do not stand for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.exemplar.kernel import Kernel, usual_gamma
from pellucid.exemplar.selection import (
    SAME,
    SEARCHES,
    Chosen,
    Side,
    criticize,
    squared_mmd,
    witness,
)
from pellucid.inspect.distances import nearest
from pellucid.inspect.labels import are_amounts, in_order, label_list
from pellucid.inspect.pools import Pool
from pellucid.inspect.representation import Represented, known_labels, represent, represented
from pellucid.inspect.shown import check_order, taken
from pellucid.options import number, one_of, whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

How: TypeAlias = Literal["mmd", "protodash", "kmedoids", "random"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prototypes:
    """Samples that stand for the data, and for each class those that do not fit to them.

    `index` are the rows of the prototypes in the data, (prototype,), class by class in the order in
    which they were found; `classes` the class of each, and `weights` and `share` what weight it has
    and for which part of its class it is the nearest. `criticisms` are rows too, (criticism,), with
    their `criticism_classes` and their `witness`: above 0 where the data have more than prototypes
    say. `mmd` is for each class the squared distance between the prototypes and the data, and
    `accuracy` the part of the data whose nearest prototype is of their class.
    """

    how: str
    index: Tensor
    weights: Tensor
    share: Tensor
    classes: tuple[Any, ...]
    criticisms: Tensor
    criticism_classes: tuple[Any, ...]
    witness: Tensor
    mmd: dict[Any, float]
    accuracy: float | None
    gamma: float
    features: Tensor = field(repr=False)
    inputs: Any = field(repr=False, default=None)
    criticism_inputs: Any = field(repr=False, default=None)
    notes: tuple[str, ...] = ()
    represent: Callable[[Any], Tensor] = field(repr=False, default=lambda data: data)

    def __len__(self) -> int:
        return len(self.index)

    def classify(self, data: Any) -> list[Any]:
        """The class of the nearest prototype of each sample, in the features they were found in."""
        if self.accuracy is None:
            raise InputError(
                "Prototypes must have classes to classify",
                found="some that were found without labels",
                hint="prototypes(..., labels=...) looks for those of each class.",
            )
        features, wanted = self.represent(data), self.features.shape[1]
        if features.shape[1] != wanted:
            raise InputError(
                f"Samples must have the {wanted} features of the prototypes",
                found=f"{features.shape[1]} features",
            )
        place = nearest(features, self.features, 1)[1].flatten()
        return [self.classes[i] for i in place.tolist()]

    def score(self, data: Any, labels: Any) -> float:
        """The part of other samples whose nearest prototype is of their class."""
        found = self.classify(data)
        wanted = label_list(labels, len(found))
        return sum(a == b for a, b in zip(found, wanted, strict=True)) / len(found)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each prototype, then one for each criticism."""
        import pandas as pd

        kinds = ["prototype"] * len(self.index) + ["criticism"] * len(self.criticisms)
        gone = [float("nan")] * len(self.criticisms)
        return pd.DataFrame({
            "kind": kinds,
            "class": [*self.classes, *self.criticism_classes],
            "row": [*self.index.tolist(), *self.criticisms.tolist()],
            "weight": self.weights.tolist() + gone,
            "share": self.share.tolist() + gone,
            "witness": [float("nan")] * len(self.index) + self.witness.tolist(),
        })  # fmt: skip

    def plot(self, **options: Any) -> "Figure":
        """Draw both as pictures, a class on each line; options as in `plot.prototypes`."""
        from pellucid.plot.prototypes import draw_prototypes

        return draw_prototypes(self, **options)

    def __repr__(self) -> str:
        groups = len(self.mmd)
        said = f"Prototypes by {self.how}: {len(self)} and {len(self.criticisms)} criticisms"
        said += f" of {groups} classes" if groups > 1 else ""
        right = "" if self.accuracy is None else f", nearest-prototype accuracy {self.accuracy:.3f}"
        mean = float(np.mean(list(self.mmd.values())))
        return f"{said}, mean squared MMD {mean:.4g}{right}"


def prototypes(
    data: Any,
    model: Any = None,
    layer: str | None = None,
    labels: Any = None,
    *,
    count: int = 3,
    criticisms: int = 3,
    how: How = "mmd",
    gamma: float | None = None,
    diversity: float = 1.0,
    side: Side = "missing",
    pool: Pool = "auto",
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Prototypes:
    """Find samples that stand for the data, and samples that these do not stand for.

        MMD^2(data, S) = mean k(i, i') - 2 mean k(i, j) + mean k(j, j'),   k = exp(-gamma |a - b|^2)

    `how` they are found: "mmd" adds the sample that makes the MMD smallest (MMD-critic);
    "protodash" also gives them weights from 0 on; "kmedoids" makes distances to the nearest small;
    "random" is what they have to beat. Criticisms are where the witness function, the difference
    of the two means of k, is above 0, for there the data have more than prototypes say; of these,
    those with the largest sum of it and of `diversity` times log det of their kernel; the others
    only where these do not suffice. The paper takes the size of it, `side="both"`: then samples
    come first that look typical, since few prototypes weigh too much at the places where they are.

    Features are those of `represent(model, data, layer)`: without a model the inputs themselves.
    With `labels`, or data that bring theirs, each class has `count` prototypes and so many
    `criticisms`. `gamma` is one over the median squared distance, if not given. Kernels are
    computed in blocks, so that memory grows with the samples and not with their square.
    Law: the value that "mmd" makes largest comes to 1 - 1/e of the best, where it is submodular.
    Source: Kim, Khanna, Koyejo (2016), Examples Are Not Enough, Learn to Criticize!; Gurumoorthy
    et al. (2019), Efficient Data Representation by Selecting Prototypes with Importance Weights.

    >>> x = torch.tensor([[0.0], [0.1], [-0.1], [5.0], [5.1], [4.9], [9.0]])
    >>> found = prototypes(x, count=2, criticisms=1, gamma=1.0)
    >>> found.index.tolist(), found.criticisms.tolist()
    ([3, 0], [6])
    """
    options = _checked(count, criticisms, how, gamma, diversity, seed)
    options["side"] = one_of(side, "`side` of criticisms", get_args(Side))
    check_order(data, "Data")
    seen = represented(model, data, layer, pool, batch_size=batch_size)
    features, given = seen.features, _class_labels(labels, seen, data)
    gamma = usual_gamma(features, seed) if gamma is None else options["gamma"]
    parts = [
        _Part.of(name, rows, features, options, gamma)
        for name, rows in groups(given, len(features))
    ]
    flat = _together(parts)
    index = flat["index"]
    return Prototypes(
        how=how,
        gamma=gamma,
        accuracy=None if given is None else _accuracy(features, index, flat["classes"], given),
        features=features[index.to(features.device)],
        inputs=taken(data, index),
        criticism_inputs=taken(data, flat["criticisms"]),
        represent=partial(represent, model, layer=layer, pool=pool, batch_size=batch_size),
        **flat,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What was found in one class, by the rows of the whole data."""

    name: Any
    rows: list[int]
    weights: list[float]
    share: Tensor
    criticisms: list[int]
    witness: list[float]
    mmd: float
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, name: Any, rows: Tensor, features: Tensor, options: dict[str, Any], gamma: float
    ) -> "_Part":
        """Search among the samples of one class."""
        count, criticisms = options["count"], options["criticisms"]
        of_class = "" if name is None else f" of class {name!r}"
        if count + criticisms > len(rows):
            raise InputError(
                f"There must be as many samples{of_class} as prototypes and criticisms",
                found=f"{len(rows)} samples for {count} and {criticisms}",
                hint="Take a smaller `count` or fewer `criticisms`.",
            )
        kernel = Kernel(samples=features[rows.to(features.device)], gamma=gamma)
        chosen: Chosen = SEARCHES[options["how"]](kernel, count, options["seed"])
        others = criticize(kernel, chosen, criticisms, options["diversity"], options["side"])
        values = witness(kernel, chosen)[others].tolist() if others else []
        near = nearest(kernel.samples, kernel.samples[chosen.rows], 1)[1].flatten().cpu()
        share = torch.bincount(near, minlength=len(chosen.rows)).double() / len(rows)
        short = len(others) < criticisms
        notes = [f"Fewer criticisms{of_class}: all others are copies."] if short else []
        fine = sum(value <= SAME for value in values)
        if fine and options["side"] == "missing":
            notes.append(
                f"{fine} of {len(others)} criticisms{of_class} lack no prototypes: their witness "
                "is not above 0, which is so of all where the kernel is wide (`gamma`)."
            )
        if len(chosen.rows) < count:
            notes.append(
                f"{len(chosen.rows)} prototypes{of_class}: no other gets a weight above 0."
            )
        return cls(
            name=name,
            rows=rows[chosen.rows].tolist(),
            weights=chosen.weights,
            share=share,
            criticisms=rows[others].tolist(),
            witness=values,
            mmd=squared_mmd(kernel, chosen),
            notes=tuple(notes),
        )


def _together(parts: list[_Part]) -> dict[str, Any]:
    """What was found in all classes, one after the other, by the fields of the result."""
    return {
        "index": torch.tensor([row for part in parts for row in part.rows]),
        "classes": tuple(part.name for part in parts for _ in part.rows),
        "weights": _numbers([weight for part in parts for weight in part.weights]),
        "share": torch.cat([part.share for part in parts]),
        "criticisms": torch.tensor([row for p in parts for row in p.criticisms]).long(),
        "criticism_classes": tuple(part.name for part in parts for _ in part.criticisms),
        "witness": _numbers([value for part in parts for value in part.witness]),
        "mmd": {part.name: part.mmd for part in parts},
        "notes": tuple(note for part in parts for note in part.notes),
    }


def _numbers(found: list[float]) -> Tensor:
    """All their digits, whatever the default type of tensors is."""
    return torch.tensor(found, dtype=torch.float64)


def groups(labels: list[Any] | None, total: int) -> list[tuple[Any, Tensor]]:
    """The rows of each class, in the order of the classes; one group where there are no labels."""
    if labels is None:
        return [(None, torch.arange(total))]
    found: dict[Any, list[int]] = {}
    for row, label in enumerate(labels):
        found.setdefault(label, []).append(row)
    return [(label, torch.tensor(found[label])) for label in in_order(found)]


def _class_labels(labels: Any, seen: Represented, data: Any) -> list[Any] | None:
    """The classes of the data, if they are known."""
    found = known_labels(labels, seen, data)
    if found is not None and are_amounts(found):
        raise InputError(
            "`labels` must be classes, which have prototypes of their own",
            found=f"amounts, {len(set(found))} different ones",
            hint="Leave them out, or cut them into ranges.",
        )
    return found


def _accuracy(features: Tensor, index: Tensor, classes: tuple[Any, ...], labels: list) -> float:
    place = nearest(features, features[index], 1)[1].flatten().tolist()
    return sum(classes[i] == label for i, label in zip(place, labels, strict=True)) / len(labels)


def _checked(
    count: Any, criticisms: Any, how: Any, gamma: Any, diversity: Any, seed: Any
) -> dict[str, Any]:
    """All options, as plain values."""
    positive = "a number above 0"
    return {
        "count": whole(count, "count"),
        "criticisms": whole(criticisms, "criticisms", least=0),
        "how": one_of(how, "`how` of prototypes", SEARCHES),
        "gamma": None if gamma is None else number(gamma, "gamma", positive, above=0),
        "diversity": number(diversity, "diversity", "a number from 0 on", least=0),
        "seed": whole(seed, "seed", least=None),
    }
