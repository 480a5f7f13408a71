"""What a learned mask leaves of a picture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.perturb.seen import Seen, Side
from pellucid.plot.axes import axes_for, canvas
from pellucid.plot.color import Bytes
from pellucid.plot.legend import INK
from pellucid.plot.map import Map, as_picture, stretch
from pellucid.pooling import channels_last
from pellucid.structure import Inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenPicture:
    """A picture (height, width, 3) of one sample behind its mask, and what is to be said of it."""

    picture: Bytes
    caption: str

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        *,
        row: int = 0,
        side: Side | None = None,
        pictures: Callable[[Tensor], Any] | None = None,
    ) -> "SeenPicture":
        """Look at one sample of images through its mask."""
        sample = explanation.batch_first()[row]
        found = Seen.of(sample, side)
        (left, *others), inputs = Inputs.of(found.inputs).leaves, Inputs.of(sample.inputs).leaves
        if others or left.ndim != 4:
            raise InputError(
                "What a mask leaves must be of one image to be drawn",
                found=f"{1 + len(others)} inputs, the first of shape {list(left.shape)}",
                hint="pellucid.perturb.seen.Seen.of(explanation).inputs has the numbers.",
            )
        if pictures is not None:
            return cls(picture=as_picture(pictures(left)), caption=_said(found))
        last = channels_last(left.shape[1:])
        first, shown = (x[0].movedim(-1, 0) if last else x[0] for x in (inputs[0], left))
        both = np.concatenate([_array(first), _array(shown)], 1)  # in the range of the input
        return cls(picture=stretch(both)[first.shape[1] :], caption=_said(found))


def seen(
    explanation: Explanation,
    ax: Axes | None = None,
    *,
    row: int = 0,
    side: Side | None = None,
    pictures: Callable[[Tensor], Any] | None = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw a picture as its learned mask leaves it, and say how much of the score that keeps.

    `side` is "within" (what the mask holds, and else the baseline) or "without" it; by default the
    one that the mask was learned for. `pictures` makes an array of an input of shape
    (1, channel, height, width), as `entry.inverse` does; else the input is stretched to its range.

    Source: Fong, Patrick and Vedaldi 2019, Understanding Deep Networks via Extremal Perturbations
    and Smooth Masks, figure 1.
    """
    found = SeenPicture.of(explanation, row=row, side=side, pictures=pictures)
    ax = axes_for(ax) or canvas(Map.of(explanation, row=row), 1, 1, dark).add_subplot()
    ax.imshow(found.picture, interpolation="nearest")
    ax.set_axis_off()
    name = type(explanation.method).__name__ if title is None else title
    ax.set_title(name, color=INK[dark], fontsize=10, parse_math=False)
    below: dict[str, Any] = {"verticalalignment": "top", "fontsize": 8, "color": INK[dark]}
    ax.text(0.0, -0.02, found.caption, transform=ax.transAxes, **below)
    return ax


def _array(image: Tensor) -> Any:
    return image.detach().cpu().double().numpy()


def _said(found: Seen) -> str:
    """Which part of the input is seen, and what of the score that leaves, if it is known."""
    share = float(found.area[0])
    held = share if found.side == "within" else 1 - share
    said = f"{held:.0%} of the input, {found.side} the mask"
    return said if found.left is None else f"{said}:\n{float(found.left[0]):.0%} of the score"
