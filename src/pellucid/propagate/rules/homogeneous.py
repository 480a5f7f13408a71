"""Rules that take the derivative of an operation: norms as features, and whatever is unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.errors import MissingRuleError
from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide, pairs
from pellucid.propagate.rules.signals import check_stabilizer
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals, adjoint
from pellucid.tape.operations import Operation

# f(a x) = a^degree f(x), in all its signals together, where there are several; of every output.
DEGREES: dict[str, tuple[int, ...]] = {
    "linalg_vector_norm": (1,),
    "_cdist_forward": (1,),
    "_pdist_forward": (1,),
    "dist": (1,),
    "hypot": (1,),
    "var": (2,),
    "std": (1,),
    "var_mean": (2, 1),
    "std_mean": (1, 1),
}


@dataclass(frozen=True, kw_only=True)
class Homogeneous(SignalRule):
    """Norms, variances and products of many elements: by what each contributes to first order.

        R_i = x_i / degree * sum over j of df_j / dx_i R_j / stabilize(f_j)

    where f(a x) = a^degree f(x): 1 for a norm or distance, 2 for a variance, n for a product of n.
    Law: it conserves relevance up to the stabilizer, by Euler's theorem; the share of a constant,
    such as the other end of a distance, is booked with the biases.

    >>> import torch
    >>> from pellucid import explain
    >>> net = lambda x: x.norm(dim=1, keepdim=True)
    >>> explain(net, torch.tensor([[3.0, 4.0]]), "lrp", composite="epsilon").values
    tensor([[1.8000, 3.2000]])
    """

    families: ClassVar[frozenset[str]] = frozenset({"reduction"})
    label: ClassVar[str] = "Epsilon"

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """One adjoint; a product gives each of its elements the same."""
        degrees = DEGREES.get(operation.name) or (_joined(operation),)
        shared, out, stabilizer = _to_first_order(operation, signals, layout, self.epsilon, degrees)
        constant = not all(value.carries for value in operation.slots)
        if not constant:
            return Share(shared, 0.0, stabilizer)
        passed = sum(layout[v].sum(s) for s, v in pairs(shared, operation.slots))
        return Share(shared, out - passed - stabilizer, stabilizer)


@dataclass(frozen=True, kw_only=True)
class GradientTimesInput(SignalRule):
    """Any operation, by the gradient times the input; what that does not account for is booked.

        R_i = x_i sum over j of df_j / dx_i R_j / stabilize(f_j)

    Law: with what is booked as stopped, relevance adds up. It is epsilon where f is linear.
    Source: Bach et al. (2015), Taylor-type decomposition of a neuron, expanded at its input.

    >>> import torch
    >>> from pellucid import explain
    >>> net = lambda x: torch.linalg.inv(x).diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
    >>> found = explain(net, 2 * torch.eye(2)[None], "lrp", unknown="gradient")
    >>> float(found.ledger.stopped) > 0
    True
    """

    label: ClassVar[str] = "Gradient"

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """One adjoint."""
        shared, out, stabilizer = _to_first_order(operation, signals, layout, self.epsilon)
        passed = sum(layout[v].sum(s) for s, v in pairs(shared, operation.slots))
        return Share(shared, 0.0, stabilizer, out - passed - stabilizer)


def of_complex_numbers(operation: Operation, line: str = "") -> MissingRuleError:
    """Say where numbers are complex, of which no part is positive or negative, and what to do."""
    return MissingRuleError(
        "Relevance must be of real numbers",
        found=f"complex ones at `{operation.name}` (operation {operation.number}, layer "
        f"`{operation.path or 'the model itself'}`{f', {line}' if line else ''})",
        hint="Take integrated_gradients or deeplift, which pass them, or relevance at a layer "
        'behind them: at="layer.path".',
    )


def _to_first_order(
    operation: Operation,
    signals: Signals,
    layout: Layout,
    epsilon: float,
    degrees: Sequence[int] | None = None,
) -> tuple[Signals, Tensor, Tensor]:
    """Input times gradient, what arrived, and what the stabilizer kept, over all outputs.

    What goes to each output may be divided by its degree.
    """
    ratios: Signals = []
    arrived, kept = [], []
    for i, (signal, value) in enumerate(zip(signals, operation.outputs, strict=True)):
        if signal is None or value is None:
            ratios.append(None)
            continue
        if value.dtype.is_complex:
            raise of_complex_numbers(operation)
        samples = layout[value]
        ratio, stabilizer = divide(signal, value.tensor, epsilon, samples)
        ratios.append(ratio / degrees[i] if degrees and degrees[i] != 1 else ratio)
        arrived.append(samples.sum(signal))
        kept.append(stabilizer)
    back = zip(adjoint(operation, ratios), operation.slots, strict=True)
    shared = [s * v.tensor if s is not None and v.carries else None for s, v in back]
    return shared, sum(arrived[1:], arrived[0]), sum(kept[1:], kept[0])


def _joined(operation: Operation) -> int:
    """How many elements a product has."""
    return operation.slots[0].shape.numel() // max(1, operation.output.shape.numel())
