"""Models that are no torch modules, as callables on tensors."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.batching import is_out_of_memory
from pellucid.border.schema import Schema
from pellucid.errors import (
    InputError,
    ModelError,
    PellucidError,
    TargetError,
    UnknownNameError,
    show,
)
from pellucid.structure import children, is_plain_sequence

# Files that run code of their own when they are read.
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".dill", ".cloudpickle")

# What targets are that name classes, of whichever output.
PLAIN = (str, int, np.integer, list, tuple, np.ndarray, Tensor)
# So many outputs of a model are listed with their classes.
MOST_SHOWN = 3

SAFELY = (
    "Write a factory that makes the model and loads its numbers (safetensors, or a state dict with "
    "torch.load(path, weights_only=True)), and pass what it returns; on the command line name it "
    "as --model package.module:factory. A pickle of your own, made by you, is yours to load."
)


def check_model(model: Any) -> None:
    """Raise for what is no model: a file of one, or its class."""
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        if str(path).lower().endswith(PICKLES):
            raise InputError(
                "A model must not be read from a pickled file, which runs the code that it holds",
                got=str(path),
                hint=SAFELY,
            )
    if isinstance(model, type) and hasattr(model, "predict"):
        raise InputError(
            "`model` must be a fitted estimator",
            got=model,
            hint=f"Make one and fit it: {model.__name__}().fit(X, y).",
        )


def check_callable(model: Any) -> None:
    """Raise for what can be asked nothing."""
    if not callable(model) and not is_estimator(model):
        raise InputError(
            "`model` must be an estimator that predicts, or a callable on what the inputs are",
            got=model,
            hint="Of a transformer pass the whole pipeline that ends with a model.",
        )


def is_estimator(model: Any) -> bool:
    """Whether something is asked as scikit-learn's estimators are: by a method, not by a call."""
    if isinstance(model, nn.Module | type) or not hasattr(model, "predict"):
        return False
    return hasattr(model, "fit") or not callable(model)


@dataclass(frozen=True, eq=False)
class Called:
    """A model on frames, arrays or texts as a callable on tensors.

    `model` is what is called, `schema` writes the rows for it, `name` is what people call it.
    """

    model: Callable[[Any], Any]
    schema: Schema
    name: str

    def __call__(self, rows: Tensor) -> Any:
        """The model's answer for rows (sample, ...), as tensors."""
        given = self.schema.decode(rows)
        try:
            answer = self.model(given)
        except Exception as error:
            if isinstance(error, PellucidError) or is_out_of_memory(error):
                raise
            raise self._translated(error, rows) from error
        return _tensors(answer, len(rows), self.name)

    def _translated(self, error: Exception, rows: Tensor) -> PellucidError:
        """What a model raised, as what the user can do."""
        said = f"It raised {type(error).__name__}: {_first_line(error)}."
        if any(kind.__name__ == "NotFittedError" for kind in type(error).__mro__):
            return InputError(
                "An estimator must be fitted before it is explained",
                found=self.name,
                hint="Call its fit(X, y) first.",
            )
        missing = _missing(self.schema, rows)
        if missing and any(word in str(error).lower() for word in ("nan", "missing", "null")):
            return InputError(
                "The model must take missing values, where there are some",
                found=f"missing values in {missing}",
                hint=f"Fill them in before, or in a pipeline (SimpleImputer). {said}",
            )
        return ModelError(
            "The model must run on the inputs, and on rows mixed of these and the baseline",
            found=_described(self.schema, rows),
            hint=said,
        )


def of_estimator(model: Any) -> Callable[[Any], Any]:
    """What an estimator says of each class: probabilities, else decisions, else its prediction.

    A decision between two classes, one number, is that for the second: its negative is the one
    for the first.
    """
    classes = labels(model)
    if callable(getattr(model, "predict_proba", None)):
        return model.predict_proba
    if callable(getattr(model, "decision_function", None)) and len(classes) != 1:
        return lambda given: _decisions(model.decision_function(given), classes)
    if classes:
        return lambda given: _votes(model.predict(given), classes)
    return model.predict


def labels(model: Any) -> list[Any]:
    """The classes of a fitted classifier, in the order of its scores; none of another model."""
    try:
        found = getattr(model, "classes_", None)
    except Exception:  # a property of an estimator that is not fitted
        return []
    if not isinstance(found, np.ndarray | list | tuple) or not all(map(np.isscalar, found)):
        return []  # none, or those of several outputs
    return np.asarray(found).tolist()


def number(label: str, classes: Sequence[Any], name: str) -> int:
    """The column of a class that is named by its label."""
    known = list(map(str, classes))
    if not known:
        raise InputError(
            "`target` may be a label where the model is a classifier with classes",
            found=f"{label!r} for {name}",
            hint="Name a class by its number.",
        )
    if label not in known:
        raise UnknownNameError("A class", label, known)
    return known.index(label)


def check_column(given: Any, classes: Sequence[Any]) -> None:
    """Raise for a number that is the label of a class, and of no column."""
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if whole and not -len(classes) <= given < len(classes) and str(given) in map(str, classes):
        column = list(map(str, classes)).index(str(given))
        raise TargetError(
            f"A target that is a number must be a column of the output, from 0 to "
            f"{len(classes) - 1}",
            found=f"{given}, the label of a class",
            hint=f'Class {given} is column {column}: target="{given}" or target={column}.',
        )


