"""What the command explains: photographs, rows of a table, and texts, each with its model."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pellucid.baseline import Baseline
from pellucid.border.models import is_estimator, labels, number, of_estimator
from pellucid.border.texts import pieces
from pellucid.choices import TABLES, defaults, kind_of
from pellucid.errors import FileError, InputError, UnknownNameError
from pellucid.tape.record import Tape, record
from pellucid.zoo import Entry, TextEntry, find, named, open_photo

if TYPE_CHECKING:
    import pandas as pd

    from pellucid.method import Method
    from pellucid.plot import Map

# A background that scores are averaged over has at most so many rows: each costs an evaluation.
MOST_BACKGROUND = 100
# In how many parts the numbers of a column are drawn where some are missing: quartiles.
BINS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A photograph, a row of a table, or a text: its name, and what a model is called with.

    `picture` is what the model sees of a photograph, `tokens` are the words of a text.
    """

    name: str
    inputs: Any
    picture: Any = None
    tokens: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Subjects:
    """What is to be explained, the model of it, and what it can be held against.

    `classes` are those of the model, `columns` the names of those of a table, and `background` rows
    of data. `credits` says where a model comes from; `notes` are for the user.
    """

    model: Callable[..., Any]
    name: str
    subjects: Sequence[Subject]
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    background: Any = None
    credits: str = ""
    notes: tuple[str, ...] = ()

    def tape(self) -> Tape | None:
        """The recorded run on the first of them; none of a model that is only called."""
        first = self.subjects[0].inputs
        return record(self.model, first) if isinstance(first, torch.Tensor) else None

    def index(self, target: str | None) -> int | None:
        """A class by its name, whatever the case, or by its number."""
        return None if target is None else class_of(target, self.classes, self.name)

    def equipped(self, methods: "Sequence[Method]") -> "tuple[Subjects, list[Method]]":
        """Methods with what tables ask for where nothing was given, and what is to say of it.

        The background is the baseline. Where numbers are missing they are drawn in bins, and where
        the model is a torch module, columns are occluded one by one, for they have no neighbours.
        """
        if self.background is None:
            return self, list(methods)
        found = [self._with_baseline(each) for each in methods]
        drawn = [_with_bins(each) if self.has_gaps else each for each in found]
        notes = [
            f"{was.name}: bins={BINS}, for numbers are missing in some rows"
            for was, now in zip(found, drawn, strict=True)
            if now is not was
        ]
        made = [_one_by_one(each) for each in drawn] if self._is_tensor else drawn
        return replace(self, notes=(*self.notes, *notes)), made

    def _with_baseline(self, method: "Method") -> "Method":
        known, own = defaults(method.name), {each.name for each in fields(method)}
        given = getattr(method, "data", None) is not None or "baseline" not in own
        if given or vars(method)["baseline"] != known["baseline"]:
            return method
        return _with(method, "baseline", Baseline.samples(self.background, MOST_BACKGROUND))

    @property
    def _is_tensor(self) -> bool:
        return isinstance(self.background, torch.Tensor)

    @property
    def has_gaps(self) -> bool:
        """Whether numbers are missing in a table, or in the rows that are explained."""
        tables = [self.background, *(each.inputs for each in self.subjects)]
        if self._is_tensor:
            return any(bool(each.isnan().any()) for each in tables)
        return any(bool(each.select_dtypes("number").isna().any(axis=None)) for each in tables)


def class_of(target: str, classes: Sequence[str], model: str) -> int:
    """The number of a class that is named, whatever the case, or numbered, on the command line.

    >>> class_of("Crane", ["heron", "crane"], "birds"), class_of("1", ["heron", "crane"], "birds")
    (1, 1)
    """
    folded = [known.casefold() for known in classes]
    places = [place for place, known in enumerate(folded) if known == target.casefold()]
    if len(places) > 1:
        raise InputError(
            "`--target` must be a number where several classes have one name",
            got=target,
            hint=f"Those of {model} have the numbers {', '.join(map(str, places))}.",
        )
    if places:
        return places[0]
    try:
        place = int(target)
    except ValueError:
        return number(target, classes, model)
    if place < 0:
        raise InputError("`--target` must be a class by name, or by number from 0", got=place)
    return place


