"""Values as JSON and tensors, and back: what a file of an explanation is made of.

What JSON does not know is written as an object with one key, its tag: `{"tuple": [...]}`,
`{"tensor": "output.logits"}`. Each tag is one row of `CODECS`, writing and reading side by side.

Reading cannot run code: the classes that may be named are the registered methods, the frozen
dataclasses and named tuples that are defined inside this package, and rules that the running
program has already defined. Nothing outside of this package is ever imported.
"""

import dataclasses
import importlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import UnknownNameError
from pellucid.method import Method, methods


@dataclass
class Writer:
    """Turns values into JSON; collects the tensors, and what cannot be stored, by their paths."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    foreign: dict[str, object] = field(default_factory=dict)

    def node(self, value: Any, path: str) -> Any:
        """Write one value: as it is if JSON knows it, else under the tag of its codec."""
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, np.bool_ | np.integer | np.float16 | np.float32):
            return self.node(value.item(), path)
        if isinstance(value, float) and math.isfinite(value):
            return float(value)
        if isinstance(value, list):
            return self.items(value, path)
        tag = next((tag for tag, codec in CODECS.items() if codec.applies(value)), None)
        if tag is None:
            self.foreign[path] = value
            return {"foreign": [type(value).__qualname__, id(value)]}
        return {tag: CODECS[tag].write(self, value, path)}

    def items(self, values: Any, path: str) -> list[Any]:
        """Write a sequence."""
        return [self.node(value, f"{path}.{i}") for i, value in enumerate(values)]

    def fields(self, value: Any, path: str = "") -> dict[str, Any]:
        """Write the fields of a dataclass or named tuple, without those that are left out."""
        start = f"{path}." if path else ""
        return {name: self.node(getattr(value, name), start + name) for name in _fields(value)}

    def tensor(self, value: Tensor, path: str) -> str:
        """Put a tensor aside, and return the name it is found under."""
        name = free = re.sub(r"[^\w.-]", "_", path, flags=re.ASCII)
        while free in self.tensors:
            free = f"{name}~{len(self.tensors)}"
        self.tensors[free] = value.detach().resolve_conj().resolve_neg().cpu()
        return free


@dataclass(frozen=True)
class Reader:
    """Turns JSON back into values; anything that is not as it was written raises."""

    tensors: dict[str, Tensor]

    def node(self, node: Any) -> Any:
        """Read one value."""
        if isinstance(node, list):
            return self.items(node)
        if isinstance(node, dict):
            ((tag, inner),) = node.items()
            return CODECS[tag].read(self, inner)
        return node

    def items(self, nodes: list[Any]) -> list[Any]:
        """Read a sequence."""
        return [self.node(node) for node in nodes]

    def build(self, kind: type, fields: dict[str, Any]) -> Any:
        """Make an object from its fields; those that are not in the file get their default."""
        known = _fields(kind)
        for name in fields:
            if name not in known:
                hint = "The file was saved by another version of it."
                raise UnknownNameError(f"A field of {kind.__name__}", name, known, hint=hint)
        return kind(**{name: self.node(node) for name, node in fields.items()})


def _fields(kind: Any) -> list[str]:
    """The fields that make an object what it is: not those that comparing two leaves out."""
    if not dataclasses.is_dataclass(kind):
        return list(kind._fields)
    return [each.name for each in dataclasses.fields(kind) if each.init and _is_part(each)]


def _is_part(each: dataclasses.Field) -> bool:
    nothing = each.default is each.default_factory is dataclasses.MISSING
    return each.compare or nothing


def _is_record(kind: type) -> bool:
    """Frozen dataclasses and named tuples, which hold data and do nothing when they are made."""
    if dataclasses.is_dataclass(kind):
        return kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # set by dataclass
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _find(path: str) -> type | None:
    """A record of this package, imported if need be, or a rule that the program has imported."""
    module, _, name = path.rpartition(".")
    parts = module.split(".")
    if parts[0] != "pellucid":
        from pellucid.propagate.rules import Rule

        return next((rule for rule in _rules(Rule) if _path(rule) == path), None)
    # A module with an underscore in front may be one that acts when it is imported (`__main__`).
    if not all(re.fullmatch(r"[a-z][a-z0-9_]*", part) for part in parts):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    known = isinstance(found, type) and _path(found) == path and _is_record(found)
    return found if known else None


def _rules(kind: type) -> Iterator[type]:
    """All rules that are defined anywhere."""
    subclasses: list[type] = kind.__subclasses__()
    for each in subclasses:
        if _is_record(each):
            yield each
        yield from _rules(each)


def _class(path: str) -> type:
    found = _find(path)
    if found is None:
        hint = "Import the module that defines it before loading, or update pellucid."
        raise UnknownNameError("A class named by a file", path, (), hint=hint)
    return found


def _method(name: str) -> type[Method]:
    known = methods()
    if name not in known:
        hint = "Import the module that registers it before loading."
        raise UnknownNameError("The method that made a file", name, known, hint=hint)
    return known[name]


def _is_registered(value: object) -> bool:
    return isinstance(value, Method) and methods().get(value.name) is type(value)


def _is_plain(value: object) -> bool:
    """A tensor whose numbers lie in memory, of a type that the file format knows."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_meta)
    )


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.name in ARRAYS


