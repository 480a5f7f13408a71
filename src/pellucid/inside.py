"""A model that also returns what one of its layers did, so that the score can be read there."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from pellucid.errors import InputError, UnknownNameError
from pellucid.structure import leaves
from pellucid.tape.record import eager
from pellucid.target.unit import INSIDE, OUTPUT


def inside(model: Callable[..., Any], layer: str) -> Callable[..., Any]:
    """The model as it is, or one that also returns what a layer did, if one is named."""
    if not layer or not callable(model):
        return model
    if isinstance(model, nn.Module):
        known = [name for name, _ in model.named_modules() if name]
        if layer not in known:
            hint = "print(pellucid.record(model, inputs)) shows what ran."
            raise UnknownNameError("The layer of a unit", layer, known, hint=hint)
    return Inside(model, layer)


@dataclass(frozen=True, eq=False)
class Inside:
    """A model as a function that returns a dict: the model's output, and that of one layer.

    What the layer returned is what it returned when it ran last, at the moment it returned; of
    several tensors, the first. It is a copy, since the model may go on to write over it.
    """

    model: Callable[..., Any]
    layer: str

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the model, with hooks that are there only while it runs, and only in this thread."""
        found: list[Tensor] = []
        with self._watching(found):
            output = self.model(*args, **kwargs)
        if not found:
            raise InputError(
                f"The layer `{self.layer}` must run, and return a tensor, to have units",
                found="a layer that returned none in this run",
                hint="print(pellucid.record(model, inputs)) shows what ran.",
            )
        return {OUTPUT: output, INSIDE: found[-1]}

    @contextmanager
    def _watching(self, found: list[Tensor]) -> Iterator[None]:
        wanted = self._own_layer()
        thread = threading.get_ident()

        def enter(module: nn.Module, args: Any) -> None:
            nonlocal wanted
            if wanted is None and threading.get_ident() == thread:
                wanted = _named(module, self.layer)  # of a function around a module

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if module is not wanted or threading.get_ident() != thread:
                return
            first = output if isinstance(output, Tensor) else _first(output)
            if first is not None:
                found[:] = [first.clone()]

        hooks = [
            torch_module.register_module_forward_pre_hook(enter),
            torch_module.register_module_forward_hook(leave),
        ]
        try:
            with eager() if "torch._dynamo" in sys.modules else nullcontext():
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _own_layer(self) -> nn.Module | None:
        return _named(self.model, self.layer) if isinstance(self.model, nn.Module) else None

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


def _named(module: nn.Module, path: str) -> nn.Module | None:
    return dict(module.named_modules()).get(path)


def _first(output: Any) -> Tensor | None:
    return next((leaf for _, leaf in leaves(output)), None)