def _with_bins(method: "Method") -> "Method":
    """The method with bins, if it may have some and has none."""
    unset = getattr(method, "bins", 0) is None and getattr(method, "data", None) is not None
    return _with(method, "bins", BINS) if unset else method


def _one_by_one(method: "Method") -> "Method":
    """The method with windows of one column, if it has windows and none are given."""
    own = {each.name for each in fields(method)}
    slides = {"window", "stride", "features"} <= own
    if not slides or any(getattr(method, name) for name in ("window", "stride", "features")):
        return method
    return _with(method, "window", 1)


def _with(method: "Method", option: str, value: Any) -> "Method":
    return replace(method, **{option: value})


def subjects(
    files: Sequence[str], model: str, rows: Sequence[int], background: str | None
) -> Subjects:
    """Open files, and the model of what they hold: "name" or "package.module:factory"."""
    kind = kind_of(files)
    if kind != "table" and (rows or background is not None):
        option = "--row" if rows else "--background"
        raise InputError(f"`{option}` must be for a table", got=list(files))
    if kind == "table":
        return of_table(files[0], model, rows or (0,), background)
    return of_texts(files, model) if kind == "text" else of_photos(files, model)


def of_photos(paths: Sequence[str], model: str) -> Subjects:
    """Photographs, as a model of the zoo or of the user's own sees them."""
    opened = [open_photo(path) for path in paths]
    entry = find(model)
    taken = [entry.preprocess(photo) for photo in opened]
    found = [
        Subject(name=name, inputs=inputs, picture=entry.inverse(inputs))
        for name, inputs in zip(_names(paths), taken, strict=True)
    ]
    credits = f"Model: {entry.source}." if entry.source else ""
    credits += f" License: {entry.license}." if entry.license else ""
    return Subjects(
        model=entry.model, name=entry.name, subjects=found, classes=entry.classes, credits=credits
    )


