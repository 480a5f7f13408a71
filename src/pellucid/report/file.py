"""Writing a file whole or not at all, and knowing before the work that it can be written."""

import os
import tempfile
from pathlib import Path

from pellucid.errors import FileError, InputError

# A file is written under a longer name first; most systems end names at 255 bytes.
LONGEST_NAME = 230


def check_writable(path: str | Path) -> Path:
    """Raise unless a file can be written at a path; nothing is left there by the check."""
    if not isinstance(path, str | os.PathLike):
        raise InputError("`path` must be a path", got=path)
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        raise FileError(
            f"{path} must be a file to write",
            got="a folder",
            hint=f"For example {path / 'report'}.",
        )
    if not folder.is_dir():
        raise FileError(
            f"The folder of {path} must exist", got=str(folder), hint=f"Make it: mkdir -p {folder}."
        )
    try:
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise OSError("its name is too long")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("the file is read-only")
        # Asking for permission is not enough: full and read-only disks show when written to.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(path, error) from error
    return path


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write a file beside its place and move it there, so that no half of it is ever seen."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _refused(path: Path, error: OSError) -> FileError:
    return FileError(
        f"{path} must be a place that can be written to",
        got=error,
        hint="Choose another place, or free this one.",
    )
