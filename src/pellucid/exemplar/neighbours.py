"""The samples of a data set that a model sees as most like one input."""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import InputError, show
from pellucid.inspect.distances import Allowed, directions, nearest
from pellucid.inspect.labels import are_amounts, in_order, label_list
from pellucid.inspect.pools import Pool
from pellucid.inspect.representation import (
    Represented,
    known_labels,
    predicted_labels,
    represented,
)
from pellucid.inspect.shown import check_order, taken
from pellucid.options import one_of, whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False)
class Near:
    """Rows of the data and their distances, (sample, k), nearest first.

    Where there are fewer than k, the row is -1 and the distance infinite.
    """

    index: Tensor
    distance: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """The k nearest samples of each input: of all, of the input's own class, and of the others.

    `same` and `other` are `None` where labels, or the classes of the inputs, are not known.
    `classes` are those of the inputs, (sample,), and `labels` those of the data.
    """

    nearest: Near
    same: Near | None
    other: Near | None
    classes: tuple[Any, ...] | None
    labels: tuple[Any, ...] | None = field(repr=False)
    metric: str
    inputs: Any = field(repr=False, default=None)
    data: Any = field(repr=False, default=None)

    @property
    def support(self) -> Tensor | None:
        """The part of the k nearest that is of the input's class, (sample,)."""
        if self.labels is None or self.classes is None:
            return None
        rows = zip(self.nearest.index.tolist(), self.classes, strict=True)
        labels = self.labels
        return torch.tensor([sum(labels[i] == own for i in row) / len(row) for row, own in rows])

    @property
    def margin(self) -> Tensor | None:
        """The distance to the nearest of another class over that to the own, (sample,).

        Below 1 the input lies nearer to another class than to its own.
        """
        if self.same is None or self.other is None:
            return None
        margin = self.other.distance[:, 0] / self.same.distance[:, 0]
        return margin.nan_to_num(nan=1.0, posinf=torch.inf)  # of two at zero, or none of either

    def to_frame(self) -> "pd.DataFrame":
        """One row for each neighbour of each input."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        kinds = (("nearest", self.nearest), ("same class", self.same), ("other class", self.other))
        for kind, near in kinds:
            for sample, (index, distance) in enumerate(_pairs(near)):
                found = zip(index, distance, strict=True)
                rows += [
                    {"sample": sample, "kind": kind, "rank": rank, "row": row, "distance": far}
                    | ({} if self.labels is None else {"label": self.labels[row]})
                    for rank, (row, far) in enumerate(found, 1)
                    if row >= 0
                ]
        return pd.DataFrame(rows)

    def plot(self, **options: Any) -> "Figure":
        """Draw inputs and their neighbours as pictures; options as in `plot.prototypes`."""
        from pellucid.plot.prototypes import draw_neighbours

        return draw_neighbours(self, **options)

    def __repr__(self) -> str:
        samples, k = self.nearest.index.shape
        said = f"Neighbours of {samples} inputs, {k} each, by {self.metric} distance"
        support = self.support
        return said if support is None else f"{said}; {float(support.mean()):.0%} of their class"


def neighbours(
    model: Any,
    inputs: Any,
    data: Any,
    layer: str | None = None,
    labels: Any = None,
    *,
    k: int = 5,
    classes: Any = None,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    rows: Any = None,
    pool: Pool = "auto",
    batch_size: BatchSize = "auto",
) -> Neighbours:
    """Find the samples of a data set that are nearest to inputs, in the features of a layer.

        distance(a, b) = |phi(a) - phi(b)|, or 1 - cos(phi(a), phi(b)),   phi = represent(...)

    With `labels` of the data there are also the nearest of the same and of other classes. `classes`
    are those of the inputs; by default what the model says: the number of the largest score, where
    words are classes in the order of the alphabet; without a model, labels that came with them.
    Labels that are amounts, as those of a regression, are no classes. Features that are all zero
    have no angle: for "cosine", they are at a distance of 1 from all others.
    `rows` (sample,) are the places of the inputs in the data, where they come from there: no input
    is then its own neighbour. `model=None` compares the inputs themselves.
    Source: Caruana et al. (1999), Case-Based Explanation of Non-Case-Based Learning Methods.

    >>> data = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    >>> found = neighbours(None, torch.tensor([[2.0]]), data, labels=[0, 0, 1, 1], classes=[0], k=1)
    >>> found.same.index.tolist(), found.other.index.tolist()
    ([[1]], [[2]])
    """
    k = whole(k, "k")
    one_of(metric, "`metric` of neighbours", ("euclidean", "cosine"))
    check_order(inputs, "Inputs")
    check_order(data, "Data")
    read = partial(represented, model, layer=layer, pool=pool, batch_size=batch_size)
    of_inputs, of_data = read(inputs), read(data)
    known = known_labels(labels, of_data, data)
    queries, features = _comparable(of_inputs.features, of_data.features, metric)
    total, places = len(features), _own_rows(rows, len(queries), features, k)
    own = _classes(classes, of_inputs, known, len(queries))
    search = partial(_found, queries, features, k, metric)
    alike = None if known is None or own is None else _codes(own, known, features.device)
    return Neighbours(
        nearest=search(None if places is None else _Others(total, places)),
        same=None if alike is None else search(_Others(total, places, alike, same=True)),
        other=None if alike is None else search(_Others(total, places, alike, same=False)),
        classes=own,
        labels=None if known is None else tuple(known),
        metric=metric,
        inputs=taken(inputs, torch.arange(len(queries))),
        data=data,
    )


def _comparable(queries: Tensor, features: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """Both of the same features; for angles, of length one."""
    if queries.shape[1] != features.shape[1]:
        raise InputError(
            "Inputs and data must have the same features",
            found=f"{queries.shape[1]} and {features.shape[1]} of them",
            hint="Inputs must have their batch first, as the data.",
        )
    return (
        (queries, features)
        if metric == "euclidean"
        else (directions(queries), directions(features))
    )


def _found(queries: Tensor, features: Tensor, k: int, metric: str, allowed: Allowed | None) -> Near:
    distance, index = nearest(queries, features, k, allowed=allowed)
    if metric == "cosine":  # |a - b|^2 = 2 - 2 cos, of what has length one
        distance = distance**2 / 2
    return Near(index=index.cpu(), distance=distance.cpu())


def _own_rows(rows: Any, total: int, features: Tensor, k: int) -> Tensor | None:
    """The places of the inputs in the data, if they come from there."""
    most = len(features) - (rows is not None)
    if k > most:
        raise InputError(f"`k` must be at most {most}, the samples there are", got=k)
    if rows is None:
        return None
    own = torch.as_tensor(rows).to(features.device)
    counted = not own.is_floating_point() and own.dtype is not torch.bool
    inside = counted and own.shape == (total,) and bool(((own >= 0) & (own < len(features))).all())
    if not inside:
        raise InputError(
            f"`rows` must be the places of the {total} inputs in the data, from 0 on",
            found=f"{show(own)} for {len(features)} samples",
        )
    return own.long()


def _codes(own: tuple[Any, ...], known: list[Any], device: torch.device) -> tuple[Tensor, Tensor]:
    """The classes of the inputs and of the data as numbers that are equal where these are."""
    numbers = {label: place for place, label in enumerate(dict.fromkeys((*own, *known)))}
    first, second = (torch.tensor([numbers[each] for each in some]) for some in (own, known))
    return first.to(device), second.to(device)


@dataclass(frozen=True, eq=False)
class _Others:
    """Which samples may be neighbours: not the inputs themselves, and of their class or not."""

    total: int
    rows: Tensor | None
    codes: tuple[Tensor, Tensor] | None = None
    same: bool = True

    def __call__(self, start: int, count: int) -> Tensor:
        part = slice(start, start + count)
        found = torch.ones(count, self.total, dtype=torch.bool)
        if self.rows is not None:
            own = self.rows[part, None]
            found = own != torch.arange(self.total, device=own.device)
        if self.codes is not None:
            inputs, data = self.codes
            found = found.to(data.device) & ((inputs[part, None] == data) == self.same)
        return found


def _classes(
    classes: Any, seen: Represented, labels: list[Any] | None, total: int
) -> tuple[Any, ...] | None:
    """The classes of the inputs, as they are given or as the model says."""
    if classes is not None:
        own = label_list(classes, total, "classes")
        words, others = ({isinstance(each, str) for each in some} for some in (own, labels or own))
        if words.isdisjoint(others):
            raise InputError(
                "`classes` of inputs and labels of data must both be numbers, or both words",
                found=f"{show(own)} and {show(in_order(labels or own))}",
            )
        return tuple(own)
    if labels is not None and are_amounts(labels):
        return None
    found = predicted_labels(seen, labels)
    if found is None and seen.scores is None and seen.labels is not None:
        return tuple(label_list(seen.labels, total))
    if found is None and seen.scores is not None and labels is not None:
        raise InputError(
            "`classes` of the inputs must be given where labels are not numbers of classes",
            found=f"{len(set(labels))} labels, and {seen.scores.shape[1]} scores of the model",
        )
    return found


def _pairs(near: Near | None) -> list[tuple[list[int], list[float]]]:
    if near is None:
        return []
    return list(zip(near.index.tolist(), near.distance.tolist(), strict=True))
