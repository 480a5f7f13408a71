"""Data of the command that judges explanations: a folder of photographs, or a table."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pellucid.baseline import Baseline
from pellucid.border.models import is_estimator, number
from pellucid.choices import TABLES, TEXTS, kind_of
from pellucid.errors import FileError, InputError, UnknownNameError, show
from pellucid.evaluate import Difference, Leaderboard, diff, leaderboard
from pellucid.evaluate.leaderboard.run import CHUNK
from pellucid.folders import kind_at, labels_of, masks_of, photos_in
from pellucid.inspect.labels import are_amounts
from pellucid.options import whole
from pellucid.run.samples import Samples, mark_of
from pellucid.subjects import (
    Subject,
    Subjects,
    _classes,
    _columns,
    _model,
    _on_frames,
    _table,
    _tensor,
)
from pellucid.zoo import Entry, find, open_photo

if TYPE_CHECKING:
    import pandas as pd

    from pellucid.evaluate import Metric
    from pellucid.method import Method

# Removing parts of a row is averaged over so many rows: each costs an evaluation a step.
MOST_BACKGROUND = 10
BACKGROUND = "background: rows of the same table"
# So many photographs are judged, and kept if there is a folder, at a time: each takes a while.
PHOTOS = 2
# Of so many files that were passed over, the names are told.
MOST_LISTED = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Samples and the model of them, with what is known of each sample.

    `labels` (sample,) are classes by number, `masks` (sample, height, width) true at what is
    important. `names` are those of the samples, and `picture` gives what the model sees of one;
    `table` has the rows of a table as they stand, with the columns that the model is shown.
    `skipped` says which files could not be read, and why; `notes` are for the user.
    """

    model: Callable[..., Any]
    name: str
    about: str
    samples: Samples
    names: Sequence[str] = ()
    picture: Callable[[int], Any] | None = None
    table: "pd.DataFrame | None" = None
    classes: tuple[str, ...] = ()
    labels: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    background: Any = None
    credits: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def index(self, target: str | None) -> int | None:
        """A class by its name, whatever the case, or by its number."""
        subjects = Subjects(model=self.model, name=self.name, subjects=(), classes=self.classes)
        return subjects.index(target)

    def equipped(self, methods: "Sequence[Method]") -> "tuple[Sequence[str], list[Method]]":
        """Methods that hold rows of a table against other rows, where nothing else was asked.

        Beside them stands what is to be said of it.
        """
        subjects = Subjects(
            model=self.model,
            name=self.name,
            subjects=(),
            background=self.background,
            notes=() if self.background is None else (BACKGROUND,),
        )
        said, found = subjects.equipped(methods)
        return said.notes, found

    def fitted(self, metrics: "Sequence[Metric]") -> "list[Metric]":
        """Metrics that put columns of other rows in the place of those they remove."""
        if self.background is None:
            return list(metrics)
        return [_with_rows(each, self.background) for each in metrics]

    def judged(
        self,
        methods: "Sequence[Method]",
        metrics: "Sequence[Metric]",
        *,
        target: str | None = None,
        folder: str | None = None,
        batch_size: int | None = None,
    ) -> Leaderboard:
        """The leaderboard of methods on these samples, with the notes on them."""
        said, equipped = self.equipped(methods)
        board = leaderboard(
            self.model,
            self.samples,
            equipped,
            self.fitted(metrics),
            target=self.index(target),
            masks=self.masks,
            labels=self.labels,
            folder=folder,
            chunk=CHUNK if self.picture is None else PHOTOS,
            batch_size=batch_size or "auto",
        )
        return replace(board, notes=(*self.notes, *said))


def _with_rows(metric: Any, rows: Any) -> Any:
    """A metric with rows of data as its baseline, if it has one that nobody chose."""
    if not hasattr(metric, "baseline"):
        return metric
    usual = Baseline.of(type(metric)().baseline)
    chosen = repr(Baseline.of(metric.baseline)) != repr(usual)
    return metric if chosen else replace(metric, baseline=Baseline.samples(rows, MOST_BACKGROUND))


