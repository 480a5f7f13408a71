"""The strongest players of an image alone, cut out of its picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation import Explanation
from pellucid.plot.axes import axes_for, canvas
from pellucid.plot.borders import borders, draw_lines
from pellucid.plot.color import Bytes, Floats, gray, number, sign_color
from pellucid.plot.legend import INK, PAPER
from pellucid.plot.map import Map
from pellucid.plot.parts import Parts, check_explanation, check_most
from pellucid.plot.titles import titled

Sign: TypeAlias = Literal["positive", "negative", "all"]
SIGNS = ("positive", "negative", "all")

Labels = NDArray[np.integer[Any]]
# How much of what is not shown is left.
FADED = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Superpixels:
    """The strongest players of an image, and the picture of which they are parts.

    `labels` (height, width) has the player of each pixel, `chosen` the players that are shown,
    strongest first, and `values` (player,) their values; `picture` (height, width, 3) what they
    are cut out of.
    """

    labels: Labels
    chosen: tuple[int, ...]
    values: Floats
    picture: Bytes

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        *,
        row: int = 0,
        most: int = 5,
        sign: Sign = "positive",
        picture: Any = None,
    ) -> "Superpixels":
        """Choose the `most` players of one sign with the largest absolute values."""
        check_explanation(explanation)
        check_most(most)
        if sign not in SIGNS:
            raise UnknownNameError("`sign`", sign, SIGNS)
        shown = Map.of(explanation, row=row, picture=picture)
        if shown.regions is None or shown.picture is None:
            raise InputError(
                "An explanation must be of players of an image, each of several pixels",
                got=explanation.method,
                hint="Ask with `features`, for example Features.patches(16).",
            )
        parts = Parts.of(explanation, row=row)
        wanted = [i for i in parts.order if _is(parts.values[i], sign)]
        return cls(
            labels=shown.regions,
            chosen=tuple(wanted[:most]),
            values=parts.values[wanted[:most]],
            picture=_fitted(shown.picture, shown.regions.shape),
        )

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which pixels are shown, of shape (height, width)."""
        return np.isin(self.labels, self.chosen)

    def image(self, rest: float = FADED, *, dark: bool = False) -> Bytes:
        """The picture with its strongest players alone; of the others `rest` is left, in gray."""
        if not 0 <= rest <= 1:
            raise InputError("`rest` must be an opacity from 0 to 1", got=rest)
        paper = np.array([int(PAPER[dark][i : i + 2], 16) for i in (1, 3, 5)])
        faded = np.round(rest * gray(self.picture).astype(np.float64) + (1 - rest) * paper)
        return np.where(self.mask[..., None], self.picture, faded.astype(np.uint8))


def superpixels(
    explanation: Explanation,
    ax: Axes | None = None,
    *,
    row: int = 0,
    most: int = 5,
    sign: Sign = "positive",
    rest: float = FADED,
    picture: Any = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the strongest players of an image alone, each in a border of the color of its sign.

    `most` are shown, of one `sign` or of "all"; of the rest of the picture, `rest` is left, in
    gray, from 0 to 1. `picture` is that of `pellucid.plot.draw`.

    Source: Ribeiro, Singh and Guestrin 2016, "Why Should I Trust You?", figure 4.
    """
    found = Superpixels.of(explanation, row=row, most=most, sign=sign, picture=picture)
    shown = Map.of(explanation, row=row, picture=picture)
    ax = axes_for(ax) or canvas(shown, 1, 1, dark).add_subplot()
    ax.imshow(found.image(rest, dark=dark), interpolation="nearest")
    for player, value in zip(found.chosen, found.values.tolist(), strict=True):
        color = sign_color(value, dark)
        draw_lines(borders(found.labels == player, closed=True), ax, dark, color=color)
    ax.set_axis_off()
    ax.set_title(
        titled(explanation, row) if title is None else title,
        color=INK[dark],
        fontsize=10,
        parse_math=False,
    )
    ax.text(
        *(0.0, -0.02),
        words(found, sign),
        transform=ax.transAxes,
        verticalalignment="top",
        fontsize=8,
        color=INK[dark],
    )
    return ax


def words(found: Superpixels, sign: Sign) -> str:
    """Say what is shown of how many."""
    count = len(np.unique(found.labels[found.labels >= 0]))
    which = "" if sign == "all" else f"{sign} "
    if not found.chosen:
        return f"none of {count} players is {sign}"
    total = number(float(found.values.sum()))
    return f"the {len(found.chosen)} strongest {which}of {count} players,\ntogether {total}"


def _is(value: float, sign: Sign) -> bool:
    """Whether a value counts, of those of a sign."""
    if not np.isfinite(value) or value == 0:
        return False
    return sign == "all" or (value > 0) == (sign == "positive")


def _fitted(picture: Bytes, shape: Sequence[int]) -> Bytes:
    """A picture in the size of the labels."""
    if picture.shape[:2] == tuple(shape):
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0])))
