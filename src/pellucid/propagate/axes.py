"""Which sample elements belong to, where an operation moves whole axes: told by shapes alone.

The ids of samples have length one along axes on which the sample does not change, so they are few;
moving them as the elements move takes no time, where moving a mark for each element would.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from pellucid.tape.operations import Operation

Move = Callable[[Operation, Tensor], list[Tensor]]


def moved(operation: Operation, ids: Tensor) -> list[Tensor] | None:
    """The ids of every output, given those of the first slot; `None` if shapes do not tell."""
    move = MOVES.get(operation.name)
    return None if move is None or 0 in operation.slots[0].shape else move(operation, ids)


def reshaped(ids: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Ids of a tensor of one shape that is read in another, in the same order.

    Axes are cut up and joined in groups of equal size; only groups along which the sample changes
    need their full length.

    >>> import torch
    >>> reshaped(torch.arange(2).reshape(2, 1, 1), (2, 3, 4), (6, 4)).flatten().tolist()
    [0, 0, 0, 1, 1, 1]
    """
    wide, shape = [1] * len(before), [1] * len(after)
    for old, new in _groups(before, after):
        if any(ids.shape[axis] > 1 for axis in old):
            for axis in old:
                wide[axis] = before[axis]
            for axis in new:
                shape[axis] = after[axis]
    return ids.expand(wide).reshape(shape)


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes of two shapes that hold the same number of elements each."""
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        old: list[int] = []
        new: list[int] = []
        left = right = 1
        while not (old or new) or left != right:
            if i < len(before) and (left <= right or j == len(after)):
                old.append(i)
                left, i = left * before[i], i + 1
            else:
                new.append(j)
                right, j = right * after[j], j + 1
        groups.append((old, new))
    return groups


def _view(operation: Operation, ids: Tensor) -> list[Tensor]:
    return [reshaped(ids, operation.slots[0].shape, operation.output.shape)]


def _turn(operation: Operation, ids: Tensor) -> list[Tensor]:
    return [operation.function(ids, *operation.arguments[1:])]


def _expand(operation: Operation, ids: Tensor) -> list[Tensor]:
    return [ids.reshape([1] * (len(operation.output.shape) - ids.ndim) + list(ids.shape))]


def _select(operation: Operation, ids: Tensor) -> list[Tensor]:
    axis, index = operation.arguments[1:3]
    return [ids.select(axis, 0 if ids.shape[axis] == 1 else index)]


def _cut(operation: Operation, ids: Tensor) -> list[Tensor]:
    """Parts along one axis."""
    place = 1 if operation.name == "slice" else 2
    axis = operation.argument(place, operation.keywords.get("dim", 0))
    if ids.shape[axis] == 1:
        return [ids] * len(operation.outputs)
    parts = operation.function(ids, *operation.arguments[1:], **operation.keywords)
    return [parts] if isinstance(parts, Tensor) else list(parts)


def _unbind(operation: Operation, ids: Tensor) -> list[Tensor]:
    axis = operation.argument(1, operation.keywords.get("dim", 0))
    if ids.shape[axis] == 1:
        return [ids.select(axis, 0)] * len(operation.outputs)
    return list(ids.unbind(axis))


# fmt: off
MOVES: dict[str, Move] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "_reshape_alias", "squeeze",
                     "unsqueeze"), _view),
    **dict.fromkeys(("permute", "transpose", "t"), _turn),
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes",
                     "slice"), _cut),
    "expand": _expand, "select": _select, "unbind": _unbind,
}
# fmt: on