def check_outputs(model: Any, targets: Sequence[Any], name: str) -> None:
    """Raise unless targets say which output they are of, where a classifier has several."""
    found = _of_outputs(model)
    for given in targets if len(found) > 1 else ():
        if given is None or (isinstance(given, PLAIN) and not _is_path(given)):
            raise TargetError(
                f"A target must say which of the {len(found)} outputs of {name} it is of",
                found="no target" if given is None else show(given),
                hint="The second class of output 0 is target=pellucid.Target.path(0, target=1). "
                f"There are: {_listed(found)}.",
            )


def _listed(outputs: list[list[Any]]) -> str:
    """The first outputs of a model with their classes."""
    said = [f"output {i} of classes {show(list(map(str, each)))}" for i, each in enumerate(outputs)]
    return "; ".join([*said[:MOST_SHOWN], *(["..."] if len(said) > MOST_SHOWN else [])])


def _is_path(given: Any) -> bool:
    return isinstance(given, tuple) and bool(given) and isinstance(given[0], str)


def _of_outputs(model: Any) -> list[list[Any]]:
    """The classes of each output of a classifier that returns a list of one table for each."""
    try:
        found = getattr(model, "classes_", None)
    except Exception:  # a property of an estimator that is not fitted
        return []
    if not isinstance(found, list | tuple) or any(map(np.isscalar, found)):
        return []
    if not callable(getattr(model, "predict_proba", None)):
        return []  # it predicts one table, of a column for each output
    return [np.asarray(each).tolist() for each in found]


def _decisions(found: np.ndarray, classes: Sequence[Any]) -> np.ndarray:
    if np.ndim(found) == 1 and len(classes) == 2:
        return np.stack([-found, found], axis=1)
    return found


def _votes(found: Any, classes: Sequence[Any]) -> np.ndarray:
    """One for the class that is predicted, zero for the others."""
    return (np.asarray(found).reshape(-1, 1) == np.asarray(classes)).astype(np.float64)


def _tensors(answer: Any, rows: int, name: str) -> Any:
    """What a model returned, with tensors in the place of arrays; checked once."""
    if isinstance(answer, np.ndarray):  # as nearly all are
        found = _tensor(answer, name)
    elif isinstance(answer, Tensor):
        found = answer.detach()
    elif is_plain_sequence(answer) and answer and hasattr(answer[0], "shape") and answer[0].shape:
        return tuple(_tensors(item, rows, name) for item in answer)
    elif children(answer) and not is_plain_sequence(answer):
        return {key: _tensors(item, rows, name) for key, item in children(answer)}
    else:
        found = _tensor(answer, name)
    if found.ndim == 0 or len(found) != rows:
        raise ModelError(
            "A model must return one row for each row that it is given",
            found=f"{show(found)} for {rows} rows, from {name}",
            hint="Wrap it, so that it takes a batch: "
            "lambda rows: np.stack([model(row) for row in rows]).",
        )
    # The sum first: it is finite only where every number is, and costs a fraction.
    if not math.isfinite(found.sum()) and not torch.isfinite(found).all():
        bad = int((~torch.isfinite(found)).reshape(rows, -1).any(1).sum())
        raise ModelError(
            "The model must return finite numbers",
            found=f"NaN or infinity in {bad} of {rows} rows, from {name}",
            hint="Look at what it makes of the inputs, and of the baseline.",
        )
    return found


def _tensor(answer: Any, name: str) -> Tensor:
    """An array, frame, series or list of numbers as a floating-point tensor."""
    try:
        array = np.asarray(answer)
        flags = array.flags
        # Every batch comes here: what is fit to be shared is seen by three attributes.
        if array.dtype.char not in "fd" or not (flags.c_contiguous and flags.writeable):
            kept = array.dtype in (np.float32, np.float64)
            array = np.require(array, None if kept else np.float64, ["C", "W"])
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise ModelError(
            "A model must return numbers",
            found=f"{show(answer)}, from {name}",
            hint="Explain what it says of each class: lambda rows: model.predict_proba(rows).",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".:")


def _missing(schema: Schema, rows: Tensor) -> str:
    """The columns of a table in which something is missing, in words."""
    if schema.is_text:
        return ""
    gone = rows.isnan()
    for i, categories in enumerate(schema.categories):
        if None in categories:
            gone[:, i] |= rows[:, i] == categories.index(None)
    if rows.ndim != 2 or not schema.names:
        return f"{int(gone.sum())} elements" if gone.any() else ""
    names = [repr(schema.names[i]) for i in gone.any(0).nonzero().flatten().tolist()]
    return ("column " if len(names) == 1 else "columns ") + ", ".join(names) if names else ""


def _described(schema: Schema, rows: Tensor) -> str:
    if schema.is_text:
        return f"{len(rows)} texts"
    if schema.layout == "frame":
        return f"a data frame of {len(rows)} rows and columns {show(list(schema.names))}"
    return f"an array of shape {list(rows.shape)}"
