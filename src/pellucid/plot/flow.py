"""A ledger as a flow: what is left of the score on its way to the input, and who took the rest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pellucid.plot.color import number
from pellucid.plot.legend import INK, PAPER, ink

if TYPE_CHECKING:
    from pellucid.tape.ledger import Ledger

# More steps than this are joined by the layers around theirs.
MOST_STEPS = 24
# Who takes relevance, in the colors of light and dark pages. All differ in brightness as well.
TAKERS = {
    "bias": ("#c46b1c", "#f0a35a"),
    "stabilizer": ("#8d8fa8", "#9a9cb8"),
    "stopped": ("#5b3a8e", "#b79be0"),
    "rest": ("#b3122f", "#ff6b81"),
}
LEFT = {False: "#2b5f9e", True: "#8fb8ea"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """Neighboring operations of one layer: what was left after them, and what they took."""

    label: str
    left: float
    taken: tuple[float, ...]


def flow(ledger: "Ledger", ax: Axes | None = None, *, dark: bool = False) -> Axes:
    """Draw a ledger from the score to the input: a line for what is left, bars for what was taken.

    Amounts are in units of the score, summed over the samples. A bar below zero gave relevance.
    """
    found = steps(ledger)
    ax = figure_of(found, dark).axes[0] if ax is None else ax
    places = range(1, len(found) + 1)
    ax.axhline(0, color=INK[dark], linewidth=0.5)
    above, below = [0.0] * len(found), [0.0] * len(found)
    for i, (name, colors) in enumerate(TAKERS.items()):
        heights = [step.taken[i] for step in found]
        if any(abs(height) > 1e-3 * abs(ledger.largest) for height in heights):
            bottoms = [(a if h >= 0 else b) for a, b, h in zip(above, below, heights, strict=True)]
            ax.bar(places, heights, 0.7, bottom=bottoms, color=colors[dark], label=f"to {name}")
        above = [a + max(h, 0) for a, h in zip(above, heights, strict=True)]
        below = [b + min(h, 0) for b, h in zip(below, heights, strict=True)]
    line = [ledger.score, *(step.left for step in found)]
    ax.plot(range(len(line)), line, color=LEFT[dark], linewidth=1.8, marker="o", markersize=3,
            label="left")  # fmt: skip
    _label(ax, ledger, found, dark)
    return ax


def picture(ledger: "Ledger", *, dark: bool = False) -> Figure:
    """A figure of the flow, as wide as its steps need."""
    figure = figure_of(steps(ledger), dark)
    flow(ledger, figure.axes[0], dark=dark)
    return figure


def figure_of(found: "list[Step]", dark: bool) -> Figure:
    """An empty figure with one axes."""
    figure = Figure(figsize=(max(5.0, 0.42 * len(found) + 2), 3.6), layout="constrained")
    figure.set_facecolor(PAPER[dark])
    figure.add_subplot()
    return figure


def steps(ledger: "Ledger") -> list[Step]:
    """The walk in at most `MOST_STEPS` steps, each of the operations of one layer in a row."""
    runs = _fewer(_layers([row.path for row in ledger.rows]))
    left, found = ledger.score, []
    for label, rows in runs:
        entries = [ledger.rows[i] for i in rows]
        taken = tuple(sum(getattr(entry, name) for entry in entries) for name in TAKERS)
        left -= sum(taken)
        found.append(Step(label=label, left=left, taken=taken))
    return found


def _layers(paths: list[str]) -> list[tuple[str, list[int]]]:
    """Runs of one layer each; where that is far too many, of the layers around them."""
    runs = _runs(paths)
    for depth in reversed(range(1, max((path.count(".") + 1 for path in paths), default=1))):
        if len(runs) <= 2 * MOST_STEPS:
            break
        runs = _runs([".".join(path.split(".")[:depth]) for path in paths])
    return runs


def _runs(labels: list[str]) -> list[tuple[str, list[int]]]:
    """Equal labels that follow each other, with the rows they are of."""
    runs: list[tuple[str, list[int]]] = []
    for i, label in enumerate(labels):
        if not runs or runs[-1][0] != label:
            runs.append((label, []))
        runs[-1][1].append(i)
    return runs


def _fewer(runs: list[tuple[str, list[int]]]) -> list[tuple[str, list[int]]]:
    """Join neighbors, as evenly as can be, until there are few enough."""
    size = -(-len(runs) // MOST_STEPS)
    parts = [runs[i : i + size] for i in range(0, len(runs), size or 1)]
    return [(_ends(part), [row for _, rows in part for row in rows]) for part in parts]


def _ends(part: list[tuple[str, list[int]]]) -> str:
    first, last = (label or "(model)" for label in (part[0][0], part[-1][0]))
    return first if first == last else f"{first} \N{HORIZONTAL ELLIPSIS} {last}"


def _label(ax: Axes, ledger: "Ledger", found: list[Step], dark: bool) -> None:
    names = ["score", *(step.label for step in found)]
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
    ax.tick_params(axis="y", labelsize=8)
    summed = f", summed over {ledger.samples} samples" if ledger.samples > 1 else ""
    ax.set_ylabel(f"relevance{summed}", fontsize=8)
    ax.set_title(
        f"{number(ledger.explained)} of {number(ledger.score)} reaches the input",
        fontsize=10, color=INK[dark],
    )  # fmt: skip
    ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark])
    ax.spines[["top", "right"]].set_visible(False)
    ink(ax, dark)
