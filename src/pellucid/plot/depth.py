"""How activations change with depth: edges come first, abstraction and sparsity grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from pellucid.plot.axes import LETTER, axes_for, finish, new_axes, short
from pellucid.plot.legend import INK
from pellucid.plot.sweep import COLORS

if TYPE_CHECKING:
    from pellucid.inspect.activations import Activations

# What is drawn of the table, and what it is called; the inches of an operation, and the most names.
SAID = {
    "edges": "edges: best unit's correlation",
    "picture": "picture: R² of reading the input",
    "zeros": "zeros: share of activations",
    "blank": "blank: share of units",
    "dead": "dead: share of units in all samples",
}
STEP, NAMED = 0.22, 24


def depth(found: Activations, ax: Axes | None = None, *, dark: bool = False) -> Axes:
    """Draw `found.by_depth()`, a line for each of its columns, over the depth.

    >>> import torch
    >>> import pellucid as pl
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    >>> depth(pl.inspect.activations(net, torch.rand(2, 1, 12, 12))).get_ylabel()
    'share, or correlation'
    """
    table = found.by_depth()
    places = np.arange(len(table))
    step = max(1, -(-len(table) // NAMED))
    names = [short(each) for each in table["name"][::step]]
    tall = 3.6 + LETTER * max(map(len, names))
    ax = axes_for(ax) or new_axes(4.4 + max(2.0, STEP * len(table)), tall, dark)
    for (name, words), color in zip(SAID.items(), COLORS, strict=False):
        line = table[name].to_numpy()
        if np.isfinite(line).any():
            ax.plot(places, line, color=color, marker="o", markersize=3, linewidth=1.5, label=words)
    ax.set_xticks(places[::step], names, rotation=90, fontsize=7)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("share, or correlation")
    key = ax.legend(
        fontsize=8, frameon=False, labelcolor=INK[dark], loc="center left", bbox_to_anchor=(1, 0.5)
    )
    for word in (*key.get_texts(), *ax.get_xticklabels()):
        word.set_parse_math(False)
    samples = len(next(iter(found.values())).values)
    said = "from the input at the left to the output at the right"
    return finish(ax, dark, caption=[said, "1 sample" if samples == 1 else f"{samples} samples"])