def _same_order(array: np.ndarray) -> np.ndarray:
    """A writable copy without gaps, in the byte order of this machine."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _complex_parts(writer: Writer, value: Tensor, path: str) -> str:
    return writer.tensor(torch.view_as_real(value.detach().resolve_conj()), path)


def _set_items(writer: Writer, values: Any, path: str) -> list[Any]:
    """Sets have no order: the one of their JSON is the same every time."""
    return sorted((writer.node(value, path) for value in values), key=json.dumps)


ARRAYS = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)}
ARRAYS |= {"bool", "complex64", "complex128"}


class Codec(NamedTuple):
    """Which values it is for, and how they are written and read."""

    applies: Callable[[Any], bool]
    write: Callable[[Writer, Any, str], Any]
    read: Callable[[Reader, Any], Any]


# The first that applies writes; the tag says which one reads.
CODECS: dict[str, Codec] = {
    "float": Codec(  # infinite or not a number, which JSON does not have
        lambda value: isinstance(value, float),
        lambda writer, value, path: str(float(value)),
        lambda reader, text: float(text),
    ),
    "complex": Codec(
        lambda value: isinstance(value, complex),
        lambda writer, value, path: writer.items([value.real, value.imag], path),
        lambda reader, nodes: complex(*reader.items(nodes)),
    ),
    "complex_tensor": Codec(  # of shape (..., 2)
        lambda value: _is_plain(value) and value.is_complex(),
        _complex_parts,
        lambda reader, name: torch.view_as_complex(reader.tensors[name]),
    ),
    "tensor": Codec(
        _is_plain,
        lambda writer, value, path: writer.tensor(value, path),
        lambda reader, name: reader.tensors[name],
    ),
    "array": Codec(
        _is_array,
        lambda writer, value, path: writer.node(torch.from_numpy(_same_order(value)), path),
        lambda reader, node: reader.node(node).numpy(),
    ),
    "dtype": Codec(
        lambda value: isinstance(value, torch.dtype),
        lambda writer, value, path: str(value).removeprefix("torch."),
        lambda reader, name: torch.empty(0, dtype=getattr(torch, name)).dtype,
    ),
    "device": Codec(
        lambda value: isinstance(value, torch.device),
        lambda writer, value, path: str(value),
        lambda reader, name: torch.device(name),
    ),
    "size": Codec(
        lambda value: isinstance(value, torch.Size),
        lambda writer, value, path: list(value),
        lambda reader, sizes: torch.Size(sizes),
    ),
    "method": Codec(
        _is_registered,
        lambda writer, value, path: [value.name, writer.fields(value, path)],
        lambda reader, pair: reader.build(_method(pair[0]), pair[1]),
    ),
    "object": Codec(
        lambda value: _find(_path(type(value))) is type(value),
        lambda writer, value, path: [_path(type(value)), writer.fields(value, path)],
        lambda reader, pair: reader.build(_class(pair[0]), pair[1]),
    ),
    "tuple": Codec(
        lambda value: isinstance(value, tuple),
        lambda writer, value, path: writer.items(value, path),
        lambda reader, nodes: tuple(reader.items(nodes)),
    ),
    "dict": Codec(
        lambda value: isinstance(value, dict),
        lambda writer, value, path: [
            [writer.node(key, path), writer.node(item, f"{path}.{key}")]
            for key, item in value.items()
        ],
        lambda reader, pairs: {reader.node(key): reader.node(item) for key, item in pairs},
    ),
    "set": Codec(
        lambda value: isinstance(value, set),
        _set_items,
        lambda reader, nodes: set(reader.items(nodes)),
    ),
    "frozenset": Codec(
        lambda value: isinstance(value, frozenset),
        _set_items,
        lambda reader, nodes: frozenset(reader.items(nodes)),
    ),
}
