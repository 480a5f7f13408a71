"""`pellucid evaluate`: which explanation can be trusted, on data."""

from pathlib import Path

import click

from pellucid import choices
from pellucid.choices import DEFAULT_METHODS, DEFAULT_METRICS, USUAL_OF_ROWS
from pellucid.cli.options import batch_option, folder_option, label_option, limit_option
from pellucid.cli.outputs import page_path


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
@label_option
@click.option("--masks", metavar="FOLDER", help="Masks of photographs, white where it matters.")
@limit_option
@folder_option
@batch_option
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
    from pellucid.file import check_writable
    from pellucid.report import write_board

    page = check_writable(page_path(out))
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
