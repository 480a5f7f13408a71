"""Targets that would work for an output, for the errors of those that do not."""

from typing import Any

import torch
from torch import Tensor

from pellucid.structure import leaves
from pellucid.target.place import is_detections


def examples(output: Any, rows: int) -> str:
    """Three targets that would work for this output, or why none does."""
    if is_detections(output) and len(output) == rows:
        return _works(_of_detections(output))
    found = [(path, leaf) for path, leaf in leaves(output) if leaf.is_floating_point()]
    if not found:
        return "The output holds no floating-point tensor, so nothing in it can be explained."
    fitting = [
        (axis, path, leaf)
        for axis in (0, 1)
        for path, leaf in found
        if leaf.ndim > axis and leaf.shape[axis] == rows
    ]
    if not fitting:
        return f"No tensor in it has an axis for the {rows} samples: return one row for each."
    axis, path, leaf = fitting[0]
    return _works(_of_tensor(path, leaf, axis))


def _works(tries: list[str]) -> str:
    return "What would work: " + "; ".join(f"target={each}" for each in tries[:3]) + "."


def _of_detections(output: Any) -> list[str]:
    """A box of the first class of each sample, if each has one; sums work in any case."""
    common = set.intersection(
        *[set(each.get("labels", torch.zeros(0)).tolist()) for each in output]
    )
    boxes = all(len(each["scores"]) for each in output)
    return [
        *(["pl.Target.box(0)"] if boxes else []),
        *([f"pl.Target.box(0, {min(common)})"] if common else []),
        "lambda output: torch.stack([each['scores'].sum() for each in output])",
        "lambda output: torch.stack([each['scores'][:1].sum() for each in output])",
        "lambda output: torch.stack([each['scores'].square().sum() for each in output])",
    ]


def _of_tensor(path: tuple[Any, ...], leaf: Tensor, batch_axis: int) -> list[str]:
    """Targets for a tensor at a path, whose samples are on an axis."""
    read = "output" + "".join(f"[{key!r}]" for key in path)
    read += f".movedim({batch_axis}, 0)" if batch_axis else ""
    total = (
        f"lambda output: {read}.flatten(1).sum(1)" if leaf.ndim > 1 else f"lambda output: {read}"
    )
    index = ", ".join(["0"] * (leaf.ndim - 1))
    one = [f"lambda output: {read}[:, {index}]"] if leaf.ndim > 1 else []
    if leaf.ndim < 3:
        named = ["0"] if path or batch_axis else []
        twice = [f"lambda output: 2 * {read}"] if leaf.ndim == 1 else []
        whole = [f"lambda output: {read}[:, :1].mean(1)"] if leaf.ndim == 2 else []
        return [*(_at(path, n, batch_axis) for n in named), total, *one, *twice, *whole]
    pixel = f"pl.Target.region(0, ({index.removeprefix('0, ')}{',' if leaf.ndim == 3 else ''}))"
    token = ["pl.Target.token(0, position=-1)"] if leaf.ndim == 3 else []
    places = [*token, "pl.Target.region(0)", pixel]
    return [*(_at(path, place, batch_axis) for place in places), *one]


def _at(path: tuple[Any, ...], inner: str, batch_axis: int) -> str:
    """Write a target inside an entry of the output."""
    if batch_axis:
        keys = "".join(f"{key!r}, " for key in path)
        return f"pl.Target.path({keys}target={inner}, batch_axis={batch_axis})"
    if not path:
        return inner
    keys = ", ".join(map(repr, path))
    return (
        f"({keys}, {inner})"
        if isinstance(path[0], str)
        else f"pl.Target.path({keys}, target={inner})"
    )
