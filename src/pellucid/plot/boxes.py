"""Boxes that were cut from maps, drawn on them, beside the true ones."""

from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from pellucid.errors import InputError
from pellucid.options import whole
from pellucid.plot.borders import borders, draw_lines
from pellucid.plot.legend import INK, PAPER

if TYPE_CHECKING:
    from pellucid.evaluate.localization.boxes import Boxes


def boxes(found: "Boxes", *, ax: Axes, row: int = 0, given: Any = None, dark: bool = False) -> Axes:
    """Draw the box of one image and the edge of the part it stands around, on axes with its map.

    `given`, true boxes (sample, 4) or (sample, object, 4) as x0, y0, x1, y1, are dashed.

    >>> import pellucid as pl
    >>> from matplotlib.figure import Figure
    >>> x = torch.zeros(1, 1, 6, 6)
    >>> x[..., 2:5, 1:3] = 1
    >>> explained = pl.explain(lambda x: x.sum((1, 2, 3))[:, None], x, "gradient_x_input")
    >>> ax = explained.plot(Figure().add_subplot())
    >>> len(pl.plot.boxes(explained.boxes(), ax=ax, given=[[1, 2, 4, 5]]).patches)
    4
    """
    if found.masks.ndim != 3:
        raise InputError("Boxes must be those of images to be drawn", got=found.masks)
    if whole(row, "row", least=0) >= len(found):
        raise InputError(f"`row` must be from 0 to {len(found) - 1}", got=row)
    mask = found.masks[row].cpu().numpy()
    if mask.any():
        draw_lines(borders(mask.astype(int), closed=True), ax, dark)
        _draw(found.corners[row].tolist(), ax, dark, "-")
    if given is not None:
        made = torch.as_tensor(given).double()
        if len(made) != len(found) or made.shape[-1] != 4:
            raise InputError(f"`given` must be boxes of shape [{len(found)}, 4]", got=made)
        for each in made[row].reshape(-1, 4):
            if not each.isnan().any():
                _draw(each.tolist(), ax, dark, "--")
    return ax


def _draw(corners: list[float], ax: Axes, dark: bool, style: str) -> None:
    """One box; a halo keeps its line apart from the picture. Pixels have their middle at 0, 1."""
    x0, y0, x1, y1 = corners
    for color, width, line in ((PAPER[dark], 3.4, "-"), (INK[dark], 1.8, style)):
        ax.add_patch(
            Rectangle(
                (x0 - 0.5, y0 - 0.5),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=color,
                linewidth=width,
                linestyle=line,
            )
        )
