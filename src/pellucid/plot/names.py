"""What the players of a sample are called in pictures, and the number that each has of it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.features import Players
from pellucid.plot.color import MINUS, Floats
from pellucid.structure import leaves

# Between the name of a feature and its value.
EQUALS = " = "


def given(explanation: Explanation) -> Floats:
    """The number of the input that each player is, of shape (sample, player).

    It is not a number where a player is of several elements, or of none, or not of a table.
    """
    features = explanation.features
    if features is None:
        return np.zeros((len(explanation), 0))
    found = torch.full((len(explanation), features.count), torch.nan, dtype=torch.float64)
    if explanation.grouping is not None:  # a word is none of the numbers of its tokens
        return found.numpy()
    for labels, leaf in zip(features.labels, _inputs(explanation), strict=True):
        if leaf is not None and leaf.ndim == 2 and leaf.is_floating_point():
            found = torch.where(found.isnan(), _of_table(labels, leaf, features.count), found)
    return found.numpy()


def categories(explanation: Explanation) -> tuple[tuple[str, ...], ...]:
    """For each player, the categories of which its numbers are the codes; none where they are not.

    Players of several columns have none.
    """
    features, schema = explanation.features, explanation.schema
    if features is None:
        return ()
    found: list[tuple[str, ...]] = [()] * features.count
    if schema is not None and schema.categories:
        columns = features.labels[0][0].tolist()
        for player, own in zip(columns, schema.categories, strict=True):
            if columns.count(player) == 1 and player >= 0:
                found[player] = tuple("missing" if c is None else str(c) for c in own)
    return tuple(found)


def _inputs(explanation: Explanation) -> list[Tensor | None]:
    """The input tensors with their samples first; nothing of one that all samples share."""
    found = dict(leaves(explanation.batch_first().inputs))
    return [
        leaf.detach().cpu() if (leaf := found.get(path)) is not None else None
        for path, _ in leaves(explanation.inputs)
    ]


def _of_table(labels: Tensor, leaf: Tensor, count: int) -> Tensor:
    """The number of each player that is one column of a table (sample, column)."""
    places = torch.where(labels < 0, count, labels).cpu().expand(len(leaf), -1)
    shape = (len(leaf), count + 1)
    sums = torch.zeros(shape, dtype=torch.float64).scatter_add_(1, places, leaf.double())
    sizes = torch.zeros(shape).scatter_add_(1, places, torch.ones(places.shape))
    return torch.where(sizes == 1, sums, torch.nan)[:, :-1]


def plain(
    explanation: Explanation, row: int = 0, names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The names of a sample's players, without their values.

    `names` of the user are those of the columns of a table, or of the players.
    """
    features = _features(explanation)
    found = features.named(row)
    if names is not None:
        return _named(features.select(torch.tensor([row])), len(found), [str(n) for n in names])
    if features.names:
        return tuple(name.partition(EQUALS)[0] for name in found)
    return tuple(f"feature {name}" for name in found)


def _features(explanation: Explanation) -> Players:
    if explanation.features is None:
        raise InputError("An explanation must be of players to name them", got=explanation.method)
    return explanation.features


def _named(features: Players, count: int, names: list[str]) -> tuple[str, ...]:
    """Name the players of one sample as the user does."""
    columns = features.labels[0][0]
    if columns.ndim == 1 and len(names) == len(columns):
        if features.names:
            return tuple(name.partition(EQUALS)[0] for name in features.named(0))
        places = [(columns == player).nonzero().flatten().tolist() for player in range(count)]
        return tuple(" + ".join(names[i] for i in own) for own in places)
    if len(names) != count:
        raise InputError(
            f"`names` (in a report: `features`) must name all {count} players", got=len(names)
        )
    return tuple(names)


def with_values(
    explanation: Explanation, *, row: int = 0, names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Name the players of a sample, each with the number it has: "age = 39"."""
    own = _features(explanation).named(row)
    if names is None and any(EQUALS in name for name in own):
        return tuple(own)  # who made these names has put the values there
    numbers = given(explanation[row])[0]
    found = plain(explanation, row, names)
    return tuple(valued(name, value) for name, value in zip(found, numbers, strict=False))


def valued(name: str, value: float) -> str:
    """A name with its number, if it has one.

    >>> valued("age", 39.0), valued("age", float("nan"))
    ('age = 39', 'age')
    """
    return name if np.isnan(value) else f"{name}{EQUALS}{plain_number(value)}"


def plain_number(value: float) -> str:
    """A number of the user's data: as many digits as it has, up to six.

    >>> plain_number(1984.0), plain_number(0.25)
    ('1984', '0.25')
    """
    return f"{value:.6g}".replace("-", MINUS)
