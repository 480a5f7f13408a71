"""Draw a sanity check: how alike maps stay while a model is randomized, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from pellucid.bootstrap import mean_interval
from pellucid.errors import InputError, UnknownNameError
from pellucid.options import number
from pellucid.plot.axes import axes_for, finish, names_width, new_axes, short
from pellucid.plot.color import Floats
from pellucid.plot.legend import INK
from pellucid.plot.sweep import COLORS, FAINT
from pellucid.plot.titles import names_of

if TYPE_CHECKING:
    from pellucid.evaluate.measurement import Curve, Measurement

# So many steps have room for their names.
NAMED = 40
# The inches of a step, and of all beside the steps.
STEP, AROUND = 0.2, 2.2


@dataclass(frozen=True, kw_only=True, eq=False)
class Cascade:
    """Similarities by step, of several methods: means over samples, (method, step), and intervals.

    `steps` are the names of the layers. A sample whose map cannot be compared at a step (it is
    constant) is left out there; where that holds for all samples, the mean is not a number.
    """

    methods: tuple[str, ...]
    steps: tuple[str, ...]
    mean: Floats
    low: Floats
    high: Floats
    similarity: str
    axis: str
    samples: int
    level: float

    @classmethod
    def of(
        cls,
        measurements: "Measurement | Sequence[Measurement]",
        similarity: str | None = None,
        *,
        titles: Sequence[str] | None = None,
        level: float = 0.95,
        seed: int = 0,
    ) -> "Cascade":
        """Sum up measurements by one metric whose steps have names; by its first similarity.

        `titles` are the names of their methods, by default those of their classes.
        """
        level = number(level, "level", "a probability", above=0, most=1)
        found, curves = _curves(measurements, similarity)
        tables = [each.y.double().cpu().numpy() for each in curves]
        ends = [mean_interval(table, level, seed=seed) for table in tables]
        return cls(
            methods=tuple(names_of(found, titles)),
            steps=curves[0].ticks,
            mean=np.stack([_mean(table) for table in tables]),
            low=np.stack([low for low, _ in ends]),
            high=np.stack([high for _, high in ends]),
            similarity=curves[0].ylabel,
            axis=curves[0].xlabel,
            samples=len(tables[0]),
            level=level,
        )


def cascade(
    measurements: "Measurement | Sequence[Measurement]",
    ax: Axes | None = None,
    *,
    similarity: str | None = None,
    titles: Sequence[str] | None = None,
    level: float = 0.95,
    dark: bool = False,
    title: str = "",
) -> Axes:
    """Draw how alike maps stay, a line for each method, over the layers that are randomized.

    The line is the mean over samples, in its interval by a bootstrap over these; the layers go from
    the output at the left to the input at the right. A map that ignores the model stays at 1.
    `titles` are the names of the methods, by default those of their classes.

    >>> import torch
    >>> import pellucid as pl
    >>> model, x = torch.nn.Linear(4, 2), torch.rand(8, 4)
    >>> found = pl.compare(model, x, ["gradient_x_input", "saliency"], target=0)
    >>> cascade(pl.evaluate.measure(model, list(found), "model_randomization")).get_ylabel()
    'rank correlation of sizes'
    """
    shown = Cascade.of(measurements, similarity, titles=titles, level=level)
    count = len(shown.steps)
    ax = axes_for(ax) or new_axes(
        AROUND + max(2.4, STEP * min(count, 2 * NAMED)) + names_width(shown.methods), 3.8, dark
    )
    places = np.arange(count)
    ax.axhline(0, color=FAINT, linewidth=0.8)
    lines = zip(shown.methods, shown.mean, shown.low, shown.high, strict=True)
    for (name, mean, low, high), color in zip(lines, cycle(COLORS[:-1]), strict=False):
        ax.plot(places, mean, color=color, linewidth=1.5, marker="o", markersize=3, label=name)
        ax.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)
    lowest = float(np.nanmin(shown.mean, initial=0))
    ax.set_ylim(lowest - 0.05, 1.05)
    named = places[:: max(1, -(-count // NAMED))]
    ax.set_xticks(named, [short(shown.steps[i]) for i in named], rotation=90, fontsize=7)
    ax.set_ylabel(shown.similarity)
    key = ax.legend(
        fontsize=8, frameon=False, labelcolor=INK[dark], loc="center left", bbox_to_anchor=(1, 0.5)
    )
    for word in (*key.get_texts(), *ax.get_xticklabels()):
        word.set_parse_math(False)
    said = f"mean of {shown.samples} samples"
    if shown.samples > 1:
        said += f"; bands: {100 * shown.level:.3g} % interval over samples"
    return finish(ax, dark, title=title, caption=[shown.axis, said])


def _curves(
    given: "Measurement | Sequence[Measurement]", similarity: str | None
) -> "tuple[list[Measurement], list[Curve]]":
    """Measurements by one metric, and their curves over named steps."""
    from pellucid.evaluate.measurement import Measurement

    found = [given] if isinstance(given, Measurement) else list(given)
    if not found or not all(isinstance(each, Measurement) for each in found):
        raise InputError("`measurements` must be one or several, by one metric", got=given)
    named = [{k: c for k, c in each.curves.items() if c.ticks} for each in found]
    if any(each.metric != found[0].metric for each in found) or not named[0]:
        raise InputError(
            "A cascade must be that of measurements by one metric with named steps",
            found=", ".join(dict.fromkeys(repr(each.metric) for each in found)),
            hint="For example model_randomization.",
        )
    chosen = next(iter(named[0])) if similarity is None else similarity
    if chosen not in named[0]:
        raise UnknownNameError("A similarity of these measurements", chosen, named[0])
    return found, [each[chosen] for each in named]


def _mean(table: Floats) -> Floats:
    """The mean over samples of what is known at each step."""
    known = np.isfinite(table)
    count = known.sum(-2)
    total = np.where(known, table, 0).sum(-2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
