"""Reaching into the packages that models and names ship in."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from pellucid.errors import MissingExtraError


def find_file(package: str, name: str, *, extra: str = "zoo", alone: str = "") -> Path:
    """The path of a file in an installed package, which is not imported.

    A package whose stated dependencies serve only code of its own is not part of an extra; it is
    installed `alone`, under its name in the index.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder, name)
        if path.is_file():
            return path
    raise MissingExtraError(f"The zoo's {package}", extra=extra, alone=alone)


def import_package(package: str, *, extra: str = "zoo") -> ModuleType:
    """Import a package of an extra."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(f"The zoo's {package}", extra=extra) from error
