"""Draw how far a local explanation depends on the width of its kernel."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.errors import InputError
from pellucid.plot.legend import INK, PAPER, ink

if TYPE_CHECKING:
    from pellucid.lime import WidthSweep

# Colors that differ for every kind of color vision.
# Source: Okabe and Ito (2008), Color Universal Design.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a6d00", "#7f7f7f")
FAINT = "#8a8d91"


def draw_sweep(
    sweep: "WidthSweep",
    ax: Axes | None = None,
    *,
    row: int = 0,
    most: int = 8,
    dark: bool = False,
) -> Axes:
    """Draw the values of one sample's strongest players over the width, and the fidelity.

    Lines are values, of the `most` players that are largest at any width; the gray line is the
    weighted R2, on the axis at the right; the upright line is the width of the explanation.
    """
    if ax is not None and not isinstance(ax, Axes):
        raise InputError("`ax` must be axes of matplotlib", got=ax)
    if ax is None:
        ax = Figure(figsize=(6.4, 3.8), layout="constrained", facecolor=PAPER[dark]).add_subplot()
    widths, values = sweep.widths[row].tolist(), sweep.values[row]
    for place, player in enumerate(strongest(sweep, row, most)):
        color, dash = COLORS[place % len(COLORS)], ("-", "--", ":")[place // len(COLORS) % 3]
        name = sweep.names[row][player]
        ax.plot(widths, values[:, player].tolist(), dash, color=color, linewidth=1.5, label=name)
    ax.set_xscale("log")
    ax.axhline(0, color=INK[dark], linewidth=0.6)
    ax.axvline(float(sweep.used[row]), color=FAINT, linewidth=0.8)
    ax.set_xlabel("width of the kernel")
    ax.set_ylabel("value")
    ink(ax, dark)
    _fidelity(ax, widths, sweep.fidelity[row].tolist(), dark)
    ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark], loc="best")
    return ax


def strongest(sweep: "WidthSweep", row: int, most: int) -> list[int]:
    """The players of one sample with the largest values at any width, the largest first."""
    count = len(sweep.names[row])
    size = sweep.values[row, :, :count].abs().amax(0)
    return size.argsort(descending=True, stable=True)[:most].tolist()


def _fidelity(ax: Axes, widths: list[float], fidelity: list[float], dark: bool) -> None:
    right = ax.twinx()
    right.plot(widths, fidelity, color=FAINT, linewidth=1, linestyle="-.")
    right.set_ylim(0, 1.05)
    right.set_ylabel("weighted R² (gray)")
    ink(right, dark)
