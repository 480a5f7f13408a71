"""What decides the answers of a run, as JSON: methods, data, models and functions by name."""

import dataclasses
import functools
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.codec import Writer


def described(value: Any) -> Any:
    """A value as JSON that is the same for the same value, in every process.

    Tensors and arrays count by their content, functions and classes by their name and module,
    modules and estimators by how they show themselves.

    >>> described(len), described((1, "a"))
    ('builtins.len', [1, 'a'])
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    writer = Writer()
    node = writer.node(value, "value")
    if not writer.foreign:
        prints = {name: fingerprint(each) for name, each in writer.tensors.items()}
        return [node, prints] if prints else _plain(node)
    if isinstance(value, tuple | list):
        return [described(each) for each in value]
    if isinstance(value, dict):
        return {str(key): described(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {f.name: described(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {_name(type(value)): own}
    if isinstance(value, functools.partial):
        return [described(value.func), described(value.args), described(value.keywords)]
    if hasattr(value, "__qualname__"):
        return _name(value)
    shows = isinstance(value, nn.Module) or hasattr(value, "get_params")
    return repr(value) if shows else _name(type(value))


def fingerprint(tensor: Tensor) -> str:
    """A short text that differs where type, shape or content of tensors differ."""
    plain = tensor.detach().cpu().contiguous()
    made = hashlib.sha256(f"{plain.dtype} {list(plain.shape)}".encode())
    if plain.numel():
        content: Any = plain.reshape(-1).view(torch.uint8).numpy()
        made.update(content)
    return made.hexdigest()[:16]


def _plain(node: Any) -> Any:
    """JSON without the tag of tuples, which are lists there anyway."""
    if isinstance(node, dict) and list(node) == ["tuple"]:
        return _plain(node["tuple"])
    return [_plain(each) for each in node] if isinstance(node, list) else node


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
