"""Nested inputs and outputs: tensors in tuples, lists, dicts and dataclasses.

Models take and return all of these. They are taken apart at the border, once; inside, one list of
tensors is passed around.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError, show

if TYPE_CHECKING:
    from pellucid.border.schema import Schema

# Tensors in tuples, lists and dicts of any depth.
Structure: TypeAlias = Any
# The keys that lead to a tensor in it.
Keys: TypeAlias = tuple[str | int, ...]

SHARED_NOTE = "`{}` is shared by the samples; its values are zero."


def leaves(tree: Any, path: Keys = ()) -> Iterator[tuple[Keys, Tensor]]:
    """Yield every tensor of a nested output with the path of keys that leads to it."""
    if isinstance(tree, Tensor):
        yield path, tree
    else:
        for key, item in children(tree):
            yield from leaves(item, (*path, key))


def children(tree: Any) -> list[tuple[str | int, Any]]:
    """List the keys and items of one level of a nested output; empty for what holds nothing."""
    if isinstance(tree, Mapping):
        return list(tree.items())
    if is_plain_sequence(tree):
        return list(enumerate(tree))
    if isinstance(tree, tuple):
        return list(zip(tree._fields, tree, strict=True))  # type: ignore[attr-defined]  # named
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    return []


def is_plain_sequence(tree: Any) -> bool:
    """Whether something is a tuple or list whose items have no names."""
    return isinstance(tree, tuple | list) and not hasattr(tree, "_fields")


def transform(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply a function to every tensor; what has names (a dataclass, say) becomes a plain dict."""
    return transform_at(lambda path, tensor: function(tensor), tree)


def transform_at(function: Callable[[Keys, Tensor], Any], tree: Any, path: Keys = ()) -> Any:
    """Apply a function to the path and the tensor at it, for every tensor."""
    if isinstance(tree, Tensor):
        return function(path, tree)
    inner = [(key, transform_at(function, item, (*path, key))) for key, item in children(tree)]
    if is_plain_sequence(tree):
        items = [item for _, item in inner]
        return items if isinstance(tree, list) else tuple(items)
    return dict(inner) if inner else tree


def axis_names(ndim: int, *, inputs: bool = True, channels_last: bool = False) -> list[str]:
    """Name the axes of an input by their number, batch first.

    At a layer, three axes may be those of a signal or of tokens, and get no names.

    >>> axis_names(4)
    ['sample', 'channel', 'height', 'width']
    """
    named = {
        1: [],
        2: ["feature"],
        3: ["channel", "position"],
        4: ["channel", "height", "width"],
        5: ["channel", "depth", "height", "width"],
    }
    if ndim == 3 and not inputs:
        named.pop(3)
    if channels_last:
        named[4] = ["height", "width", "channel"]
    return ["sample", *named.get(ndim, [f"axis {i}" for i in range(1, ndim)])]


def copy_of(tensor: Tensor) -> Tensor:
    """A copy without a graph, which does not change when a model writes to its own output."""
    return tensor.detach().clone()


def outline(tree: Any) -> str:
    """Describe a nested output by its types and shapes, for error messages.

    >>> import torch
    >>> outline({"logits": torch.zeros(2, 5), "loss": None})
    "{'logits': float32[2, 5] on cpu, 'loss': None}"
    """
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key!r}: {outline(item)}" for key, item in tree.items()) + "}"
    if isinstance(tree, tuple | list) and type(tree) in (tuple, list):
        left, right = "()" if isinstance(tree, tuple) else "[]"
        return left + ", ".join(outline(item) for item in tree) + right
    inner = children(tree)
    if inner:
        fields = ", ".join(f"{key}={outline(item)}" for key, item in inner)
        return f"{type(tree).__name__}({fields})"
    return show(tree)


