"""`pellucid influence`: the training examples that a decision rests on, or that look wrong."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pellucid.cli.options import (
    any_model_option,
    batch_option,
    folder_option,
    label_option,
    limit_option,
)
from pellucid.cli.outputs import keep_photos, keep_picture, path_ending
from pellucid.cli.samples import are_rows, class_name, drawn, in_lines, listed
from pellucid.errors import InputError, PellucidWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from pellucid.datasets import Dataset
    from pellucid.exemplar import Influence, SelfInfluence
    from pellucid.subjects import Subject
    from pellucid.zoo import Entry

F = TypeVar("F", bound="Influence | SelfInfluence")

# Of more parameters the exact way takes long, one product of the curvature for each, and more than
# the memory that is allowed by default.
MOST_EXACT = 8_000


@click.command()
@click.argument("file", required=False)
@click.option(
    "--train",
    required=True,
    metavar="FOLDER|CSV",
    help="What the model was trained on: photographs in folders named after their classes, or a "
    "table with a --label.",
)
@any_model_option
@label_option
@click.option(
    "--row", type=click.IntRange(min=0), help="A row of FILE, if it is a table. [default: 0]"
)
@click.option("--target", help="The class whose score is asked about. [default: the predicted one]")
@click.option(
    "--how",
    type=click.Choice(["auto", "exact", "newton", "cg", "lissa", "ekfac", "tracin", "representer"]),
    default="auto",
    show_default=True,
    help=f"How curvature is undone; auto is exact up to {MOST_EXACT:,} parameters, else ekfac.",
)
@click.option(
    "--parameters",
    multiple=True,
    metavar="LAYER",
    help="A layer, or parameter, that is asked about; may be given many times; or all. [default: "
    "the last layer; where ekfac or tracin is asked for, all]",
)
@click.option("--damping", type=click.FloatRange(min=0), help="The weight decay of the training.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="So many that help, and so many that harm; or so many suspects.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="So much is held beside the model at most. [default: 2]",
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
    from pellucid.file import check_writable

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
    _check_model(known, model)
    pairs = (known.samples, _labels(known, train))
    number = known.index(target)
    options = _way(known, options)
    if file is None:
        _suspects(known, pairs, options, count, image)
        return
    asked = _subject(file, entry, known, row or 0)
    of = _predicted(known, asked.inputs) if number is None else number
    _carried(known, pairs, options | {"of": of}, asked, count, image)


def _check_model(known: "Dataset", name: str) -> None:
    """Raise unless the model has gradients, by which its training examples are weighed."""
    from torch import nn

    if not isinstance(known.model, nn.Module):
        raise InputError(
            "`--model` must be a torch model, for influence goes by gradients",
            found=f"{type(known.model).__name__} of {name}",
            hint="Its factory returns a torch.nn.Module, called with the numbers of a row.",
        )


def _way(known: "Dataset", options: dict[str, Any]) -> dict[str, Any]:
    """The way that fits the number of parameters, where none is asked for."""
    from pellucid.exemplar.influence.fitted import fitted
    from pellucid.program import untouched

    if options["how"] != "auto":
        return options
    with untouched(known.model):
        asked = fitted(known.model, options["parameters"], known.samples.read(0, 1), last=True)
    if asked.count <= MOST_EXACT:
        return options | {"how": "exact"}
    click.echo(f"how      ekfac, for {asked.count:,} parameters are many: {', '.join(asked.names)}")
    return options | {"how": "ekfac", "parameters": options["parameters"] or list(asked.names)}


def _predicted(known: "Dataset", inputs: Any) -> int | None:
    """The class that the model predicts, if it has a score for each of several."""
    from pellucid.inspect.representation import represented

    found = represented(known.model, inputs, None, "auto")
    if found.predicted is None or found.scores is None or found.scores.shape[1] == 1:
        return None
    return int(found.predicted[0])


def _heard(find: Callable[[], F]) -> F:
    """What is found, with those of its warnings that are not among its notes."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", PellucidWarning)
        found = find()
    for each in heard:
        if str(each.message) not in found.notes:
            warnings.warn(each.message, stacklevel=2)
    return found


def _subject(file: str, entry: "Entry | None", known: "Dataset", row: int) -> "Subject":
    """What is asked about: a photograph, or a row of a table."""
    from pellucid.datasets import row_of
    from pellucid.plot.thumbnails import Picture
    from pellucid.subjects import Subject
    from pellucid.zoo import open_photo

    if entry is None:
        return row_of(file, row, known)
    inputs = entry.preprocess(open_photo(file))
    return Subject(name=Path(file).name, inputs=inputs, picture=Picture(entry.inverse(inputs)))


