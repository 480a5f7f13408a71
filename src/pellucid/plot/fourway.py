"""Dreams of classes in four ways: a line for each, a column for each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from pellucid.inspect.dreaming.objective import class_name
from pellucid.plot.color import Bytes, number
from pellucid.plot.map import as_picture
from pellucid.plot.thumbnails import Cell, Line, Pictures, cut, sheet

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.inspect.dreaming.fourway import DreamComparison

# Letters of a name that fit above a dream.
LETTERS = 16
# How ways are called at the left of their lines.
LABELS = {
    "plain from mean": "plain,\nfrom mean of all",
    "plain": "plain,\nfrom class mean",
    "density": "with a density,\nfrom class mean",
    "generator": "in code space,\nfrom class mean",
}


def fourway(
    found: DreamComparison,
    *,
    names: Sequence[str] | None = None,
    pictures: Callable[[Tensor], Any] | None = None,
    dark: bool = False,
) -> Figure:
    """Draw the comparison; above each dream is its score, at the left the mean distances.

    Images are in the range of the real data: what is beyond it is black or white.
    """
    called = [class_name(k, names) for k in found.classes]
    first = [
        Cell(sample=x, caption=cut(name, LETTERS))
        for x, name in zip(found.starts, called, strict=True)
    ]
    means = found.to_frame()
    lines: list[Line] = [("mean of\nthe class", first)]
    for way, dreams in found.ways.items():
        scores = found.quality.loc[found.quality["run"] == way, "score"]
        cells = [
            Cell(sample=x, caption=number(float(score)))
            for x, score in zip(dreams.inputs, scores, strict=True)
        ]
        lines.append((f"{LABELS[way]}\n{number(float(means.distance[way]))} away", cells))
    title = (
        "above each dream: its score, "
        f"of real samples up to {number(float(means.real_score.iloc[0]))} (mean over classes)\n"
        "at the left: the mean distance to the nearest real sample of the class, "
        f"of real samples {number(float(means.real_distance.iloc[0]))}"
    )
    return sheet(lines, pictures=pictures or _pictures(found), dark=dark, title=title)


def _pictures(found: DreamComparison) -> Pictures:
    """How images are shown, in the range of the real data; other samples as they are."""
    if found.starts.ndim != 4 or found.starts.shape[1] not in (1, 3):
        return None
    low, high = found.ends
    high = high if high > low else low + 1

    def shown(image: Tensor) -> Bytes:
        plain: Any = image[0].detach().cpu().double().permute(1, 2, 0).numpy()
        return as_picture(np.clip((plain - low) / (high - low), 0, 1))

    return shown
