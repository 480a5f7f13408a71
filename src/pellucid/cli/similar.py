"""`pellucid similar`: photographs, or rows of a table, that a model sees as most like one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

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
from pellucid.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from pellucid.datasets import Dataset
    from pellucid.exemplar import Neighbours
    from pellucid.subjects import Subject

Metric: TypeAlias = Literal["cosine", "euclidean"]

# So many neighbours are shown, if there are.
USUAL = 5


@click.command()
@click.argument("file")
@click.option(
    "--data",
    required=True,
    metavar="FOLDER|CSV",
    help="A folder of photographs, in folders named after their classes or not; or a table.",
)
@any_model_option
@label_option
@click.option(
    "--row", type=click.IntRange(min=0), help="A row of FILE, if it is a table. [default: 0]"
)
@click.option(
    "--layer", help="The layer in which samples are alike. [default: what the model answers]"
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="So many of all, of the class of FILE, and of the others. [default: "
    f"{USUAL}, or as many as there are]",
)
@click.option(
    "--metric",
    type=click.Choice(["cosine", "euclidean"]),
    help="By what samples are near. [default: cosine; of rows, or of one number, euclidean]",
)
@limit_option
@batch_option
@folder_option
@click.option("--out", default="similar.png", show_default=True, help="The picture to write.")
def similar(
    file: str,
    data: str,
    model: str,
    label: str | None,
    row: int | None,
    layer: str | None,
    count: int | None,
    metric: Metric | None,
    limit: int | None,
    batch_size: int | None,
    folder: str | None,
    out: str,
) -> None:
    """Find the samples that the model sees as most like the one in FILE.

    FILE is a photograph, and the samples those in a folder; or a table (.csv) of which --row names
    a row, and the samples rows of a table. The class of FILE is the one that the model predicts;
    samples have the classes that their folders are named after, or that a --label tells, or else
    those that the model predicts.
    """
    from pellucid.file import check_writable, write_bytes
    from pellucid.report import png

    image = check_writable(path_ending(out, ".png"))
    keep_photos((file,), (image,), other="alike.png")
    keep_picture(image, other="alike.png")

    from pellucid.exemplar import neighbours
    from pellucid.inspect.representation import represented

    if are_rows(file, data, "--data", row):
        asked, found, own = _of_rows(file, row or 0, data, model, label, limit)
    else:
        asked, found, own = _of_photos(file, data, model, label, limit)
    seen = represented(found.model, asked.inputs, layer, "auto")
    known = _features(found, layer, batch_size, folder)
    labels, classes = _classes(found, seen, known)
    how: dict[str, Any] = {
        "k": _count(count, len(found.names) - (own is not None)),
        "metric": _metric(metric, found, seen.features),
        "rows": None if own is None else [own],
    }
    result = neighbours(
        None, seen.features, known["features"], labels=labels, classes=classes, **how
    )
    for line in (*found.notes, *_told(result, found)):
        click.echo(line)
    write_bytes(image, png(_drawn(result, found, asked)))
    click.echo(f"picture  {image}")


def _of_photos(
    file: str, data: str, model: str, label: str | None, limit: int | None
) -> "tuple[Subject, Dataset, int | None]":
    """A photograph, a folder of photographs, and where in it the photograph itself is."""
    from pellucid.datasets import of_folder
    from pellucid.plot.thumbnails import Picture
    from pellucid.subjects import Subject
    from pellucid.zoo import find, open_photo

    if label is not None:
        raise InputError("`--label` must be for a table", got=data)
    opened, entry = open_photo(file), find(model)
    found = of_folder(Path(data), entry, limit=limit)
    inputs = entry.preprocess(opened)
    same = [at for at, name in enumerate(found.names) if (Path(data) / name).samefile(file)]
    asked = Subject(name=Path(file).name, inputs=inputs, picture=Picture(entry.inverse(inputs)))
    return asked, found, same[0] if same else None


def _of_rows(
    file: str, row: int, data: str, model: str, label: str | None, limit: int | None
) -> "tuple[Subject, Dataset, int | None]":
    """A row of a table, the rows of a table, and where among them the row itself is."""
    from pellucid.datasets import of_table, row_of

    found = of_table(data, model, column=label, limit=limit)
    asked = row_of(file, row, found)
    same = Path(file).samefile(data) and asked.name in found.names
    return asked, found, list(found.names).index(asked.name) if same else None


def _classes(
    found: "Dataset", seen: Any, known: "dict[str, Tensor]"
) -> "tuple[Tensor | None, Tensor | None]":
    """The classes of the data, and that of the sample: none of one number without labels."""
    labels = found.labels
    if labels is None and seen.scores is not None and seen.scores.shape[1] > 1:
        labels = known.get("classes")
    return labels, None if labels is None else seen.predicted


def _metric(asked: Metric | None, found: "Dataset", features: "Tensor") -> Metric:
    """By what samples are near: between numbers, one for each sample, there are no angles."""
    single = features.shape[1] == 1
    if asked == "cosine" and single:
        raise InputError(
            "`--metric` must be euclidean where there is one number for each sample",
            got=asked,
            hint="Or name a --layer with several channels.",
        )
    return asked or ("euclidean" if single or found.table is not None else "cosine")


def _count(asked: int | None, most: int) -> int:
    """How many neighbours are shown, of so many other samples."""
    if not most:
        raise InputError(
            "The data must hold other samples", got="none", hint="Name more of them: --data."
        )
    if asked is not None and asked > most:
        raise InputError(f"`--count` must be at most {most}: there are no more", got=asked)
    return min(USUAL, most) if asked is None else asked


def _features(
    found: "Dataset", layer: str | None, batch_size: int | None, folder: str | None
) -> "dict[str, Tensor]":
    """The features of all samples, and what the model predicts of them."""
    from pellucid.evaluate.leaderboard.learned import learned
    from pellucid.inspect.representation import represented
    from pellucid.run.described import described
    from pellucid.run.stages import stages

    def compute() -> "dict[str, Tensor]":
        data: Any = found.samples
        if found.table is not None:
            data = found.samples.read(0, found.samples.rows)
        made = represented(found.model, data, layer, "auto", batch_size=batch_size or "auto")
        return {"features": made.features} | (
            {} if made.predicted is None else {"classes": made.predicted}
        )

    def settings() -> dict[str, object]:
        model = {"model": described(found.model), "learned": learned(found.model)}
        return model | {"data": found.samples.mark, "layer": layer}

    with stages(folder, settings, 1, "samples") as run:
        return run.find("features", "features", compute)


def _told(result: "Neighbours", found: "Dataset") -> list[str]:
    """The neighbours by name: of all, of the class of the sample, and of others."""
    said = []
    if result.classes is not None:
        said.append(f"class    {class_name(found, result.classes[0])}, as the model predicts")
        by = "predicted" if found.labels is None else "as they are labelled"
        said.append(f"classes  of the samples: {by}")
    for kind, group in result.to_frame().groupby("kind", sort=False):
        said.append(click.style(str(kind), bold=True))
        for each in group.itertuples():
            name = _label(result, found, each)
            said.append(f"  {each.distance:8.4f}  {listed(found, each.row, name)}")
    return said


def _label(result: "Neighbours", found: "Dataset", each: Any) -> str:
    """The class of a neighbour, a row of the table of all of them, if it is known."""
    return "" if result.labels is None else class_name(found, each.label)


def _drawn(result: "Neighbours", found: "Dataset", asked: "Subject") -> "Figure":
    """The sample, and below it its neighbours: a kind of them on each line."""
    from pellucid.plot.thumbnails import Cell, sheet

    lines = in_lines("asked", [Cell(sample=asked.picture, caption=asked.name)])
    for kind, group in result.to_frame().groupby("kind", sort=False):
        cells = [
            Cell(
                sample=drawn(found, each.row),
                caption=f"{_label(result, found, each)}\n{each.distance:.3g}",
            )
            for each in group.itertuples()
        ]
        lines += in_lines(str(kind), cells)
    return sheet(lines, title=f"nearest by {result.metric} distance")
