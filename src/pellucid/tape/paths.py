"""Which module of a running program is which layer.

The paths of a model are those of `named_modules`. Those of a function are counted from the modules
that it runs itself, so that two of these may have a layer of the same path.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from pellucid.errors import InputError

LOOK = "print(pellucid.record(model, inputs)) shows what ran."


class Paths:
    """The layers of a program while it runs: `roots` are the modules that paths are counted from.

    A module that has several paths is known by its first, and is found by each.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        self.is_module = isinstance(model, nn.Module)
        self.roots: list[nn.Module] = []
        self.names: dict[int, str] = {}
        if isinstance(model, nn.Module):
            self._begin(model)

    def enter(self, module: nn.Module, above: str) -> str:
        """The path of a module that begins to run in the layer `above`, empty for none."""
        if id(module) not in self.names and not self.is_module and not above:
            self._begin(module)  # a function around a module: paths are the module's
        return self.names.get(id(module), f"{above}.<{type(module).__name__}>".lstrip("."))

    def _begin(self, root: nn.Module) -> None:
        self.roots.append(root)
        found = _names_of(root)
        self.names |= {key: self.names.get(key) or path for key, path in found.items()}

    def layer(self, path: str) -> nn.Module | None:
        """The module of a path, if there is one; raise if there are several."""
        each = [found for root in self.roots if (found := _submodule(root, path)) is not None]
        if len({id(module) for module in each}) > 1:
            raise InputError(
                f"The layer `{path}` must be one, in the modules that the function runs",
                found=f"{len(each)} of them that have one, {_listed(each)}",
                hint="Make them parts of one module, in which their paths are different.",
            )
        return each[0] if each else None

    def has(self, module: nn.Module, path: str) -> bool:
        """Whether this is a module of that path."""
        return any(_submodule(root, path) is module for root in self.roots)

    def known_as(self, path: str) -> str:
        """The path under which a layer is known: of one that has several, the first."""
        name = self.names.get(id(self.layer(path)), "")
        return path if name in ("", path) else self.known_as(name)

    def known(self) -> list[str]:
        """The paths that there are, of each module the first."""
        return [name for root in self.roots for name, _ in root.named_modules() if name]


def _submodule(root: nn.Module, path: str) -> nn.Module | None:
    """The module at a path, also at a second one of the same module, as `named_modules` is not."""
    found: nn.Module | None = root
    for name in path.split("."):
        inner: Any = {} if found is None else found._modules  # of a script, less than a dict
        found = inner[name] if name in inner else None  # noqa: SIM401
    return found


def _listed(modules: list[nn.Module]) -> str:
    return " and ".join(type(module).__name__ for module in modules)


def _names_of(module: nn.Module) -> dict[int, str]:
    """The path of every module by identity; of one that has several, the first."""
    names: dict[int, str] = {}
    waiting = [(module, "")]
    while waiting:  # `named_modules` would take ten times as long
        found, path = waiting.pop()
        if id(found) not in names:
            names[id(found)] = path
            below = f"{path}." if path else ""
            inner = [
                (child, below + name) for name, child in found._modules.items() if child is not None
            ]
            waiting += reversed(inner)
    return names


@contextmanager
def hooked(enter: Callable[..., None], leave: Callable[..., None]) -> Iterator[None]:
    """Call these before and after every module runs, by hooks on none of them."""
    hooks = [
        torch_module.register_module_forward_pre_hook(enter),
        torch_module.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