def dataset(
    path: str, model: str, *, column: str | None, masks: str | None, limit: int | None
) -> Dataset:
    """Open a folder of photographs or a table, and the model of them.

    The names of the folders in a folder are the classes of the photographs in them; `column` is
    that of a table with the class of each row. Of more samples than `limit`, so many are taken,
    evenly spread.
    """
    most = None if limit is None else whole(limit, "limit")
    place = Path(path)
    if place.is_dir():
        if column is not None:
            raise InputError("`--label` must be for a table", got=path)
        return of_folder(place, model, masks=masks, limit=most)
    if place.suffix.lower() in TABLES:
        if masks is not None:
            raise InputError("`--masks` must be for a folder of photographs", got=path)
        return of_table(path, model, column=column, limit=most)
    hint = "Of texts, call pellucid.evaluate.leaderboard in Python."
    raise FileError(
        f"{path!r} must be a folder of photographs, or a table (.csv, .tsv)",
        got=kind_at(place),
        hint=hint if place.suffix.lower() in TEXTS else "Look for a slip in the name.",
    )


def opened(paths: Sequence[str], model: str, *, column: str | None, limit: int | None) -> Dataset:
    """Photographs that are named one by one, or what `dataset` opens: a folder, or a table."""
    if len(paths) == 1 and (Path(paths[0]).is_dir() or kind_of(paths) == "table"):
        return dataset(paths[0], model, column=column, masks=None, limit=limit)
    if kind_of(paths) != "photo":
        raise InputError(
            "What is compared must be photographs, a folder of them, or one table",
            got=list(paths),
            hint="Of texts, call pellucid.evaluate.diff in Python.",
        )
    if column is not None:
        raise InputError("`--label` must be for a table", got=list(paths))
    return of_files(_spread(list(paths), limit), model)


def differing(
    a: Dataset,
    b: Dataset,
    method: "Method",
    *,
    target: str | None = None,
    tolerance: float,
    batch_size: int | None = None,
) -> Difference:
    """How the explanations of the model of `b` differ from those of `a`, on the same samples."""
    inputs, others = (each.samples.read(0, each.samples.rows) for each in (a, b))
    if type(inputs) is not type(others) or inputs.shape != others.shape:
        raise InputError(
            "Two models must see samples of one kind and size to be compared",
            found=f"{show(inputs)} for {a.name} and {show(others)} for {b.name}",
        )
    if a.classes and b.classes and len(a.classes) != len(b.classes):
        raise InputError(
            "Two models must have the same classes to be compared",
            found=f"{len(a.classes)} classes of {a.name} and {len(b.classes)} of {b.name}",
        )
    _, (chosen,) = a.equipped([method])
    return diff(
        a.model,
        b.model,
        inputs,
        chosen,
        inputs_b=others,
        target=a.index(target),
        labels=a.labels,
        tolerance=tolerance,
        batch_size=batch_size or "auto",
    )


def of_folder(
    place: Path, model: str | Entry, *, masks: str | None = None, limit: int | None = None
) -> Dataset:
    """Photographs in a folder; those that cannot be read are passed over."""
    if not place.is_dir():
        raise FileError(
            f"{str(place)!r} must be a folder of photographs",
            found=kind_at(place),
            hint="Look for a slip in the name.",
        )
    entry = model if isinstance(model, Entry) else find(model)
    good, skipped = [], {}
    for file in _spread(photos_in(place), limit):
        try:
            open_photo(file)
            good.append(file)
        except FileError as error:
            skipped[str(file.relative_to(place))] = str(error)
    if not good:
        raise FileError(
            f"{str(place)!r} must hold at least one photograph that can be read",
            got=next(iter(skipped.values()), "none").rstrip("."),
            hint="Photographs may be in folders named after their classes.",
        )
    labels, notes = labels_of(place, good, entry)
    return replace(
        _of_photos(entry, good, [str(file.relative_to(place)) for file in good]),
        about=f"Model: {entry.name}. Data: photographs in {place.name or place}.",
        labels=labels,
        masks=None if masks is None else masks_of(Path(masks), place, good, entry),
        skipped=skipped,
        notes=(*notes, *_said(skipped)),
    )


def of_files(paths: Sequence[str], model: str) -> Dataset:
    """Photographs that are named, all of which must be such."""
    for path in paths:
        open_photo(path)
    return _of_photos(find(model), [Path(path) for path in paths], paths)


