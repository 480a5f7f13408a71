"""An audit of choices: how far the share of each feature depends on them."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from pellucid.plot.axes import finish, name_rows, rows_axes
from pellucid.plot.legend import INK

if TYPE_CHECKING:
    from pellucid.evaluate.audit import Audit

# By Okabe and Ito (2008), told apart by every reader; what is robust is the one that stands out.
COLORS = {
    "robust": "#0072b2",
    "depends": "#56b4e9",
    "sign changes": "#d55e00",
    "artefact": "#e69f00",
    "weak": "#8a8a8a",
}


def draw_audit(
    audit: "Audit",
    ax: Axes | None = None,
    *,
    row: int = 0,
    most: int = 12,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the share of the strongest players of a sample under every choice, the first on top.

    A point is a choice, the line between them reaches from the least share to the greatest, and
    its color is the verdict on the player.
    """
    frame = audit.to_frame()
    shown = frame[frame["sample"] == row].head(most)
    names = shown["name"].tolist()
    ax = rows_axes(ax, names, dark)
    ax.axvline(0, color=INK[dark], linewidth=0.8)
    for line, (player, verdict) in enumerate(zip(shown["player"], shown["verdict"], strict=True)):
        shares = audit.relevance[:, row, player].numpy()
        look = {"color": COLORS[verdict], "label": verdict}
        ax.plot([shares.min(), shares.max()], [line, line], linewidth=2, alpha=0.5, **look)
        ax.plot(shares, np.full(len(shares), line), "o", markersize=4, color=COLORS[verdict])
    name_rows(ax, names, np.arange(len(names)))
    ax.set_ylim(len(names) - 0.5, -0.5)
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    ax.legend(unique.values(), unique, frameon=False, fontsize=8, labelcolor=INK[dark])
    said = ["share of the relevance of the sample; one point a choice"]
    what = f"{audit.explanations[0].method.name} under {len(audit)} choices"
    return finish(ax, dark, title=what if title is None else title, caption=said)
