"""The local model near one sample, seen along one player: draws, their weights and the line."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.lime import LIME
from pellucid.lime.sweep import inputs_of
from pellucid.plot.axes import axes_for, finish, new_axes
from pellucid.plot.color import Floats, number, sign_color
from pellucid.plot.legend import INK
from pellucid.plot.names import plain
from pellucid.plot.parts import check_explanation
from pellucid.plot.swarm import GRAY, place_of
from pellucid.plot.titles import titled

if TYPE_CHECKING:
    from pellucid.features import Players

# The area of the point of the heaviest draw, in points; of the lightest, so that it is seen.
LARGEST, SMALLEST = 60.0, 1.5
# Absent and present players lie in two columns, so wide.
SPREAD = 0.16


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalLine:
    """The draws that a local model was fitted to, along one player, and its line.

        g(z) = start + slope z, with all other features as they are in the sample

    `z`, `scores` and `weights` have shape (draw,), the sample itself first; `fidelity` is the
    weighted R2 of the whole local model.
    """

    name: str
    z: Floats
    scores: Floats
    weights: Floats
    slope: float
    start: float
    fidelity: float

    @classmethod
    def of(cls, explanation: Explanation, player: int | str, *, row: int = 0) -> "LocalLine":
        """Make the draws of an explanation by lime again; the model is not run."""
        check_explanation(explanation)
        method, players = explanation.method, explanation.features
        if not isinstance(method, LIME) or players is None or method.local != "linear":
            raise InputError(
                "A local line must be that of an explanation by lime with a linear model",
                found=f"one by {method!r}",
                hint='Make one by pellucid.explain(model, inputs, "lime").',
            )
        row = explanation._rows(row)[0]
        names = plain(explanation, row)
        place = place_of(player, names)
        z, weights = _draws(explanation, method, players, row)
        evidence = {name: each[row].cpu().double() for name, each in explanation.evidence.items()}
        own = z[0] * evidence["weights"][: z.shape[1]].numpy()
        slope = float(evidence["weights"][place])
        return cls(
            name=names[place],
            z=z[:, place],
            scores=evidence["scores"][: len(z)].numpy(),
            weights=weights,
            slope=slope,
            start=float(evidence["intercept"]) + float(own.sum() - own[place]),
            fidelity=float(evidence["fidelity"]),
        )

    @property
    def is_switch(self) -> bool:
        """Whether the player is there or not, and nothing between."""
        return bool(np.isin(self.z, (0.0, 1.0)).all())


def _draws(
    explanation: Explanation, method: LIME, players: "Players", row: int
) -> tuple[Floats, Floats]:
    """The features (draw, player) and the weights (draw,) of the draws of one sample."""
    space = method.space(inputs_of(explanation), players)
    used = int(explanation.evidence["draws"][row])
    near = space.near(torch.tensor([row]), used)
    widths = method.widths(space)
    weights = near.weights(widths[[row if len(widths) > 1 else 0]])
    return near.features[0].double().numpy(), weights[0].double().numpy()


def local_line(
    explanation: Explanation,
    player: int | str,
    ax: Axes | None = None,
    *,
    row: int = 0,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the local model of lime along one player: draws, as large as their weights, and a line.

    `player` is its name or its place. The line is that of the local model with all other features
    as they are in the sample, which is the ring; draws differ in these, too, so they lie around it.

    Source: Ribeiro, Singh and Guestrin 2016, "Why Should I Trust You?", figure 3.

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.explain(torch.nn.Linear(3, 1), torch.rand(1, 3), "lime")
    >>> local_line(found, 1).get_xlabel().splitlines()[0]
    'feature 1: absent or present'
    """
    found = LocalLine.of(explanation, player, row=row)
    ax = axes_for(ax) or new_axes(5.0, 3.6, dark)
    x = found.z
    if found.is_switch:
        x = x + SPREAD * (np.arange(len(x)) * 0.618 % 1 - 0.5)  # evenly spread, and no chance
        ax.set_xticks([0, 1], ["absent", "present"])
    heavy = float(found.weights.max()) or 1.0
    sizes = np.maximum(LARGEST * found.weights / heavy, SMALLEST)
    ax.scatter(x, found.scores, s=sizes, c=GRAY, alpha=0.7, linewidths=0)
    ends = np.array([found.z.min(), found.z.max()])
    ax.plot(ends, found.start + found.slope * ends, color=sign_color(found.slope, dark), lw=2)
    look: dict[str, Any] = {"facecolors": "none", "edgecolors": INK[dark], "linewidths": 1.5}
    ax.scatter(x[:1], found.scores[:1], s=70, zorder=3, **look)
    ax.set_ylabel("score")
    title = titled(explanation, row) if title is None else title
    axis = "absent or present" if found.is_switch else "as the local model reads it"
    said = f"slope {number(found.slope)}; weighted R² of the local model {number(found.fidelity)}"
    return finish(ax, dark, title=title, caption=[f"{found.name}: {axis}", said])
