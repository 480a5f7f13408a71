"""`pellucid explain`: photographs, rows of a table, or texts, in one report."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid import choices
from pellucid.choices import DEFAULT_METHODS, USUAL_OF_ROWS
from pellucid.cli.options import any_model_option, batch_option
from pellucid.cli.outputs import keep_photos, keep_picture, page_path
from pellucid.errors import InputError

if TYPE_CHECKING:
    from pellucid.explanation import Explanation
    from pellucid.method import Method
    from pellucid.report import Section
    from pellucid.subjects import Subject, Subjects

# A report of more classes than this nobody reads, and few pages hold.
MOST_CLASSES = 20


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@any_model_option
@click.option(
    "--method",
    "methods",
    help="Methods by name, separated by commas; `pellucid methods` lists them. [default: "
    f"{', '.join(DEFAULT_METHODS)}; of tables and texts: {', '.join(USUAL_OF_ROWS)}]",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="METHOD.KEY=VALUE",
    help="An option of a method, such as smoothgrad.samples=20; may be given many times.",
)
@click.option(
    "--target", help="The class to explain, by number or name. [default: the predicted class]"
)
@click.option(
    "--top",
    type=click.IntRange(min=1, max=MOST_CLASSES),
    help="Explain this many of the most likely classes; the report switches between them.",
)
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    help="The report to write; its picture is written beside it, as PNG.",
)
@batch_option
@click.option(
    "--row",
    "rows",
    type=click.IntRange(min=0),
    multiple=True,
    help="A row of a table, counted from 0; may be given many times. [default: 0]",
)
@click.option(
    "--background",
    help="A table whose rows are what a row is held against. [default: the table itself]",
)
@click.option("--evidence", is_flag=True, help="Judge each map: better than chance? Is it stable?")
def explain(
    files: tuple[str, ...],
    model: str,
    methods: str | None,
    options: tuple[str, ...],
    target: str | None,
    top: int | None,
    out: str,
    batch_size: int | None,
    rows: tuple[int, ...],
    background: str | None,
    evidence: bool,
) -> None:
    """Explain what a model makes of each FILE, and write it down as one HTML file.

    A FILE is a photograph, a table (.csv, .tsv) of which --row names the rows, or a text (.txt).
    """
    from pellucid.file import check_writable
    from pellucid.report import with_evidence

    if target is not None and top is not None:
        raise InputError("`--target` and `--top` must not be given both", got=f"--top {top}")
    # All that can be wrong with the request is found before the work.
    page = check_writable(page_path(out))
    image = check_writable(page.with_suffix(".png"))
    keep_photos(files, (page, image))
    keep_picture(image)
    choose = functools.partial(choices.chosen, methods, options, choices.usual(files))
    chosen = choose() if choices.kind_of(files) != "table" else None

    from pellucid.subjects import subjects

    what = subjects(files, model, rows, background)
    aim = what.index(target)
    what, chosen = what.equipped(chosen or choose(what.background))
    sections = [
        _explain_one(what, subject, chosen, aim, top or 1, batch_size)
        for subject in _progress(what.subjects)
    ]
    if evidence:
        sections = [with_evidence(what.model, each) for each in _progress(sections)]
    # Written first: what is printed may go to a reader that stops listening.
    _write(page, image, sections, what)
    for section in sections:
        _say(section)
    for note in what.notes:
        click.echo(note)
    click.echo(f"report   {page}")
    click.echo(f"picture  {image}")


def _explain_one(
    what: "Subjects",
    subject: "Subject",
    chosen: "list[Method]",
    target: int | None,
    top: int,
    batch_size: int | None,
) -> "Section":
    """Explain one photograph, row or text by all methods; each states its own cost."""
    from pellucid.method import compare
    from pellucid.report import Section, wording

    compared = functools.partial(
        compare, what.model, subject.inputs, chosen, batch_size=batch_size or "auto"
    )
    found = list(compared(target=target))
    likeliest = wording.predictions(found[0], most=top)
    if top > 1 and not likeliest:
        raise InputError("`--top` must be for a model with classes", got=found[0].output)
    if others := [likely.number for likely in likeliest[1:]]:
        found += compared(targets=others)
    return Section(
        explanations=found,
        name=subject.name,
        picture=subject.picture,
        classes=what.classes,
        tokens=subject.tokens,
        features=what.columns,
    )


def _say(section: "Section") -> None:
    """Print what was found in one photograph."""
    from pellucid.report import wording
    from pellucid.report.document import by_target

    first = section.explanations[0]
    click.echo(click.style(section.name, bold=True))
    for found in wording.predictions(first, classes=section.classes):
        chance = wording.probability(found.probability)
        click.echo(f"  {chance:>12}  {found.name} ({found.number})")
    for group in by_target(section):
        aim = wording.target(group[0], classes=section.classes)
        click.echo(f"  explained: {aim}, which is {wording.significant(float(group[0].score[0]))}")
        for explanation in group:
            _say_method(explanation, section)
    click.echo()


def _say_method(explanation: "Explanation", section: "Section") -> None:
    from pellucid.plot import Map
    from pellucid.report import judged, wording
    from pellucid.subjects import listed

    shown = Map.of(explanation, names=section.features, tokens=section.tokens)
    click.echo(f"  {click.style(type(explanation.method).__name__, bold=True)}")
    for line in listed(shown) if section.picture is None else ():
        click.echo(f"    {line}")
    for term, text in (
        ("evidence", wording.where(shown)),
        ("completeness", wording.completeness(explanation)),
        ("sampling", wording.error(explanation)),
        ("cost", wording.cost(explanation)),
        *((term.lower(), text) for term, text in judged(explanation)),
        *(("note", note) for note in explanation.notes),
    ):
        if text:
            click.echo(f"    {term:<13} {text}")


def _write(page: Path, image: Path, sections: "list[Section]", what: "Subjects") -> None:
    from pellucid.file import write_bytes
    from pellucid.plot import grid
    from pellucid.report import png, wording, write
    from pellucid.report.document import by_target

    lines = [(section, group) for section in sections for group in by_target(section)]
    several = len(lines) > len(sections)
    figure = grid(
        [group for _, group in lines],
        pictures=[section.picture for section, _ in lines],
        titles=[
            f"{section.name}\n{wording.aim(group[0], classes=section.classes)}"
            if several
            else section.name
            for section, group in lines
        ],
        tokens=[section.tokens or () for section, _ in lines] if lines[0][0].tokens else None,
        names=what.columns,
    )
    about = f"Model: {what.name}"
    write(page, sections, about=about, credits=what.credits, tape=what.tape())
    write_bytes(image, png(figure))


def _progress(items: Sequence[Any]) -> Any:
    """Show progress over several photos, rows or texts, on a terminal."""
    from tqdm import tqdm

    hidden = True if len(items) == 1 else None
    return tqdm(items, desc="explained", unit="file", leave=False, disable=hidden)