def batch_axes(tree: Any, batch_axis: Any = 0) -> dict[Keys, int | None]:
    """The axis of the samples in every tensor of a structure; `None` where they share it.

    `batch_axis` is one for all, or has the structure of the tensors; a mapping names those that do
    not have it first.

    >>> import torch
    >>> x, state = torch.ones(2, 5, 3), torch.ones(1, 2, 4)
    >>> batch_axes((x, (state, state)), (0, 1))
    {(0,): 0, (1, 0): 1, (1, 1): 1}
    """
    try:
        return {path: axis for path, _, axis in _axes(tree, batch_axis, ())}
    except _MismatchError as error:
        raise InputError(
            "`batch_axis` must be a whole number, None, or these in the structure of the inputs",
            found=f"{batch_axis!r} for {outline(tree)}",
        ) from error


class _MismatchError(Exception):
    """What is declared does not have the structure of the inputs."""


def _axes(tree: Any, axis: Any, path: Keys) -> Iterator[tuple[Keys, Tensor, int | None]]:
    """Every tensor of a structure with its path and the axis declared for it."""
    inner = children(tree)
    if axis is None or (isinstance(axis, int) and not isinstance(axis, bool)):
        given: Any = [axis] * len(inner)
    elif isinstance(axis, Mapping) and set(axis) <= {key for key, _ in inner}:
        given = [axis.get(key, 0) for key, _ in inner]
    elif isinstance(axis, tuple | list) and isinstance(tree, tuple | list):
        given = axis
    else:
        raise _MismatchError
    if isinstance(tree, Tensor):
        yield path, tree, axis
    if len(given) != len(inner):
        raise _MismatchError
    for (key, item), declared in zip(inner, given, strict=True):
        yield from _axes(item, declared, (*path, key))


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """What a model is called with: one tensor, or a nested structure with tensors in it.

    `leaves` are the tensors in order, each moved to have the batch as its first axis; `paths` lead
    to them in the structure `tree` that the user passed, and `axes` say where the batch is there.
    What has no batch axis, `shared`, and all that is no tensor, is passed to the model as it is.
    `schema` says what the columns of a table are, or the words of texts; of tensors there is none.
    """

    leaves: tuple[Tensor, ...]
    tree: Any
    paths: tuple[Keys, ...] = ((),)
    axes: tuple[int, ...] = (0,)
    shared: Mapping[Keys, Tensor] = dataclasses.field(default_factory=dict)
    schema: "Schema | None" = None

    @classmethod
    def of(cls, inputs: Any, batch_axis: Any = 0) -> "Inputs":
        """Take a tensor, or a tuple, list, mapping or dataclass of them; check them once."""
        if isinstance(inputs, Inputs):
            return inputs
        if not isinstance(inputs, Tensor) and not children(inputs):
            raise InputError(
                "`inputs` must be a tensor, a tuple of tensors or a dict of tensors",
                got=inputs,
                hint=_numpy_hint(inputs),
            )
        _check_items(inputs)
        declared = batch_axes(inputs, batch_axis)
        found = [(path, leaf, declared[path]) for path, leaf in leaves(inputs)]
        batched = [(path, leaf, axis) for path, leaf, axis in found if axis is not None]
        if not batched:
            raise InputError(
                "At least one of the inputs must have a batch axis", found=f"{batch_axis!r}"
            )
        made = cls(
            leaves=tuple(_batch_first(*each) for each in batched),
            tree=inputs,
            paths=tuple(path for path, _, _ in batched),
            axes=tuple(axis % leaf.ndim for _, leaf, axis in batched),
            shared={path: leaf for path, leaf, axis in found if axis is None},
        )
        made._check_rows()
        return made

    @classmethod
    def by_name(cls, names: Sequence[str], leaves: Sequence[Tensor]) -> "Inputs":
        """Tensors by keyword, with the batch first; they are not checked."""
        tree = dict(zip(names, leaves, strict=True))
        return cls(
            leaves=tuple(leaves),
            tree=tree,
            paths=tuple((name,) for name in names),
            axes=(0,) * len(names),
        )

    @property
    def rows(self) -> int:
        """The number of samples."""
        return self.leaves[0].shape[0]

    @property
    def names(self) -> tuple[str, ...] | None:
        """The keywords by which the model is called; `None` where it is by position."""
        if isinstance(self.tree, Tensor | tuple | list):
            return None
        return tuple(str(key) for key, _ in children(self.tree))

    @property
    def batch_axis(self) -> Any:
        """Where the batch is in the user's layout, in the form that `batch_axes` reads."""
        if set(self.axes) == {0} and not self.shared:
            return 0
        axes = {**dict(zip(self.paths, self.axes, strict=True)), **dict.fromkeys(self.shared)}
        return _plain(self.tree, lambda path, item: axes.get(path, 0))

    def labels(self) -> tuple[str, ...]:
        """Name each tensor as a user would: `inputs`, `inputs[1][0]` or its keyword."""
        return tuple(label(path) for path in self.paths)

    def pack(self, leaves: Sequence[Tensor]) -> Structure:
        """Put tensors back where they were in the user's structure, batch axis and all."""
        found = {**self._placed(leaves), **self.shared}
        return _plain(self.tree, lambda path, item: found.get(path, item))

    def pack_values(self, values: Sequence[Tensor]) -> Structure:
        """Values in the structure of the inputs: zeros for what is shared, `None` for no tensor."""
        found = self._placed(values)
        found |= {path: tensor.new_zeros(tensor.shape) for path, tensor in self.shared.items()}
        return _plain(self.tree, lambda path, item: found.get(path))

    def notes(self) -> list[str]:
        """What a user should know of inputs that all samples share, and of numbers of classes."""
        known = [] if self.schema is None else self.schema.notes()
        return [*(SHARED_NOTE.format(label(path)) for path in self.shared), *known]

    def replace(self, leaves: Sequence[Tensor]) -> "Inputs":
        """Keep the structure, change the tensors."""
        # Each batch asks for it, and `dataclasses.replace` takes three times as long.
        return Inputs(tuple(leaves), self.tree, self.paths, self.axes, self.shared, self.schema)

    def copied(self) -> "Inputs":
        """Copies that neither change with the user's tensors nor hold their graph."""
        shared = {path: copy_of(tensor) for path, tensor in self.shared.items()}
        return dataclasses.replace(
            self, leaves=tuple(copy_of(leaf) for leaf in self.leaves), shared=shared
        )

    def select(self, rows: Any) -> "Inputs":
        """Keep some samples, by slice or index tensor."""
        return self.replace([leaf[rows] for leaf in self.leaves])

    def call(self, model: Callable[..., Any]) -> Any:
        """Call the model with these tensors, in the structure and layout that the user passed."""
        found = self._placed(self.leaves)
        found |= {path: tensor.clone() for path, tensor in self.shared.items()}
        given = [
            (key, _rebuilt(item, found, (key,)))
            for key, item in ([] if isinstance(self.tree, Tensor) else children(self.tree))
        ]
        if isinstance(self.tree, Tensor):
            return model(found[()])
        if self.names is None:
            return model(*[item for _, item in given])
        return model(**{str(key): item for key, item in given})

    def _placed(self, leaves: Sequence[Tensor]) -> dict[Keys, Tensor]:
        """Tensors by their paths, with the batch on the axis that it has in the user's layout."""
        triples = zip(self.paths, leaves, self.axes, strict=True)
        return {p: x.movedim(0, axis).contiguous() if axis else x for p, x, axis in triples}

    def _check_rows(self) -> None:
        sizes = {leaf.shape[0] for leaf in self.leaves}
        if len(sizes) > 1:
            raise InputError(
                "All inputs must have the same length along the batch, their first axis",
                got=dict(zip(self.labels(), self.leaves, strict=True)),
                hint="Expand what all samples share to the length of the batch, or declare it: "
                "batch_axis=None for what has no batch axis, its number for one that is not first.",
            )


