"""Rules for products of two signals: elementwise, of matrices, of an image and a kernel."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.propagate.linear import preactivation
from pellucid.propagate.rules.factors import receivers
from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide, first, pairs
from pellucid.propagate.rules.signals import check_stabilizer, settled
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals, adjoint, sum_to
from pellucid.tape.operations import Operation

# Products that add something up -> the slots of their factors.
MULTILINEAR: dict[str, tuple[int, ...]] = {
    "mm": (0, 1),
    "bmm": (0, 1),
    "addmm": (1, 2),
    "baddbmm": (1, 2),
    "addmv": (1, 2),
    "addbmm": (1, 2),
    "convolution": (0, 1),
    "_convolution": (0, 1),
    "_trilinear": (0, 1, 2),
    "addcmul": (1, 2),
}


def factors(operation: Operation) -> list[int]:
    """The slots of a product's factors that carry a signal."""
    slots = operation.slots
    places = MULTILINEAR.get(operation.name, range(len(slots)))
    return [i for i in places if slots[i].carries]


@dataclass(frozen=True, kw_only=True)
class Gate(SignalRule):
    """What a gate opens gets all, and the gate nothing; without a gate, all factors share alike.

        z = g * x                     R_x = R_z,  R_g = 0
        z_j = sum over i of a_ji x_i  R_i = sum over j of a_ji x_i / stabilize(z_j) R_j,  R_a = 0
        z = x * y                     R_x = R_y = R_z / 2

    A gate is a sigmoid or softmax, also moved, scaled or shifted by a constant (1 - g); it outranks
    a tanh. A scale is a factor that divides, such as one through a norm, and receives nothing
    either. In x * f(x), all goes to x.
    Law: it conserves relevance up to the stabilizer of matrix products.
    Source: Arras, Montavon, Mueller, Samek (2017), Explaining Recurrent Neural Network Predictions
    in Sentiment Analysis; attention weights as gates: Ali et al. (2022), XAI for Transformers.

    >>> import torch
    >>> from pellucid import explain
    >>> net = lambda x: (x[:, :1].sigmoid() * x[:, 1:])
    >>> explain(net, torch.tensor([[0.0, 4.0]]), "lrp", composite="epsilon").values
    tensor([[0., 2.]])
    """

    families: ClassVar[frozenset[str]] = frozenset({"product", "matmul"})

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """Copies of the signal, or one product of matrices."""
        chosen = receivers(operation, factors(operation))
        return _share(operation, first(signals), layout, chosen, self.epsilon)


@dataclass(frozen=True, kw_only=True)
class Uniform(SignalRule):
    """All factors share alike, whether one is a gate or not.

        z = x * y                     R_x = R_y = R_z / 2
        z_j = sum over i of a_ji x_i  R_i = sum over j of a_ji x_i / (2 stabilize(z_j)) R_j

    and R_a likewise, so that attention weights get what their values get. What divides receives
    nothing.
    Law: it conserves relevance up to the stabilizer of matrix products.
    Source: Achtibat et al. (2024), AttnLRP, propositions on element-wise and matrix products.

    >>> import torch
    >>> from pellucid import explain
    >>> net = lambda x: (x[:, :1].sigmoid() * x[:, 1:])
    >>> explain(net, torch.tensor([[0.0, 4.0]]), "lrp", composite="attnlrp").values
    tensor([[1., 1.]])
    """

    families: ClassVar[frozenset[str]] = frozenset({"product", "matmul"})

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """Copies of the signal, or two products of matrices."""
        chosen = receivers(operation, factors(operation), gates=False)
        return _share(operation, first(signals), layout, chosen, self.epsilon)


def _share(
    operation: Operation, signal: Tensor, layout: Layout, chosen: list[int], epsilon: float
) -> Share:
    if operation.name in MULTILINEAR:
        return _by_contribution(operation, signal, layout, chosen, epsilon)
    part = signal if len(chosen) == 1 else signal / len(chosen)
    slots = enumerate(operation.slots)
    share = Share([sum_to(part, v.shape) if i in chosen else None for i, v in slots])
    return settled(operation, share, layout)


def _by_contribution(
    operation: Operation, signal: Tensor, layout: Layout, chosen: list[int], epsilon: float
) -> Share:
    """Epsilon in each of the chosen factors, which share alike; what is added gets its own."""
    z, samples = preactivation(operation.output, signal), layout[operation.output]
    ratio, stabilizer = divide(signal, z, epsilon, samples)
    every = factors(operation)
    shared: Signals = []
    for i, back in enumerate(_backward(operation, ratio, chosen)):
        value = operation.slots[i]
        if back is None or not value.carries or (i in every and i not in chosen):
            shared.append(None)
            continue
        part = back * value.tensor
        shared.append(part / len(chosen) if i in every and len(chosen) > 1 else part)
    if all(value.carries for value in operation.slots):
        return Share(shared, 0.0, stabilizer)
    passed = [layout[v].sum(s) for s, v in pairs(shared, operation.slots)]
    return Share(shared, samples.sum(signal) - sum(passed) - stabilizer, stabilizer)


def _backward(operation: Operation, ratio: Tensor, chosen: list[int]) -> Signals:
    """The adjoint, of matrix products only where it is asked for."""
    if operation.name not in ("mm", "bmm"):
        return adjoint(operation, [ratio])
    a, b = operation.slots
    return [
        ratio @ b.tensor.mT if 0 in chosen else None,
        a.tensor.mT @ ratio if 1 in chosen else None,
    ]
