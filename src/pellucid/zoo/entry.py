"""What a model of the zoo comes with, and the registry of those there are.

Adding one is one function, in a module of this room, under `@register("its_name")`.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UnknownNameError
from pellucid.zoo.photo import Photo
from pellucid.zoo.preprocessing import Preprocessing
from pellucid.zoo.text import TextEntry

_REGISTRY: dict[str, Callable[[], "Entry | TextEntry"]] = {}

M = TypeVar("M", bound="Callable[[], Entry | TextEntry]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A model and what is needed to show it a photograph and to read its answer.

    `preprocess` makes a tensor of shape (1, 3, height, width) of a PIL image or a path; `inverse`
    makes the picture of it again. `classes` has one name for each class of the output, in order.
    """

    name: str
    model: Callable[..., Any]
    preprocess: Preprocessing
    classes: tuple[str, ...] = ()
    source: str = ""
    license: str = ""

    def inverse(self, inputs: Tensor) -> NDArray[np.uint8]:
        """The picture that a preprocessed tensor shows, of shape (height, width, 3)."""
        return self.preprocess.inverse(inputs)

    def picture(self, photo: Photo) -> NDArray[np.uint8]:
        """The part of a photograph that the model sees, of shape (height, width, 3)."""
        return self.inverse(self.preprocess(photo))

    def index(self, name: str) -> int:
        """The class of a name, whatever its case."""
        folded = [known.casefold() for known in self.classes]
        if name.casefold() not in folded:
            raise UnknownNameError("A class", name, self.classes)
        return folded.index(name.casefold())

    def __repr__(self) -> str:
        return f"Entry({self.name!r}, {len(self.classes)} classes)"


def register(name: str) -> Callable[[M], M]:
    """Enter a function that makes an entry into the zoo."""

    def enter(make: M) -> M:
        _REGISTRY[name] = make
        return make

    return enter


def names() -> list[str]:
    """The names of all models that can be loaded."""
    room = importlib.import_module("pellucid.zoo")
    for found in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{room.__name__}.{found.name}")
    return sorted(_REGISTRY)


def load(name: str) -> Entry | TextEntry:
    """Load a model by its name, ready to be explained: one that sees photos, or reads text."""
    known = names()
    if name not in known:
        raise UnknownNameError("A model of the zoo", name, known)
    return _REGISTRY[name]()