def label(path: Keys) -> str:
    """Name an input as a user would: `inputs`, `inputs[1][0]`, `state[0]`."""
    first, rest = (path[0], path[1:]) if path and isinstance(path[0], str) else ("inputs", path)
    return first + "".join(f"[{key!r}]" for key in rest)


def _plain(tree: Any, function: Callable[[Keys, Any], Any], path: Keys = ()) -> Any:
    """A structure of tuples, lists and dicts, with what a function makes of each item."""
    inner = children(tree)
    items = [(key, _plain(item, function, (*path, key))) for key, item in inner]
    if isinstance(tree, Tensor) or not inner:
        return function(path, tree)
    if isinstance(tree, tuple | list):
        made = [item for _, item in items]
        return made if isinstance(tree, list) else tuple(made)
    return dict(items)


def _rebuilt(tree: Any, found: Mapping[Keys, Tensor], path: Keys) -> Any:
    """A structure of the user's own types, with other tensors."""
    inner = children(tree)
    if isinstance(tree, Tensor) or not inner:
        return found.get(path, tree)
    items = {key: _rebuilt(item, found, (*path, key)) for key, item in inner}
    if isinstance(tree, tuple):
        return type(tree)(*items.values()) if hasattr(tree, "_fields") else tuple(items.values())
    if isinstance(tree, list) or type(tree) is dict:
        return list(items.values()) if isinstance(tree, list) else items
    made = copy.copy(tree)
    for key, item in items.items():
        if isinstance(made, MutableMapping):
            made[key] = item
        else:
            object.__setattr__(made, str(key), item)
    return made


