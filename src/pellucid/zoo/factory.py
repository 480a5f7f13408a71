"""Models of the user's own, named on the command line as `package.module:factory`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pellucid.border.models import check_model
from pellucid.errors import InputError, UnknownNameError
from pellucid.zoo.entry import Entry, load
from pellucid.zoo.preprocessing import Preprocessing
from pellucid.zoo.text import TextEntry


def find(name: str) -> Entry:
    """Load a model by its name in the zoo, or as `package.module:factory`.

    The factory is called without arguments, and returns an `Entry`, or a model that takes
    ImageNet photographs as most do: 224 x 224 pixels with ImageNet's mean and deviation, in the
    floating type of its parameters. Instead of a factory it may be the model itself. Modules in
    the working directory are found too.
    """
    made = named(name)
    if isinstance(made, Entry | TextEntry):
        return _seeing(made)
    if not callable(made):
        raise InputError(
            f"{name} must return a model or a pellucid.zoo.Entry",
            got=made,
            hint="A state dict must be loaded into a module first.",
        )
    return Entry(name=name, model=made, preprocess=Preprocessing(dtype=_dtype_of(made)))


def _dtype_of(model: Any) -> torch.dtype:
    """The floating type of the first parameters of a module, or else of its buffers."""
    held = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    return next((each.dtype for each in held if each.is_floating_point()), torch.float32)


def named(name: str) -> Any:
    """An entry of the zoo, or what `package.module:factory` returns; no file is unpickled."""
    check_model(name)
    if ":" not in name:
        return load(name, hint="A model of your own is named package.module:factory.")
    made = _attribute(*name.split(":", 1))
    if not isinstance(made, nn.Module | Entry | TextEntry) and callable(made):
        made = _made(name, made)
    return made


def _made(name: str, factory: Callable[[], Any]) -> Any:
    """Call a factory; what it raises is the user's to mend, so it is said and not traced."""
    try:
        return factory()
    except Exception as error:
        raise InputError(
            f"The factory {name} must return a model when it is called without arguments",
            got=error,
            hint="Call it in Python to see where it fails.",
        ) from error


def _seeing(entry: Entry | TextEntry) -> Entry:
    """The command shows photographs; a model that reads text is explained in Python."""
    if isinstance(entry, TextEntry):
        raise InputError(
            "`--model` must see photographs",
            got=f"{entry.name}, which reads text",
            hint="Explain text in Python: pellucid.explain(entry.model, entry.encode(text), ...).",
        )
    return entry


def _attribute(module: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that the user's own module lacks is not a slip in the name given here.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _broken(module, error) from error
        raise InputError(
            "`--model` must name a module that can be imported",
            got=module,
            hint="Install it, or call pellucid in the folder that holds it.",
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            "`--model` must be a name of the zoo or package.module:factory", got=f"{module}:{name}"
        ) from error
    except Exception as error:
        raise _broken(module, error) from error
    if not hasattr(found, name):
        public = [known for known in dir(found) if not known.startswith("_")]
        raise UnknownNameError(f"A factory in {module}", name, public)
    return getattr(found, name)


def _broken(module: str, error: Exception) -> InputError:
    return InputError(
        f"The module {module} must run when it is imported",
        got=error,
        hint=f'See where it fails: python -c "import {module}".',
    )
