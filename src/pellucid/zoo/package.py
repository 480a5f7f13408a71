"""Reaching into the packages that models and names ship in."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from pellucid.errors import MissingExtraError


def find_file(package: str, name: str) -> Path:
    """The path of a file in an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder, name)
        if path.is_file():
            return path
    raise MissingExtraError(f"The zoo's {package}", extra="zoo")


def import_package(package: str) -> ModuleType:
    """Import a package of the extra `zoo`."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(f"The zoo's {package}", extra="zoo") from error
