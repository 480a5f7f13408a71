"""The report: one self-contained page about one or several samples."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pellucid import __version__
from pellucid.errors import InputError
from pellucid.evaluate.evidence import evidence
from pellucid.explanation import Explanation
from pellucid.file import check_writable, write_bytes
from pellucid.plot.color import DEFAULT_PERCENTILE, Scale
from pellucid.plot.map import GridScale, Map
from pellucid.plot.titles import titles
from pellucid.report import wording
from pellucid.report.evidence import with_evidence
from pellucid.report.image import picture_uri, thumb_uri
from pellucid.report.panel import SMOOTH_OPACITY, Panel, environment
from pellucid.report.tables import tape_table
from pellucid.tape.record import Tape

SCRIPTS = ("values.js", "zoom.js", "script.js")
# The scales that a reader can choose from.
CHOICES = ("own", "shared")


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """One sample of a report: its explanations, and what is known about it.

    The explanations may be of several targets: the page then shows one target at a time.
    `picture` is an array or PIL image; without one the input is shown, stretched to its range.
    `classes` has one name for each class of the model's output. `tokens` are the strings of a
    text, `features` the names of a table's columns or of a signal's channels, and `rate` the
    positions of a signal in a second; with a rate, inputs of shape (batch, position) are signals.
    """

    explanations: Sequence[Explanation]
    row: int = 0
    name: str = ""
    picture: Any = None
    classes: Sequence[str] = ()
    tokens: Sequence[str] | None = None
    features: Sequence[str] | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        given = self.explanations
        found = list(given) if isinstance(given, Sequence) else []
        if not found or not all(isinstance(each, Explanation) for each in found):
            raise InputError("A section must have at least one explanation, in a list", got=given)


@dataclass(frozen=True, kw_only=True)
class Group:
    """What explains one target of a sample."""

    label: str
    explains: str
    panels: list[Panel]


def write(
    path: str | Path,
    explanations: Explanation | Sequence[Explanation] | Sequence[Section],
    *,
    title: str = "What the model saw",
    about: str = "",
    credits: str = "",
    pictures: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] = (),
    tokens: Sequence[Sequence[str]] | None = None,
    features: Sequence[str] | None = None,
    rate: float | None = None,
    tape: Tape | None = None,
    scale: GridScale = "own",
    percentile: float = DEFAULT_PERCENTILE,
    overlay: float | None = None,
    model: Callable[..., Any] | None = None,
) -> Path:
    """Write explanations as one HTML file that needs nothing else, and return its path.

    `explanations` are what `compare` returns, with one section for each sample; or sections, made
    by hand. Where they are of several targets, the page switches between them. `pictures`, `names`
    and `tokens` have one entry for each sample; `features` and `rate` are those of a `Section`.
    `about` is a line on the model, `credits` one on where it comes from, and `tape` (from
    `pellucid.record`) lists its operations.
    `scale`, `percentile` and `overlay` are those of `pellucid.plot.grid`; the reader can change
    scale and overlay on the page. With a `model`, which must be the explained one, explanations are
    judged (see `pellucid.evaluate.evidence`), and the page says what was found.

    >>> import tempfile, torch
    >>> import pellucid as pl
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 2))
    >>> image = torch.rand(1, 3, 3, 3)
    >>> maps = [pl.explain(model, image, "saliency", target=k) for k in (0, 1)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/report.html", maps, classes=["cat", "dog"]).name
    'report.html'
    """
    target = check_writable(path)
    each = {"pictures": pictures, "names": names, "tokens": tokens}
    all_of_them = {"classes": classes, "features": features, "rate": rate}
    sections = as_sections(_judged(model, explanations), each, all_of_them)
    shown = [_context(section, scale, percentile, overlay) for section in sections]
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            about=about,
            credits=credits,
            sections=shown,
            tape=None if tape is None else tape_table(tape),
            switches=_switches(shown, scale, overlay),
            **_scripts(),
            version=__version__,
        )
    )
    return write_bytes(target, html.encode("utf-8"))


def _judged(model: Callable[..., Any] | None, explanations: Any) -> Any:
    """Explanations, or the sections that hold them, with evidence for each if there is a model."""
    if model is None:
        return explanations
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    sections = [each for each in given if isinstance(each, Section)]
    if sections and len(sections) == len(given):
        return [with_evidence(model, each) for each in sections]
    return evidence(model, given)


def as_sections(
    explanations: Explanation | Sequence[Explanation] | Sequence[Section],
    each: dict[str, Sequence[Any] | None],
    all_of_them: dict[str, Any],
) -> list[Section]:
    """Make one section for each sample of a batch; sections that are made already pass through.

    `each` holds pictures, names and tokens, with one entry a sample, and `all_of_them` the fields
    of a section that are the same for all.
    """
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    sections = [one for one in given if isinstance(one, Section)]
    found = [one for one in given if isinstance(one, Explanation)]
    if not given or len(given) not in (len(sections), len(found)):
        raise InputError("`explanations` must be a list of explanations or of sections", got=given)
    if sections:
        return sections
    rows = len(found[0])
    if any(len(one) != rows for one in found):
        raise InputError(
            "All explanations of a report must be of the same samples",
            got=[len(one) for one in found],
            hint="Make a Section for each sample.",
        )
    for what, values in each.items():
        if values is not None and len(values) != rows:
            raise InputError(f"`{what}` must have one entry a sample, {rows}", got=len(values))
    own = {what: values for what, values in each.items() if values is not None}
    return [
        Section(
            explanations=found,
            row=row,
            name=own["names"][row] if "names" in own else (f"Sample {row}" if rows > 1 else ""),
            picture=own["pictures"][row] if "pictures" in own else None,
            tokens=own["tokens"][row] if "tokens" in own else None,
            **all_of_them,
        )
        for row in range(rows)
    ]


def by_target(section: Section) -> list[list[Explanation]]:
    """The explanations of a section, those of each target together, in the order of the first."""
    found: dict[str, list[Explanation]] = {}
    for each in section.explanations:
        found.setdefault(repr(each[section.row].target), []).append(each)
    return list(found.values())


def _context(
    section: Section, scale: GridScale, percentile: float, overlay: float | None
) -> dict[str, Any]:
    """What the template needs of one section."""
    grouped = by_target(section)
    maps = [[_map(each, section, scale, percentile) for each in group] for group in grouped]
    values = [made.values for line in maps for made in line]
    shared = Scale.of(values, percentile=percentile, shared=True) if scale in CHOICES else None
    groups = [
        _group(section, explanations, line, shared, scale == "shared", overlay)
        for explanations, line in zip(grouped, maps, strict=True)
    ]
    found = wording.predictions(section.explanations[0], row=section.row, classes=section.classes)
    picture = maps[0][0].picture
    return {
        "name": section.name or "The sample",
        "picture": None if picture is None else picture_uri(picture),
        "thumb": None if picture is None else thumb_uri(picture),
        "says": f"{found[0].name}, {wording.probability(found[0].probability)}" if found else "",
        "heading": wording.heading(section.explanations[0], row=section.row),
        "predictions": [(p, wording.probability(p.probability)) for p in found],
        "groups": groups,
    }


def _map(each: Explanation, section: Section, scale: GridScale, percentile: float) -> Map:
    return Map.of(
        each,
        row=section.row,
        picture=section.picture,
        scale="own" if scale == "shared" else scale,
        percentile=percentile,
        tokens=section.tokens,
        names=section.features,
        rate=section.rate,
    )


def _group(
    section: Section,
    explanations: list[Explanation],
    maps: list[Map],
    shared: Scale | None,
    on_shared: bool,
    overlay: float | None,
) -> Group:
    panels = [
        Panel.of(
            each,
            made,
            row=section.row,
            classes=section.classes,
            shared=shared,
            on_shared=on_shared,
            overlay=overlay,
            title=title,
        )
        for each, made, title in zip(explanations, maps, titles(explanations), strict=True)
    ]
    label = wording.aim(explanations[0], row=section.row, classes=section.classes)
    return Group(label=label, explains=panels[0].explains, panels=panels)


def _switches(
    shown: list[dict[str, Any]], scale: GridScale, overlay: float | None
) -> dict[str, Any]:
    """What can be switched on this page, and how it starts."""
    panels = [panel for section in shown for group in section["groups"] for panel in group.panels]
    several = any(sum(len(g.panels) for g in section["groups"]) > 1 for section in shown)
    methods = list(dict.fromkeys((panel.key, panel.title) for panel in panels))
    return {
        "scale": scale if scale in CHOICES else "own",
        "scales": several and scale in CHOICES,
        "methods": methods if len(methods) > 1 else [],
        "pictures": any(s["picture"] for s in shown) and any(p.kind == "image" for p in panels),
        "under": "smooth" if overlay is None else "all",
        "opacity": round(100 * (SMOOTH_OPACITY if overlay is None else overlay)),
    }


def _script() -> Markup:
    """The scripts of the page as one: our own text, which is not escaped."""
    room = resources.files("pellucid.report")
    return Markup("\n").join(Markup((room / name).read_text("utf-8")) for name in SCRIPTS)


def _scripts() -> dict[str, str]:
    """The scripts of the page, and what its policy allows to run."""
    script = _script()
    return {"script": script, "script_hash": _hash(script)}


def _hash(script: str) -> str:
    """What the page's policy allows to run: this text and no other."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
