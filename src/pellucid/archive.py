"""Files of ours: one safetensors file with JSON in its metadata, and never a pickle.

Tensors are stored under the path that leads to them (`values`, `output.logits`), so that any
safetensors reader finds them; all else is JSON, as written by `pellucid.codec`. Explanations are
one kind of content; whoever has another describes it as a `Content`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import pellucid
from pellucid.codec import Reader, Writer
from pellucid.errors import FileError, InputError, UnknownNameError
from pellucid.explanation import Explanation
from pellucid.file import check_writable, write_whole
from pellucid.method import Method
from pellucid.target import Target

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Content(Generic[T]):
    """What a file holds: an object of `kind`, which people call `name`, and save by `how`.

    Its JSON is filed under `key`, with the version `format` of its layout. `check` raises for an
    object that is not whole.
    """

    kind: type[T]
    name: str
    how: str
    key: str
    format: int
    check: Callable[[T], None]


def save(explanation: Explanation, path: str | Path) -> Path:
    """Write an explanation to one file; nothing half-done is left if that fails."""
    return write(EXPLANATION, explanation, path)


def load(path: str | Path) -> Explanation:
    """Read an explanation back, equal to the one that was saved; its tensors are on the CPU.

    A callable target comes back by its name only.
    """
    return read(EXPLANATION, path)


def write(content: Content[T], whole: T, path: str | Path) -> Path:
    """Write an object to one file; nothing half-done is left if that fails."""
    check_writable(path)
    writer = Writer()
    fields = writer.fields(whole)
    if writer.foreign:
        raise InputError(
            "What is stored must be made of tensors, arrays, numbers, strings, None, containers "
            "of these, rules, registered methods and objects of pellucid",
            got=writer.foreign,
            hint="Register a method of your own with @pellucid.register(name).",
        )
    tensors, same = _distinct(writer.tensors)
    head = {"format": content.format, "version": pellucid.__version__}
    record = {**head, "fields": fields, "same": same}
    metadata = {content.key: json.dumps(record, allow_nan=False)}
    return write_whole(path, lambda part: save_file(tensors, part, metadata=metadata))


def read(content: Content[T], path: str | Path) -> T:
    """Read an object back, equal to the one that was written; its tensors are on the CPU."""
    text, tensors = _read(content, path)
    try:
        record = json.loads(text)
        _check_format(content, record, path)
        tensors |= {name: tensors[first] for name, first in record["same"].items()}
        made: T = Reader(tensors).build(content.kind, record["fields"])
        content.check(made)
    except (FileError, UnknownNameError):
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        must = f"{str(path)!r} must hold {content.name}, and all of it"
        raise FileError(must, got=e, hint=f"Save it again, by {content.how}.") from e
    return made


def contents(explanation: Explanation) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take an explanation apart: its fields as JSON, and the tensors that they name.

    Two explanations are equal if these are. What cannot be stored equals only itself.
    """
    writer = Writer()
    return writer.fields(explanation), writer.tensors


def _distinct(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Copies in memory of their own; a tensor that has two names is stored once."""
    first: dict[Any, str] = {}
    same = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if place in first:
            same[name] = first[place]
        first.setdefault(place, name)
    kept = {name: tensor for name, tensor in tensors.items() if name not in same}
    return {n: t.clone(memory_format=torch.contiguous_format) for n, t in kept.items()}, same


def _read(content: Content[T], path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """The JSON and the tensors of a file, copied, so that nothing depends on the file any more."""
    must = f"{str(path)!r} must be a file of {content.name} that pellucid saved"
    how = f"Make it with {content.how}"
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(content.key)
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise FileError(must, got="a path where there is none", hint="Check the name.") from error
    except (OSError, SafetensorError) as error:
        hint = f"{how}; a file that was cut short cannot be repaired."
        raise FileError(must, got=error, hint=hint) from error
    if text is None:
        raise FileError(must, got="a safetensors file of something else", hint=f"{how}.")
    return text, tensors


def _check_format(content: Content[T], record: dict[str, Any], path: str | Path) -> None:
    if record["format"] != content.format:
        raise FileError(
            f"{str(path)!r} must have format {content.format}",
            got=record["format"],
            hint=f"It was saved by pellucid {record['version']}; this is {pellucid.__version__}.",
        )


def _check(made: Explanation) -> None:
    wanted = {"score": Tensor, "target": Target, "method": Method}
    for name, kind in wanted.items():
        if not isinstance(getattr(made, name), kind):
            raise TypeError(f"{name} is not a {kind.__name__}")


EXPLANATION = Content(
    kind=Explanation,
    name="an explanation",
    how="explanation.save(path)",
    key="pellucid",
    format=1,
    check=_check,
)
