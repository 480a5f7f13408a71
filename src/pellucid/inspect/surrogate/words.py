"""A surrogate as text: a tree, rules, or a table of weights."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pellucid.inspect.surrogate.columns import Columns
from pellucid.inspect.surrogate.conditions import Condition
from pellucid.inspect.surrogate.lines import LinearModel
from pellucid.inspect.surrogate.rules import RuleList
from pellucid.inspect.surrogate.trees import DecisionTree

if TYPE_CHECKING:
    from pellucid.inspect.surrogate.surrogate import Surrogate

MINUS = "\N{MINUS SIGN}"
SIZES = {"tree": ("leaf", "leaves"), "rules": ("rule", "rules"), "linear": ("term", "terms")}


def text(surrogate: "Surrogate") -> str:
    """What was fitted, how good it is, and the whole of it."""
    return "\n".join([title(surrogate), *evidence(surrogate), "", *body(surrogate)])


def title(surrogate: "Surrogate") -> str:
    """Say what it is, in a line."""
    kinds = {"tree": "Decision tree", "rules": "Rule list", "linear": "Linear model"}
    return (
        f"{kinds[surrogate.kind]} of {sized(surrogate)}, fitted to {surrogate.answers} of the model"
    )


def sized(surrogate: "Surrogate") -> str:
    """The size in its unit: 5 leaves."""
    one, several = SIZES[surrogate.kind]
    return f"{surrogate.size} {one if surrogate.size == 1 else several}"


def evidence(surrogate: "Surrogate") -> list[str]:
    """How good it is on samples that it was not fitted to, and how good it is to read nothing."""
    held = surrogate.fidelity
    return [
        f"on {held.samples} samples held out: {held}",
        f"the mean answer alone: {surrogate.trivial}",
    ]


def body(surrogate: "Surrogate") -> list[str]:
    """The model itself, line by line."""
    fitted = surrogate.fitted
    if isinstance(fitted, DecisionTree):
        return list(_branches(surrogate, fitted, 0, "", ""))
    if isinstance(fitted, RuleList):
        return _rules(surrogate, fitted)
    return _weights(surrogate, fitted)


def conjunction(conditions: Sequence[Condition], columns: Columns) -> str:
    """Several conditions in words; of none, that it always holds."""
    return " and ".join(each.words(columns) for each in conditions) or "always"


def answered(surrogate: "Surrogate", answer: Sequence[float]) -> str:
    """An answer in words: the class with the largest number, and that; or the one number."""
    best = max(range(len(answer)), key=lambda k: answer[k])
    shown = number(answer[best])
    return shown if len(answer) == 1 else f"{surrogate.outputs[best]} {shown}"


def number(value: float) -> str:
    """Three digits that matter.

    >>> number(0.12345), number(12345.0)
    ('0.123', '12345')
    """
    shown = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return shown.replace("-", MINUS)


def shown_outputs(surrogate: "Surrogate") -> list[int]:
    """The outputs that weights are shown for: of two that sum to one, the second alone."""
    fitted = surrogate.fitted
    if isinstance(fitted, LinearModel) and len(surrogate.outputs) == 2:
        sums = [abs(sum(weight.slope)) <= 1e-9 * max(map(abs, weight.slope), default=0.0)
                for weight in fitted.weights]  # fmt: skip
        if all(sums) and surrogate.answers != "scores":
            return [1]
        if all(sums) and abs(sum(fitted.intercept) - 1) < 1e-9:
            return [1]
    return list(range(len(surrogate.outputs)))


def _branches(
    surrogate: "Surrogate", tree: DecisionTree, at: int, start: str, rest: str
) -> Iterator[str]:
    """The lines of a node and all below it."""
    node = tree.nodes[at]
    if node.condition is None:
        yield f"{start}{answered(surrogate, node.answer)}  ({percent(node.share)})"
        return
    yield start + node.condition.words(surrogate.columns)
    yield from _branches(surrogate, tree, node.left, f"{rest}├─ yes: ", f"{rest}│  ")
    yield from _branches(surrogate, tree, node.right, f"{rest}└─ no: ", f"{rest}   ")


def _rules(surrogate: "Surrogate", rules: RuleList) -> list[str]:
    lines = [
        f"{'else if' if i else 'if'} {conjunction(rule.conditions, surrogate.columns)}: "
        f"{answered(surrogate, rule.answer)}  ({percent(rule.share)})"
        for i, rule in enumerate(rules.rules)
    ]
    last = f"{answered(surrogate, rules.otherwise)}  ({percent(rules.share)})"
    return [*lines, f"else: {last}" if lines else f"always: {last}"]


def _weights(surrogate: "Surrogate", line: LinearModel) -> list[str]:
    """A table: what each feature adds per unit, and per standard deviation."""
    chosen = shown_outputs(surrogate)
    names = [surrogate.outputs[k] for k in chosen] if len(surrogate.outputs) > 1 else [""]
    head = ["", *(f"{each} {name}".strip() for name in names for each in ("per unit", "per sd"))]
    rows = [
        [
            feature_name(surrogate.columns, weight.feature),
            *(signed(v) for k in chosen for v in (weight.slope[k], weight.standardized[k])),
        ]
        for weight in line.weights
    ]
    start = ["intercept", *(v for k in chosen for v in (signed(line.intercept[k]), ""))]
    table = [head, *rows, start]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in table
    ]


def feature_name(columns: Columns, feature: int) -> str:
    """A feature by name: a column, with its unit, or one category of it."""
    found = columns.features[feature]
    column = columns.columns[found.column]
    if not found.is_value:
        return Condition(feature=feature, low=0.5).words(columns)
    return f"{column.name} ({column.unit})" if column.unit else column.name


def percent(share: float) -> str:
    """A share of the samples, in percent."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def signed(value: float) -> str:
    """A number with its sign."""
    return ("+" if value > 0 else "") + number(value)
