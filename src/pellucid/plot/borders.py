"""Where the players of an image meet, computed and drawn."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from pellucid.plot.color import Floats
from pellucid.plot.legend import INK, PAPER


def borders(labels: NDArray[Any], *, closed: bool = False) -> Floats:
    """Where the players of an image (height, width) meet: lines of shape (line, end, x and y).

    Pixels have their middle at whole numbers, as matplotlib draws them. What is `closed` has a
    border along the frame, too, where its label is not zero.

    >>> borders(np.array([[0, 0], [1, 1]])).tolist()
    [[[-0.5, 0.5], [1.5, 0.5]]]
    """
    if closed:
        return borders(np.pad(labels, 1)) - 1
    across = _runs(labels[1:] != labels[:-1])
    down = _runs((labels[:, 1:] != labels[:, :-1]).T)[:, :, ::-1]
    return np.concatenate([across, down])


def _runs(different: NDArray[np.bool_]) -> Floats:
    """The lines below the rows of a mask, one for each run along a row."""
    steps = np.diff(np.pad(different, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    ends = [np.stack([at - 0.5, rows + 0.5], axis=-1) for at in (starts, stops)]
    return np.stack(ends, axis=1)


def draw_lines(lines: Floats, ax: Axes, dark: bool, *, color: Any = None) -> None:
    """Draw where players meet; a halo keeps the lines apart from the picture."""
    halo, width = (1.2, 0.5) if color is None else (3.4, 1.8)
    for each, thick in ((PAPER[dark], halo), (color or INK[dark], width)):
        drawn = LineCollection(list(lines), colors=[each], linewidths=thick, capstyle="projecting")
        # Lines along the frame would widen it by half a pixel.
        ax.add_collection(drawn, autolim=False)
