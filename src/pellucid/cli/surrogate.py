"""`pellucid surrogate`: a tree, rules or weights in the place of a model of a table."""

from typing import Any

import click

from pellucid.choices import kind_of
from pellucid.cli.options import factory_option
from pellucid.cli.outputs import keep_picture, path_ending
from pellucid.errors import InputError


@click.command()
@click.argument("table")
@factory_option
@click.option(
    "--kind",
    default="tree",
    show_default=True,
    help="What is fitted: tree, rules or linear.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="The most leaves, rules or terms.",
)
@click.option("--target", help="The class whose score is imitated. [default: those of all classes]")
@click.option(
    "--unit",
    "units",
    multiple=True,
    metavar="COLUMN=UNIT",
    help="What a column is measured in; may be given many times.",
)
@click.option("--out", default="surrogate.png", show_default=True, help="The picture to write.")
def surrogate(
    table: str,
    model: str,
    kind: str,
    size: int,
    target: str | None,
    units: tuple[str, ...],
    out: str,
) -> None:
    """Fit a tree, rules or weights that one can read to what a model answers for a TABLE (.csv)."""
    from pellucid.file import check_writable, write_bytes
    from pellucid.report import png

    if kind_of((table,)) != "table":
        raise InputError(
            "A surrogate must be fitted to the rows of a table",
            got=table,
            hint="Its file ends in .csv or .tsv, and its first line names the columns.",
        )
    image = check_writable(path_ending(out, ".png"))
    keep_picture(image, other="tree.png")
    measured = dict(map(_unit, units))

    from pellucid.inspect.surrogate import fit_surrogate
    from pellucid.subjects import of_table

    what = of_table(table, model, (0,), None)
    options: dict[str, Any] = {"size": size, "units": measured, "names": what.columns}
    found = fit_surrogate(
        what.model,
        what.background,
        kind,  # type: ignore[arg-type]  # which it checks
        target=what.index(target),
        outputs=what.classes or None if target is None else None,
        **options,
    )
    figure: Any = found.plot().figure
    write_bytes(image, png(figure))
    click.echo(found)
    click.echo(f"picture  {image}")


def _unit(text: str) -> tuple[str, str]:
    """Read COLUMN=UNIT."""
    column, equals, unit = text.partition("=")
    if not (column and equals and unit):
        raise InputError("`--unit` must be COLUMN=UNIT", got=text, hint="Such as age=years.")
    return column, unit
