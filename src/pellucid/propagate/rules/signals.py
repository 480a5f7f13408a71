"""Rules for sums, activations and what only moves elements: they follow from the kind alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.options import number
from pellucid.propagate.linear import preactivation
from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide, first, pairs
from pellucid.propagate.samples import NOBODY, Layout
from pellucid.tape.adjoints import Signals, adjoint, norm_affine, sum_to
from pellucid.tape.operations import Operation

# Route operations with constants that are no tensors.
PUTS_IN_CONSTANTS = {
    "constant_pad_nd", "masked_fill", "index_fill", "clamp", "clamp_min", "clamp_max",
}  # fmt: skip
# Largest and smallest along axes, and of two signals.
EXTREMES = {"amax": torch.argmax, "amin": torch.argmin}
DUELS = {"maximum": torch.ge, "fmax": torch.ge, "minimum": torch.le, "fmin": torch.le}
# Sums whose last slots weigh the others: places of a grid, the weight of an interpolation, a
# divisor. These receive nothing; the number is that of the first slots, which do.
WEIGHED = {"grid_sampler_2d": 1, "grid_sampler_3d": 1, "lerp": 2, "addcdiv": 2}


def check_stabilizer(epsilon: float) -> None:
    """Raise unless a stabilizer is a number that keeps signs."""
    number(epsilon, "epsilon", "a number that is not negative", least=0)


@dataclass(frozen=True, kw_only=True)
class Sum(SignalRule):
    """Epsilon for sums, means and average pooling: by contribution to the output.

        R_i = c_i x_i / stabilize(z) R,  z = sum over i of c_i x_i

    Law: without constants it conserves relevance up to the stabilizer.

    >>> from pellucid import explain
    >>> net = lambda x: (x[:, :1] + x[:, 1:])
    >>> explain(net, torch.tensor([[1.0, 3.0]]), "lrp", composite="epsilon").values
    tensor([[1.0000, 3.0000]])
    """

    families: ClassVar[frozenset[str]] = frozenset({"sum"})
    label: ClassVar[str] = "Epsilon"

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """One adjoint."""
        signal = first(signals)
        z, samples = preactivation(operation.output, signal), layout[operation.output]
        ratio, stabilizer = divide(signal, z, self.epsilon, samples)
        back = adjoint(operation, [ratio, *signals[1:]])
        count = WEIGHED.get(operation.name, len(back))
        back = [*back[:count], *[None] * (len(back) - count)]
        both = list(zip(back, operation.slots, strict=True))
        shared = [s * v.tensor if s is not None and v.carries else None for s, v in both]
        if not _has_constant(operation):
            return settled(operation, Share(shared, 0.0, stabilizer), layout)
        passed = [layout[v].sum(s) for s, v in pairs(shared, operation.slots)]
        if any(bool(total.isnan().any()) for total in passed):
            # A second mask of -inf on top of a first: 0 * inf, which is nothing.
            shared = [None if s is None else s.nan_to_num(nan=0.0) for s in shared]
            passed = [layout[v].sum(s) for s, v in pairs(shared, operation.slots)]
        return Share(shared, samples.sum(signal) - sum(passed) - stabilizer, stabilizer)


def settled(operation: Operation, share: Share, layout: Layout) -> Share:
    """Book what goes to a value that no sample is in: constants in a part of written memory."""
    samples, signals, bias = layout[operation.output], list(share.signals), share.bias
    for i, (signal, value) in enumerate(zip(share.signals, operation.slots, strict=True)):
        ids = layout[value].ids
        if signal is None or ids is None or signal.shape != operation.output.shape:
            continue
        if ids.numel() == 1 and ids.item() == NOBODY:
            signals[i] = None
            bias = bias + samples.sum(signal)
    return replace(share, signals=signals, bias=bias)


@dataclass(frozen=True, kw_only=True)
class Affine(SignalRule):
    """Epsilon for a batch norm that could not be folded: x * scale against its shift."""

    families: ClassVar[frozenset[str]] = frozenset({"affine"})
    label: ClassVar[str] = "Epsilon"

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """Elementwise."""
        signal = first(signals)
        scale, shift = norm_affine(operation)
        shape = (1, -1, *[1] * (signal.ndim - 2))
        z, samples = preactivation(operation.output, signal), layout[operation.output]
        ratio, stabilizer = divide(signal, z, self.epsilon, samples)
        shared = ratio * operation.slots[0].tensor * scale.reshape(shape)
        rest = [None] * (len(operation.slots) - 1)
        return Share([shared, *rest], samples.sum(ratio * shift.reshape(shape)), stabilizer)


@dataclass(frozen=True, kw_only=True)
class Elementwise(SignalRule):
    """An activation hands its relevance on; a divisor, or a constant factor, receives none.

        R_i = R_j

    Law: it conserves relevance.

    >>> from pellucid import explain
    >>> explain(torch.square, torch.tensor([[3.0]]), "lrp", composite="epsilon").values
    tensor([[9.]])
    """

    families: ClassVar[frozenset[str]] = frozenset({"activation", "scale"})
    label: ClassVar[str] = "Pass"

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """The signal as it is, to the first of the slots that carry one."""
        shared: Signals = [None] * len(operation.slots)
        place = next(i for i, value in enumerate(operation.slots) if value.carries)
        shared[place] = sum_to(first(signals), operation.slots[place].shape)
        return Share(shared)


@dataclass(frozen=True, kw_only=True)
class Route(SignalRule):
    """Relevance moves with the elements; a maximum sends all to the winner.

        R_i = R_j where y_j is x_i

    The first of several winners gets all. Elements that were selected away, or written over,
    carried no relevance and get none. What goes to constants that were put in (padding, a fill
    value) is booked with the biases.
    Law: it conserves relevance.

    >>> from pellucid import explain
    >>> net = lambda x: x.amax(1, keepdim=True)
    >>> explain(net, torch.tensor([[1.0, 3.0, 3.0]]), "lrp", composite="epsilon").values
    tensor([[0., 3., 0.]])
    """

    families: ClassVar[frozenset[str]] = frozenset({"route"})

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """One adjoint."""
        shared = _winner(operation, signals) or adjoint(operation, signals)
        constants = [v for v in operation.slots if not v.carries and v.dtype.is_floating_point]
        if operation.name not in PUTS_IN_CONSTANTS and not constants:
            return Share(shared)
        arrived = [layout[v].sum(s) for s, v in pairs(signals, operation.outputs)]
        both = [(s, v) for s, v in pairs(shared, operation.slots) if v.carries]
        return Share(shared, bias=sum(arrived) - sum(layout[v].sum(s) for s, v in both))


def _winner(operation: Operation, signals: Signals) -> Signals | None:
    """All to the first of the largest, or smallest, where autograd divides ties."""
    if operation.name in DUELS:
        return _duel(operation, first(signals))
    if operation.name not in EXTREMES:
        return None
    x, signal = operation.slots[0].tensor, first(signals)
    axes = operation.argument(1) or range(x.ndim)
    axes = sorted(axis % x.ndim for axis in axes)
    if not operation.argument(2, False):
        for axis in axes:
            signal = signal.unsqueeze(axis)
    return [_to_place(x, signal, axes, EXTREMES[operation.name])]


def _to_place(x: Tensor, signal: Tensor, axes: list[int], find: Callable[..., Tensor]) -> Tensor:
    """The signal at the place in `axes`, which have length one in it, that `find` says."""
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    order = [*rest, *axes]
    moved = x.permute(order)
    flat = moved.flatten(len(rest)) if axes else moved.unsqueeze(-1)
    arriving = signal.permute(order).reshape(*flat.shape[:-1], 1)
    spread = torch.zeros_like(flat, dtype=signal.dtype)
    spread = spread.scatter(-1, find(flat, -1, keepdim=True), arriving)
    return spread.reshape(moved.shape).permute([order.index(i) for i in range(x.ndim)])


def _duel(operation: Operation, signal: Tensor) -> Signals:
    """To the first of two where it wins, or the other is no number, and else to the second."""
    a, b = operation.slots
    won = DUELS[operation.name](a.tensor, b.tensor) | b.tensor.isnan()
    return [
        sum_to(torch.where(won, signal, 0), a.shape) if a.carries else None,
        sum_to(torch.where(won, 0, signal), b.shape) if b.carries else None,
    ]


def _has_constant(operation: Operation) -> bool:
    """Whether something other than signals enters a sum: a constant tensor or number."""
    if not all(value.carries for value in operation.slots):
        return True
    return operation.name in ("add", "sub", "rsub") and len(operation.slots) == 1
