"""One method's answer for one sample, ready to be shown: the map, its scale and the evidence."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray

from pellucid.explanation import Explanation
from pellucid.plot.borders import borders
from pellucid.plot.color import NOT_FINITE, Scale, number
from pellucid.plot.map import Map
from pellucid.plot.parts import SMALL, Parts
from pellucid.report import marks, wording
from pellucid.report.evidence import judged
from pellucid.report.forces import Forces
from pellucid.report.image import Raster, colors, rasterize, strip
from pellucid.report.lanes import Lanes
from pellucid.report.marks import Mark
from pellucid.report.tables import Table, ledger_table
from pellucid.words.pieces import isolated

# Smooth maps say where on the picture; those of single pixels would hide under it.
SMOOTH_OPACITY = 0.8

# A notebook shows this many samples of a batch.
MOST_ROWS = 4

TEMPLATES = (
    *("bodies.html.j2", "board.html.j2", "controls.html.j2", "macros.html.j2", "panel.html.j2"),
    *("report.html.j2", "survey.html.j2"),
)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A scale in words: what the script draws with, what is written at its ends and below it."""

    limit: float
    number: str
    caption: str

    @classmethod
    def of(cls, made: Map) -> "Ends":
        """The scale that a map is on."""
        caption = "; ".join(_captions(made))
        return cls(limit=made.scale.span, number=number(made.scale.span), caption=caption)


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """What the page says about one explanation of one sample.

    `body` is the map as its kind is shown; `own` and `shared` are the scales it can be drawn on,
    and `ends` the one it is drawn on at first. `outline` is an SVG path along which the regions of
    an image meet, and `forces` say how the parts of a table or text make up the score. `judged` is
    what evidence says, if it was asked for.
    """

    title: str
    key: str
    kind: str
    unit: str
    explains: str
    options: str
    answers: str
    weakness: str
    body: Raster | Lanes | list[Mark]
    outline: str
    forces: Forces | None
    alt: str
    ends: Ends
    own: Ends
    shared: Ends
    facts: list[tuple[str, str]]
    judged: list[tuple[str, str]]
    notes: tuple[str, ...]
    ledger: Table | None

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        made: Map,
        *,
        row: int = 0,
        classes: Sequence[str] = (),
        shared: Scale | None = None,
        on_shared: bool = False,
        overlay: float | None = None,
        title: str = "",
    ) -> "Panel":
        """Compute what is shown of a map that is on its own scale."""
        method = type(explanation.method)
        title = title or method.__name__
        evidence = wording.where(made)
        alt = f"{title} map: {evidence}."
        other = made if shared is None else made.on(shared)
        drawn = other if on_shared else made
        own, others = Ends.of(made), Ends.of(other)
        return cls(
            title=title,
            key=re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"),
            kind=made.kind,
            unit=made.unit,
            explains=_explains(explanation, row, classes),
            options=repr(explanation.method),
            answers=wording.worded(explanation.method.answers, made),
            weakness=wording.worded(explanation.method.weakness, made),
            body=_body(drawn, alt, SMOOTH_OPACITY if made.covers else overlay),
            outline="" if made.regions is None else outline(made.regions),
            forces=_forces(explanation, made, row),
            alt=alt,
            ends=others if on_shared else own,
            own=own,
            shared=others,
            facts=_facts(explanation, row, evidence),
            judged=judged(explanation, row=row),
            notes=tuple(wording.worded(note, made) for note in explanation.notes),
            ledger=_ledger(explanation),
        )


def _ledger(explanation: Explanation) -> Table | None:
    book = explanation.ledger
    return None if book is None else ledger_table(book, len(explanation))


def panel(explanation: Explanation) -> str:
    """The explanation as HTML, for notebooks: one panel for each of the first samples."""
    rows = range(min(len(explanation), MOST_ROWS))
    return (
        environment()
        .get_template("panel.html.j2")
        .render(
            panels=[Panel.of(explanation, Map.of(explanation, row=i), row=i) for i in rows],
            left_out=len(explanation) - len(rows),
        )
    )


@functools.cache
def environment() -> Environment:
    """The templates of this room; whatever is put into them is escaped."""
    room = resources.files("pellucid.report")
    made = Environment(
        loader=DictLoader({name: (room / name).read_text("utf-8") for name in TEMPLATES}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = _code
    made.filters["isolated"] = isolated
    # All are our own text: the style sheet in the package, and gradients of color numbers.
    made.globals["style"] = Markup((room / "style.css").read_text("utf-8"))
    made.globals["strips"] = {"light": Markup(strip(False)), "dark": Markup(strip(True))}
    made.globals["colors"] = {"light": colors(False), "dark": colors(True)}
    return made


def _body(made: Map, alt: str, opacity: float | None) -> Raster | Lanes | list[Mark]:
    if made.kind == "image":
        return rasterize(made, alt=alt, opacity=opacity)
    if made.kind == "signal":
        return Lanes.of(made, alt=alt)
    return marks.tokens(made) if made.kind == "text" else marks.bars(made)


def outline(regions: NDArray[Any]) -> str:
    """Where regions meet as an SVG path, in pixels of the map.

    >>> import numpy as np
    >>> outline(np.array([[0, 0], [1, 1]]))
    'M0 1H2'
    """
    lines = (borders(regions) + 0.5).astype(int).tolist()
    return "".join(f"M{a} {b}H{c}" if b == d else f"M{a} {b}V{d}" for (a, b), (c, d) in lines)


def _forces(explanation: Explanation, made: Map, row: int) -> Forces | None:
    """How what a table or text shows makes up the score, where the method claims that it does."""
    sample, law = explanation[row], explanation.completeness
    if made.kind not in ("table", "text") or explanation.at is not None or law is None:
        return None
    parts = Parts.of_map(sample, made)
    if abs(float(law.explained[row]) - parts.total) > SMALL * np.abs(parts.values).sum():
        return None  # other inputs have their share, which are not shown here
    return Forces.of(parts)


def _code(text: str) -> Markup:
    """Set what stands between backticks as code; all of it is escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )


def _captions(made: Map) -> list[str]:
    captions = made.caption()
    if captions[-1].endswith("not finite"):
        light, dark = NOT_FINITE[False][0], NOT_FINITE[True][0]
        captions[-1] += f" ({light}, on dark pages {dark})"
    if made.kind == "table" and len(made.values) > marks.MOST_BARS:
        captions.append(f"the {marks.MOST_BARS} largest of {len(made.values)} features")
    return captions


def _explains(explanation: Explanation, row: int, classes: Sequence[str]) -> str:
    score = wording.significant(float(explanation.score[row]))
    return f"{wording.target(explanation, row=row, classes=classes)}, which is {score}"


def _facts(explanation: Explanation, row: int, evidence: str) -> list[tuple[str, str]]:
    facts = [
        ("At layer", explanation.at or ""),
        ("Evidence", evidence),
        ("Completeness", wording.completeness(explanation, row=row)),
        ("Sampling", wording.error(explanation, row=row)),
        ("Cost", wording.cost(explanation)),
    ]
    return [(term, text) for term, text in facts if text]
