"""Rules: how one operation shares the relevance at its output among its inputs.

A rule for an operation with weights is a dataclass that takes a `Linear` and a signal; those for
all other kinds of operation are fixed (design: `add`, `mean`, pooling and norms use epsilon).
What a bias, a stabilizer or the rule itself keeps is booked beside the signals.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError, MissingRuleError
from pellucid.propagate.linear import Linear
from pellucid.propagate.samples import TOGETHER, Layout, Samples
from pellucid.tape.adjoints import Signals, adjoint, is_training_norm, kind, norm_affine, sum_to
from pellucid.tape.operations import Operation, Value

EPSILON = 1e-6


@dataclass(frozen=True)
class Share:
    """Relevance for each slot of an operation, and what was kept of it.

    What was kept has one number for each sample, as `linear.samples.sum(tensor)` gives it.
    """

    signals: Signals
    bias: Any = 0.0
    stabilizer: Any = 0.0
    stopped: Any = 0.0


def stabilize(z: Tensor, epsilon: float) -> Tensor:
    """Z + epsilon * (1 if z >= 0 else -1), as a new tensor.

    >>> stabilize(torch.tensor([0.0, -1.0]), 0.5)
    tensor([ 0.5000, -1.5000])
    """
    return _nudge(z, epsilon).add_(z)


def _nudge(z: Tensor, epsilon: float) -> Tensor:
    """Epsilon with the sign of z, and that of zero positive, as a new tensor.

    Adding zero makes -0.0 positive; the choice by `torch.where` takes ten times as long.
    """
    return torch.copysign(torch.full((), epsilon, dtype=z.dtype, device=z.device), z + 0.0)


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """A rule for operations with weights."""

    @property
    def name(self) -> str:
        """What tables and ledgers call it."""
        return type(self).__name__

    @abstractmethod
    def share(self, linear: Linear, signal: Tensor) -> Share:
        """Share the relevance at the output of a linear map; one signal, for its input."""


@dataclass(frozen=True, kw_only=True)
class Epsilon(Rule):
    """Share by contribution, weakened where contributions cancel.

        R_i = sum over j of x_i w_ij / stabilize(z_j) R_j,  z_j = sum over i of x_i w_ij + b_j

    Law: without biases it conserves relevance up to the stabilizer.
    Source: Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation.
    """

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        if not self.epsilon >= 0:
            raise InputError("`epsilon` must not be negative", got=self.epsilon)

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """One pass through the transposed weights."""
        z = preactivation(linear.output, signal)
        ratio, stabilizer = divide(signal, z, self.epsilon, linear.samples)
        bias = linear.bias_share(ratio, linear.bias)
        return Share([linear.backward_plain(ratio).mul_(linear.x)], bias, stabilizer)


@dataclass(frozen=True, kw_only=True)
class ZPlus(Rule):
    """Share by positive contribution only.

        R_i = sum over j of (x_i w_ij)+ / (sum over i of (x_i w_ij)+ + b_j+) R_j

    Law: without biases it conserves relevance, and keeps its sign.
    Source: Montavon et al. (2017), Explaining Nonlinear Classification Decisions with Deep Taylor
    Decomposition; with bias as alpha = 1, beta = 0 of Bach et al. (2015).
    """

    epsilon: float = EPSILON

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """A forward and a backward pass with positive weights; two where inputs are negative."""
        x, weight, bias = linear.x, linear.weight, linear.bias
        positive = weight.clamp(min=0)
        bias = None if bias is None else bias.clamp(min=0)
        if x.min() >= 0:
            z = linear.forward(x, positive, bias)
            ratio, stabilizer = divide(signal, z, self.epsilon, linear.samples)
            shared = linear.backward(ratio, positive).mul_(x)
            return Share([shared], linear.bias_share(ratio, bias), stabilizer)
        negative = weight.clamp(max=0)
        above, below = x.clamp(min=0), x.clamp(max=0)
        z = linear.forward(above, positive, bias) + linear.forward(below, negative)
        ratio, stabilizer = divide(signal, z, self.epsilon, linear.samples)
        shared = above * linear.backward(ratio, positive) + below * linear.backward(ratio, negative)
        return Share([shared], linear.bias_share(ratio, bias), stabilizer)


@dataclass(frozen=True, kw_only=True)
class Flat(Rule):
    """Share equally among all inputs that an output reads, whatever their values and weights.

        R_i = sum over j of 1 / n_j R_j,  n_j the number of inputs that j reads

    Law: it conserves relevance. For the first layer, where single pixels mean little.
    Source: Lapuschkin et al. (2019), Unmasking Clever Hans Predictors.
    """

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """A convolution with a kernel of ones; one channel stands for all, where it can."""
        if linear.is_convolution and not linear.operation.arguments[6]:
            return Share([_flat_convolution(linear.operation, signal)])
        x, ones = torch.ones_like(linear.x), torch.ones_like(linear.weight)
        ratio = signal / linear.forward(x, ones)
        return Share([linear.backward(ratio, ones)])


def _flat_convolution(operation: Operation, signal: Tensor) -> Tensor:
    """All channels of a group share alike, so each group is one channel with a kernel of ones."""
    x, weight = operation.arguments[:2]
    stride, padding, dilation, *_, groups = operation.arguments[3:9]
    places = (stride, padding, dilation, False, [0] * len(stride))
    kernel = signal.new_ones(1, 1, *weight.shape[2:])
    count = torch.ops.aten.convolution(
        signal.new_ones(1, 1, *x.shape[2:]), kernel, None, *places, 1
    )
    batch, channels = x.shape[:2]
    per_group = signal.reshape(batch * groups, -1, *signal.shape[2:]).sum(1, keepdim=True)
    per_group = per_group / (count * (channels // groups))
    like = signal.new_empty(batch * groups, 1, *x.shape[2:])
    mask = [True, False, False]
    shared = torch.ops.aten.convolution_backward(per_group, like, kernel, None, *places, 1, mask)[0]
    shared = shared.expand(-1, channels // groups, *x.shape[2:])
    return shared.reshape(x.shape)


@dataclass(frozen=True, kw_only=True)
class Pass(Rule):
    """Hand relevance on as it is, to the one input of an operation of equal shape.

        R_i = R_j

    Law: it conserves relevance. For activations, and to register for operations like them.
    """

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """Only where input and output have the same shape."""
        if linear.x.shape != signal.shape:
            raise InputError(
                "The pass rule must be used where input and output have the same shape",
                found=f"{list(linear.x.shape)} and {list(signal.shape)}",
                hint="Use epsilon there.",
            )
        return Share([signal])


def preactivation(value: Value, signal: Tensor) -> Tensor:
    """z, or what a rectifier made of it in place, if that is all the signal needs.

    A rectifier that wrote over z kept its positive part. Where the signal is zero wherever that
    part is, the rest of z is multiplied by zero and need not be computed again.
    """
    result = value.rectified
    if value.kept or result is None or not result.kept:
        return value.tensor
    # This keeps the signal where the result is positive, faster than a mask would.
    needed = torch.ops.aten.threshold_backward(signal, result.tensor, 0)
    return result.tensor if torch.equal(needed, signal) else value.tensor


def divide(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples = TOGETHER
) -> tuple[Tensor, Tensor]:
    """Signal / stabilize(z) with 0/0 = 0, and the relevance that the stabilizer keeps."""
    if epsilon == 0:
        ratio = torch.where(signal == 0, 0, signal / z)
        return ratio, signal.new_zeros(())
    if not (z.is_contiguous() and signal.is_contiguous() and z.dtype == signal.dtype):
        nudge = _nudge(z, epsilon)
        ratio = signal / (z + nudge)
        return ratio, samples.inner(ratio, nudge)
    return _divide_in_blocks(signal, z, epsilon, samples)


# Elements worked on at a time: few enough to stay in a core's cache from one step to the next.
BLOCK = 2**16


def _divide_in_blocks(
    signal: Tensor, z: Tensor, epsilon: float, samples: Samples
) -> tuple[Tensor, Tensor]:
    apart = samples.ids is not None
    if z.numel() <= BLOCK or (apart and not samples.in_rows):
        nudge = _nudge(z, epsilon)
        stable = nudge + z
        ratio = torch.div(signal, stable, out=stable)
        return ratio, samples.inner(ratio, nudge)
    ratio = torch.empty_like(signal)
    kept = []
    # Blocks of whole samples, where each has a sum of its own.
    flat = [t.flatten(1) if apart else t.flatten() for t in (signal, z, ratio)]
    size = max(1, BLOCK * len(z) // z.numel()) if apart else BLOCK
    blocks = (t.split(size) for t in flat)  # type: ignore[no-untyped-call]  # of torch
    for part, below, out in zip(*blocks, strict=True):
        nudge = _nudge(below, epsilon)
        torch.add(below, nudge, out=out)
        torch.div(part, out, out=out)
        kept.append(_by_rows(out, nudge) if apart else samples.inner(out, nudge))
    return ratio, torch.cat(kept) if apart else torch.stack(kept).sum()


def _by_rows(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products in every row; `b` is overwritten."""
    return b.mul_(a).sum(1, dtype=torch.promote_types(a.dtype, torch.float32))