def _of_photos(entry: Entry, files: Sequence[Path], names: Sequence[str]) -> Dataset:
    """Photographs, opened when they are looked at."""

    def read(start: int, stop: int) -> torch.Tensor:
        return torch.cat([entry.preprocess(open_photo(file)) for file in files[start:stop]])

    marks = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    credits = f"Model: {entry.source}." if entry.source else ""
    credits += f" License: {entry.license}." if entry.license else ""
    return Dataset(
        model=entry.model,
        name=entry.name,
        about=f"Model: {entry.name}. Data: photographs.",
        samples=Samples(
            rows=len(files), read=read, mark=mark_of([entry.preprocess, list(names), marks])
        ),
        names=names,
        picture=lambda row: entry.picture(files[row]),
        classes=entry.classes,
        credits=credits,
    )


def _spread(items: list[Any], limit: int | None) -> list[Any]:
    """So many of some items at most, evenly spread.

    >>> _spread(list("abcdef"), 3)
    ['a', 'c', 'e']
    """
    if limit is None or len(items) <= limit:
        return items
    return [items[place * len(items) // limit] for place in range(limit)]


def _said(skipped: dict[str, str]) -> Iterator[str]:
    """What to tell of files that were passed over."""
    if skipped:
        photographs = f"photograph{'s' * (len(skipped) > 1)}"
        yield f"{len(skipped)} {photographs} could not be read, and left out"
        yield from (f"left out: {why}" for why in list(skipped.values())[:MOST_LISTED])
        if len(skipped) > MOST_LISTED:
            yield f"... and {len(skipped) - MOST_LISTED} more"


def of_table(
    path: str, model: Any, *, column: str | None = None, limit: int | None = None
) -> Dataset:
    """The rows of a table; its column of classes is not shown to the model, named or as it is."""
    table = _table(path)
    if column is not None and column not in table.columns:
        raise UnknownNameError(f"A column of {path}", column, map(str, table.columns))
    made = _model(model) if isinstance(model, str) else model
    name = model if isinstance(model, str) else type(model).__name__
    background = table if column is None else table.drop(columns=column)
    columns = _columns(made, background, path)
    rows = _spread(list(range(len(table))), limit)
    picked = background.iloc[rows][columns].reset_index(drop=True)
    is_tensor = isinstance(made, torch.nn.Module)
    data = _tensor(picked) if is_tensor else picked
    others = background[columns]
    labels, notes = _classes_in(None if column is None else table[column].iloc[rows], made, name)
    return Dataset(
        model=_on_frames(made),
        name=name,
        about=f"Model: {name}. Data: rows of {Path(path).name}.",
        samples=Samples.of(data),
        names=[f"row {row}" for row in rows],
        table=picked,
        classes=_classes(made),
        labels=labels,
        background=_tensor(others) if is_tensor else others,
        notes=tuple(notes),
    )


def row_of(path: str, row: int, known: Dataset) -> Subject:
    """A row of a table, for the model of a data set of rows; its class need not be there."""
    found = _table(path)
    if not 0 <= row < len(found):
        raise InputError(f"`--row` must be from 0 to {len(found) - 1}, in {path}", got=row)
    wanted = [] if known.table is None else list(known.table.columns)
    for name in wanted:
        if name not in found.columns:
            raise UnknownNameError(
                f"A column that the model is shown, in {path},", name, map(str, found.columns)
            )
    picked = found.loc[[row], wanted].reset_index(drop=True)
    return Subject(
        name=f"row {row}",
        inputs=_tensor(picked) if isinstance(known.model, torch.nn.Module) else picked,
        picture=row_at(picked, 0),
    )


def row_at(table: "pd.DataFrame", place: int) -> "pd.Series":
    """One row of a table, each value of its own type."""
    return table.iloc[[place]].astype(object).iloc[0]


def _classes_in(
    column: "pd.Series | None", model: Any, name: str
) -> tuple[torch.Tensor | None, list[str]]:
    """The classes in a column, by number: those of an estimator by their labels."""
    known = _classes(model)
    if column is None:
        return None, []
    if is_estimator(model) and known:
        return torch.tensor([number(str(each), known, name) for each in column]), []
    if is_estimator(model):
        return None, [f"labels: none, for {name} predicts no classes"]
    if are_amounts(column.dropna().tolist()):
        return None, [f"labels: none, for {column.name} is an amount, and no class"]
    try:
        return torch.tensor([_whole(each) for each in column]), []
    except (TypeError, ValueError) as error:
        raise InputError(
            "Classes of a model without names of them must be whole numbers",
            got=error,
            hint="Let the factory return an estimator, or number the classes.",
        ) from error


def _whole(value: Any) -> int:
    if int(value) != float(value):
        raise ValueError(f"{value} is between two classes")
    return int(value)
