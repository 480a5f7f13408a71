"""`pellucid counterfactual`: the smallest change of a row that changes what a model decides."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from pellucid.choices import kind_of
from pellucid.cli.options import factory_option, label_option
from pellucid.cli.outputs import keep_photos, path_ending
from pellucid.errors import InputError

if TYPE_CHECKING:
    from pellucid.exemplar import Constraints, Counterfactuals
    from pellucid.exemplar.counterfactual.constraints import Way
    from pellucid.subjects import Subjects

# How `--range` tells the bounds of a number, and categories.
BOUNDS, CATEGORIES = "..", "|"


@click.command()
@click.argument("table")
@click.option(
    "--row",
    "rows",
    type=click.IntRange(min=0),
    multiple=True,
    help="A row, counted from 0; may be given many times. [default: 0]",
)
@factory_option
@label_option
@click.option("--want", metavar="CLASS", help="The class to get to. [default: any other]")
@click.option("--above", type=float, help="Get a number that is predicted above this.")
@click.option("--below", type=float, help="Get a number that is predicted below this.")
@click.option(
    "--fix", "fixed", multiple=True, metavar="COLUMN", help="A column that stays as it is."
)
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="COLUMN=LOW..HIGH",
    help="Bounds of a number, of which one may be left out; or categories: job=fixed|freelance.",
)
@click.option("--increase", multiple=True, metavar="COLUMN", help="A number that must not fall.")
@click.option("--decrease", multiple=True, metavar="COLUMN", help="A number that must not rise.")
@click.option("--whole", multiple=True, metavar="COLUMN", help="A column of whole numbers.")
@click.option(
    "--one-hot",
    multiple=True,
    metavar="COLUMN,COLUMN,...",
    help="Columns of which one is 1 and the others are 0.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="So many answers for each row, which differ.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Most evaluations for each row and answer.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random searches.")
@click.option("--data", help="A table of what is usual. [default: the table itself]")
@click.option("--out", default="counterfactual.csv", show_default=True, help="The table to write.")
@click.pass_context
def counterfactual(
    context: click.Context,
    table: str,
    rows: tuple[int, ...],
    model: str,
    label: str | None,
    want: str | None,
    above: float | None,
    below: float | None,
    data: str | None,
    out: str,
    **others: Any,
) -> None:
    """Find the smallest change of a row of a TABLE (.csv) that changes what a model decides.

    What may change, and how, is never broken. The exit code is 1 if nothing was found for a row
    within the budget, and 0 else.
    """
    from pellucid.file import check_writable, write_bytes

    if kind_of((table,)) != "table":
        raise InputError(
            "A counterfactual must be of the rows of a table",
            got=table,
            hint="Of photographs, call pellucid.exemplar.counterfactual in Python.",
        )
    answers = check_writable(path_ending(out, ".csv"))
    keep_photos((table, *([data] if data else [])), (answers,), other="answers.csv")
    options = {name: others.pop(name) for name in ("count", "budget", "seed")}
    asked, constraints = _goal(want, above, below), _constraints(**others)

    from pellucid.subjects import of_table

    what = of_table(table, model, rows or (0,), data, label)
    _check_goal(asked, what)
    if "target" in asked:
        asked["target"] = what.index(want)
    found = _found(what, constraints=constraints, **asked, **options)
    for number, each in enumerate(what.subjects):
        click.echo(f"{click.style(f'sample {number}', bold=True)}  is {each.name}")
    click.echo(found.text())
    for note in found.notes:
        click.echo(f"note     {note}")
    write_bytes(answers, found.changes.to_csv(index=False).encode("utf-8"))
    click.echo(f"changes  {answers}")
    context.exit(1 if "not_found" in found.status else 0)


def _found(what: "Subjects", **options: Any) -> "Counterfactuals":
    """The counterfactuals of all rows together."""
    from pellucid.exemplar.counterfactual import counterfactual as search

    rows = _together([each.inputs for each in what.subjects])
    return search(what.model, rows, data=what.background, names=what.columns, **options)


def _goal(want: str | None, above: float | None, below: float | None) -> dict[str, Any]:
    """What the model must say: a class, any other, or a number past a threshold."""
    given = {"--want": want, "--above": above, "--below": below}
    named = [f"{name} {value}" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InputError("One of `--want`, `--above` and `--below` must be given", got=named)
    if above is not None:
        return {"threshold": above, "side": "above"}
    if below is not None:
        return {"threshold": below, "side": "below"}
    return {} if want is None else {"target": want}


def _check_goal(asked: dict[str, Any], what: "Subjects") -> None:
    """Raise unless an estimator is asked for a class if it has some, else for a number."""
    from pellucid.border.models import is_estimator

    if what.classes and "threshold" in asked:
        raise InputError(
            "`--above` and `--below` must be for a model that predicts a number",
            found=f"{what.name} with the classes {', '.join(what.classes)}",
            hint=f"Name the class to get to, as in --want {what.classes[0]}; or none, for any.",
        )
    if is_estimator(what.model) and not what.classes and "threshold" not in asked:
        raise InputError(
            "`--above` or `--below` must be given for a model that predicts a number",
            found=f"{what.name} without either",
            hint="Say past which number its answer must get.",
        )


def _constraints(
    *,
    fixed: Sequence[str],
    ranges: Iterable[str],
    increase: Iterable[str],
    decrease: Iterable[str],
    whole: Sequence[str],
    one_hot: Iterable[str],
) -> "Constraints":
    """What the words of the command line allow."""
    from pellucid.exemplar import Constraints

    ways: dict[str, Way] = dict.fromkeys(increase, "increase")
    for column in decrease:
        if column in ways:
            raise InputError(
                "A column must be in `--increase` or in `--decrease`, or in neither",
                got=column,
                hint=f"What must do neither is fixed: --fix {column}.",
            )
        ways[column] = "decrease"
    return Constraints(
        immutable=list(fixed),
        ranges=dict(map(_range, ranges)),
        one_hot=[[name.strip() for name in group.split(",")] for group in one_hot],
        monotone=ways,
        integers=list(whole),
    )


def _range(text: str) -> tuple[str, Sequence[Any]]:
    """Read COLUMN=LOW..HIGH, of which one may be left out, or COLUMN=WORD|WORD."""
    column, equals, values = text.partition("=")
    if column and equals and CATEGORIES in values:
        return column, [word for word in values.split(CATEGORIES) if word]
    low, dots, high = values.partition(BOUNDS)
    try:
        if not (column and equals and dots and (low or high)):
            raise ValueError
        return column, (float(low) if low else None, float(high) if high else None)
    except ValueError:
        raise InputError(
            "`--range` must be COLUMN=LOW..HIGH, or COLUMN=WORD|WORD",
            got=text,
            hint="Such as age=18..65, income=0.., job=fixed|freelance or, of one, job=fixed|.",
        ) from None


def _together(rows: Sequence[Any]) -> Any:
    """Single rows as one table, or as one tensor."""
    if hasattr(rows[0], "iloc"):
        import pandas as pd

        return pd.concat(rows, ignore_index=True)
    import torch

    return torch.cat(list(rows))
