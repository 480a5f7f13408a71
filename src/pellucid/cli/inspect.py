"""`pellucid inspect`: what a model of photographs has learned, as a page."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.options import batch_option, folder_option, limit_option, model_option
from pellucid.cli.outputs import page_path

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.datasets import Dataset
    from pellucid.survey import Survey
    from pellucid.zoo import Entry

# So many samples stand for a class, and of so many it is said that they do not.
PROTOTYPES, CRITICISMS = 3, 3


@click.command()
@model_option
@click.option(
    "--layer",
    "layers",
    multiple=True,
    help="A layer by its path; may be given many times; `pellucid tape` lists them. [default: four "
    "from the first convolution to the last]",
)
@click.option(
    "--data",
    metavar="FOLDER",
    help="A folder of photographs, in folders named after their classes or not. [default: none, "
    "and dreams and filters alone]",
)
@click.option(
    "--units",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="So many channels of each layer, evenly by number.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1, max=25),
    default=9,
    show_default=True,
    help="So many patches for each channel.",
)
@click.option(
    "--classes",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="So many of the classes with most photographs.",
)
@click.option(
    "--recipe",
    type=click.Choice(["auto", "fourier", "yosinski", "plain"]),
    default="auto",
    show_default=True,
    help="How dreams are made; auto is plain where units see little, else fourier.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Of each dream.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the starts of dreams.")
@limit_option
@batch_option
@folder_option
@click.option("--out", default="inspect.html", show_default=True, help="The page to write.")
def inspect(
    model: str,
    layers: tuple[str, ...],
    data: str | None,
    units: int,
    top: int,
    classes: int,
    limit: int | None,
    batch_size: int | None,
    out: str,
    **options: Any,
) -> None:
    """Show what a model has learned, as one HTML page: layers, channels and classes.

    For some channels of some layers: the patches of photographs that excite them most, what of
    these does so, a picture that is made to excite them (its dream), and their filters; and for
    each class the photographs that stand for it, and where the model looks in them.
    """
    from pellucid.file import check_writable

    page = check_writable(page_path(out))

    from pellucid.datasets import of_folder
    from pellucid.report.survey import check_size
    from pellucid.survey import survey
    from pellucid.zoo import find

    entry = find(model)
    found = None if data is None else of_folder(Path(data), entry, limit=limit)
    for note in _notes(found):
        click.echo(note)
    black, white = _ends(entry)
    gray = (black + white) / 2
    chosen, channels = _chosen(entry, gray, layers, units)
    rows = 0 if found is None else found.samples.rows
    most = min(classes, rows, len(entry.classes) or classes)
    check_size(channels * (2 + 2 * min(top, rows)) + _of_classes(most, rows))
    options |= {"k": top, "batch_size": batch_size or "auto", "names": entry.classes}
    options["limits"] = (black[0, :, :1, :1], white[0, :, :1, :1])
    if found is None:
        seen = survey(entry.model, None, chosen, like=gray, units=units, **options)
    else:
        options |= {"labels": found.labels, "classes": classes}
        options |= {"prototypes": PROTOTYPES, "criticisms": CRITICISMS}
        seen = survey(entry.model, found.samples, chosen, units=units, **options)
    _write(page, replace(seen, notes=(*_notes(found), *seen.notes)), entry, found)
    for line in (seen, *seen.notes, f"page     {page}"):
        click.echo(line)


def _notes(found: "Dataset | None") -> tuple[str, ...]:
    return () if found is None else found.notes


def _ends(entry: "Entry") -> "tuple[Tensor, Tensor]":
    """A black and a white picture, as the model takes them."""
    from PIL import Image

    black, white = (Image.new("RGB", (8, 8), each) for each in ("black", "white"))
    return entry.preprocess(black), entry.preprocess(white)


def _chosen(
    entry: "Entry", gray: "Tensor", layers: tuple[str, ...], units: int
) -> tuple[list[str], int]:
    """The layers, and how many channels of all of them are shown."""
    from pellucid.survey.choice import channel_axis_of, chosen_layers, shapes_of

    chosen = chosen_layers(entry.model, gray, layers)
    shapes = shapes_of(entry.model, gray, chosen).values()
    return chosen, sum(min(units, shape[channel_axis_of(shape)]) for shape in shapes)


def _of_classes(classes: int, rows: int) -> int:
    """How many pictures so many classes have at most: of samples, and maps of each class."""
    from pellucid.report.survey import MAPS

    return min((PROTOTYPES + CRITICISMS) * classes, rows) + MAPS * classes


def _write(page: Path, seen: "Survey", entry: "Entry", found: "Dataset | None") -> None:
    from pellucid.report import write_survey

    license = f" License: {entry.license}." if entry.license else ""
    write_survey(
        page,
        seen,
        inverse=lambda inputs: entry.inverse(inputs.float()),
        picture=None if found is None else found.picture,
        names=() if found is None else found.names,
        about=f"Model: {entry.name}." if found is None else found.about,
        credits=f"Model: {entry.source}.{license}" if entry.source else license.strip(),
    )
