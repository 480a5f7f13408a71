"""Draw what models still learn from what methods leave of the data."""

import math
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from pellucid.plot.axes import axes_for, new_axes
from pellucid.plot.legend import INK, ink
from pellucid.plot.sweep import COLORS, FAINT

if TYPE_CHECKING:
    from pellucid.evaluate.retrain.curves import RetrainCurves

# Lines that have the same color differ by their strokes.
DASHES = ("-", "--", ":")


def draw_retrain(
    found: "RetrainCurves", ax: Axes | None = None, *, before: bool = True, dark: bool = False
) -> Axes:
    """Draw accuracy over the fraction that is removed, with bands of 95 % over the seeds.

    The random ranking is gray. Thin lines are the first model `before` any new training.
    """
    ax = axes_for(ax) or new_axes(6.4, 4.2, dark)
    for place, rival in enumerate(found.rivals):
        known = rival in found.methods
        color = COLORS[place % (len(COLORS) - 1)] if known else FAINT
        dash = DASHES[place // (len(COLORS) - 1) % 3] if known else "-"
        x, estimates = found.curve(rival)
        shown = [100 * step for step in x]
        if not any(math.isfinite(each.mean) for each in estimates[1:]):
            continue
        means = [each.mean for each in estimates]
        ax.plot(shown, means, dash, color=color, marker="o", markersize=3, lw=1.8, label=rival)
        ax.fill_between(
            shown,
            [each.low for each in estimates],
            [each.high for each in estimates],
            color=color,
            alpha=0.18,
            lw=0,
        )
        if before:
            _, first = found.curve_before(rival)
            ax.plot(shown, first, dash, color=color, lw=0.7, alpha=0.8)
    ax.set_xlabel(f"{'least' if found.keep else 'most'} relevant features removed (%)")
    ax.set_ylabel("accuracy on the test set")
    title = "Keep and retrain" if found.keep else "Remove and retrain"
    ax.set_title(title, color=INK[dark], fontsize=10)
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -0.02), min(high, 1.02))  # bands of few seeds leave what can be
    ink(ax, dark)
    if not ax.get_lines():
        return ax
    legend = ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark], loc="best")
    if before:
        legend.set_title("thin: the first model, not trained again")
        legend.get_title().set(color=INK[dark], fontsize=7)
    return ax
