"""A model that also returns what one of its layers did, so that the score can be read there."""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.structure import leaves
from pellucid.tape.paths import LOOK, Paths, hooked
from pellucid.tape.record import flags
from pellucid.target.unit import INSIDE, OUTPUT


def inside(model: Callable[..., Any], layer: str) -> Callable[..., Any]:
    """The model as it is, or one that also returns what a layer did, if one is named."""
    if not layer or not callable(model):
        return model
    check_layers(model, [layer])
    return Inside(model, layer)


def check_layers(model: Callable[..., Any], paths: Collection[str]) -> None:
    """Raise if a module has no layer of these paths; of a function, nobody knows before it runs."""
    layers = Paths(model)
    for path in paths:
        if layers.roots and layers.layer(path) is None:
            raise _unknown(path, layers)


@dataclass(frozen=True, eq=False)
class Inside:
    """A model as a function that returns a dict: the model's output, and that of one layer.

    What the layer returned is what it returned when it ran last, at the moment it returned; of
    several tensors, the first. It is a copy, since the model may go on to write over it. Layers are
    found as on a tape, and no kernel runs that would pass them by.
    """

    model: Callable[..., Any]
    layer: str

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the model, with hooks that are there only while it runs, and only in this thread."""
        output, found = run_inside(self.model, [self.layer], args, kwargs)
        return {OUTPUT: output, INSIDE: found[self.layer]}

    def buffers(self) -> Iterator[Tensor]:
        """The buffers of the model, if it is a module."""
        yield from self.model.buffers() if isinstance(self.model, nn.Module) else ()

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules of the model, if it is one."""
        yield from self.model.named_modules() if isinstance(self.model, nn.Module) else ()

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return bool(getattr(self.model, "training", False))


class OverwrittenError(Exception):
    """A model wrote over what was on loan."""


@dataclass
class Loans:
    """Whether layers may lend what they return, instead of giving a copy.

    The first run finds out, with a copy, whether the model writes over it; later ones tell by its
    version, and raise `OverwrittenError`. What is on loan is to be read before the next run.
    """

    trusted: bool | None = None
    returned: dict[int, tuple[Tensor, int]] = field(default_factory=dict)

    def take(self, key: int, returned: Tensor) -> Tensor:
        """What a module returned, or a copy of it."""
        if returned.is_inference():  # which has no version
            self.trusted = False
        if self.trusted is False:
            return returned.clone()
        self.returned[key] = (returned, returned._version)
        return returned if self.trusted else returned.clone()

    def check(self, found: "dict[int, Tensor]") -> None:
        """Look, after a run, at what the model did with it."""
        held, self.returned = self.returned, {}
        if self.trusted is None:
            self.trusted = all(torch.equal(each, found[key]) for key, (each, _) in held.items())
        elif any(each._version != version for each, version in held.values()):
            self.trusted = False
            raise OverwrittenError


def run_inside(
    model: Callable[..., Any],
    paths: Collection[str],
    args: Any,
    kwargs: Any,
    loans: Loans | None = None,
) -> tuple[Any, dict[str, Tensor]]:
    """Run a model once: its output, and what each of some layers returned, by path."""
    found: dict[int, Tensor] = {}
    layers = Paths(model)
    with flags(model), _watching(layers, paths, found, loans=loans):
        output = model(*args, **kwargs)
    if loans is not None:
        loans.check(found)
    return output, {path: _returned(path, layers, found) for path in paths}


class _EnoughError(BaseException):
    """Ends a run whose rest nobody asks for; no model takes it for an error of its own."""


def run_until(
    model: Callable[..., Any], paths: Collection[str], args: Any, kwargs: Any, *, once: bool
) -> tuple[dict[str, Tensor], bool]:
    """What each of some layers returned, by path, and whether each of them ran once.

    If it is known that they do `once`, the run ends when all have, and leaves out the rest.
    """
    found: dict[int, Tensor] = {}
    times: Counter[int] = Counter()
    layers = Paths(model)

    def ran_once() -> bool:
        return all(times[id(layers.layer(path))] == 1 for path in paths)

    def count(module: nn.Module) -> None:
        times[id(module)] += 1
        if once and ran_once():
            raise _EnoughError

    with flags(model), suppress(_EnoughError), _watching(layers, paths, found, count):
        model(*args, **kwargs)
    return {path: _returned(path, layers, found) for path in paths}, ran_once()


def _returned(path: str, layers: Paths, found: dict[int, Tensor]) -> Tensor:
    """What the layer of a path returned, or why there is nothing."""
    wanted = layers.layer(path)
    if wanted is None:
        raise _unknown(path, layers)
    if id(wanted) not in found:
        raise InputError(
            f"The layer `{path}` must run, and return a tensor, to have units",
            found="a layer that returned none in this run",
            hint=LOOK,
        )
    return found[id(wanted)]


@contextmanager
def _watching(
    layers: Paths,
    paths: Collection[str],
    found: dict[int, Tensor],
    then: Callable[[nn.Module], None] = lambda module: None,
    loans: Loans | None = None,
) -> Iterator[None]:
    """Keep what modules of these paths return; which are meant is known when all have run.

    `then` is called with each of them that has returned.
    """
    thread = threading.get_ident()
    above = [""]

    def enter(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == thread:
            above.append(layers.enter(module, above[-1]))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != thread:
            return
        above.pop()
        if any(layers.has(module, path) for path in paths):
            first = output if isinstance(output, Tensor) else _first(output)
            if first is not None:
                key = id(module)
                found[key] = first.clone() if loans is None else loans.take(key, first)
            then(module)

    with hooked(enter, leave):
        yield


def _unknown(layer: str, layers: Paths) -> UnknownNameError:
    return UnknownNameError("The layer of a unit", layer, layers.known(), hint=LOOK)


def _first(output: Any) -> Tensor | None:
    return next((leaf for _, leaf in leaves(output)), None)
