"""A signal on a page: its relevance as a colored ground, its line upon it, one lane a channel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.plot.color import Floats, number
from pellucid.plot.map import Map
from pellucid.plot.signal import ticks, waves
from pellucid.report.image import Raster, rasterize

# Lines have no more points than this: two for each of about as many pixels as a page is wide.
MOST_POINTS = 3000
# The height of all lanes in pixels, and the least and most of one.
HEIGHT, LEAST, MOST = 480, 4, 72
# A lane that is lower has no room for its name.
NAMED = 14


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """The ground of a signal, and what is drawn around it.

    `names` has the name and range of each channel, `lines` an SVG path for each, in a box 1000
    wide and 100 a lane high; `ticks` have their place in percent of the width.
    """

    raster: Raster
    names: list[tuple[str, str]]
    lines: list[str]
    ticks: list[tuple[str, str]]
    axis: str
    rate: float | None
    height: int

    @classmethod
    def of(cls, shown: Map, *, alt: str) -> "Lanes":
        """Compute what is drawn."""
        lanes, length = shown.values.shape
        height = int(np.clip(HEIGHT // lanes, LEAST, MOST))
        return cls(
            raster=rasterize(shown, alt=alt),
            names=_names(shown) if height >= NAMED else [],
            lines=[path(line, lane) for lane, line in waves(shown)],
            ticks=[
                (f"{100 * (at + 0.5) / length:.2f}", name) for at, name in ticks(length, shown.rate)
            ],
            axis=shown.along,
            rate=shown.rate,
            height=height,
        )


def path(line: Floats, lane: int = 0) -> str:
    """A line from 0 to 1 as an SVG path in its lane.

    >>> path(np.array([0.0, 1.0]), lane=1)
    'M250,190L750,110'
    """
    across = 1000 * (np.arange(len(line)) + 0.5) / len(line)
    kept = _envelope(line)
    points = (
        f"{x:.5g},{y:.5g}"
        for x, y in zip(across[kept], 100 * lane + 90 - 80 * line[kept], strict=True)
    )
    return "M" + "L".join(points)


def _envelope(line: Floats) -> NDArray[np.intp]:
    """The places of a long line that are seen: the lowest and the highest of each short piece."""
    if len(line) <= MOST_POINTS:
        return np.arange(len(line))
    starts = np.array_split(np.arange(len(line)), MOST_POINTS // 2)
    kept = [i for part in starts for i in (part[line[part].argmin()], part[line[part].argmax()])]
    return np.unique([0, *kept, len(line) - 1])


def _names(shown: Map) -> list[tuple[str, str]]:
    """Each channel's name, and the range of its line."""
    if len(shown.inputs) != len(shown.labels) or shown.inputs.ndim != 2:
        return [(label, "") for label in shown.labels]
    ends = [(np.nan_to_num(line).min(), np.nan_to_num(line).max()) for line in shown.inputs]
    ranges = [f"{number(low)} to {number(high)}" for low, high in ends]
    return list(zip(shown.labels, ranges, strict=True))
