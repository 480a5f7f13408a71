"""Nested inputs and outputs: tensors in tuples, lists, dicts and dataclasses.

Models take and return all of these. They are taken apart here, once, at the border; inside, one
list of tensors is passed around.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from torch import Tensor

from pellucid.errors import InputError, show

Structure: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


def leaves(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple, Tensor]]:
    """Yield every tensor of a nested output with the path of keys that leads to it."""
    if isinstance(tree, Tensor):
        yield path, tree
    else:
        for key, item in children(tree):
            yield from leaves(item, (*path, key))


def children(tree: Any) -> list[tuple[str | int, Any]]:
    """List the keys and items of one level of a nested output; empty for what holds nothing."""
    if isinstance(tree, dict):
        return list(tree.items())
    if isinstance(tree, tuple | list):
        return list(enumerate(tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    return []


def transform(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply a function to every tensor; dataclasses and mappings become plain dicts."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple | list):
        items = [transform(function, item) for item in tree]
        return items if isinstance(tree, list) else tuple(items)
    inner = children(tree)
    return {key: transform(function, item) for key, item in inner} if inner else tree


def copy_of(tensor: Tensor) -> Tensor:
    """A copy without a graph, which does not change when a model writes to its own output."""
    return tensor.detach().clone()


def outline(tree: Any) -> str:
    """Describe a nested output by its types and shapes, for error messages.

    >>> import torch
    >>> outline({"logits": torch.zeros(2, 5), "loss": None})
    "{'logits': float32[2, 5] on cpu, 'loss': None}"
    """
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {outline(item)}" for key, item in tree.items()) + "}"
    if isinstance(tree, tuple | list) and type(tree) in (tuple, list):
        left, right = "()" if isinstance(tree, tuple) else "[]"
        return left + ", ".join(outline(item) for item in tree) + right
    inner = children(tree)
    if inner:
        fields = ", ".join(f"{key}={outline(item)}" for key, item in inner)
        return f"{type(tree).__name__}({fields})"
    return show(tree)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The tensors a model is called with: one, several by position, or several by keyword.

    `leaves` are the tensors in order, each with the batch as its first axis; `names` are their
    keywords, or `None` where they are positional; `single` says that they came as one tensor.
    """

    leaves: tuple[Tensor, ...]
    names: tuple[str, ...] | None = None
    single: bool = True

    @classmethod
    def of(cls, inputs: Any) -> "Inputs":
        """Take a tensor, a tuple or list of tensors, or a dict of tensors; check them once."""
        if isinstance(inputs, Inputs):
            return inputs
        if isinstance(inputs, Tensor):
            made = cls((inputs,))
        elif isinstance(inputs, dict) and inputs:
            made = cls(tuple(inputs.values()), tuple(inputs), single=False)
        elif isinstance(inputs, tuple | list) and inputs:
            made = cls(tuple(inputs), single=False)
        else:
            raise InputError(
                "`inputs` must be a tensor, a tuple of tensors or a dict of tensors",
                got=inputs,
                hint=_numpy_hint(inputs),
            )
        made._check()
        return made

    @property
    def rows(self) -> int:
        """The number of samples."""
        return self.leaves[0].shape[0]

    def labels(self) -> tuple[str, ...]:
        """Name each tensor as a user would: `inputs`, `inputs[0]` or its keyword."""
        if self.names is not None:
            return self.names
        return (
            ("inputs",) if self.single else tuple(f"inputs[{i}]" for i in range(len(self.leaves)))
        )

    def pack(self, leaves: list[Tensor] | tuple[Tensor, ...]) -> Structure:
        """Put tensors back into the structure that the user passed."""
        if self.names is not None:
            return dict(zip(self.names, leaves, strict=True))
        return leaves[0] if self.single else tuple(leaves)

    def replace(self, leaves: list[Tensor] | tuple[Tensor, ...]) -> "Inputs":
        """Keep the structure, change the tensors."""
        return dataclasses.replace(self, leaves=tuple(leaves))

    def copied(self) -> "Inputs":
        """Copies that neither change with the user's tensors nor hold their graph."""
        return self.replace([leaf.detach().clone() for leaf in self.leaves])

    def select(self, rows: Any) -> "Inputs":
        """Keep some samples, by slice or index tensor."""
        return self.replace([leaf[rows] for leaf in self.leaves])

    def call(self, model: Callable[..., Any]) -> Any:
        """Call the model with these tensors."""
        if self.names is not None:
            return model(**dict(zip(self.names, self.leaves, strict=True)))
        return model(*self.leaves)

    def _check(self) -> None:
        for label, leaf in zip(self.labels(), self.leaves, strict=True):
            if not isinstance(leaf, Tensor):
                raise InputError(f"`{label}` must be a tensor", got=leaf, hint=_numpy_hint(leaf))
            if leaf.ndim == 0 or leaf.numel() == 0:
                raise InputError(
                    f"`{label}` must have a batch axis and at least one element",
                    got=leaf,
                    hint="For one sample add the axis: inputs.unsqueeze(0).",
                )
            if leaf.is_floating_point() and not leaf.isfinite().all():
                raise InputError(
                    f"`{label}` must be finite",
                    found=f"{int((~leaf.isfinite()).sum())} values that are NaN or infinite",
                    hint="Clean the data first, for example with torch.nan_to_num(inputs).",
                )
        sizes = {leaf.shape[0] for leaf in self.leaves}
        if len(sizes) > 1:
            raise InputError(
                "All inputs must have the same length along the batch, their first axis",
                got=dict(zip(self.labels(), self.leaves, strict=True)),
                hint="Expand what all samples share to the length of the batch.",
            )


def _numpy_hint(value: object) -> str:
    if type(value).__module__.startswith("numpy"):
        return "Convert it with torch.from_numpy(array).float()."
    return "Stack the samples along a first axis, for example with torch.stack(samples)."