# -- rules that are fixed by the kind of the operation


def first(signals: Signals) -> Tensor:
    """The signal at the one output that operations of most kinds have."""
    signal = signals[0]
    if signal is None:
        raise MissingRuleError("Relevance must arrive at the first output of an operation")
    return signal


def share_linear(operation: Operation, signals: Signals, layout: Layout) -> Share:
    """Epsilon for sums, means and average pooling: by contribution to the output."""
    signal = first(signals)
    z, samples = preactivation(operation.output, signal), layout[operation.output]
    ratio, stabilizer = divide(signal, z, EPSILON, samples)
    back = adjoint(operation, [ratio, *signals[1:]])
    pairs = list(zip(back, operation.slots, strict=True))
    shared = [s * v.tensor if s is not None and v.carries else None for s, v in pairs]
    if not _has_constant(operation):
        return Share(shared, 0.0, stabilizer)
    passed = [layout[v].sum(s) for s, v in _pairs(shared, operation.slots)]
    return Share(shared, samples.sum(signal) - sum(passed) - stabilizer, stabilizer)


def share_norm(operation: Operation, signals: Signals, layout: Layout) -> Share:
    """Epsilon for a batch norm that could not be folded: x * scale against its shift."""
    signal = first(signals)
    scale, shift = norm_affine(operation)
    shape = (1, -1, *[1] * (signal.ndim - 2))
    z, samples = preactivation(operation.output, signal), layout[operation.output]
    ratio, stabilizer = divide(signal, z, EPSILON, samples)
    shared = ratio * operation.slots[0].tensor * scale.reshape(shape)
    rest = [None] * (len(operation.slots) - 1)
    return Share([shared, *rest], samples.sum(ratio * shift.reshape(shape)), stabilizer)


