"""Composites: which rule goes to which operation with weights. Data, no code."""

from dataclasses import dataclass
from typing import Literal

from pellucid.errors import InputError, UnknownNameError
from pellucid.propagate.rules import Epsilon, Flat, Rule, ZPlus

# What a rule may be given to, the most special first: the operations that no other one precedes,
# convolutions of any dimension, matrix products, all.
Where = Literal["first", "convolution", "dense", "any"]
PLACES = ("first", "convolution", "dense", "any")


@dataclass(frozen=True, kw_only=True)
class Composite:
    """A named, ordered assignment of rules: the first entry that fits an operation counts.

    >>> Composite(name="mine", entries=(("first", Flat()), ("any", Epsilon()))).entries[0][0]
    'first'
    """

    name: str
    entries: tuple[tuple[Where, Rule], ...]
    why: str = ""

    def __post_init__(self) -> None:
        for entry in self.entries:
            if not isinstance(entry, tuple) or len(entry) != 2 or not isinstance(entry[1], Rule):
                raise InputError("Every entry of a composite must be (place, rule)", got=entry)
            if entry[0] not in PLACES:
                raise UnknownNameError("A place in a composite", entry[0], PLACES)


COMPOSITES = {
    composite.name: composite
    for composite in (
        Composite(
            name="epsilon",
            entries=(("any", Epsilon()),),
            why="faithful to the function, noisy on deep convolutional networks",
        ),
        Composite(
            name="epsilon-plus",
            entries=(("convolution", ZPlus()), ("any", Epsilon())),
            why="positive evidence through convolutions, where epsilon is noisy",
        ),
        Composite(
            name="epsilon-plus-flat",
            entries=(("first", Flat()), ("convolution", ZPlus()), ("any", Epsilon())),
            why="positive evidence through convolutions, spread evenly over pixels at the end",
        ),
    )
}


def composite(given: "str | Composite") -> Composite:
    """Look a composite up by name; one that is made already passes through."""
    if isinstance(given, Composite):
        return given
    if given not in COMPOSITES:
        raise UnknownNameError("A composite", given, ["auto", *COMPOSITES])
    return COMPOSITES[given]
