"""From values to colors: the scale of a signed map, the colors it is shown in, and overlays.

Zero is always the neutral middle, and +v and -v are equally far from it. Only arrays come in and
go out; nothing is drawn here.

>>> values = np.array([[-2.0, 0.0, 1.0]])
>>> scale = Scale.of(values, percentile=100)
>>> scale.limit
2.0
>>> colorize(values, scale).shape
(1, 3, 3)
"""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import InputError

Floats = NDArray[np.floating]
Bytes = NDArray[np.uint8]

# An odd number of colors, so that zero has one of its own; one more than these is for values that
# are not finite, which makes 256: a map is stored as a PNG with a palette, a third of the size.
COLORS = 255
# Reversed, managua is warm where values are positive, as coolwarm is.
MAPS = {False: "coolwarm", True: "managua_r"}
# Neither color occurs in its map, whatever the reader's color vision: see the test.
NOT_FINITE = {False: ("yellow", (255, 213, 0)), True: ("white", (255, 255, 255))}

DEFAULT_PERCENTILE = 99.5

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The value that gets the strongest color; colors run from -limit to +limit.

    `percentile` says of which part of the absolute values the limit is the largest, and is `None`
    where the user gave the number; `shared` says that other maps use the same scale.
    """

    limit: float
    percentile: float | None = None
    shared: bool = False

    @classmethod
    def of(
        cls,
        values: Floats | Iterable[Floats],
        *,
        percentile: float = DEFAULT_PERCENTILE,
        shared: bool = False,
    ) -> "Scale":
        """Take the limit from one map or from several; values that are not finite are left out.

        The percentile of a map that is zero nearly everywhere is zero: then it is the maximum.
        """
        check_percentile(percentile)
        maps = [values] if isinstance(values, np.ndarray) else list(values)
        sizes = np.concatenate([np.abs(each[np.isfinite(each)]).ravel() for each in maps])
        if sizes.size == 0:
            return cls(limit=float("nan"), percentile=percentile, shared=shared)
        limit = float(np.percentile(sizes.astype(np.float64), percentile))
        if limit == 0:
            limit, percentile = float(sizes.max()), 100
        return cls(limit=limit, percentile=percentile, shared=shared)

    @property
    def span(self) -> float:
        """The limit to draw with: 1 for a map of zeros, or of nothing finite."""
        return self.limit if self.limit > 0 else 1.0

    def source(self) -> str:
        """Say in words where the limit comes from.

        >>> Scale(limit=0.5, percentile=99.5).source()
        '99.5th percentile of |values|'
        """
        if self.percentile is None:
            words = "scale as given"
        elif self.limit == 0:
            words = "all values are zero"
        elif math.isnan(self.limit):
            words = "no value is finite"
        elif self.percentile == 100:
            words = "maximum of |values|"
        else:
            words = f"{ordinal(self.percentile)} percentile of |values|"
        return f"{words}, shared" if self.shared else words

    def __str__(self) -> str:
        return f"±{number(self.limit)}, {self.source()}"


def check_percentile(percentile: float) -> None:
    """Raise unless a percentile is above 0 and at most 100."""
    if not 0 < percentile <= 100:
        raise InputError(
            "`percentile` must be above 0 and at most 100",
            got=percentile,
            hint="100 is the maximum; 99.5 lets the strongest half percent saturate.",
        )


def table(dark: bool = False) -> Bytes:
    """The colors from -limit to +limit, and last that of values that are not finite: (256, 3)."""
    return _table(dark).copy()


@functools.cache
def _table(dark: bool) -> Bytes:
    from matplotlib import colormaps

    chosen = colormaps[MAPS[dark]]
    given = chosen(np.arange(chosen.N))[:, :3] * 255
    # Interpolated, because the published maps have an even number of colors and no middle one.
    at = np.linspace(0, chosen.N - 1, COLORS)
    channels = [np.interp(at, np.arange(chosen.N), given[:, i]) for i in range(3)]
    signed = np.stack(channels, axis=1).round()
    return np.vstack([signed, NOT_FINITE[dark][1]]).astype(np.uint8)


def indices(values: Floats, scale: Scale) -> Bytes:
    """The row of the color table for each value, in the shape of the values.

    The middle row is zero; beyond the limit the colors saturate.
    """
    middle = COLORS // 2
    finite = np.isfinite(values)
    fraction = np.clip(np.where(finite, values, 0) / scale.span, -1, 1)
    rows = middle + np.round(middle * fraction)
    return np.where(finite, rows, COLORS).astype(np.uint8)


def colorize(values: Floats, scale: Scale, *, dark: bool = False) -> Bytes:
    """The color of each value: shape (..., 3) for values of shape (...)."""
    return _table(dark)[indices(values, scale)]


def sign_color(value: float, dark: bool = False) -> str:
    """The strongest color of a sign; that of the middle for zero.

    >>> sign_color(3.0), sign_color(0.0)
    ('#b40426', '#dddddd')
    """
    place = 0 if value < 0 else COLORS - 1 if value > 0 else COLORS // 2
    return "#{:02x}{:02x}{:02x}".format(*_table(dark)[place])


def opacities(values: Floats, scale: Scale, opacity: float) -> Floats:
    """How strongly each value covers the picture beneath it, from 0 to `opacity`.

    Where a value is near zero the picture shows; the square root lets weak evidence be seen.
    Values that are not finite cover it fully.
    """
    if not 0 <= opacity <= 1:
        raise InputError("`overlay` must be an opacity from 0 to 1, or None", got=opacity)
    finite = np.isfinite(values)
    strength = np.clip(np.abs(np.where(finite, values, 0)) / scale.span, 0, 1)
    return np.where(finite, opacity * np.sqrt(strength), 1.0)


def overlay(
    values: Floats, scale: Scale, picture: Bytes, *, opacity: float = 0.8, dark: bool = False
) -> Bytes:
    """The colors of a map on top of a gray picture of the same height and width: (h, w, 3)."""
    cover = opacities(values, scale, opacity)[..., None]
    below = gray(picture).astype(np.float64)
    return np.round(cover * colorize(values, scale, dark=dark) + (1 - cover) * below).astype(
        np.uint8
    )


def gray(picture: Bytes) -> Bytes:
    """A picture without its colors, so that the only colors are those of the map: (h, w, 3)."""
    # Luma of ITU-R BT.601, as image libraries convert to gray.
    luma = np.round(picture[..., :3] @ np.array([0.299, 0.587, 0.114]))
    return np.repeat(luma[..., None], 3, axis=-1).astype(np.uint8)


def ink_on(ground: Bytes) -> str:
    """Black or white, whichever stands out more on a color: a contrast of 4.5 at the least.

    >>> ink_on(table()[0]), ink_on(table()[COLORS // 2])
    ('#ffffff', '#000000')
    """
    light = luminance(ground)
    return "#000000" if (light + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def luminance(color: Bytes) -> float:
    """The relative luminance of a color, from 0 to 1.

    Source: W3C, Web Content Accessibility Guidelines 2.2 (2023).
    """
    part = np.asarray(color, dtype=np.float64) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def number(value: float) -> str:
    """A number as people read it: three digits that matter, no exponent if it can be avoided.

    >>> number(0.012345), number(1234567.0), number(0.0)
    ('0.0123', '1.23e+06', '0')
    """
    return f"{value:.3g}".replace("-", MINUS)


def signed(value: float) -> str:
    r"""A value with its sign, but zero without.

    >>> signed(0.12345), signed(0.0), signed(float("nan"))
    ('+0.123', '0', 'not finite')
    >>> signed(-2.0) == "\N{MINUS SIGN}2"
    True
    """
    if not np.isfinite(value):
        return "not finite"
    return ("+" if value > 0 else "") + number(float(value))


def ordinal(value: float) -> str:
    """Write 99.5 as 99.5th, 91 as 91st."""
    text = f"{value:g}"
    if "." in text or text[-2:] in ("11", "12", "13"):
        return f"{text}th"
    return text + {"1": "st", "2": "nd", "3": "rd"}.get(text[-1], "th")
