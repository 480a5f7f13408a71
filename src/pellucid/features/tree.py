"""Trees over players: which of them belong together, and those groups again, up to one."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError, show
from pellucid.features.players import Players
from pellucid.structure import Inputs

# A player by its number, or a group of trees.
Tree: TypeAlias = int | tuple["Tree", ...]

# Columns that have no correlation with others, because they are constant, are this far from them.
UNRELATED = 1.0


def halves(players: Players, inputs: Inputs) -> list[Tree]:
    """Halve the players of each sample by where they are, again and again, one tree a sample.

    A group is cut across its longest axis, between two players, as near to the middle as may be:
    an image into left and right or top and bottom, a text or a table into first and last. Several
    inputs are apart at the top.

    >>> x = Inputs.of(torch.zeros(1, 4))
    >>> halves(Players(labels=(torch.tensor([[0, 1, 2, 3]]),), count=4), x)
    [((0, 1), (2, 3))]
    """
    made = [_halved(players, row) for row in range(1 if players.shared else inputs.rows)]
    return made * inputs.rows if len(made) < inputs.rows else made


def correlated(players: Players, inputs: Inputs, data: Sequence[Tensor]) -> list[Tree]:
    """Join the players that go together in data, the closest first, one tree for all samples.

    `data` has, for each input, rows of its shape; a player is described by the sum of its elements
    as standard scores. The distance of two players is 1 - |correlation|, that of two groups the
    mean over their pairs (average linkage).

    >>> x = torch.tensor([[1.0, 5.0, 2.0], [2.0, 1.0, 4.0], [3.0, 4.0, 6.1]])
    >>> tree = correlated(Players(labels=(torch.arange(3)[None],), count=3), Inputs.of(x), [x])
    >>> tree[0]
    (1, (0, 2))
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    rows = {len(each) for each in data}
    if not players.shared or len(data) != len(players.labels) or len(rows) != 1 or min(rows) < 3:
        raise InputError(
            "A tree by correlation must be of players that all samples share, and of data with at "
            "least three rows for each input",
            got=list(data),
            hint="Without such data take halves.",
        )
    if players.count < 2:
        return [_joined(list(range(players.count)))] * inputs.rows
    scores = _sums(players, [_standard(each) for each in data])
    distance = 1 - torch.corrcoef(scores.T).abs()
    distance = distance.nan_to_num(UNRELATED).fill_diagonal_(0).clamp(0, 1)
    steps = linkage(squareform(distance.cpu().numpy(), checks=False), "average")
    nodes: list[Tree] = list(range(players.count))
    for left, right in steps[:, :2].astype(int).tolist():
        nodes.append((nodes[left], nodes[right]))
    return [nodes[-1]] * inputs.rows


def flat(players: Players, inputs: Inputs) -> list[Tree]:
    """All players in one group, for each sample: the tree that makes no difference."""
    counts = players.counts.expand(inputs.rows).tolist()
    return [tuple(range(count)) for count in counts]


def checked(given: Any, players: Players, inputs: Inputs) -> list[Tree]:
    """A tree of the user's, for all samples, that holds each player once, by number or by name.

    >>> features = Players(labels=(torch.arange(3)[None],), count=3, names=(("a", "b", "c"),))
    >>> checked((("a", "c"), "b"), features, Inputs.of(torch.zeros(2, 3)))
    [((0, 2), 1), ((0, 2), 1)]
    """
    made = []
    for row in range(1 if players.shared and len(players.names) < 2 else inputs.rows):
        count = int(players.counts.expand(inputs.rows)[row])
        made.append(_numbered(given, players.named(row)))
        found = sorted(members(made[-1]))
        if found != list(range(count)):
            missing = [each for each in range(count) if each not in found]
            twice = sorted({each for each in found if found.count(each) > 1})
            raise InputError(
                f"A tree must hold each of the {count} players once",
                found=f"none for {missing}" if missing else f"{twice} twice",
                hint="Groups are tuples of players, by number or name, and of groups.",
            )
    return made * inputs.rows if len(made) < inputs.rows else made


def members(tree: Tree) -> Iterator[int]:
    """The players of a tree, from left to right.

    >>> list(members(((0, 2), 1)))
    [0, 2, 1]
    """
    if isinstance(tree, int):
        yield tree
    else:
        for each in tree:
            yield from members(each)


def _numbered(given: Any, names: tuple[str, ...]) -> Tree:
    """The same tree with numbers in the place of names."""
    if isinstance(given, tuple | list) and given:
        return tuple(_numbered(each, names) for each in given)
    if isinstance(given, str):
        if names.count(given) != 1:
            raise UnknownNameError("A player of a tree", given, names)
        return names.index(given)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < len(names):
        raise InputError(
            f"A tree must be made of tuples of players, by name or from 0 to {len(names) - 1}",
            found=show(given),
        )
    return given


def _halved(players: Players, row: int) -> Tree:
    """The tree of one sample."""
    parts, seen = [], torch.zeros(players.count, dtype=torch.bool)
    for labels in players.labels:
        numbers, places = _places(labels[row if len(labels) > 1 else 0].cpu())
        new = ~seen[numbers]  # a player of several inputs is where it is first
        seen[numbers] = True
        if bool(new.any()):
            parts.append(_cut(numbers[new], places[new]))
    return _joined(parts)


def _joined(parts: list[Any]) -> Tree:
    return parts[0] if len(parts) == 1 else tuple(parts)


def _places(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The players of one sample, and the mean place of each, of shape (player, axis)."""
    there = (labels >= 0).nonzero()
    numbers, index, sizes = labels[labels >= 0].unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(numbers), there.shape[1], dtype=torch.float64)
    sums.index_add_(0, index, there.double())
    return numbers, sums / sizes.unsqueeze(1)


def _cut(numbers: Tensor, places: Tensor) -> Tree:
    """Halve players across the axis on which they are furthest apart."""
    if len(numbers) == 1:
        return int(numbers)
    axis = int((places.amax(0) - places.amin(0)).argmax())
    order = places[:, axis].argsort(stable=True)
    numbers, places = numbers[order], places[order]
    along, middle = places[:, axis], len(numbers) / 2
    cuts = (along.diff() > 1e-9).nonzero().flatten() + 1
    place = int(cuts[(cuts - middle).abs().argmin()]) if len(cuts) else len(numbers) // 2
    return _cut(numbers[:place], places[:place]), _cut(numbers[place:], places[place:])


def _standard(data: Tensor) -> Tensor:
    """Rows as standard scores; what is constant is zero."""
    flat_ = data.to(torch.float64)
    scale = flat_.std(0)
    return (flat_ - flat_.mean(0)) / torch.where(scale > 0, scale, 1)


def _sums(players: Players, data: Sequence[Tensor]) -> Tensor:
    """The sum over the elements of each player, of shape (row, player)."""
    sums = data[0].new_zeros(len(data[0]), players.count + 1)
    for each, labels in zip(data, players.labels, strict=True):
        places = torch.where(labels < 0, players.count, labels).to(each.device)
        flat_ = places.expand(1, *each.shape[1:]).reshape(-1)
        sums.index_add_(1, flat_, each.reshape(len(each), -1))
    return sums[:, :-1]
