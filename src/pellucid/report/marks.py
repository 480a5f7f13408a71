"""Tokens and bars: values as colored marks of the page itself."""

from dataclasses import dataclass

import numpy as np

from pellucid.plot.color import Floats, Scale, colorize, ink_on, signed
from pellucid.plot.draw import MOST_BARS
from pellucid.plot.map import Map
from pellucid.plot.text import runs
from pellucid.words.pieces import Piece


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One token or feature: its value, how it is written, and its colors as a style.

    `value` is `None` where it is not finite; `width` is the length of a bar in percent.
    `count` is the number of equal tokens that this one stands for.
    """

    label: str
    value: float | None
    number: str
    style: str
    width: float = 0.0
    piece: Piece | None = None
    count: int = 1


def tokens(shown: Map) -> list[Mark]:
    """The tokens of a text; a run of padding is one mark."""
    found, styles = shown.pieces, swatches(shown.values, shown.scale)
    marks = []
    for start, count in runs(found, shown.values):
        marks.append(
            Mark(
                label=shown.labels[start],
                value=_value(shown.values[start]),
                number=signed(shown.values[start]),
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
    reach = float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0
    styles = swatches(values, shown.scale)
    return [
        Mark(
            label=shown.labels[i],
            value=_value(value),
            number=signed(value),
            style=style,
            width=100 * float(value) / reach if np.isfinite(value) else 0.0,
        )
        for i, value, style in zip(order, values, styles, strict=True)
    ]


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
