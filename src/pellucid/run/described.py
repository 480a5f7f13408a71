"""What decides the answers of a run, as JSON: methods, data, models and functions by name."""

import dataclasses
import functools
import hashlib
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.codec import Writer

# What a process shows of where an object is, which another process shows otherwise.
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PLAIN = (type(None), bool, int, float, str)


def described(value: Any) -> Any:
    """A value as JSON that is the same for the same value, in every process.

    Tensors, arrays and frames count by their content, modules by how they show themselves,
    estimators by their parameters, functions and classes by their name and module. Of what
    functions enclose and other objects hold, numbers and words count.

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
    if hasattr(value, "iloc"):
        return [_name(type(value)), _of_frame(value)]
    if isinstance(value, nn.Module):
        return ADDRESS.sub("", repr(value))
    if hasattr(value, "get_params") and not isinstance(value, type):
        own = value.get_params(deep=False)  # all of them: its text is cut short
        return {_name(type(value)): {key: described(each) for key, each in own.items()}}
    return _of_object(value)


def _of_object(value: Any) -> Any:
    """A function, with what it encloses or whose method it is; or an object, with what it holds."""
    if not hasattr(value, "__qualname__"):
        return _held(_name(type(value)), getattr(value, "__dict__", {}))
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type | types.ModuleType):
        return [_name(value), described(owner)]
    if not isinstance(value, types.FunctionType):
        return _name(value)
    return _held(_name(value), inspect.getclosurevars(value).nonlocals)


def _held(name: str, content: Mapping[str, Any]) -> Any:
    """A name, and the numbers and words that go with it; what else does may change as it runs."""
    plain = {key: each for key, each in content.items() if isinstance(each, PLAIN)}
    return {name: plain} if plain else name


def _of_frame(frame: Any) -> str:
    """The print of the content of a data frame or a series."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    names = f"{list(frame.columns)} {list(frame.dtypes)}" if frame.ndim > 1 else str(frame.dtype)
    return hashlib.sha256(names.encode() + rows.tobytes()).hexdigest()[:16]


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
