"""`pellucid diff`: the explanations of two models, held against each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pellucid import choices
from pellucid.cli.options import batch_option, label_option, limit_option
from pellucid.cli.outputs import keep_photos, keep_picture, path_ending

if TYPE_CHECKING:
    from pellucid.datasets import Dataset
    from pellucid.evaluate import Difference

# Of so many samples that changed, the names are told.
MOST_LISTED = 10


@click.command()
@click.argument("a")
@click.argument("b")
@click.argument("data", nargs=-1, required=True, metavar="FILE...|FOLDER|CSV")
@click.option(
    "--method", help="The method of both. [default: lrp; of a table: kernel_shap]", metavar="NAME"
)
@click.option(
    "--option", "options", multiple=True, metavar="METHOD.KEY=VALUE", help="An option of it."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="The part of the relevance of a sample that may lie elsewhere.",
)
@click.option("--target", help="The class to explain. [default: the one that A predicts]")
@label_option
@limit_option
@batch_option
@click.option("--out", default="diff.png", show_default=True, help="The picture to write.")
@click.pass_context
def diff(
    context: click.Context,
    a: str,
    b: str,
    data: tuple[str, ...],
    method: str | None,
    options: tuple[str, ...],
    tolerance: float,
    target: str | None,
    label: str | None,
    limit: int | None,
    batch_size: int | None,
    out: str,
) -> None:
    """Hold the explanations of model B against those of model A, on photographs or a table.

    A and B are models of the zoo, or package.module:factory. The exit code is 1 if any sample is
    explained differently by more than the tolerance, and 0 if none is.
    """
    from pellucid.file import check_writable, write_bytes
    from pellucid.report import png

    image = check_writable(path_ending(out, ".png"))
    keep_photos(data, (image,), other="changes.png")
    keep_picture(image, other="changes.png")
    wanted = choices.one(method, options, data)

    from pellucid.datasets import differing, opened

    first, second = (opened(data, each, column=label, limit=limit) for each in (a, b))
    found = differing(
        first, second, wanted, target=target, tolerance=tolerance, batch_size=batch_size
    )
    for line in (*first.notes, found, *_by_class(found, first.classes), *_changed(found, first)):
        click.echo(line)
    rows = found.shown
    pictures = first.picture and [first.picture(row) for row in rows]
    write_bytes(image, png(found.plot(rows, pictures=pictures)))
    click.echo(f"picture  {image}")
    context.exit(1 if found.worst else 0)


def _by_class(found: "Difference", classes: Sequence[str]) -> list[str]:
    """The table by class, with the names of classes; nothing of a model without any."""
    if found.labels is None and found.predicted is None:
        return []
    table = found.by_class()
    table["class"] = [classes[k] if k < len(classes) else str(k) for k in table["class"]]
    return ["", table.to_string(index=False, float_format="{:.3f}".format)]


def _changed(found: "Difference", data: "Dataset") -> list[str]:
    """The samples that differ most by name, as the picture numbers them."""
    lines = [
        f"  sample {row}: {float(found.distance[row]):.0%} moved, {data.names[row]}"
        for row in found.worst[:MOST_LISTED]
    ]
    rest = len(found.worst) - len(lines)
    return ["", *lines, *([f"  ... and {rest} more"] if rest else [])] if lines else []