def _names(paths: Sequence[str]) -> list[str]:
    """The file names, or the whole paths where two files have the same name."""
    names = [os.fsencode(Path(path).name).decode("utf-8", "replace") for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def of_texts(paths: Sequence[str], model: str) -> Subjects:
    """The text of each file, for a model that is called with a list of strings."""
    read = [_text(path) for path in paths]
    made = _model(model)
    if isinstance(made, nn.Module):
        raise InputError(
            "A model of texts must be called with a list of strings",
            found=type(made).__name__,
            hint="Let the factory return a function that makes tokens of them first.",
        )
    found = [
        Subject(name=name, inputs=[text], tokens=tuple(word for _, word, _ in pieces(text)))
        for name, text in zip(_names(paths), read, strict=True)
    ]
    return Subjects(model=made, name=model, subjects=found, classes=_classes(made))


def of_table(
    path: str,
    model: str,
    numbers: Sequence[int],
    background: str | None,
    label: str | None = None,
) -> Subjects:
    """Rows of a CSV file, by their numbers from 0, and rows of data to hold against them.

    Columns are those that the model was fitted on, where it knows; else all but the `label`. A
    torch module gets a tensor of the numbers in them.
    """
    table = _without(label, _table(path), path)
    data = table if background is None else _table(background)
    data = data.drop(columns=label or [], errors="ignore")
    made = _model(model)
    columns = _columns(made, table, path)
    for place in numbers:
        if not 0 <= place < len(table):
            raise InputError(f"`--row` must be from 0 to {len(table) - 1}", got=place)
    picked = [table.loc[[place], columns].reset_index(drop=True) for place in numbers]
    others = data[_columns(made, data, background or path)]
    if isinstance(made, nn.Module):
        picked, others = [_tensor(each) for each in picked], _tensor(others)
    found = [
        Subject(name=f"{Path(path).name}, row {place}", inputs=each)
        for place, each in zip(numbers, picked, strict=True)
    ]
    return Subjects(
        model=_on_frames(made),
        name=model,
        subjects=found,
        classes=_classes(made),
        columns=tuple(map(str, columns)) if isinstance(made, nn.Module) else None,
        background=others,
        notes=_notes(Path(background or path).name, len(others)),
    )


def _without(label: str | None, table: "pd.DataFrame", path: str) -> "pd.DataFrame":
    """A table without the column of what the model predicts."""
    if label is None:
        return table
    if label not in table.columns:
        raise UnknownNameError(f"A column of {path}", label, map(str, table.columns))
    return table.drop(columns=label)


def _notes(name: str, rows: int) -> tuple[str, ...]:
    kept = f", {MOST_BACKGROUND} of them drawn where scores are averaged"
    return (f"background: {rows} rows of {name}{kept if rows > MOST_BACKGROUND else ''}",)


def _model(name: str) -> Any:
    made = named(name)
    if isinstance(made, Entry | TextEntry):
        raise InputError(
            "`--model` must be a model of tables or texts",
            got=f"{made.name}, a model of the zoo",
            hint="Name your own as package.module:factory.",
        )
    if not callable(made) and not is_estimator(made):
        raise InputError(
            f"{name} must return an estimator, a torch model or a callable",
            got=made,
        )
    return made


def _classes(model: Any) -> tuple[str, ...]:
    return tuple(map(str, labels(model))) if is_estimator(model) else ()


def _on_frames(model: Any) -> Any:
    """An estimator that was fitted without names of columns, as a function of data frames."""
    fitted_on_frames = getattr(model, "feature_names_in_", None) is not None
    if not is_estimator(model) or fitted_on_frames or not hasattr(model, "n_features_in_"):
        return model
    ask = of_estimator(model)

    def answer(frame: "pd.DataFrame") -> Any:
        return ask(frame.to_numpy())

    answer.__qualname__ = type(model).__name__
    return answer


def _columns(model: Any, table: "pd.DataFrame", path: str) -> list[Any]:
    """The columns that a model was fitted on, all of which must be there."""
    fitted = getattr(model, "feature_names_in_", None)
    wanted = list(table.columns) if fitted is None else [str(name) for name in fitted]
    for name in wanted:
        if name not in table.columns:
            raise UnknownNameError(
                f"A column that the model was fitted on, in {path},", name, map(str, table.columns)
            )
    return wanted


def _tensor(frame: "pd.DataFrame") -> torch.Tensor:
    import pandas as pd

    words = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if words:
        raise InputError(
            "A torch model must have columns of numbers",
            found=f"column {words[0]!r}",
            hint="Let the factory return a function of data frames instead.",
        )
    return torch.tensor(frame.to_numpy(dtype="float32"))


def _table(path: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        table = pd.read_csv(path, sep=TABLES.get(Path(path).suffix.lower(), ","))
    except (OSError, ValueError) as error:
        raise FileError(
            f"{path!r} must be a table of comma-separated values",
            got=error,
            hint="Its first line names the columns.",
        ) from error
    if table.empty:
        raise FileError(f"{path!r} must have at least one row below the names of its columns")
    return table


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path!r} must be a text in UTF-8", got=error, hint="Check the name."
        ) from error


def listed(shown: "Map", most: int = 10) -> list[str]:
    """The columns of a row, or the words of a text, with their values, the strongest first."""
    if shown.kind not in ("table", "text") or len(shown.labels) != len(shown.values):
        return []
    order = sorted(range(len(shown.values)), key=lambda i: -abs(float(shown.values[i])))
    width = max(len(shown.labels[i]) for i in order[:most])
    lines = [
        f"{shown.labels[i]:<{width}}  {_signed(float(shown.values[i]))}"
        + ("" if shown.errors is None else f" \N{PLUS-MINUS SIGN} {float(shown.errors[i]):.2g}")
        for i in order[:most]
    ]
    rest = len(order) - len(lines)
    return [*lines, f"... and {rest} more"] if rest else lines


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}")
