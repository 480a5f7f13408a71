"""What the tape itself tells of layouts: grids followed from convolutions through moved axes.

A convolution returns channels first, which is certain; from there on views, transposes, class
tokens that are joined to patches, dense layers and all that keeps the shape are followed.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod

from pellucid.cam.layout import Layout
from pellucid.tape.adjoints import CONVOLUTIONS
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

Layouts = dict[Value, Layout]

# These keep the shape perhaps, but not the places.
SCRAMBLING = {
    "flip", "roll", "index", "index_select", "gather", "scatter", "sort", "topk", "bmm", "mm",
    "addmm", "baddbmm", "as_strided", "repeat", "cumsum", "expand", "select", "unfold",
    "pixel_shuffle",
}  # fmt: skip
RESIZING = ("pool", "upsample")


def layouts(tape: Tape) -> Layouts:
    """The layouts of all values of which the tape tells it."""
    found: Layouts = {}
    for operation in tape.operations:
        for value in operation.outputs[:1]:
            layout = None if value is None else _layout(operation, value, found)
            if value is not None and layout is not None and value.carries:
                found[value] = layout
    return found


def resizes(operation: Operation) -> bool:
    """Whether an operation pools or interpolates."""
    return any(word in operation.name for word in RESIZING)


def _layout(operation: Operation, out: Value, found: Layouts) -> Layout | None:
    if operation.name in CONVOLUTIONS or resizes(operation):
        return Layout.channels_first(out.shape) if len(out.shape) > 2 else None
    if operation.name in MOVES:
        return MOVES[operation.name](operation, out, found)
    if operation.name in SCRAMBLING:
        return None
    return _kept(operation, out, found)


def _kept(operation: Operation, out: Value, found: Layouts) -> Layout | None:
    """What keeps the shape keeps the layout."""
    alike = (found[v] for v in operation.slots if v in found and v.shape == out.shape)
    return next(alike, None)


def _permute(operation: Operation, out: Value, found: Layouts) -> Layout | None:
    axes = [axis % len(out.shape) for axis in operation.arguments[1]]
    layout = found.get(operation.slots[0])
    return None if layout is None else layout.permuted(axes)


def _transpose(operation: Operation, out: Value, found: Layouts) -> Layout | None:
    layout, axes = found.get(operation.slots[0]), list(range(len(out.shape)))
    if layout is None:
        return None
    a, b = (axis % len(axes) for axis in operation.arguments[1:3])
    axes[a], axes[b] = axes[b], axes[a]
    return layout.permuted(axes)


def _cat(operation: Operation, out: Value, found: Layouts) -> Layout | None:
    """Join channels, or tokens to the tokens of a grid."""
    axis = operation.argument(1, 0) % len(out.shape)
    parts = [found.get(value) for value in operation.slots]
    layout = next((part for part in parts if part is not None), None)
    if layout is None or axis == layout.channel:
        return layout
    if layout.positions != (axis,) or sum(part is not None for part in parts) > 1:
        return None
    before = operation.slots[: parts.index(layout)]
    return replace(layout, start=layout.start + sum(value.shape[axis] for value in before))


def _slice(operation: Operation, out: Value, found: Layouts) -> Layout | None:
    """Cut off tokens beside the grid, or channels."""
    (value,), axis = operation.slots, operation.argument(1, 0) % len(out.shape)
    layout = found.get(value)
    if layout is None or out.shape == value.shape or axis == layout.channel:
        return layout
    begin = operation.argument(2) or 0
    start = layout.start - (begin % value.shape[axis] if begin < 0 else begin)
    whole = start >= 0 and start + prod(layout.grid) <= out.shape[axis]
    if layout.positions != (axis,) or operation.argument(4, 1) != 1 or not whole:
        return None
    return replace(layout, start=start)


def _view(operation: Operation, out: Value, found: Layouts) -> Layout | None:
    """Flatten a grid to tokens, or unfold it again; or the way back from a dense layer."""
    value = operation.slots[0]
    layout = found.get(value)
    if layout is None:
        return _after_instance_norm(value, out, found) or _after_dense(value, out, found)
    if out.shape == value.shape:
        return layout
    first = layout.positions[0]
    shape, count = tuple(value.shape), len(layout.positions)
    flat = (*shape[:first], prod(layout.grid), *shape[first + count :])
    grid = (*shape[:first], *layout.grid, *shape[first + count :])
    if not layout.tokens and layout.positions == tuple(range(first, first + count)):
        return _spread(layout, 1) if tuple(out.shape) == flat else None
    plain = layout.tokens and shape[first] == prod(layout.grid)
    return _spread(layout, len(layout.grid)) if plain and tuple(out.shape) == grid else None


def _spread(layout: Layout, count: int) -> Layout:
    """The layout with its positions on so many axes instead."""
    first, more = layout.positions[0], count - len(layout.positions)
    return replace(
        layout,
        positions=tuple(range(first, first + count)),
        channel=layout.channel + (more if layout.channel > first else 0),
        batch=layout.batch + (more if layout.batch > first else 0),
    )


def _after_instance_norm(value: Value, out: Value, found: Layouts) -> Layout | None:
    """Follow maps through a norm that has samples as channels of one, there and back."""
    norm = value.producer
    folded = norm.slots[0].producer if norm and norm.name == "native_batch_norm" else None
    if folded is None or folded.name not in VIEWS or folded.slots[0].shape != out.shape:
        return None
    return found.get(folded.slots[0])


def _after_dense(value: Value, out: Value, found: Layouts) -> Layout | None:
    """Follow (batch, token, feature) through a dense layer, which sees (batch x token, feature)."""
    dense = value.producer
    if dense is None or dense.name not in ("addmm", "mm"):
        return None
    for slot in dense.slots:
        view = slot.producer
        if view is None or view.name not in VIEWS:
            continue
        layout, shape = found.get(view.slots[0]), view.slots[0].shape
        if layout is not None and layout.channel == len(shape) - 1 and shape[:-1] == out.shape[:-1]:
            return layout
    return None


VIEWS = ("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten")
MOVES: dict[str, Callable[[Operation, Value, Layouts], Layout | None]] = {
    "permute": _permute,
    "transpose": _transpose,
    "t": lambda operation, out, found: None,
    "cat": _cat,
    "slice": _slice,
    **dict.fromkeys(VIEWS, _view),
}
