"""Options of methods are checked in one place: numbers, whole numbers and words.

Each function returns the plain value, so that numbers of NumPy and tensors of one element do too.
"""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from pellucid.errors import InputError, UnknownNameError, show


def whole(value: Any, name: str, *, least: int | None = 1) -> int:
    """A whole number of at least so much, as an int.

    >>> whole(3, "samples")
    3
    """
    found = _plain(value)
    if _is_a(found, Integral) and (least is None or found >= least):
        return int(found)
    bound = "" if least is None else f", at least {least}"
    raise InputError(f"`{name}` must be a whole number{bound}", found=show(value))


def number(
    value: Any,
    name: str,
    must: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
) -> float:
    """A finite number in an open or closed range, as a float; `must` says what it has to be.

    >>> number(1, "noise", "a fraction", least=0)
    1.0
    """
    found = _plain(value)
    if _is_a(found, Real) and math.isfinite(found) and above < found and least <= found <= most:
        return float(found)
    raise InputError(f"`{name}` must be {must}", found=show(value))


def one_of(value: Any, what: str, known: Iterable[str]) -> str:
    """One of the words that an option knows.

    >>> one_of("mean", "`reduce` of smoothgrad", ["mean", "squared"])
    'mean'
    """
    words = list(known)
    if isinstance(value, str) and value in words:
        return value
    raise UnknownNameError(what, value, words)


def _plain(value: Any) -> Any:
    """A number of NumPy's, or a tensor without axes, as Python's own."""
    return value.item() if getattr(value, "shape", None) == () else value


def _is_a(value: Any, kind: type) -> bool:
    """Whether something is such a number; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)
