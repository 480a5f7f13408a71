"""The table of adjoints: one row an operation, with its name, its kind, and its adjoint.

An adjoint takes the operation and the signal at its output, and returns one signal for each of its
slots (`None` for a constant). An operation without one has the adjoint that autograd gives it,
found by running it once more; so an adjoint is missing only where autograd has none, and rows are
there for speed and for the kind.

Kinds say what a relevance rule may do with an operation:

    weighted   linear in one signal, with weights and perhaps a bias (dense, convolution)
    linear     linear in its signals without weights of its own (sum, average pooling, upsampling)
    affine     elementwise, times and plus constants (batch norm that is not folded)
    scale      times or divided by a constant
    pass       elementwise nonlinear function of one signal (activations)
    route      moves elements without changing them (views, padding, selection, max-pooling)
    stop       carries nothing (detach, comparison, an index)
    other      any other: two signals that meet in a product, softmax, norms of each sample
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Size, Tensor

from pellucid.tape.operations import Operation, fallback_adjoint

CONVOLUTIONS = {"convolution", "_convolution"}

Kind = Literal["weighted", "linear", "affine", "scale", "pass", "route", "stop", "other"]
Signals = list[Tensor | None]
Adjoint = Callable[[Operation, Tensor], Signals]
JointAdjoint = Callable[[Operation, Signals], Signals]


@dataclass(frozen=True)
class Row:
    """What is known of an operation.

    `adjoint` takes the signal at the first output; `joint` takes those at all outputs.
    """

    kind: Kind
    adjoint: Adjoint | None = None
    joint: JointAdjoint | None = None


ROWS: dict[str, Row] = {}


def adjoint(operation: Operation, signals: Signals) -> Signals:
    """Pass the gradient at the outputs back to the slots, exactly as autograd does."""
    row = ROWS.get(operation.name)
    if row is None:
        return fallback_adjoint(operation, signals)
    if row.joint is not None:
        return row.joint(operation, signals)
    first = signals[0]
    if row.adjoint is None or first is None or first.is_complex() or _several(signals):
        return fallback_adjoint(operation, signals)
    return row.adjoint(operation, first)


def _several(signals: Signals) -> bool:
    return len(signals) > 1 and any(signal is not None for signal in signals[1:])


def kind(operation: Operation) -> Kind:
    """The kind of an operation, which may depend on which of its slots carry a signal."""
    found = ROWS.get(operation.name)
    if found is None:
        return "other"
    carrying = [value.carries for value in operation.slots]
    if found.kind == "weighted":
        return _kind_of_product(operation, carrying)
    if found.kind in ("scale", "affine", "pass") and sum(carrying) != 1:
        return "other"
    if operation.name == "index_put" and operation.argument(3, False):
        return "linear"  # it adds to what is there
    if operation.name == "scatter" and "reduce" in operation.keywords:
        return "other"
    return found.kind


def _kind_of_product(operation: Operation, carrying: list[bool]) -> Kind:
    """Weighted if the signal is the input, linear if it is a weight or bias, other if both are."""
    if sum(carrying) != 1:
        return "other"
    if operation.name in ("mm", "bmm"):
        return "weighted"
    plain = operation.keywords.get("alpha", 1) == operation.keywords.get("beta", 1) == 1
    entry = 1 if operation.name == "addmm" else 0
    return "weighted" if carrying[entry] and plain else "linear"


def declare(kind: Kind, *names: str) -> None:
    """Say of what kind operations are whose adjoint autograd gives."""
    for name in names:
        ROWS[name] = Row(kind)


def row(kind: Kind, *names: str) -> Callable[[Adjoint], Adjoint]:
    """Enter an adjoint into the table."""

    def enter(function: Adjoint) -> Adjoint:
        for name in names:
            ROWS[name] = Row(kind, function)
        return function

    return enter


def joint_row(kind: Kind, *names: str) -> Callable[[JointAdjoint], JointAdjoint]:
    """Enter an adjoint that takes the signals at all outputs."""

    def enter(function: JointAdjoint) -> JointAdjoint:
        for name in names:
            ROWS[name] = Row(kind, joint=function)
        return function

    return enter


def sum_to(signal: Tensor, shape: Size) -> Tensor:
    """Undo broadcasting."""
    return signal if signal.shape == shape else signal.sum_to_size(shape)
