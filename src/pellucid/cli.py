"""The command line: explain photographs, list the methods, print a tape.

Whatever needs torch is imported inside the commands, so that help comes at once.
"""

import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid import __version__, choices, commands
from pellucid.choices import DEFAULT_METHODS, USUAL_OF_ROWS
from pellucid.errors import FileError, InputError, PellucidError, PellucidWarning

if TYPE_CHECKING:
    from pellucid.explanation import Explanation
    from pellucid.method import Method
    from pellucid.report import Section
    from pellucid.subjects import Subject, Subjects
    from pellucid.zoo import Entry

DEFAULT_MODEL = "efficientnet_lite0"

# A report of more classes than this nobody reads, and few pages hold.
MOST_CLASSES = 20

MODEL_HELP = (
    "A model of the zoo, or package.module:factory. The factory is called without arguments and "
    "returns a pellucid.zoo.Entry, or a torch model; a model is shown photos as most ImageNet "
    "models are: 224 x 224 pixels, normalized by ImageNet's mean and deviation."
)


class Failure(click.ClickException):
    """An error of ours: one message, no traceback."""

    exit_code = 2


class Commands(click.Group):
    """Commands that show our own errors and warnings as sentences."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        # torch is not loaded yet. Its threads spin while they wait, which on a machine that is
        # also used by others makes small models five to ten times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        try:
            with _warnings_as_sentences():
                return super().invoke(ctx)
        except PellucidError as error:
            raise Failure(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pellucid")
def main() -> None:
    """Make visible what a trained model knows: why it decided so, and how far to trust that."""


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help=MODEL_HELP)
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
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Most rows of one model call. [default: halved when memory runs out]",
)
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
    from pellucid.report import check_writable, with_evidence

    if target is not None and top is not None:
        raise InputError("`--target` and `--top` must not be given both", got=f"--top {top}")
    # All that can be wrong with the request is found before the work.
    page = check_writable(_page(out))
    image = check_writable(page.with_suffix(".png"))
    _keep_photos(files, (page, image))
    _keep_picture(image)
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


@main.command("methods")
def list_methods() -> None:
    """List the methods: what each answers, and its options with their defaults."""
    from pellucid.method import methods

    known = methods()
    for name in sorted(known):
        click.echo(f"{click.style(name, bold=True)}  {known[name].__name__}")
        click.echo(f"    {known[name].answers}")
        options = choices.described(known[name])
        click.echo(f"    options: {options}" if options else "    no options")


@main.command()
@click.argument("photo", required=False)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help=MODEL_HELP)
def tape(photo: str | None, model: str) -> None:
    """Print every operation of one run: its layer, the shape of its output, its rule.

    Without a PHOTO the model is shown a gray square.
    """
    from PIL import Image

    from pellucid.tape.record import record
    from pellucid.zoo import find, open_photo

    shown = open_photo(photo) if photo else Image.new("RGB", (256, 256), "gray")
    entry = find(model)
    click.echo(record(entry.model, entry.preprocess(shown)))


@main.command()
@click.argument("photo")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help=MODEL_HELP)
@click.option(
    "--method",
    "methods",
    default="saliency,lrp",
    show_default=True,
    help="Methods whose maps are held against each other, separated by commas.",
)
@click.option(
    "--target", help="The class to explain, by number or name. [default: the predicted class]"
)
@click.option("--out", default="noise.png", show_default=True, help="The picture to write, as PNG.")
def noise(photo: str, model: str, methods: str, target: str | None, out: str) -> None:
    """Measure why the maps of a PHOTO look noisy, say it in words, and draw it."""
    from pellucid.report import check_writable, png, write_whole

    image = check_writable(_ending(out, ".png"))
    _keep_photos((photo,), (image,), other="why.png")
    _keep_picture(image, other="why.png")

    from pellucid.diagnose import diagnose_noise
    from pellucid.zoo import find, open_photo

    opened, chosen, entry = open_photo(photo), choices.chosen(methods, ()), find(model)
    inputs = entry.preprocess(opened)
    found = diagnose_noise(entry.model, inputs, _target(target, entry), chosen)
    write_whole(image, png(found.plot(picture=entry.inverse(inputs))))
    click.echo(found)
    click.echo(f"picture  {image}")


main.add_command(commands.diff)
main.add_command(commands.evaluate)
main.add_command(commands.list_metrics)
main.add_command(commands.surrogate)


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
    from pellucid.plot import grid
    from pellucid.report import png, wording, write, write_whole
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
    write_whole(image, png(figure))


def _keep_photos(
    photos: tuple[str, ...], written: tuple[Path, ...], other: str = "explanation.html"
) -> None:
    """Raise if a photo would be overwritten by what is written about it; `other` is free."""
    for photo in photos:
        for path in written:
            if path.exists() and Path(photo).exists() and path.samefile(photo):
                raise InputError(
                    "What is written must not overwrite a photo",
                    got=str(path),
                    hint=f"Choose another name: --out {other}.",
                )


def _keep_picture(path: Path, other: str = "explanation.html") -> None:
    """Raise if a picture that pellucid did not draw would be lost; `other` is a free name."""
    from pellucid.report import is_ours

    if path.exists() and not is_ours(path):
        raise FileError(
            f"{path}, where the picture goes, must not hold another picture",
            got="a file that pellucid did not draw",
            hint=f"Move it, or choose another name: --out {other}.",
        )


def _target(given: str | None, entry: "Entry") -> int | None:
    """Read a class, by number or by name."""
    if given is None:
        return None
    try:
        number = int(given)
    except ValueError:
        return entry.index(given)
    if number < 0:
        raise InputError("`--target` must be a class by name, or by number from 0", got=number)
    return number


def _page(out: str) -> Path:
    return _ending(out, ".html", ".htm")


def _ending(out: str, ending: str, *others: str) -> Path:
    """The path of a file that ends as it must."""
    path = Path(out)
    if path.suffix.lower() not in (ending, *others):
        raise InputError(
            f"`--out` must end in {ending}",
            got=out,
            hint=f"For example {path.with_suffix(ending)}.",
        )
    return path


def _progress(items: Sequence[Any]) -> Any:
    """Show progress over several photos, rows or texts, on a terminal."""
    from tqdm import tqdm

    hidden = True if len(items) == 1 else None
    return tqdm(items, desc="explained", unit="file", leave=False, disable=hidden)


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Show what Python would show with a file and a line as one sentence."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", PellucidWarning)
        warnings.showwarning = show  # catch_warnings puts the former one back
        yield
