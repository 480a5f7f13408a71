"""What a user asks, taken apart once: the model, its inputs, the methods and their options.

Inside, there are tensors and callables on tensors only.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.baseline import Baseline
from pellucid.border import models, tables, texts
from pellucid.border.fitted import known_categories
from pellucid.border.schema import Schema
from pellucid.errors import InputError, show
from pellucid.structure import Inputs

if TYPE_CHECKING:
    from pellucid.method import Method

SPARSE_HINT = (
    "Explain the pipeline from its texts or columns on; or pass inputs.toarray(), if that fits."
)


@dataclass(frozen=True, eq=False)
class Asked:
    """A question on tensors: a callable, its inputs, methods and targets."""

    model: Callable[..., Any]
    inputs: Inputs
    methods: "list[Method]"
    targets: list[Any]


def asked(
    model: Any, inputs: Any, methods: "Sequence[Method]", targets: Sequence[Any], batch_axis: Any
) -> Asked:
    """Turn what users have into tensors and callables on tensors; what is so already stays.

    A model is a torch module, a callable on what the inputs are, or an estimator, which is asked
    for `predict_proba`, else `decision_function`, else `predict`. Inputs are tensors, an array, a
    data frame, or a list of texts.
    """
    models.check_model(model)
    estimator = models.is_estimator(model)
    kind = None if isinstance(model, nn.Module) and _is_array(inputs) else _kind(inputs)
    if kind is None and not (estimator and isinstance(inputs, Tensor)):
        if estimator:
            raise _no_table(inputs)
        return Asked(model, Inputs.of(inputs, batch_axis), list(methods), list(targets))
    models.check_callable(model)
    _check_methods(model, methods, kind or "tensor", estimator=estimator)
    taken = _ENCODERS[kind or "tensor"](model, inputs, methods)
    ask = models.of_estimator(model) if estimator else model
    labels = models.labels(model) if estimator else []
    schema = replace(taken.schema, classes=tuple(map(str, labels)))
    called = models.Called(ask, schema, _name(model))
    if estimator:
        models.check_outputs(model, targets, called.name)
    return Asked(
        model=called,
        inputs=Inputs(leaves=(taken.rows,), tree=taken.rows, schema=schema),
        methods=taken.methods,
        targets=[_target(each, labels, called.name, estimator) for each in targets],
    )


@dataclass(frozen=True, eq=False)
class _Taken:
    """Rows as a tensor, what they mean, and the methods with their data in the same codes."""

    rows: Tensor
    schema: Schema
    methods: "list[Method]"


def _kind(inputs: Any) -> str | None:
    """What inputs are: "frame", "array", "texts", or `None` for what torch knows."""
    if type(inputs).__module__.partition(".")[0] == "pandas":
        import pandas as pd

        if isinstance(inputs, pd.DataFrame):
            return "frame"
        if isinstance(inputs, pd.Series) and _are_texts(inputs.tolist()):
            return "texts"
        raise InputError(
            "`inputs` must be a data frame, also for one row",
            found=f"a {type(inputs).__name__} of {len(inputs)} values",
            hint="Take it by a list: frame.loc[[3]] or frame.iloc[[3]].",
        )
    if isinstance(inputs, np.ndarray):
        return "texts" if inputs.ndim == 1 and _are_texts(inputs.tolist()) else "array"
    if isinstance(inputs, str):
        raise InputError("Texts must be in a list", got=inputs, hint="For one text: [text].")
    if isinstance(inputs, list | tuple) and _are_texts(inputs):
        return "texts"
    if type(inputs).__module__.startswith("scipy.sparse"):
        raise InputError("`inputs` must be dense", got=inputs, hint=SPARSE_HINT)
    return None


def _is_array(inputs: Any) -> bool:
    """Whether it is one that a torch module could take as a tensor, as `Inputs` says."""
    return isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "OUS"


def _are_texts(items: Any) -> bool:
    return bool(items) and all(isinstance(item, str) for item in items)


def _no_table(inputs: Any) -> InputError:
    return InputError(
        "`inputs` of an estimator must be a data frame, an array, a tensor or a list of texts",
        found=show(inputs),
        hint="One table, with a row for each sample.",
    )


def _check_methods(model: Any, methods: "Sequence[Method]", kind: str, *, estimator: bool) -> None:
    """Raise for a method that needs gradients, and for a torch module on what is no tensor."""
    given = {"frame": "a data frame", "array": "an array", "texts": "texts"}.get(kind, "a tensor")
    if isinstance(model, nn.Module):
        raise InputError(
            "`inputs` of a torch module must be tensors",
            found=f"{given} for {type(model).__name__}",
            hint="Wrap it in a function that makes tensors of them: lambda rows: model(...).",
        )
    for each in methods:
        if not each.agnostic:
            from pellucid.method import methods as known

            free = sorted(name for name, method in known().items() if method.agnostic)
            what = f"the estimator {_name(model)}" if estimator else f"{_name(model)} on {given}"
            raise InputError(
                f"{each.name or type(each).__name__} must have a model that torch can follow",
                found=what,
                hint=f"Methods that only call the model: {', '.join(free)}.",
            )


def _name(model: Any) -> str:
    """What people call a model."""
    if hasattr(model, "__qualname__"):
        return str(model.__qualname__).rpartition("<locals>.")[2]
    return type(model).__name__


def _of_frame(model: Any, inputs: Any, methods: "Sequence[Method]") -> _Taken:
    """A data frame; the data frames among the options of methods add their categories."""
    import pandas as pd

    def is_data(value: Any) -> bool:
        return isinstance(value, pd.DataFrame)

    found = [value for each in methods for _, value in _options(each) if is_data(value)]
    schema, known = tables.of_frames([inputs, *found]), known_categories(model)

    def encode(name: str, value: Any) -> Any:
        if is_data(value):
            return _as_option(name, tables.encode_frame(schema, value, what=name, known=known))
        _check_numbers(name, value)
        return value

    return _Taken(
        tables.encode_frame(schema, inputs), schema, [_encoded(m, encode) for m in methods]
    )


def _check_numbers(name: str, value: Any) -> None:
    """Raise for data without names, where those of columns are known."""
    if isinstance(value, np.ndarray) and name != "features":
        raise InputError(
            f"`{name}` must be a data frame of the columns of the inputs, which are one",
            got=value,
            hint="For example pd.DataFrame(array, columns=inputs.columns).",
        )


def _of_array(model: Any, inputs: np.ndarray, methods: "Sequence[Method]") -> _Taken:
    """An array; arrays among the options of methods are data in the same columns."""

    def array(value: Any) -> np.ndarray | None:
        if type(value).__module__.partition(".")[0] == "pandas":
            value = value.to_numpy()
        return value if isinstance(value, np.ndarray) else None

    tables.check_array(inputs)
    options = [pair for each in methods for pair in _options(each) if pair[0] != "features"]
    found = [(name, data) for name, value in options if (data := array(value)) is not None]
    for name, data in found:
        if data.shape not in (inputs.shape[1:], (len(data), *inputs.shape[1:])):
            raise InputError(
                f"`{name}` must have the columns of the inputs, and be of shape "
                f"{[len(data) if data.ndim == inputs.ndim else 1, *inputs.shape[1:]]}",
                got=data,
            )
    tabled = [data.reshape(-1, *inputs.shape[1:]) for _, data in found]
    schema = tables.of_array(inputs, tabled, _feature_names(model))

    def encode(name: str, value: Any) -> Any:
        data = array(value)
        if data is None or name == "features":
            return value if data is None else torch.tensor(data)
        rows = tables.encode_array(schema, data.reshape(-1, *inputs.shape[1:]), what=name)
        return _as_option(name, rows)

    return _Taken(
        tables.encode_array(schema, inputs), schema, [_encoded(m, encode) for m in methods]
    )


def _of_tensor(model: Any, inputs: Tensor, methods: "Sequence[Method]") -> _Taken:
    """A tensor, whose model is called with arrays."""
    array = inputs.detach().cpu()
    array = array.float() if array.dtype is torch.bfloat16 else array
    found = _of_array(model, array.numpy(), methods)
    return replace(found, rows=found.rows.to(inputs.device))


def _of_texts(model: Any, inputs: Any, methods: "Sequence[Method]") -> _Taken:
    """Texts; so are lists of strings among the options of methods, or a word that masks others."""
    vocabulary, codes = texts.encode(list(inputs))

    def encode(name: str, value: Any) -> Any:
        if not _is_texts_list(value):
            return value
        if name == "data":
            raise InputError(
                "`data` must be rows of a table, of which texts are none",
                got=value,
                hint="Of texts words are removed, or replaced: baseline=['[MASK]'].",
            )
        found = texts.encode_baseline(vocabulary, codes, list(value))
        return Baseline.per_sample(found) if name == "baseline" else found

    made = [_encoded(each, encode) for each in methods]
    return _Taken(codes, vocabulary.schema(), made)


def _is_texts_list(value: Any) -> bool:
    if type(value).__module__.partition(".")[0] == "pandas" or isinstance(value, np.ndarray):
        value = value.tolist()
    return isinstance(value, list | tuple) and _are_texts(value)


def _feature_names(model: Any) -> Sequence[Any]:
    """The names of the columns that an estimator was fitted on, if it was on a data frame."""
    found = getattr(model, "feature_names_in_", None)
    return [] if found is None else [str(name) for name in found]


def _as_option(name: str, rows: Tensor) -> Any:
    """Data as a method takes it: rows that stand for absence, which may have missing values."""
    if name != "baseline":
        return rows
    return Baseline(kind="tensor", tensors=(rows,), paths=((),))


def _unread(value: Any) -> Any:
    """The data that a baseline is made of, where it has not been known for which inputs."""
    return value.data if isinstance(value, Baseline) and value.kind == "data" else value


def _options(method: "Method") -> list[tuple[str, Any]]:
    """The options of a method, with those of methods among them."""
    found: list[tuple[str, Any]] = []
    for each in dataclasses.fields(method):
        value = _unread(getattr(method, each.name))
        found.append((each.name, value))
        if hasattr(value, "agnostic"):
            found += _options(value)
    return found


def _encoded(method: "Method", encode: Callable[[str, Any], Any]) -> "Method":
    """A method with other values of some options."""
    changed = {}
    for each in dataclasses.fields(method):
        value = getattr(method, each.name)
        data = _unread(value)
        made = _encoded(value, encode) if hasattr(value, "agnostic") else encode(each.name, data)
        if made is not data:
            changed[each.name] = made
    return replace(method, **changed) if changed else method


def _target(given: Any, labels: Sequence[Any], name: str, estimator: bool) -> Any:
    """A target with classes by number, where an estimator's are given by their labels."""
    if not estimator:
        return given
    if isinstance(given, str):
        return models.number(str(given), labels, name)
    models.check_column(given, labels)
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, list | tuple) and given and all(isinstance(k, str) for k in given):
        return type(given)(models.number(str(k), labels, name) for k in given)
    return given


_ENCODERS: dict[str, Callable[[Any, Any, Any], _Taken]] = {
    "frame": _of_frame,
    "array": _of_array,
    "tensor": _of_tensor,
    "texts": _of_texts,
}
