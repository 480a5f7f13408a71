"""Draw curves of metrics: the mean over samples for each method, and how sure it is."""

from collections.abc import Iterable, Sequence
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
    from pellucid.evaluate.measurement import Measurement

# The line of chance, which all methods share, and how lines after a method's first are dashed.
CHANCE, DASHES = "random", ("-", "--", ":", "-.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """One curve of a method: its mean over samples at each place, and where that mean lies.

    `low` and `high` are the ends of the interval, by a bootstrap over samples; not numbers for
    fewer than two. `samples` is the number of those whose curve is known.
    """

    method: str
    name: str
    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    samples: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Bands:
    """The curves of several methods by one metric, with the names of the axes."""

    metric: str
    lines: tuple[Band, ...]
    xlabel: str
    ylabel: str
    level: float

    @classmethod
    def of(
        cls,
        measurements: "Measurement | Sequence[Measurement]",
        curve: str | None = None,
        *,
        titles: Sequence[str] | None = None,
        level: float = 0.95,
        seed: int = 0,
    ) -> "Bands":
        """Sum up the curves of measurements by one metric: one of this name, or all they have.

        `titles` are the names of their methods, by default those of their classes.
        """
        found = _checked(measurements)
        names = list(found[0].curves)
        if curve is not None and curve not in names:
            raise UnknownNameError(f"A curve of {found[0].metric.name}", curve, names)
        chosen = names if curve is None else [curve]
        level = number(level, "level", "a probability", above=0, most=1)
        first = found[0].curves[chosen[0]]
        lines = [
            _band(each, title, name, level, seed)
            for place, (each, title) in enumerate(zip(found, names_of(found, titles), strict=True))
            for name in chosen
            if name != CHANCE or place == 0
        ]
        return cls(
            metric=found[0].metric.name,
            lines=tuple(sorted(lines, key=lambda line: line.name == CHANCE)),
            xlabel=first.xlabel,
            ylabel=first.ylabel,
            level=level,
        )


def _checked(given: "Measurement | Sequence[Measurement]") -> "list[Measurement]":
    """Measurements by one metric, which has curves."""
    from pellucid.evaluate.measurement import Measurement

    several = given if isinstance(given, Iterable) else ()
    found = [given] if isinstance(given, Measurement) else list(several)
    if not found or not all(isinstance(each, Measurement) for each in found):
        raise InputError("`measurements` must be one or several, by one metric", got=given)
    if any(each.metric != found[0].metric for each in found):
        names = dict.fromkeys(repr(each.metric) for each in found)
        raise InputError(
            "Curves that are drawn together must be by one metric", found=", ".join(names)
        )
    if not found[0].curves:
        raise InputError("A metric must have curves to be drawn so", found=found[0].metric.name)
    return found


def _band(measurement: "Measurement", title: str, name: str, level: float, seed: int) -> Band:
    curve = measurement.curves[name]
    y = curve.y.double().cpu().numpy()
    kept = y[np.isfinite(y).all(1)]
    middle = kept.mean(0) if len(kept) else np.full(y.shape[1], np.nan)
    low, high = mean_interval(kept, level, seed=seed)
    return Band(
        method=title,
        name=name,
        x=curve.x.double().cpu().numpy(),
        mean=middle,
        low=low,
        high=high,
        samples=len(kept),
    )


def curves(
    measurements: "Measurement | Sequence[Measurement]",
    ax: Axes | None = None,
    *,
    curve: str | None = None,
    titles: Sequence[str] | None = None,
    level: float = 0.95,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the curves of a metric, a color for each method: the mean over samples in its interval.

    `curve` is the name of one of them ("morf"); else all are drawn, the second one of a method with
    dashes. The gray line is that of random orders, which all methods share. `titles` are the names
    of the methods, by default those of their classes.

    >>> import torch
    >>> import pellucid as pl
    >>> model, x = torch.nn.Linear(4, 2), torch.rand(8, 4)
    >>> found = pl.compare(model, x, ["gradient_x_input", "saliency"], target=0)
    >>> curves(pl.evaluate.measure(model, list(found), "selectivity")).get_ylabel()
    'score'
    """
    found = Bands.of(measurements, curve, titles=titles, level=level)
    names = list(dict.fromkeys(line.name for line in found.lines if line.name != CHANCE))
    methods = list(dict.fromkeys(line.method for line in found.lines))
    colors = dict(zip(methods, cycle(COLORS[:-1]), strict=False))
    labels = [_label(line, names) for line in found.lines]
    ax = axes_for(ax) or new_axes(4.6 + names_width(labels), 3.6, dark)
    for line, label in zip(found.lines, labels, strict=True):
        chance = line.name == CHANCE
        color = FAINT if chance else colors[line.method]
        dash = "-" if chance else DASHES[names.index(line.name) % len(DASHES)]
        ax.plot(line.x, line.mean, dash, color=color, linewidth=1.5, label=label)
        if np.isfinite(line.low).all():
            ax.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
    ax.set_ylabel(found.ylabel)
    key = ax.legend(
        fontsize=8,
        frameon=False,
        labelcolor=INK[dark],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )
    for word in key.get_texts():
        word.set_parse_math(False)
    samples = max(line.samples for line in found.lines)
    said = "one sample"
    if samples != 1:
        said = f"mean of {samples} samples; bands: {100 * found.level:.3g} % interval over samples"
    title = found.metric if title is None else title
    return finish(ax, dark, title=title, caption=[found.xlabel, said])


def _label(line: Band, names: Sequence[str]) -> str:
    if line.name == CHANCE:
        return "random orders"
    return short(line.method if len(names) == 1 else f"{line.method}, {line.name}")
