"""`pellucid influence`: the training examples that a decision rests on, or that look wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.choices import TABLES
from pellucid.cli.options import (
    batch_option,
    folder_option,
    label_option,
    limit_option,
    model_option,
)
from pellucid.cli.outputs import keep_photos, keep_picture, path_ending
from pellucid.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from pellucid.datasets import Dataset
    from pellucid.exemplar import Influence, SelfInfluence
    from pellucid.zoo import Entry


@click.command()
@click.argument("file", required=False)
@click.option(
    "--train",
    required=True,
    metavar="FOLDER|CSV",
    help="What the model was trained on: photographs in folders named after their classes, or a "
    "table with a --label.",
)
@model_option
@label_option
@click.option(
    "--row", type=click.IntRange(min=0), help="A row of FILE, if it is a table. [default: 0]"
)
@click.option("--target", help="The class whose score is asked about. [default: the predicted one]")
@click.option(
    "--how",
    type=click.Choice(["exact", "newton", "cg", "lissa", "ekfac", "tracin", "representer"]),
    default="exact",
    show_default=True,
    help="How curvature is undone; ekfac for many parameters.",
)
@click.option(
    "--parameters",
    multiple=True,
    metavar="LAYER",
    help="A layer, or parameter, that is asked about; may be given many times; or all. [default: "
    "the last layer; of ekfac and tracin, all]",
)
@click.option("--damping", type=click.FloatRange(min=0), help="The weight decay of the training.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="So many that help, and so many that harm; or so many suspects.",
)
@limit_option
@batch_option
@folder_option
@click.option("--out", default="influence.png", show_default=True, help="The picture to write.")
def influence(
    file: str | None,
    train: str,
    model: str,
    label: str | None,
    row: int | None,
    target: str | None,
    count: int,
    limit: int | None,
    out: str,
    **others: Any,
) -> None:
    """Find the training examples that helped or harmed what a model says of FILE.

    FILE is a photograph, or a table (.csv) of which --row names a row. Without a FILE, find the
    training examples that only themselves speak for: those whose labels may be wrong.
    """
    from pellucid.report import check_writable

    image = check_writable(path_ending(out, ".png"))
    keep_photos((file,) if file else (), (image,), other="helpful.png")
    keep_picture(image, other="helpful.png")
    is_table = _is_table(file, train, row, target)
    options = _options(**others)

    from pellucid.datasets import dataset, of_folder
    from pellucid.zoo import find

    entry = None if is_table else find(model)
    known = (
        dataset(train, model, column=label, masks=None, limit=limit)
        if entry is None
        else of_folder(Path(train), entry, limit=limit)
    )
    pairs = (known.samples, _labels(known, train))
    if file is None:
        _suspects(known, pairs, options, count, image)
    else:
        inputs = _inputs(file, entry, known, label, row or 0)
        picture = None if entry is None else entry.inverse(inputs)
        _carried(known, pairs, options | {"of": known.index(target)}, inputs, count, image, picture)


def _inputs(file: str, entry: "Entry | None", known: "Dataset", label: str | None, row: int) -> Any:
    """What is asked about, as the model takes it."""
    from pellucid.datasets import of_table
    from pellucid.zoo import open_photo

    if entry is not None:
        return entry.preprocess(open_photo(file))
    return _row(of_table(file, known.model, column=label), file, row)


def _options(
    *, how: str, parameters: tuple[str, ...], damping: float | None, folder: str | None,
    batch_size: int | None,
) -> dict[str, Any]:  # fmt: skip
    """How influence is found, as it is called in Python."""
    return {
        "how": how,
        "parameters": "all" if parameters == ("all",) else list(parameters) or None,
        "damping": damping,
        "folder": folder,
        "batch_size": batch_size or "auto",
    }


def _is_table(file: str | None, train: str, row: int | None, target: str | None) -> bool:
    """Whether the training examples are rows of a table, and so is what is asked about."""
    is_table = Path(train).suffix.lower() in TABLES
    if file is None:
        for option, value in (("--row", row), ("--target", target)):
            if value is not None:
                raise InputError(f"`{option}` must be given with a FILE", got=f"{option} {value}")
    elif (Path(file).suffix.lower() in TABLES) != is_table:
        raise InputError(
            "FILE and what is given to `--train` must be of one kind",
            got=f"{file} and {train}",
            hint="A photograph and a folder of photographs, or a row of a table and a table.",
        )
    if row is not None and not is_table:
        raise InputError("`--row` must be for a table", got=file)
    return is_table


def _labels(known: "Dataset", train: str) -> "Tensor":
    """The classes of all training examples, without which there is no loss."""
    if known.labels is None:
        raise InputError(
            "Training examples must have their classes",
            found=next((note for note in known.notes if note.startswith("labels")), "none"),
            hint=f"Photographs are in folders of {train} named after their classes; a table has "
            "a --label COLUMN.",
        )
    return known.labels


def _row(table: "Dataset", file: str, row: int) -> Any:
    """One row of a table, as the model takes it."""
    if row >= table.samples.rows:
        raise InputError(f"`--row` must be from 0 to {table.samples.rows - 1}, in {file}", got=row)
    return table.samples.read(row, row + 1)


def _named(known: "Dataset", place: int) -> str:
    """A training example by name, with its class."""
    label = None if known.labels is None else int(known.labels[place])
    if label is None:
        return known.names[place]
    name = known.classes[label] if label < len(known.classes) else f"class {label}"
    return f"{known.names[place]}  {name}"


def _lines(found: "Influence | SelfInfluence", known: "Dataset") -> list[str]:
    """What is known of the data and of how well it was solved."""
    notes = [f"note     {note}" for note in found.notes]
    return [*known.notes, f"solved   by {found.how}, {found.convergence}", *notes]


def _carried(
    known: "Dataset",
    pairs: Any,
    options: dict[str, Any],
    inputs: Any,
    count: int,
    image: Path,
    picture: Any,
) -> None:
    """Print, and of photographs draw, the training examples that a decision rests on."""
    from pellucid.exemplar.influence import influence as carried
    from pellucid.report import png, write_whole

    found = carried(known.model, pairs, inputs, **options)
    _say(found, known, count)
    if picture is not None:
        write_whole(image, png(_drawn(found, known, picture, count)))
        click.echo(f"picture  {image}")


def _say(found: "Influence", known: "Dataset", count: int) -> None:
    """Print the training examples that help most, and those that harm most."""
    click.echo(f"asked    {found.of}, which is {float(found.tested[0]):.4g}")
    for line in _lines(found, known):
        click.echo(line)
    top = found.top(min(count, found.values.shape[1]))
    kinds = (("helpful", top.helpful), ("harmful", top.harmful))
    for kind, rows in kinds:
        click.echo(click.style(kind, bold=True))
        for place in rows[0].tolist():
            if place >= 0:
                value = float(found.values[0, place])
                click.echo(f"  {value:+11.4g}  {_named(known, place)}")


def _suspects(
    known: "Dataset", pairs: Any, options: dict[str, Any], count: int, image: Path
) -> None:
    """Print and draw the training examples that only themselves speak for."""
    from pellucid.exemplar.influence import self_influence
    from pellucid.report import png, write_whole

    found = self_influence(known.model, pairs, **options)
    for line in _lines(found, known):
        click.echo(line)
    click.echo(click.style("labels to look at first", bold=True))
    rows = found.order[:count].tolist()
    for place in rows:
        click.echo(f"  {float(found.values[place]):11.4g}  {_named(known, place)}")
    if known.picture is not None:
        cells = [_cell(known, place, float(found.values[place])) for place in rows]
        write_whole(image, png(_sheet([("suspects", cells)], "by self-influence")))
        click.echo(f"picture  {image}")


def _drawn(found: "Influence", known: "Dataset", picture: Any, count: int) -> "Figure":
    """The photograph, and below it what helps and what harms."""
    from pellucid.plot.thumbnails import Cell

    lines = [("the photograph", [Cell(sample=picture)])]
    top = found.top(min(count, found.values.shape[1]))
    for kind, rows in (("helpful", top.helpful), ("harmful", top.harmful)):
        cells = [
            _cell(known, place, float(found.values[0, place]))
            for place in rows[0].tolist()
            if place >= 0
        ]
        if cells:
            lines.append((kind, cells))
    return _sheet(lines, f"influence on {found.of}, by {found.how}")


def _cell(known: "Dataset", place: int, value: float) -> Any:
    from pellucid.plot.thumbnails import Cell

    label = "" if known.labels is None else known.classes[int(known.labels[place])]
    picture = None if known.picture is None else known.picture(place)
    return Cell(sample=picture, caption=f"{label}\n{value:+.3g}")


def _sheet(lines: Any, title: str) -> "Figure":
    from pellucid.plot.thumbnails import sheet

    return sheet(lines, pictures=lambda pixels: pixels, title=title)
