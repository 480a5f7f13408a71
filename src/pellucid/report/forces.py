"""How the parts of a table or text make up the score: a strip of forces, and a waterfall."""

from dataclasses import dataclass

import numpy as np

from pellucid.plot.axes import short
from pellucid.plot.color import Scale, number
from pellucid.plot.parts import Parts
from pellucid.plot.waterfall import Force, with_error
from pellucid.report.marks import swatches

# More parts than this are summed to one.
MOST = 12


@dataclass(frozen=True, kw_only=True)
class Push:
    """One part: where it begins and how wide it is, in percent of the strip."""

    label: str
    number: str
    left: float
    width: float
    style: str
    side: str


@dataclass(frozen=True, kw_only=True)
class Forces:
    """A strip of forces from left to right, and the steps of a waterfall from the score down.

    `base` and `score` are where the two lie on the strip, in percent; `start` and `end` say what
    they are in words.
    """

    pushes: list[Push]
    steps: list[Push]
    base: float
    score: float
    start: str
    end: str

    @classmethod
    def of(cls, parts: Parts) -> "Forces | None":
        """Compute what is drawn; nothing where no part has a value."""
        shown = parts.strongest(MOST)
        found = Force.of(shown)
        if not found.segments or not np.isfinite([shown.base, shown.score]).all():
            return None
        low, high = found.span
        pushes = [
            _push(each.name, each.value, each.error, each.left - low, high - low, each.is_rest)
            for each in sorted(found.segments, key=lambda each: each.left)
        ]
        return cls(
            pushes=pushes,
            steps=_steps(shown),
            base=100 * (shown.base - low) / (high - low),
            score=100 * (shown.score - low) / (high - low),
            start=shown.start,
            end=f"score {number(shown.score)}",
        )


def _push(
    name: str, value: float, error: float | None, start: float, reach: float, is_rest: bool
) -> Push:
    side = "rest" if is_rest else "plus" if value > 0 else "minus"
    return Push(
        label=short(name),
        number=with_error(value, error),
        left=100 * start / reach,
        width=100 * abs(value) / reach,
        style=swatches(np.array([np.sign(value)]), Scale(limit=1.0))[0],
        side=side,
    )


def _steps(shown: Parts) -> list[Push]:
    """From the score down to the base value, as the waterfall is drawn."""
    found = shown.steps()
    edges = [edge for _, start, size in found for edge in (start, start + size)]
    low, high = min(edges), max(edges)
    reach = (high - low) or 1.0
    known = [None] * len(shown.values) if shown.errors is None else shown.errors.tolist()
    errors = [*known[::-1], *([None] if shown.has_rest else [])]
    places = range(len(found))
    steps = [
        _push(name, size, error, min(start, start + size) - low, reach, shown.has_rest and last)
        for (name, start, size), error, last in zip(
            found, errors, [i == places[-1] for i in places], strict=True
        )
    ]
    return steps[::-1]
