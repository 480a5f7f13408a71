"""Tokens and bars: values as colored marks of the page itself."""

from dataclasses import dataclass

import numpy as np

from pellucid.plot.color import Floats, Scale, colorize, ink_on
from pellucid.plot.draw import MOST_BARS
from pellucid.plot.map import Map
from pellucid.plot.text import runs
from pellucid.plot.waterfall import with_error
from pellucid.words.pieces import Piece


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One token or feature: its value, how it is written, and its colors as a style.

    `value` is `None` where it is not finite; `width` is the length of a bar in percent.
    `count` is the number of equal tokens that this one stands for; `whisker` is where one standard
    error about the end of a bar begins, and how wide it is, in percent, where there is one.
    """

    label: str
    value: float | None
    number: str
    style: str
    width: float = 0.0
    piece: Piece | None = None
    count: int = 1
    whisker: tuple[float, float] | None = None


def tokens(shown: Map) -> list[Mark]:
    """The tokens of a text; a run of padding is one mark."""
    found, styles = shown.pieces, swatches(shown.values, shown.scale)
    marks = []
    for start, count in runs(found, shown.values):
        marks.append(
            Mark(
                label=shown.labels[start],
                value=_value(shown.values[start]),
                number=with_error(shown.values[start], _error(shown, start)),
                style=styles[start],
                piece=found[start],
                count=count,
            )
        )
    return marks


def bars(shown: Map) -> list[Mark]:
    """A bar for each of the strongest features of a table, the strongest first."""
    order = shown.strongest(MOST_BARS)
    values = shown.values[order]
    errors = [_error(shown, i) for i in order]
    spread = np.array([0.0 if error is None else error for error in errors])
    sizes = np.abs(np.where(np.isfinite(values), values, 0)) + spread
    reach = float(sizes.max(initial=0)) or 1.0
    styles = swatches(values, shown.scale)
    return [
        Mark(
            label=shown.labels[i],
            value=_value(value),
            number=with_error(value, error),
            style=style,
            width=100 * float(value) / reach if np.isfinite(value) else 0.0,
            whisker=_whisker(float(value), error, reach),
        )
        for i, value, error, style in zip(order, values, errors, styles, strict=True)
    ]


def _error(shown: Map, place: int) -> float | None:
    """The standard error of a value, if it is known, and any is not zero."""
    if (
        shown.errors is None
        or not np.nan_to_num(shown.errors).any()
        or not np.isfinite(shown.errors[place])
    ):
        return None
    return float(shown.errors[place])


def _whisker(value: float, error: float | None, reach: float) -> tuple[float, float] | None:
    if error is None or not np.isfinite(value):
        return None
    return 50 + 50 * (value - error) / reach, 100 * error / reach


def swatches(values: Floats, scale: Scale) -> list[str]:
    """Ground and ink of each value on light and on dark pages, as CSS variables."""
    light, dark = (colorize(values, scale, dark=dark) for dark in (False, True))
    return [
        f"--l:{_hex(a)};--li:{ink_on(a)};--d:{_hex(b)};--di:{ink_on(b)}"
        for a, b in zip(light, dark, strict=True)
    ]


def _value(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _hex(rgb: Floats) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
