"""The report: one self-contained page about one or several samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid import __version__
from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.plot.color import DEFAULT_PERCENTILE, Scale
from pellucid.plot.map import GridScale, Map
from pellucid.report import wording
from pellucid.report.file import check_writable, write_whole
from pellucid.report.image import picture_uri
from pellucid.report.panel import Panel, environment

KEY = (
    "Warm colors are positive values, cold colors negative ones. Each map has a scale of its own, "
    "stated under it."
)
SHARED_KEY = "Warm colors are positive values, cold colors negative ones. All maps share one scale."


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """One sample of a report: its explanations, and what is known about it.

    `picture` is an array or PIL image; without one the input is shown, stretched to its range.
    `classes` has one name for each class of the model's output.
    """

    explanations: Sequence[Explanation]
    row: int = 0
    name: str = ""
    picture: Any = None
    classes: Sequence[str] = ()


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
    scale: GridScale = "own",
    percentile: float = DEFAULT_PERCENTILE,
    overlay: float | None = None,
) -> Path:
    """Write explanations as one HTML file that needs nothing else, and return its path.

    `explanations` are what `compare` returns, with one section for each sample; or sections, made
    by hand. `pictures` and `names` have one entry for each sample. `about` is a line on the model,
    `credits` one on where it comes from.
    `scale`, `percentile` and `overlay` are those of `pellucid.plot.grid`.

    >>> import tempfile, torch
    >>> import pellucid as pl
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 2))
    >>> maps = pl.compare(model, torch.rand(1, 3, 3, 3), ["saliency", "gradient_x_input"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/report.html", maps).name
    'report.html'
    """
    target = check_writable(path)
    sections = as_sections(explanations, pictures=pictures, names=names, classes=classes)
    shown = [_context(section, scale, percentile, overlay) for section in sections]
    page = environment().get_template("report.html.j2")
    html = page.render(
        title=title, about=about, credits=credits, sections=shown, version=__version__
    )
    return write_whole(target, html.encode("utf-8"))


def as_sections(
    explanations: Explanation | Sequence[Explanation] | Sequence[Section],
    *,
    pictures: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] = (),
) -> list[Section]:
    """Make one section for each sample of a batch; sections that are made already pass through."""
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    sections = [each for each in given if isinstance(each, Section)]
    found = [each for each in given if isinstance(each, Explanation)]
    if not given or len(given) not in (len(sections), len(found)):
        raise InputError("`explanations` must be a list of explanations or of sections", got=given)
    if sections:
        return sections
    rows = len(found[0])
    if any(len(each) != rows for each in found):
        raise InputError(
            "All explanations of a report must be of the same samples",
            got=[len(each) for each in found],
            hint="Make a Section for each sample.",
        )
    for what, values in (("pictures", pictures), ("names", names)):
        if values is not None and len(values) != rows:
            raise InputError(f"`{what}` must have one entry a sample, {rows}", got=len(values))
    return [
        Section(
            explanations=found,
            row=row,
            name=names[row] if names is not None else (f"Sample {row}" if rows > 1 else ""),
            picture=pictures[row] if pictures is not None else None,
            classes=classes,
        )
        for row in range(rows)
    ]


def _context(
    section: Section, scale: GridScale, percentile: float, overlay: float | None
) -> dict[str, Any]:
    """What the template needs of one section."""
    first, row = section.explanations[0], section.row
    maps = [Map.of(each, row=row, picture=section.picture) for each in section.explanations]
    if scale == "shared":
        scale = Scale.of([each.values for each in maps], percentile=percentile, shared=True)
    picture = maps[0].picture
    panels = [
        Panel.of(
            each,
            row=row,
            picture=section.picture,
            classes=section.classes,
            scale=scale,
            percentile=percentile,
            overlay=overlay,
        )
        for each in section.explanations
    ]
    found = wording.predictions(first, row=row, classes=section.classes)
    return {
        "name": section.name,
        "picture": None if picture is None else picture_uri(picture),
        "explains": panels[0].explains,
        "predictions": [(p, wording.probability(p.probability)) for p in found],
        "panels": panels,
        "key": KEY if scale == "own" else SHARED_KEY,
    }
