"""Names that stand for classes or functions, which enter themselves where they are defined."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pellucid.errors import InputError, UnknownNameError, show

T = TypeVar("T")
M = TypeVar("M")


@dataclass(frozen=True, kw_only=True, eq=False)
class Registry(Generic[T]):
    """What there is of one kind, by name.

    `what` is the noun of its messages. Every module of `rooms`, which are packages of ours, is
    imported before a name is looked up, so that to write a module there is all that it takes. Two
    things of one name are an error, but for one that is defined again, as in a notebook.

    >>> greetings = Registry(what="greeting")
    >>> @greetings.register("short")
    ... def short():
    ...     return "Hi"
    >>> greetings.find("short")()
    'Hi'
    """

    what: str
    rooms: tuple[str, ...] = ()
    known: dict[str, T] = field(default_factory=dict)

    def register(self, name: str) -> Callable[[M], M]:
        """Enter what is decorated under a name; a class knows it as its `name`."""

        def enter(made: M) -> M:
            there = self.known.get(name)
            if there is not None and _place(there) != _place(made):
                raise InputError(
                    f"A name must stand for one {self.what}",
                    found=f"{name!r} for {_place(made)}, which is that of {_place(there)}",
                    hint="Register it under another name.",
                )
            if isinstance(made, type):
                cast(Any, made).name = name
            self.known[name] = cast(T, made)
            return made

        return enter

    def all(self) -> dict[str, T]:
        """Everything by name, those of all rooms too."""
        _import(self.rooms)
        return dict(self.known)

    def find(self, name: str, *, hint: str = "") -> T:
        """What a name stands for, or an error with the nearest one."""
        known = self.all()
        if name not in known:
            raise UnknownNameError(f"A {self.what}", name, known, hint=hint)
        return known[name]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kinds(Registry[type[T]]):
    """Dataclasses of one kind by name, made of their options; `hint` helps who gives no name.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Shape:
    ...     size: float = 1.0
    >>> shapes = Kinds(what="shape", kind=Shape)
    >>> shapes.register("round")(Shape).name
    'round'
    >>> shapes.named("round", size=2.0)
    Shape(size=2.0)
    """

    kind: type
    hint: str = ""

    def named(self, given: Any, **options: Any) -> T:
        """Make one of its name and options; one that is made already passes through."""
        is_made = isinstance(given, self.kind)
        if is_made:
            if options:
                raise InputError(
                    f"Options must be given to the {self.what} itself when it is not named by a "
                    "string",
                    found=", ".join(options),
                )
            return given
        if not isinstance(given, str):
            raise self._no_name(given)
        made: Any = self.find(given)
        fields = [each.name for each in dataclasses.fields(made)]
        for option in options:
            if option not in fields:
                raise UnknownNameError(f"An option of {given}", option, fields)
        return made(**options)

    def _no_name(self, given: object) -> InputError:
        """The error for what cannot be a name: a class itself, say."""
        is_class = isinstance(given, type) and issubclass(given, self.kind)
        return InputError(
            f"A {self.what} must be a name, or made of its class",
            found=show(given),
            hint=f"Pass {show(given)}()." if is_class else self.hint,
        )


def _place(made: Any) -> str:
    """Where something is defined, as module and name in it."""
    return f"{made.__module__}.{made.__qualname__}"


@cache
def _import(rooms: tuple[str, ...]) -> None:
    """Import every module in which things of ours enter themselves, once."""
    for room in rooms:
        module = importlib.import_module(f"pellucid.{room}")
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            importlib.import_module(f"{module.__name__}.{found.name}")
