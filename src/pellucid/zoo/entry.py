"""What a model of the zoo comes with, and the registry of those there are.

Adding one is one function, in a module of this room, under `@register("its_name")`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UnknownNameError
from pellucid.registry import Registry
from pellucid.zoo.photo import Photo
from pellucid.zoo.preprocessing import Preprocessing
from pellucid.zoo.text import TextEntry

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


_REGISTRY: Registry[Callable[[], Entry | TextEntry]] = Registry(
    what="model of the zoo", rooms=("zoo",)
)


def register(name: str) -> Callable[[M], M]:
    """Enter a function that makes an entry into the zoo."""
    return _REGISTRY.register(name)


def names() -> list[str]:
    """The names of all models that can be loaded."""
    return sorted(_REGISTRY.all())


def load(name: str, *, hint: str = "") -> Entry | TextEntry:
    """Load a model by its name, ready to be explained: one that sees photos, or reads text.

    `hint` is said of a name that there is not.
    """
    return _REGISTRY.find(name, hint=hint)()
