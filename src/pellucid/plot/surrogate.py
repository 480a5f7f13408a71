"""Draw a global surrogate: its tree, its rules or its weights, and how fidelity grows with size."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pellucid.errors import InputError
from pellucid.inspect.surrogate import words
from pellucid.inspect.surrogate.lines import LinearModel
from pellucid.inspect.surrogate.rules import RuleList
from pellucid.inspect.surrogate.trees import DecisionTree
from pellucid.plot.legend import INK, PAPER, ink

if TYPE_CHECKING:
    from pellucid.inspect.surrogate.surrogate import Surrogate

# Colors of classes that differ for every kind of color vision.
# Source: Okabe and Ito (2008), Color Universal Design.
CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
FAINT = {False: "#8a8d91", True: "#9a9da1"}


def draw_surrogate(surrogate: "Surrogate", ax: Axes | None = None, *, dark: bool = False) -> Axes:
    """Draw what was fitted, all of it, with its fidelity under it.

    Boxes of a tree and bars of rules have the color of the class that is answered; their width is
    the share of the samples. Without `ax` it draws on a figure of its own.
    """
    fitted = surrogate.fitted
    ax = _axes(ax, _room(surrogate), dark)
    if isinstance(fitted, DecisionTree):
        _tree(surrogate, fitted, ax, dark)
    elif isinstance(fitted, RuleList):
        _rules(surrogate, fitted, ax, dark)
    else:
        _weights(surrogate, fitted, ax, dark)
    ax.set_title(words.title(surrogate), color=INK[dark], fontsize=10, parse_math=False)
    return ax


def draw_curve(surrogate: "Surrogate", ax: Axes | None = None, *, dark: bool = False) -> Axes:
    """Draw fidelity by size, on the samples held out (solid) and those fitted (dashed)."""
    ax = _axes(ax, (5.0, 3.4), dark)
    steps = surrogate.steps
    sizes = [step.size for step in steps]
    lines = {"R²": ([s.held_out.r2 for s in steps], [s.fitted.r2 for s in steps])}
    if surrogate.classes:
        held = [s.held_out.agreement or 0.0 for s in steps]
        lines["agreement"] = (held, [s.fitted.agreement or 0.0 for s in steps])
    for (name, (held, seen)), color in zip(lines.items(), CLASSES, strict=False):
        ax.plot(sizes, held, color=color, marker="o", markersize=4, label=f"{name}, held out")
        ax.plot(sizes, seen, color=color, linestyle="--", linewidth=1, label=f"{name}, fitted")
    ax.axvline(surrogate.size, color=FAINT[dark], linewidth=0.8, zorder=0)
    ax.set_ylim(min(-0.05, ax.get_ylim()[0]), 1.05)
    ax.set_xlabel(words.SIZES[surrogate.kind][1])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title("fidelity by size", color=INK[dark], fontsize=10)
    ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark], loc="lower right")
    ink(ax, dark)
    return ax


def _axes(ax: Axes | None, size: tuple[float, float], dark: bool) -> Axes:
    if ax is not None and not isinstance(ax, Axes):
        raise InputError("`ax` must be axes of matplotlib", got=ax)
    if ax is not None:
        return ax
    return Figure(figsize=size, layout="constrained", facecolor=PAPER[dark]).add_subplot()


def _room(surrogate: "Surrogate") -> tuple[float, float]:
    """Inches for all of it to be read."""
    fitted = surrogate.fitted
    if isinstance(fitted, DecisionTree):
        deep = max((place.column for place in _places(fitted)), default=0)
        return 2.9 * (deep + 1) + 1.2, 0.62 * fitted.size + 1.1
    if isinstance(fitted, RuleList):
        longest = max(map(len, words.body(surrogate)))
        return max(6.0, 0.085 * longest + 3.0), 0.42 * (fitted.size + 1) + 1.1
    bars = max(1, fitted.size) * max(1, len(words.shown_outputs(surrogate)))
    return 6.0, 0.22 * bars + 0.2 * fitted.size + 1.6


class _Place(NamedTuple):
    """Where a node is drawn: how deep, and at which height, in leaves from the top."""

    node: int
    column: int
    height: float
    above: "tuple[int, bool] | None"


def _places(tree: DecisionTree) -> list[_Place]:
    """Leaves at equal distances in the order of the tree, inner nodes in the middle of theirs."""
    found: dict[int, _Place] = {}

    def visit(i: int, column: int, first: float, above: tuple[int, bool] | None) -> float:
        """Place a node, and say how many leaves it has."""
        node = tree.nodes[i]
        if node.condition is None:
            found[i] = _Place(i, column, first, above)
            return 1.0
        upper = visit(node.left, column + 1, first, (i, True))
        lower = visit(node.right, column + 1, first + upper, (i, False))
        middle = (found[node.left].height + found[node.right].height) / 2
        found[i] = _Place(i, column, middle, above)
        return upper + lower

    visit(0, 0, 0.0, None)
    return [found[i] for i in sorted(found)]


def _tree(surrogate: "Surrogate", tree: DecisionTree, ax: Axes, dark: bool) -> None:
    """From left to right: conditions, branches as wide as what goes there, answers."""
    places = {place.node: place for place in _places(tree)}
    for place in places.values():
        node = tree.nodes[place.node]
        if place.above is not None:
            _branch(ax, places[place.above[0]], place, node.share, place.above[1], dark)
        is_leaf = node.condition is None
        said = "" if node.condition is None else node.condition.words(surrogate.columns)
        if is_leaf:
            said = f"{words.answered(surrogate, node.answer)}\n{words.percent(node.share)}"
        color = _color(node.answer, dark) if is_leaf else FAINT[dark]
        ax.text(
            place.column, place.height, said, color=INK[dark], fontsize=8, ha="center", va="center",
            parse_math=False, bbox={"boxstyle": "round,pad=0.35", "facecolor": PAPER[dark],
            "edgecolor": color, "linewidth": 2.0 if is_leaf else 0.8},
        )  # fmt: skip
    deep = max(place.column for place in places.values())
    ax.set_xlim(-0.55, deep + 0.45)
    ax.set_ylim(tree.size - 0.5, -0.5)
    _bare(ax, surrogate, dark)


def _branch(ax: Axes, start: _Place, end: _Place, share: float, yes: bool, dark: bool) -> None:
    """A curve from one node to the next, as wide as the share of samples that takes it."""
    t = np.linspace(0, 1, 30)
    bend = 3 * t**2 - 2 * t**3
    x = start.column + (end.column - start.column) * t
    y = start.height + (end.height - start.height) * bend
    ax.plot(x, y, color=FAINT[dark], alpha=0.5, linewidth=0.8 + 9 * share, zorder=0,
            solid_capstyle="butt")  # fmt: skip
    at = 0.56
    middle = start.height + (end.height - start.height) * (3 * at**2 - 2 * at**3)
    ax.text(
        start.column + at, middle, "yes" if yes else "no", color=INK[dark], fontsize=7,
        ha="center", va="center",
    )  # fmt: skip


def _rules(surrogate: "Surrogate", rules: RuleList, ax: Axes, dark: bool) -> None:
    """A line for each rule, and a bar as long as the share of samples that it decides."""
    shares = [*(rule.share for rule in rules.rules), rules.share]
    answers = [*(rule.answer for rule in rules.rules), rules.otherwise]
    places = np.arange(len(shares))
    ax.barh(places, shares, color=[_color(answer, dark) for answer in answers], height=0.55)
    for i, (share, answer) in enumerate(zip(shares, answers, strict=True)):
        said = f" {words.answered(surrogate, answer)}, {words.percent(share)}"
        ax.text(share, i, said, va="center", fontsize=8, color=INK[dark], parse_math=False)
    ax.set_yticks(places, list(_premises(surrogate, rules)), parse_math=False)
    ax.set_ylim(len(shares) - 0.5, -0.5)
    ax.set_xlim(0, 1.45 * max(shares))
    ax.set_xticks([])
    ink(ax, dark)
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    _evidence(ax, surrogate, dark)


def _premises(surrogate: "Surrogate", rules: RuleList) -> Iterator[str]:
    """If, else if and else."""
    for i, rule in enumerate(rules.rules):
        conditions = words.conjunction(rule.conditions, surrogate.columns)
        yield f"{'else if' if i else 'if'} {conditions}"
    yield "else" if rules.rules else "always"


def _weights(surrogate: "Surrogate", line: LinearModel, ax: Axes, dark: bool) -> None:
    """A bar for each weight, per standard deviation, so that bars can be compared."""
    chosen = words.shown_outputs(surrogate)
    tall = 0.8 / len(chosen)
    for n, k in enumerate(chosen):
        places = np.arange(line.size) + (n - (len(chosen) - 1) / 2) * tall
        values = [weight.standardized[k] for weight in line.weights]
        ax.barh(places, values, height=0.9 * tall, color=CLASSES[k % len(CLASSES)],
                label=surrogate.outputs[k])  # fmt: skip
    names = [words.feature_name(surrogate.columns, weight.feature) for weight in line.weights]
    ax.set_yticks(np.arange(line.size), names, parse_math=False)
    ax.set_ylim(max(line.size, 1) - 0.5, -0.5)
    ax.axvline(0, color=INK[dark], linewidth=0.8)
    if len(surrogate.outputs) > 1:
        ax.legend(fontsize=8, frameon=False, labelcolor=INK[dark])
    ink(ax, dark)
    _evidence(ax, surrogate, dark, "change of the answer with one standard deviation")


def _bare(ax: Axes, surrogate: "Surrogate", dark: bool) -> None:
    ink(ax, dark)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)
    _evidence(ax, surrogate, dark)


def _evidence(ax: Axes, surrogate: "Surrogate", dark: bool, *above: str) -> None:
    """Under the axes: how far it can be trusted."""
    ax.set_xlabel("\n".join([*above, *words.evidence(surrogate)]), fontsize=8, color=INK[dark])


def _color(answer: Sequence[float], dark: bool) -> str:
    """The color of the class that is answered."""
    return INK[dark] if len(answer) == 1 else CLASSES[int(np.argmax(answer)) % len(CLASSES)]
