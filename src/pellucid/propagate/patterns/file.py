"""Patterns as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.archive import Content, read, write

if TYPE_CHECKING:
    from pellucid.propagate.patterns.patterns import Patterns


def save(patterns: "Patterns", path: str | Path) -> Path:
    """Write patterns to one file; nothing half-done is left if that fails."""
    return write(_content(), patterns, path)


def load(path: str | Path) -> "Patterns":
    """Read patterns back, equal to those that were saved."""
    return read(_content(), path)


def _content() -> "Content[Patterns]":
    from pellucid.propagate.patterns.patterns import Patterns

    return Content(
        kind=Patterns,
        name="patterns",
        how="patterns.save(path)",
        key="pellucid-patterns",
        format=1,
        check=_check,
    )


def _check(made: "Patterns") -> None:
    """Raise, as a method that used it would, for patterns of which parts are missing."""
    _ = hash(made), len(made)
