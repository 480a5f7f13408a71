"""What a model has learned, as short texts: a run must not go on with that of another one."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from pellucid.run.described import described

# Functions may be made of functions that are made of functions.
DEPTH = 4


def learned(model: Any) -> list[Any]:
    """The prints of weights and of fitted estimators: of a model, and of all that it is made of.

    These are its own, those of the object whose method it is, and those that a function encloses
    or finds by a global name.

    >>> import torch
    >>> net = torch.nn.Linear(2, 1)
    >>> learned(net) == learned(lambda x: net(x)) != learned(torch.nn.Linear(2, 1))
    True
    """
    return list(_prints(model, set(), 0))


def _prints(value: Any, seen: set[int], depth: int) -> Iterator[Any]:
    if id(value) in seen or depth > DEPTH:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield described(dict(value.state_dict()))
    elif isinstance(value, Tensor):
        yield described(value)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield _fitted(value)
    else:
        for part in _parts(value):
            yield from _prints(part, seen, depth + 1)


def _parts(value: Any) -> list[Any]:
    """What a callable is made of."""
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if inspect.ismethod(value):
        return [value.__self__]
    if inspect.isfunction(value):
        found = inspect.getclosurevars(value)
        return [*found.nonlocals.values(), *found.globals.values()]
    called = callable(value) and not isinstance(value, type) and not inspect.ismodule(value)
    return list(getattr(value, "__dict__", {}).values()) if called else []


def _fitted(estimator: Any) -> Any:
    """The print of all that an estimator holds; of one that cannot be pickled, its parameters."""
    import joblib

    try:
        return joblib.hash(estimator)
    except Exception:  # whatever its parts raise who cannot be pickled
        return described(estimator)
