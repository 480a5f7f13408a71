"""Where a rule of a composite goes: predicates on operations, as data.

A place is what a composite may ask of an operation: its family, whether it is the first or last
with weights, how deep it lies, its name and its layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import Tensor

from pellucid.errors import InputError, UnknownNameError, show
from pellucid.options import one_of
from pellucid.propagate.rules.families import DEFAULTS, family
from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# What `Where.place` may be, beside the families of operations without weights.
PLACES = ("any", "first", "last", "convolution", "dense")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One operation of a tape, and where it lies.

    `first` and `last` are said of operations with weights that no other one precedes, or follows.
    `depth` is the share of the operations with weights that lie before it, from 0 to 1.
    """

    operation: Operation
    family: str
    first: bool = False
    last: bool = False
    depth: float = 0.0

    @property
    def weighted(self) -> bool:
        """Whether it has weights."""
        return self.family in ("convolution", "dense")

    @property
    def names(self) -> set[str]:
        """The places that it is at."""
        names = {"any", self.family}
        return names | {name for name in ("first", "last") if getattr(self, name)}


@dataclass(frozen=True, kw_only=True)
class Where:
    """A condition on operations: all that is given must hold.

    `place` is "any", "first", "last", "convolution", "dense", or a family of operations without
    weights, such as "product", "softmax" or "norm". `operation` and `layer` are patterns for the
    name on the tape and the path of the layer (`"features.*"`). `depth` are bounds on the share of
    operations with weights that lie before it: (0, 0.5) is the half next to the input. `when`
    takes the operation and decides.

    >>> Where(layer="features.*", depth=(0, 0.5)).place
    'any'
    """

    place: str = "any"
    operation: str = "*"
    layer: str = "*"
    depth: tuple[float, float] = (0.0, 1.0)
    when: Callable[[Operation], bool] | None = None

    def __post_init__(self) -> None:
        one_of(self.place, "A place in a composite", (*PLACES, *DEFAULTS))
        for name in ("operation", "layer"):
            if not isinstance(getattr(self, name), str):
                raise InputError(
                    f"`{name}` of a place must be a pattern of names, a string",
                    got=getattr(self, name),
                    hint='For example "features.*"; the layer 2 of a Sequential is "2".',
                )
        if self.when is not None and not callable(self.when):
            raise InputError("`when` of a place must be a function of an operation", got=self.when)
        if not _is_span(self.depth):
            raise InputError(
                "`depth` must be two numbers from 0, the input, to 1, the score, in this order",
                got=self.depth,
            )

    @classmethod
    def of(cls, given: "WhereLike") -> "Where":
        """Make a condition of a place by name, or of a function of the operation."""
        if isinstance(given, Where):
            return given
        if isinstance(given, str):
            return cls(place=given)
        if callable(given):
            return cls(when=given)
        raise InputError(
            "A place in a composite must be a name, a Where, or a function of an operation",
            got=given,
            hint=f"Names are {', '.join((*PLACES, *DEFAULTS))}.",
        )

    def holds(self, place: Place) -> bool:
        """Whether an operation fulfills the condition."""
        low, high = self.depth
        return (
            self.place in place.names
            and (low <= place.depth < high or place.depth == high == 1)
            and self.is_named(place)
            and (self.when is None or self._decides(self.when, place.operation))
        )

    @staticmethod
    def _decides(when: Callable[[Operation], Any], operation: Operation) -> bool:
        """What the function of the caller's says; an error names it, and the operation."""
        must = "The function of a place in a composite must return True or False for any operation"
        at = f"at `{operation.name}` (operation {operation.number})"
        try:
            found = when(operation)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}, {at}"
            raise InputError(must, found=wrong) from error
        if isinstance(found, Tensor):
            raise InputError(must, found=f"{show(found)} {at}", hint="Reduce it: bool(x.any()).")
        return bool(found)

    def is_named(self, place: Place) -> bool:
        """Whether the patterns for operation and layer fit."""
        operation = place.operation
        return _matches(operation.name, self.operation) and _matches(operation.path, self.layer)

    @property
    def names_some(self) -> bool:
        """Whether it has a pattern for operation or layer."""
        return self.operation != "*" or self.layer != "*"

    def check(self, places: Sequence[Place]) -> None:
        """Raise if a pattern fits no operation of a tape at all: it is misspelt, most likely."""
        named = [place.operation.name for place in places]
        layers = [place.operation.path for place in places]
        for name, pattern, found in (
            ("operation", self.operation, named),
            ("layer", self.layer, layers),
        ):
            if pattern != "*" and not any(_matches(text, pattern) for text in found):
                raise UnknownNameError(
                    f"`{name}` of a place in a composite",
                    pattern,
                    sorted({text for text in found if text}),
                    hint="print(pellucid.record(model, inputs)) lists what ran.",
                )


WhereLike: TypeAlias = "str | Where | Callable[[Operation], bool]"


def places(tape: Tape) -> dict[Operation, Place]:
    """Where every operation lies that a rule can be given to."""
    families = {operation: family_of(operation) for operation in tape.operations}
    weighted = [op for op, name in families.items() if name in ("convolution", "dense")]
    first, last = _first(tape.operations, weighted), _last(tape.operations, weighted)
    before, found = 0, {}
    for operation, name in families.items():
        if name is not None:
            found[operation] = Place(
                operation=operation,
                family=name,
                first=operation in first,
                last=operation in last,
                depth=min(1.0, before / max(1, len(weighted) - 1)),
            )
        before += name in ("convolution", "dense")
    return found


def family_of(operation: Operation) -> str | None:
    """The family of an operation, with or without weights; `None` where no rule is known."""
    if kind(operation) == "weighted":
        return "convolution" if operation.name in CONVOLUTIONS else "dense"
    return family(operation)


def _first(operations: list[Operation], weighted: list[Operation]) -> set[Operation]:
    """The operations with weights that no other one precedes on the way from an input."""
    among, after, found = set(weighted), set[Value](), set()
    for operation in operations:
        below = any(value in after for value in operation.slots)
        if operation in among and not below:
            found.add(operation)
        if operation in among or below:
            after.update(value for value in operation.outputs if value is not None)
    return found


def _last(operations: list[Operation], weighted: list[Operation]) -> set[Operation]:
    """The operations with weights that no other one follows on the way to an output."""
    among, before, found = set(weighted), set[Value](), set()
    for operation in reversed(operations):
        above = any(value in before for value in operation.outputs if value is not None)
        if operation in among and not above:
            found.add(operation)
        if operation in among or above:
            before.update(value for value in operation.slots if value.carries)
    return found


def _matches(text: str, pattern: str) -> bool:
    return pattern == "*" or fnmatchcase(text, pattern)


def _is_span(depth: object) -> bool:
    """Whether these are two numbers between 0 and 1 in order."""
    if not isinstance(depth, tuple) or len(depth) != 2:
        return False
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in depth):
        return False
    return 0 <= depth[0] < depth[1] <= 1
