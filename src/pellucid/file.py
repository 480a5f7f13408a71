"""Writing a file whole or not at all, and knowing before the work that it can be written."""

import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError

from pellucid.errors import FileError, InputError

# What a file is called while it is written, beside its place; ours alone, so that it can be found.
PART = ".part"
FREE = "Make room, or name another path."


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Raise unless a file can be written at a path; nothing is left there by the check."""
    if not isinstance(path, str | os.PathLike):
        raise InputError("`path` must be a path", got=path)
    path = Path(path)
    try:
        _check_place(path)
        # Asking for permission is not enough: full and read-only disks show when written to.
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except FileError:
        raise
    except OSError as error:
        raise _refused(path, error) from error
    return path


def _check_place(path: Path) -> None:
    """Raise for a path that names something else than a file that may be written."""
    there = path.exists()
    if path.is_dir():
        raise _refused(path, "a folder", f"Add the name of a file: {path / 'name'}.")
    if there and not path.is_file():
        raise _refused(path, "a device", "Name another path.")
    if not path.parent.is_dir():
        raise FileError(
            f"The folder of {str(path)!r} must exist",
            got=str(path.parent),
            hint=f"Make it: mkdir -p {path.parent}.",
        )
    if there and not os.access(path, os.W_OK):
        raise PermissionError("the file is read-only")


def write_whole(
    path: str | os.PathLike[str], write: Callable[[Path], object], *, hint: str = FREE
) -> Path:
    """Let `write` make a file beside a path and move it there: no half of it is ever seen.

    A link is followed. `hint` is what to do where that fails.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/a.txt", lambda part: part.write_text("whole")).read_text()
    'whole'
    """
    place = Path(path).resolve()
    part = place.with_name(f".{secrets.token_hex(8)}{PART}")
    try:
        write(part)
        os.replace(part, place)
    except (OSError, SafetensorError) as error:
        raise _refused(Path(path), error, hint) from error
    finally:
        with suppress(OSError):  # of a part that was never made, or has been moved
            part.unlink()
    return Path(path)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write bytes to a file, whole or not at all."""
    return write_whole(path, lambda part: part.write_bytes(content))


def _refused(path: Path, why: object, hint: str = FREE) -> FileError:
    return FileError(f"{str(path)!r} must be a file that can be written", got=why, hint=hint)
