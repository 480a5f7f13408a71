"""Commands that are about a whole model, rather than about one photograph, row or text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid import choices
from pellucid.choices import DEFAULT_METHODS, DEFAULT_METRICS, USUAL_OF_ROWS
from pellucid.errors import InputError

if TYPE_CHECKING:
    from pellucid.datasets import Dataset
    from pellucid.evaluate import Difference

# Of so many samples that changed, the names are told.
MOST_LISTED = 10


@click.command()
@click.argument("table")
@click.option(
    "--model",
    required=True,
    metavar="PACKAGE.MODULE:FACTORY",
    help="The factory is called without arguments and returns a fitted estimator, a function of "
    "data frames, or a torch model.",
)
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
    from pellucid.choices import kind_of
    from pellucid.cli import _ending, _keep_picture
    from pellucid.report import check_writable, png, write_whole

    if kind_of((table,)) != "table":
        raise InputError(
            "A surrogate must be fitted to the rows of a table",
            got=table,
            hint="Its file ends in .csv or .tsv, and its first line names the columns.",
        )
    image = check_writable(_ending(out, ".png"))
    _keep_picture(image, other="tree.png")
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
    write_whole(image, png(figure))
    click.echo(found)
    click.echo(f"picture  {image}")


def _unit(text: str) -> tuple[str, str]:
    """Read COLUMN=UNIT."""
    column, equals, unit = text.partition("=")
    if not (column and equals and unit):
        raise InputError("`--unit` must be COLUMN=UNIT", got=text, hint="Such as age=years.")
    return column, unit


@click.command()
@click.option("--model", required=True, help="A model of the zoo, or package.module:factory.")
@click.option(
    "--data",
    required=True,
    metavar="FOLDER|CSV",
    help="A folder of photographs, in folders named after their classes or not; or a table.",
)
@click.option("--methods", help="Methods by name, separated by commas. [default: as of `explain`]")
@click.option(
    "--metrics",
    help=f"Metrics by name, separated by commas; `pellucid metrics` lists them. [default: "
    f"{', '.join(DEFAULT_METRICS)}]",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="METHOD.KEY=VALUE",
    help="An option of a method; may be given many times.",
)
@click.option(
    "--metric-option",
    "metric_options",
    multiple=True,
    metavar="METRIC.KEY=VALUE",
    help="An option of a metric, such as selectivity.scale=probability.",
)
@click.option("--target", help="The class to explain. [default: the predicted one of each]")
@click.option("--label", metavar="COLUMN", help="The column of a table with the class of a row.")
@click.option("--masks", metavar="FOLDER", help="Masks of photographs, white where it matters.")
@click.option("--limit", type=click.IntRange(min=1), help="The most samples, evenly spread.")
@click.option("--folder", help="A folder that keeps what was found, to go on if interrupted.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Most rows of one model call.")
@click.option("--out", default="report.html", show_default=True, help="The report to write.")
def evaluate(
    model: str,
    data: str,
    methods: str | None,
    metrics: str | None,
    options: tuple[str, ...],
    metric_options: tuple[str, ...],
    target: str | None,
    label: str | None,
    masks: str | None,
    limit: int | None,
    folder: str | None,
    batch_size: int | None,
    out: str,
) -> None:
    """Judge methods on data: which explanation can be trusted here?

    Every method explains every sample, every metric judges every method beside a random ranking,
    and a report says which of them can be told apart.
    """
    from pellucid.cli import _page
    from pellucid.report import check_writable, write_board

    page = check_writable(_page(out))
    kind = DEFAULT_METHODS if Path(data).is_dir() else USUAL_OF_ROWS
    judges = choices.chosen_metrics(metrics, metric_options)
    choices.chosen(methods, options, kind)  # what is wrong with it is found before data are read

    from pellucid.datasets import dataset

    found = dataset(data, model, column=label, masks=masks, limit=limit)
    for note in found.notes:
        click.echo(note)
    asked = choices.chosen(methods, options, kind, found.background)
    board = found.judged(asked, judges, target=target, folder=folder, batch_size=batch_size)
    write_board(page, board, about=found.about, credits=found.credits)
    click.echo("\n".join([*board.verdicts, str(board), f"report   {page}"]))


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
@click.option("--label", metavar="COLUMN", help="The column of a table with the class of a row.")
@click.option("--limit", type=click.IntRange(min=1), help="The most samples, evenly spread.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Most rows of one model call.")
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
    from pellucid.cli import _ending, _keep_photos, _keep_picture
    from pellucid.report import check_writable, png, write_whole

    image = check_writable(_ending(out, ".png"))
    _keep_photos(data, (image,), other="changes.png")
    _keep_picture(image, other="changes.png")
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
    write_whole(image, png(found.plot(rows, pictures=pictures)))
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


@click.command("metrics")
def list_metrics() -> None:
    """List the metrics: what each answers, which direction is better, and what it needs."""
    from pellucid.evaluate import metrics

    known = metrics()
    for name in sorted(known):
        found = known[name]
        needs = f"; needs {', '.join(sorted(found.needs))}" if found.needs else ""
        better = "only describes" if found.better == "neither" else f"{found.better} is better"
        click.echo(f"{click.style(name, bold=True)}  {found.__name__}, {better}{needs}")
        click.echo(f"    {found.answers}")