def _options(
    *, how: str, parameters: tuple[str, ...], damping: float | None, memory: float | None,
    folder: str | None, batch_size: int | None,
) -> dict[str, Any]:  # fmt: skip
    """How influence is found, as it is called in Python."""
    most = {} if memory is None else {"memory": max(1, round(memory * 2**30))}
    return most | {
        "how": how,
        "parameters": "all" if parameters == ("all",) else list(parameters) or None,
        "damping": damping,
        "folder": folder,
        "batch_size": batch_size or "auto",
    }


def _is_table(file: str | None, train: str, row: int | None, target: str | None) -> bool:
    """Whether the training examples are rows of a table, and so is what is asked about."""
    if file is None:
        for option, value in (("--row", row), ("--target", target)):
            if value is not None:
                raise InputError(f"`{option}` must be given with a FILE", got=f"{option} {value}")
    return are_rows(file, train, "--train", row)


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


def _label(known: "Dataset", place: int) -> str:
    """The class of a training example."""
    return "" if known.labels is None else class_name(known, int(known.labels[place]))


def _asked(known: "Dataset", of: int | None) -> str:
    """What is asked about, in words."""
    return "the score" if of is None else f"the score of {class_name(known, of)}"


def _lines(found: "Influence | SelfInfluence", known: "Dataset") -> list[str]:
    """What is known of the data and of how well it was solved."""
    notes = [f"note     {note}" for note in found.notes]
    return [*known.notes, f"solved   by {found.how}, {found.convergence}", *notes]


def _carried(
    known: "Dataset",
    pairs: Any,
    options: dict[str, Any],
    asked: "Subject",
    count: int,
    image: Path,
) -> None:
    """Print and draw the training examples that a decision rests on."""
    from pellucid.exemplar.influence import influence as carried
    from pellucid.file import write_bytes
    from pellucid.report import png

    found = _heard(lambda: carried(known.model, pairs, asked.inputs, **options))
    what = _asked(known, options["of"])
    _say(found, known, what, count)
    write_bytes(image, png(_drawn(found, known, what, asked, count)))
    click.echo(f"picture  {image}")


def _say(found: "Influence", known: "Dataset", asked: str, count: int) -> None:
    """Print the training examples that help most, and those that harm most."""
    click.echo(f"asked    {asked}, which is {float(found.tested[0]):.4g}")
    for line in _lines(found, known):
        click.echo(line)
    top = found.top(min(count, found.values.shape[1]))
    kinds = (("helpful", top.helpful), ("harmful", top.harmful))
    for kind, rows in kinds:
        click.echo(click.style(kind, bold=True))
        places = [place for place in rows[0].tolist() if place >= 0]
        for place in places:
            said = listed(known, place, _label(known, place))
            click.echo(f"  {float(found.values[0, place]):+11.4g}  {said}")
        if not places:
            click.echo("  none")


def _suspects(
    known: "Dataset", pairs: Any, options: dict[str, Any], count: int, image: Path
) -> None:
    """Print and draw the training examples that only themselves speak for."""
    from pellucid.exemplar.influence import self_influence
    from pellucid.file import write_bytes
    from pellucid.plot.thumbnails import sheet
    from pellucid.report import png

    found = _heard(lambda: self_influence(known.model, pairs, **options))
    for line in _lines(found, known):
        click.echo(line)
    click.echo(click.style("labels to look at first", bold=True))
    rows = found.order[:count].tolist()
    for place in rows:
        said = listed(known, place, _label(known, place))
        click.echo(f"  {float(found.values[place]):11.4g}  {said}")
    cells = [_cell(known, place, float(found.values[place])) for place in rows]
    write_bytes(image, png(sheet(in_lines("suspects", cells), title="by self-influence")))
    click.echo(f"picture  {image}")


def _drawn(
    found: "Influence", known: "Dataset", what: str, asked: "Subject", count: int
) -> "Figure":
    """What is asked about, and below it what helps and what harms."""
    from pellucid.plot.thumbnails import Cell, sheet

    lines = in_lines("asked", [Cell(sample=asked.picture, caption=asked.name)])
    top = found.top(min(count, found.values.shape[1]))
    for kind, rows in (("helpful", top.helpful), ("harmful", top.harmful)):
        cells = [
            _cell(known, place, float(found.values[0, place]))
            for place in rows[0].tolist()
            if place >= 0
        ]
        lines += in_lines(kind, cells)
    return sheet(lines, title=f"influence on {what}, by {found.how}")


def _cell(known: "Dataset", place: int, value: float) -> Any:
    from pellucid.plot.thumbnails import Cell

    return Cell(sample=drawn(known, place), caption=f"{_label(known, place)}\n{value:+.3g}")
