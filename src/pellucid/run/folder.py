"""The folder of a long run: its settings, and all that it has found; killed anywhere, it goes on.

Every file is written beside its place and then renamed, so that it is there whole or not at all:
JSON, lines of JSON, and safetensors; never a pickle. A lock, which the system takes back from a
process that is killed, keeps a second run out.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pellucid.errors import FileError, InputError, show
from pellucid.file import PART, write_whole

SETTINGS = "settings.json"
LOCK = ".lock"
FREE = "Make room, or name another folder; the run goes on from where it was."


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The files of a run, by name; those in folders of their own by `folder/name`."""

    path: Path

    def has(self, name: str) -> bool:
        """Whether a file is there, which is then whole."""
        return (self.path / name).exists()

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file of JSON lines; none where there is no file."""
        if not self.has(name):
            return []
        lines = (self.path / name).read_text().splitlines()
        return [_parsed(line, self.path / name) for line in lines]

    def write_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all lines of a file of JSON lines anew."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        self._put(name, lambda part: part.write_text(text))

    def read(self, name: str) -> Any:
        """What a file of JSON holds."""
        return _parsed((self.path / name).read_text(), self.path / name)

    def write(self, name: str, value: Any) -> None:
        """Write a file of JSON."""
        text = json.dumps(value, indent=1) + "\n"
        self._put(name, lambda part: part.write_text(text))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a file."""
        try:
            found: dict[str, Tensor] = load_file(self.path / name)
        except (OSError, SafetensorError) as error:
            raise _broken(self.path / name, error) from error
        return found

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors, each as a copy of its own."""
        own = {key: each.detach().cpu().clone().contiguous() for key, each in tensors.items()}
        self._put(name, lambda part: save_file(own, part))

    def _put(self, name: str, write: Callable[[Path], object]) -> None:
        def made(part: Path) -> None:
            part.parent.mkdir(exist_ok=True)
            write(part)

        write_whole(self.path / name, made, hint=FREE)


@contextmanager
def run_folder(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> Iterator[RunFolder]:
    """Open the folder of a run, or make it, for this process alone.

    `settings` are what decides the answers, by name, as JSON. A folder that holds other ones is an
    error which names the first that differs.
    """
    from filelock import FileLock, Timeout

    place = Path(path)
    _check_free(place)
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / LOCK, timeout=0).acquire()
    except Timeout as error:
        raise FileError(
            f"The folder {str(place)!r} must not be in use by another run",
            found="one that another process, or this one, works in",
            hint="Wait for that run to end, or name another folder.",
        ) from error
    except OSError as error:
        raise FileError(
            f"{str(place)!r} must be a folder that can be written to",
            got=error,
            hint="Name another folder.",
        ) from error
    with lock:
        folder = RunFolder(path=place)
        for left in place.rglob(f".*{PART}"):
            left.unlink()
        _check_settings(folder, settings)
        yield folder


def _check_free(place: Path) -> None:
    """Raise for a folder that holds something else than a run."""
    others = [each.name for each in place.iterdir()] if place.is_dir() else []
    if SETTINGS not in others and any(not name.startswith(".") for name in others):
        raise FileError(
            f"The folder {str(place)!r} must be empty, or that of a run",
            found=f"one with {show(sorted(others)[0])} in it and no {SETTINGS}",
            hint="Name a new folder; it is made.",
        )


def _check_settings(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Raise unless the settings are those of the folder; write them into a new one."""
    now = json.loads(json.dumps(settings))
    if not folder.has(SETTINGS):
        folder.write(SETTINGS, now)
        return
    known = folder.read(SETTINGS)
    if not isinstance(known, dict):
        raise _broken(folder.path / SETTINGS, "something else than settings")
    for name in [*now, *(each for each in known if each not in now)]:
        if known.get(name) != now.get(name):
            raise InputError(
                f"`folder` must hold a run of the same settings: {name!r}",
                found=f"{_differing(now.get(name), known.get(name))}, of the run in "
                f"{str(folder.path)!r}",
                hint="Name another folder, or repeat that run with its own settings.",
            )


def _differing(now: Any, known: Any, path: str = "") -> str:
    """The first place at which two values differ, in words: what is now, and what was before."""
    if isinstance(now, dict) and isinstance(known, dict):
        keys = [*now, *(key for key in known if key not in now)]
        key = next(key for key in keys if now.get(key) != known.get(key))
        return _differing(now.get(key), known.get(key), f"{path}{key}: ")
    if isinstance(now, list) and isinstance(known, list) and len(now) == len(known):
        pair = next((a, b) for a, b in zip(now, known, strict=True) if a != b)
        if isinstance(pair[0], dict | list):
            return _differing(*pair, path)
    return f"{path}{show(now)}, and not {show(known)}"


def _parsed(text: str, place: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _broken(place, error) from error


def _broken(place: Path, error: object) -> FileError:
    return FileError(
        f"{str(place)!r} must hold what a run has written",
        got=error,
        hint="Remove this file to compute what is in it again.",
    )
