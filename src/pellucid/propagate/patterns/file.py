"""Patterns as files: one safetensors file with JSON in its metadata, and never a pickle."""

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import pellucid
from pellucid.archive import check_writable
from pellucid.codec import Reader, Writer
from pellucid.errors import FileError, InputError, UnknownNameError

if TYPE_CHECKING:
    from pellucid.propagate.patterns.patterns import Patterns

# What the JSON is filed under, and the version of its layout.
KEY = "pellucid-patterns"
FORMAT = 1


def save(patterns: "Patterns", path: str | Path) -> Path:
    """Write patterns to one file; nothing half-done is left if that fails."""
    whole = check_writable(path).resolve()
    writer = Writer()
    fields = writer.fields(patterns)
    if writer.foreign:
        raise InputError("Patterns must be made by pellucid to be stored", got=writer.foreign)
    record = {"format": FORMAT, "version": pellucid.__version__, "fields": fields}
    tensors = {name: tensor.contiguous().clone() for name, tensor in writer.tensors.items()}
    # Beside the file, so that the last step only renames it.
    part = whole.with_name(f".pellucid-{secrets.token_hex(8)}.part")
    try:
        save_file(tensors, part, metadata={KEY: json.dumps(record, allow_nan=False)})
        os.replace(part, whole)
    except (OSError, SafetensorError) as error:
        raise FileError(
            f"{str(path)!r} must be a file that can be written",
            got=error,
            hint="Make room, or name another path.",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return Path(path)


def load(path: str | Path) -> "Patterns":
    """Read patterns back, equal to those that were saved."""
    from pellucid.propagate.patterns.patterns import Patterns

    text, tensors = _read(path)
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise FileError(
                f"{str(path)!r} must have format {FORMAT}",
                got=record["format"],
                hint=f"It was saved by pellucid {record['version']}; "
                f"this is {pellucid.__version__}.",
            )
        made: Patterns = Reader(tensors).build(Patterns, record["fields"])
        _ = hash(made), len(made)
    except (FileError, UnknownNameError):
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise FileError(
            f"{str(path)!r} must hold complete patterns", got=e, hint="Save them again."
        ) from e
    return made


def _read(path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """The JSON and the tensors of a file, copied, so that nothing depends on the file any more."""
    must = f"{str(path)!r} must be a file of patterns that pellucid saved"
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise FileError(must, got="a path where there is none", hint="Check the name.") from error
    except (OSError, SafetensorError) as error:
        hint = "Make it with patterns.save(path); a file that was cut short cannot be repaired."
        raise FileError(must, got=error, hint=hint) from error
    if text is None:
        hint = "Make it with patterns.save(path); pellucid.load(path) reads explanations."
        raise FileError(must, got="a safetensors file of something else", hint=hint)
    return text, tensors
