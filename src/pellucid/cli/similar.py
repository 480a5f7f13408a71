"""`pellucid similar`: the photographs that a model sees as most like one."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pellucid.cli.options import batch_option, folder_option, limit_option, model_option
from pellucid.cli.outputs import keep_photos, keep_picture, path_ending
from pellucid.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from pellucid.datasets import Dataset
    from pellucid.exemplar import Neighbours


# So many neighbours are shown, if there are.
USUAL = 5


@click.command()
@click.argument("photo")
@click.option(
    "--data",
    required=True,
    metavar="FOLDER",
    help="A folder of photographs, in folders named after their classes or not.",
)
@model_option
@click.option(
    "--layer", help="The layer in which photographs are alike. [default: what the model answers]"
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="So many of all, of the class of the photograph, and of the others. [default: "
    f"{USUAL}, or as many as there are]",
)
@click.option(
    "--metric",
    type=click.Choice(["cosine", "euclidean"]),
    default="cosine",
    show_default=True,
    help="By what photographs are near.",
)
@limit_option
@batch_option
@folder_option
@click.option("--out", default="similar.png", show_default=True, help="The picture to write.")
def similar(
    photo: str,
    data: str,
    model: str,
    layer: str | None,
    count: int | None,
    metric: Literal["cosine", "euclidean"],
    limit: int | None,
    batch_size: int | None,
    folder: str | None,
    out: str,
) -> None:
    """Find the photographs in a folder that the model sees as most like a PHOTO.

    The class of the PHOTO is the one that the model predicts; those in the folder have the classes
    that its folders are named after, or else those that the model predicts.
    """
    from pellucid.file import check_writable, write_bytes
    from pellucid.report import png

    image = check_writable(path_ending(out, ".png"))
    keep_photos((photo,), (image,), other="alike.png")
    keep_picture(image, other="alike.png")

    from pellucid.datasets import of_folder
    from pellucid.exemplar import neighbours
    from pellucid.inspect.representation import represented
    from pellucid.zoo import find, open_photo

    opened, entry = open_photo(photo), find(model)
    found = of_folder(Path(data), entry, limit=limit)
    inputs, rows = entry.preprocess(opened), _same(photo, Path(data), found)
    asked = represented(entry.model, inputs, layer, "auto")
    known = _features(found, layer, batch_size, folder)
    labels = known.get("classes") if found.labels is None else found.labels
    result = neighbours(
        None,
        asked.features,
        known["features"],
        labels=labels,
        classes=None if asked.predicted is None or labels is None else asked.predicted,
        k=_count(count, len(found.names) - len(rows or ())),
        metric=metric,
        rows=rows,
    )
    for line in (*found.notes, *_told(result, found)):
        click.echo(line)
    write_bytes(image, png(_drawn(result, found, entry.inverse(inputs), Path(photo).name)))
    click.echo(f"picture  {image}")


def _same(photo: str, place: Path, found: "Dataset") -> list[int] | None:
    """Where in the folder the photograph is itself, for it is not like itself."""
    rows = [row for row, name in enumerate(found.names) if (place / name).samefile(photo)]
    return rows[:1] or None


def _count(asked: int | None, most: int) -> int:
    """How many neighbours are shown, of so many other photographs."""
    if not most:
        raise InputError(
            "The folder must hold other photographs", got="none", hint="Name a larger one: --data."
        )
    if asked is not None and asked > most:
        raise InputError(f"`--count` must be at most {most}: there are no more", got=asked)
    return min(USUAL, most) if asked is None else asked


def _features(
    found: "Dataset", layer: str | None, batch_size: int | None, folder: str | None
) -> "dict[str, Tensor]":
    """The features of all photographs in the folder, and what the model predicts of them."""
    from pellucid.evaluate.leaderboard.learned import learned
    from pellucid.inspect.representation import represented
    from pellucid.run.described import described
    from pellucid.run.stages import stages

    def compute() -> "dict[str, Tensor]":
        made = represented(
            found.model, found.samples, layer, "auto", batch_size=batch_size or "auto"
        )
        return {"features": made.features} | (
            {} if made.predicted is None else {"classes": made.predicted}
        )

    def settings() -> dict[str, object]:
        model = {"model": described(found.model), "learned": learned(found.model)}
        return model | {"data": found.samples.mark, "layer": layer}

    with stages(folder, settings, 1, "photographs") as run:
        return run.find("features", "features", compute)


def _told(result: "Neighbours", found: "Dataset") -> list[str]:
    """The neighbours by name: of all, of the class of the photograph, and of others."""
    said = []
    if result.classes is not None:
        said.append(f"class    {_class(result.classes[0], found)}, as the model predicts")
        by = "predicted" if found.labels is None else "the folder's"
        said.append(f"classes  of the photographs in the folder: {by}")
    for kind, group in result.to_frame().groupby("kind", sort=False):
        said.append(click.style(str(kind), bold=True))
        for row in group.itertuples():
            name = _class(row.label, found) if result.labels is not None else ""
            said.append(f"  {row.distance:8.4f}  {found.names[row.row]}  {name}".rstrip())
    return said


def _class(number: int, found: "Dataset") -> str:
    return found.classes[number] if number < len(found.classes) else str(number)


def _drawn(result: "Neighbours", found: "Dataset", picture: object, name: str) -> "Figure":
    """The photograph, and below it its neighbours: a kind of them on each line."""
    from pellucid.plot.thumbnails import Cell, sheet

    lines = [("the photograph", [Cell(sample=picture, caption=name)])]
    for kind, group in result.to_frame().groupby("kind", sort=False):
        cells = [
            Cell(
                sample=found.picture(row.row) if found.picture else None,
                caption=f"{_class(row.label, found) if result.labels else ''}\n{row.distance:.3g}",
            )
            for row in group.itertuples()
        ]
        lines.append((str(kind), cells))
    title = f"nearest by {result.metric} distance"
    return sheet(lines, pictures=lambda pixels: pixels, title=title)
