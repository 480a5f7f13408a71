"""Rooms whose names are loaded when they are first used."""

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


class Room(ModuleType):
    """A package of which each public name is found in the module that it lives in, when it is used.

    A function may have the name of its module, `influence` in `influence/`: the name then stands
    for the function, also once the module is imported.
    """

    def __getattr__(self, name: str) -> Any:
        homes = self.__dict__["_HOMES"]
        if name not in homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{self.__name__}.{homes[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in self.__dict__.get("_HOMES", ())):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted([*self.__dict__, *self.__dict__["_HOMES"]])


def lazily(package: str, homes: Mapping[str, str]) -> list[str]:
    """Let a package find its public names in these of its modules; return the names, in order.

    >>> import pellucid.inspect
    >>> pellucid.inspect.no_such_name
    Traceback (most recent call last):
    AttributeError: module 'pellucid.inspect' has no attribute 'no_such_name'
    """
    room = sys.modules[package]
    room.__dict__["_HOMES"] = dict(homes)
    room.__class__ = Room
    return sorted(homes)
