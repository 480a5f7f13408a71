"""One method's answer for one sample, ready to be shown: the map, its scale and the evidence."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from pellucid.explanation import Explanation
from pellucid.plot.color import DEFAULT_PERCENTILE, NOT_FINITE, number
from pellucid.plot.map import Map, ScaleLike
from pellucid.report import wording
from pellucid.report.image import Shown, show_map, strip

# Smooth maps say where on the picture; those of single pixels would hide under it.
SMOOTH_OPACITY = 0.8

# A notebook shows this many samples of a batch.
MOST_ROWS = 4

TEMPLATES = ("macros.html.j2", "panel.html.j2", "report.html.j2")


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """What the page says about one explanation of one sample."""

    title: str
    explains: str
    options: str
    answers: str
    weakness: str
    shown: Shown
    limit: str
    captions: list[str]
    facts: list[tuple[str, str]]
    notes: tuple[str, ...]
    legend: bool

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        *,
        row: int = 0,
        picture: Any = None,
        classes: Sequence[str] = (),
        scale: ScaleLike = "own",
        percentile: float = DEFAULT_PERCENTILE,
        overlay: float | None = None,
    ) -> "Panel":
        """Compute what is shown; the options are those of `pellucid.plot.grid`."""
        made = Map.of(explanation, row=row, scale=scale, percentile=percentile, picture=picture)
        method = type(explanation.method)
        evidence = wording.where(made)
        opacity = SMOOTH_OPACITY if made.smooth else overlay
        return cls(
            title=method.__name__,
            explains=_explains(explanation, row, classes),
            options=repr(explanation.method),
            answers=explanation.method.answers,
            weakness=explanation.method.weakness,
            shown=show_map(made, alt=f"{method.__name__} map: {evidence}.", opacity=opacity),
            limit=number(made.scale.span),
            captions=_captions(made, opacity),
            facts=_facts(explanation, row, evidence),
            notes=explanation.notes,
            legend=made.kind == "image",
        )


def panel(explanation: Explanation) -> str:
    """The explanation as HTML, for notebooks: one panel for each of the first samples."""
    rows = range(min(len(explanation), MOST_ROWS))
    return (
        environment()
        .get_template("panel.html.j2")
        .render(
            panels=[Panel.of(explanation, row=row) for row in rows],
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
    # Both are our own text: the style sheet in the package, and gradients of color numbers.
    made.globals["style"] = Markup((room / "style.css").read_text("utf-8"))
    made.globals["strips"] = {"light": Markup(strip(False)), "dark": Markup(strip(True))}
    return made


def _code(text: str) -> Markup:
    """Set what stands between backticks as code; all of it is escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )


def _captions(made: Map, opacity: float | None) -> list[str]:
    captions = made.caption()
    if captions[-1].endswith("not finite"):
        light, dark = NOT_FINITE[False][0], NOT_FINITE[True][0]
        captions[-1] += f" ({light}, on dark pages {dark})"
    if made.kind == "image" and opacity is not None:
        captions.append("on the picture, in gray")
    return captions


def _explains(explanation: Explanation, row: int, classes: Sequence[str]) -> str:
    score = wording.significant(float(explanation.score[row]))
    return f"{wording.target(explanation, row=row, classes=classes)}, which is {score}"


def _facts(explanation: Explanation, row: int, evidence: str) -> list[tuple[str, str]]:
    facts = [
        ("Evidence", evidence),
        ("Completeness", wording.completeness(explanation, row=row)),
        ("Sampling", wording.error(explanation, row=row)),
        ("Cost", wording.cost(explanation)),
    ]
    return [(term, text) for term, text in facts if text]