def share_pass(operation: Operation, signals: Signals, layout: Layout) -> Share:
    """An activation hands its relevance on; a constant divisor or factor receives none."""
    shared = [sum_to(first(signals), v.shape) if v.carries else None for v in operation.slots]
    return Share(shared)


def share_route(operation: Operation, signals: Signals, layout: Layout) -> Share:
    """Relevance moves with the elements; max-pooling sends all to the winner.

    Elements that were selected away, or written over, carried no relevance and get none. What
    goes to constants that were put in (padding, a fill value) is booked with the biases.
    """
    shared = _winner(operation, signals) or adjoint(operation, signals)
    constants = [v for v in operation.slots if not v.depends and v.dtype.is_floating_point]
    if operation.name not in PUTS_IN_CONSTANTS and not constants:
        return Share(shared)
    arrived = [layout[v].sum(s) for s, v in _pairs(signals, operation.outputs)]
    pairs = [(s, v) for s, v in _pairs(shared, operation.slots) if v.carries]
    return Share(shared, bias=sum(arrived) - sum(layout[v].sum(s) for s, v in pairs))


def _pairs(signals: Signals, values: Sequence[Value | None]) -> list[tuple[Tensor, Value]]:
    """Signals with their values, where there are both."""
    pairs = zip(signals, values, strict=True)
    return [(s, v) for s, v in pairs if s is not None and v is not None]


def _winner(operation: Operation, signals: Signals) -> Signals | None:
    """For `amax` along one axis, all to the first of the largest, where autograd divides ties."""
    axes = operation.argument(1) or []
    if operation.name != "amax" or len(axes) != 1:
        return None
    x, signal = operation.slots[0].tensor, first(signals)
    signal = signal if operation.argument(2, False) else signal.unsqueeze(axes[0])
    place = x.argmax(axes[0], keepdim=True)
    return [torch.zeros_like(x).scatter(axes[0], place, signal)]


Sharing = Callable[[Operation, Signals, Layout], Share]
# Route operations with constants that are no tensors.
PUTS_IN_CONSTANTS = {"constant_pad_nd", "masked_fill"}
# Kind of operation -> what tables call its rule, and the rule.
FIXED: dict[str, tuple[str, Sharing]] = {
    "linear": ("Epsilon", share_linear),
    "affine": ("Epsilon", share_norm),
    "scale": ("Pass", share_pass),
    "pass": ("Pass", share_pass),
    "route": ("Route", share_route),
}


@dataclass(frozen=True)
class Registered:
    """A user's rule for one operation: `function(operation, signals) -> signals`."""

    name: str
    function: Any = field(compare=False)

    def __call__(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """Wrap what the function returns."""
        return Share(list(self.function(operation, signals)))


REGISTERED: dict[str, Registered] = {}


def register_rule(operation: str, rule: Any) -> None:
    """Say how relevance passes an operation that has no rule, by its name on the tape.

    `rule` is `Pass()` for an elementwise function, or `function(operation, signals)` that returns
    one signal for each of `operation.slots` (`None` for constants).

    >>> register_rule("erfinv", Pass())
    """
    if isinstance(rule, Pass):
        alike = lambda op, signals: share_pass(op, signals, Layout()).signals  # noqa: E731
        REGISTERED[operation] = Registered("Pass", alike)
    elif callable(rule):
        REGISTERED[operation] = Registered(getattr(rule, "__name__", "custom"), rule)
    else:
        raise InputError(
            "A registered rule must be Pass() or a function of (operation, signals)", got=rule
        )


def _has_constant(operation: Operation) -> bool:
    """Whether something other than signals enters a sum: a constant tensor or number."""
    if any(not value.depends for value in operation.slots):
        return True
    return operation.name in ("add", "sub", "rsub") and len(operation.slots) == 1


def fixed_kind(operation: Operation) -> str:
    """The kind by which a fixed rule is chosen; norms in training mode have none."""
    found = kind(operation)
    return "other" if found == "affine" and is_training_norm(operation) else found
