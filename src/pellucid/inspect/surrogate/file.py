"""Surrogates as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.archive import Content, read, write

if TYPE_CHECKING:
    from pellucid.inspect.surrogate.surrogate import Surrogate


def save(surrogate: "Surrogate", path: str | Path) -> Path:
    """Write a surrogate to one file; nothing half-done is left if that fails."""
    return write(_content(), surrogate, path)


def load(path: str | Path) -> "Surrogate":
    """Read a surrogate back, equal to the one that was saved."""
    return read(_content(), path)


def _content() -> "Content[Surrogate]":
    from pellucid.inspect.surrogate.surrogate import Surrogate

    return Content(
        kind=Surrogate,
        name="a surrogate",
        how="surrogate.save(path)",
        key="pellucid-surrogate",
        format=1,
        check=_check,
    )


def _check(made: "Surrogate") -> None:
    """Raise for a surrogate of which parts are missing, or do not fit together."""
    _ = str(made), made.size, made.fidelity
