"""Methods and their options as words of the command line name them.

Whatever needs torch is imported inside the functions, as in `cli`.
"""

import ast
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError

if TYPE_CHECKING:
    from pellucid.evaluate import Metric
    from pellucid.method import Method

DEFAULT_METHODS = ("gradcam", "lrp", "integrated_gradients", "smoothgrad")
# The same where the model is only called, on a row of a table or on a text.
USUAL_OF_ROWS = ("lime", "kernel_shap", "occlusion")

# The one method by which two models are compared, where none is named; and that of tables.
ONE, ONE_OF_ROWS = "lrp", "kernel_shap"

# What explanations are judged by, where nothing is named: faithful, and simple.
DEFAULT_METRICS = ("selectivity", "effective_features")

# Files of tables, and what stands between two of their values; and files of texts.
TABLES = {".csv": ",", ".tsv": "\t"}
TEXTS = (".txt", ".md")

# How an option says yes or no, in any case.
ANSWERS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def chosen(
    names: str | None,
    options: tuple[str, ...],
    usual: tuple[str, ...] = DEFAULT_METHODS,
    data: Any = None,
) -> "list[Method]":
    """Make the methods that are named, or the usual ones, with their options.

    Methods that draw from rows of data take `data`, where they are given none.
    """
    asked = usual if names is None else names.split(",")
    wanted = list(dict.fromkeys(name.strip() for name in asked if name.strip()))
    if not wanted:
        raise InputError("`--method` must name at least one method", got=names)
    given: dict[str, dict[str, Any]] = {}
    for option in options:
        name, key, value = _option(option)
        if name not in wanted:
            raise InputError(
                "`--option` must be for a method that `--method` names",
                got=option,
                hint=f"Those are: {', '.join(wanted)}.",
            )
        given.setdefault(name, {})[key] = value
    if data is not None:
        for name in wanted:
            if "data" in defaults(name) and "baseline" not in given.get(name, {}):
                given[name] = {"data": data} | given.get(name, {})
    return [_method(name, given.get(name, {})) for name in wanted]


def one(name: str | None, options: tuple[str, ...], files: Sequence[str]) -> "Method":
    """The one method that is named, or the usual one for such files, with its options."""
    usual = ONE_OF_ROWS if Path(files[0]).suffix.lower() in TABLES else ONE
    found = chosen(usual if name is None else name, options)
    if len(found) > 1:
        raise InputError("`--method` must name one method", got=name)
    return found[0]


def chosen_metrics(names: str | None, options: tuple[str, ...]) -> "list[Metric]":
    """Make the metrics that are named, or the usual ones, with their options."""
    from dataclasses import fields

    from pellucid.evaluate import metrics, named_metric

    asked = DEFAULT_METRICS if names is None else names.split(",")
    wanted = list(dict.fromkeys(name.strip() for name in asked if name.strip()))
    if not wanted:
        raise InputError("`--metrics` must name at least one metric", got=names)
    given: dict[str, dict[str, Any]] = {name: {} for name in wanted}
    for option in options:
        name, key, value = _option(option)
        if name not in given:
            raise InputError(
                "`--metric-option` must be for a metric that `--metrics` names",
                got=option,
                hint=f"Those are: {', '.join(wanted)}.",
            )
        kind = metrics().get(name)
        known = {} if kind is None else {each.name: each.default for each in fields(kind)}
        given[name][key] = _typed(option.partition("=")[0], value, known.get(key))
    return [named_metric(name, **own) for name, own in given.items()]


def kind_of(files: Sequence[str]) -> str:
    """What files hold, by their endings: "photo", "table" or "text"; one kind at a time."""
    endings = [Path(path).suffix.lower() for path in files]
    kinds = {"table" if e in TABLES else "text" if e in TEXTS else "photo" for e in endings}
    if len(kinds) > 1 or (kinds == {"table"} and len(files) > 1):
        raise InputError(
            "The files must be photographs, or texts, or one table",
            got=list(files),
            hint="Call pellucid once for each kind.",
        )
    return kinds.pop()


def usual(files: Sequence[str]) -> tuple[str, ...]:
    """The methods that explain such files, where none are named."""
    return DEFAULT_METHODS if kind_of(files) == "photo" else USUAL_OF_ROWS


def _method(name: str, options: dict[str, Any]) -> "Method":
    """Make one method; an option of the wrong type is the user's mistake, not a crash."""
    from pellucid.method import named

    known = defaults(name)
    options = {key: _typed(f"{name}.{key}", v, known.get(key)) for key, v in options.items()}
    try:
        return named(name, **options)
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"The options of {name} must have the types that `pellucid methods` shows",
            got=options,
            hint=str(error),
        ) from error


def _option(text: str) -> tuple[str, str, Any]:
    """Read METHOD.KEY=VALUE; the value is a Python number, word, tuple or None, else a string."""
    left, equals, right = text.partition("=")
    name, dot, key = left.partition(".")
    if not (name and dot and key and equals):
        raise InputError(
            "`--option` must be METHOD.KEY=VALUE", got=text, hint="Such as smoothgrad.samples=20."
        )
    try:
        return name, key, ast.literal_eval(right)
    except (ValueError, SyntaxError):
        return name, key, right


def _typed(option: str, value: Any, default: Any) -> Any:
    """Read yes and no where the default is one of them, and a number where it is a number."""
    if isinstance(default, bool) and not isinstance(value, bool):
        answer = ANSWERS.get(str(value).casefold())
        if answer is None:
            raise InputError(
                f"`{option}` must be true or false", got=value, hint="Or: yes, no, on, off."
            )
        return answer
    unfit = isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value))
    if isinstance(default, int | float) and unfit:
        kind = "a whole number" if isinstance(default, int) else "a finite number"
        raise InputError(f"`{option}` must be {kind}", got=value, hint=f"The default is {default}.")
    return value


def described(method: "type[Method]") -> str:
    """The options of a method with their defaults, as `METHOD.KEY=VALUE` takes them."""
    return ", ".join(f"{name}={default!r}" for name, default in defaults(method.name).items())


def defaults(name: str) -> dict[str, Any]:
    """The options of a method with their defaults; none of a name that is not known."""
    from dataclasses import MISSING, fields

    from pellucid.method import methods

    known = methods()
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in (fields(known[name]) if name in known else ())
    }