def _batch_first(path: Keys, leaf: Tensor, axis: int) -> Tensor:
    """The tensor with the batch first, if it has one and can be explained."""
    name = label(path)
    if leaf.ndim == 0 or leaf.numel() == 0:
        alone = "For one sample add the axis: inputs.unsqueeze(0)."
        shared = f"Or declare batch_axis=None for `{name}`, if all samples share it."
        raise InputError(
            f"`{name}` must have a batch axis and at least one element",
            got=leaf,
            hint=f"{alone} {shared}" if path else alone,
        )
    if not -leaf.ndim <= axis < leaf.ndim:
        raise InputError(f"`{name}` must have an axis {axis}, its `batch_axis`", got=leaf)
    # The ends alone tell it, in one pass over data of any size, and without room for more of them.
    if leaf.is_floating_point() and not torch.stack(leaf.detach().aminmax()).isfinite().all():
        raise InputError(
            f"`{name}` must be finite",
            found=f"{int((~leaf.isfinite()).sum())} values that are NaN or infinite",
            hint="Clean the data first, for example with torch.nan_to_num(inputs).",
        )
    return leaf.movedim(axis, 0)


def _check_items(inputs: Any) -> None:
    """Raise for arrays, where nothing is a tensor, and for keywords that Python does not take."""
    items: list[tuple[Keys, Any]] = []
    _plain(inputs, lambda path, item: items.append((path, item)))
    some = any(isinstance(item, Tensor) for _, item in items)
    for path, item in items:
        if not isinstance(item, Tensor) and (hasattr(item, "__array__") or not some):
            raise InputError(f"`{label(path)}` must be a tensor", got=item, hint=_numpy_hint(item))
    if isinstance(inputs, Mapping) and not all(isinstance(key, str) for key in inputs):
        raise InputError(
            "A dict of inputs must be one of keyword arguments, by strings", got=list(inputs)
        )


def _numpy_hint(value: object) -> str:
    if type(value).__module__.startswith("numpy"):
        whole = getattr(getattr(value, "dtype", None), "kind", "f") in "iub"
        return f"Convert it with torch.from_numpy(array){'' if whole else '.float()'}."
    return "Stack the samples along a first axis, for example with torch.stack(samples)."
