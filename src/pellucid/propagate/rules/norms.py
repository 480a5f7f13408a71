"""Rules for layer, group, instance, RMS norm, and batch norm with the statistics of the batch.

The statistics are constants: the deviation is a scale, and taking the mean off is linear. What
the shift of a norm adds is a bias. A norm that is written out as several operations has parts of
this family, its centring and its shift; its scale is a product, see factors.py.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.propagate.linear import preactivation
from pellucid.propagate.rules.factors import FUSED
from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide, first
from pellucid.propagate.rules.signals import Sum, check_stabilizer
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals
from pellucid.tape.operations import Operation, Value


@dataclass(frozen=True, kw_only=True)
class NormIdentity(SignalRule):
    """A norm hands relevance on as it is.

        R_i = R_j

    Law: it conserves relevance, also that of the shift. An element near zero may so get relevance
    that its value does not bear out, which sums before the norm then multiply: it suits norms
    without centring and shift, where `NormEpsilon` is the same.
    Source: Achtibat et al. (2024), AttnLRP, proposition on normalization, x / g(x).

    >>> NormIdentity().name
    'Identity'
    """

    families: ClassVar[frozenset[str]] = frozenset({"norm"})
    label: ClassVar[str] = "Identity"

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """The signal as it is."""
        place = next(i for i, value in enumerate(operation.slots) if value.carries)
        shared: Signals = [None] * len(operation.slots)
        shared[place] = first(signals)
        return Share(shared)


@dataclass(frozen=True, kw_only=True)
class NormEpsilon(SignalRule):
    """Epsilon for a norm with its deviation as a constant.

        z_j = w_j (x_j - mean x) / deviation + b_j
        R_i = x_i (c_i - mean c),  c_j = w_j / deviation R_j / stabilize(z_j)

    Means are over the elements that are normalized together. A root mean square norm has none, nor
    a shift, and so hands relevance on as it is.
    Law: it conserves relevance up to its shift, which is booked, and the stabilizer.
    Source: Ali et al. (2022), XAI for Transformers: Better Explanations through Conservative
    Propagation; Achtibat et al. (2024), AttnLRP, whose identity is for x / deviation.

    >>> NormEpsilon(epsilon=0.01).epsilon
    0.01
    """

    families: ClassVar[frozenset[str]] = frozenset({"norm"})
    label: ClassVar[str] = "Epsilon"

    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_stabilizer(self.epsilon)

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """A division, and a mean of what is normalized together."""
        if operation.name not in FUSED:
            return Sum(epsilon=self.epsilon).share(operation, signals, layout)
        if operation.name == "_fused_rms_norm":  # each element is scaled, and that is all
            return NormIdentity().share(operation, signals, layout)
        signal, form = first(signals), _Form.of(operation)
        z, samples = preactivation(operation.output, signal), layout[operation.output]
        ratio, stabilizer = divide(signal, z, self.epsilon, samples)
        bias = 0.0 if form.bias is None else samples.sum(ratio * form.bias)
        back = form.backward(ratio)
        shared = back * operation.slots[0].tensor
        rest: Signals = [None] * (len(operation.slots) - 1)
        return Share([shared.to(signal.dtype), *rest], bias, stabilizer)


@dataclass(frozen=True)
class _Form:
    """A norm as z = w (x - mean) / deviation + b.

    `groups` is the shape of x in which `axes` are normalized together, and `inverse` one through
    the deviation in that shape; w and b broadcast to x.
    """

    groups: tuple[int, ...]
    axes: tuple[int, ...]
    inverse: Tensor
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def of(cls, operation: Operation) -> "_Form":
        name = operation.name
        if name == "native_layer_norm":
            return _layer(operation)
        return _group(operation) if name == "native_group_norm" else _batch(operation)

    def backward(self, ratio: Tensor) -> Tensor:
        """The adjoint of the norm with its deviation held."""
        c = ratio if self.weight is None else ratio * self.weight
        c = c.reshape(self.groups)
        return ((c - c.mean(self.axes, keepdim=True)) * self.inverse).reshape(ratio.shape)


def _layer(operation: Operation) -> _Form:
    x, axes = operation.slots[0], tuple(range(-len(operation.arguments[1]), 0))
    weight, bias = (_tensor(given) for given in operation.arguments[2:4])
    return _Form(tuple(x.shape), axes, operation.result(2).tensor, weight, bias)


def _group(operation: Operation) -> _Form:
    _, weight, bias, batch, channels, _, count, _ = operation.arguments
    shape = operation.slots[0].shape
    by_channel = (1, channels, *[1] * (len(shape) - 2))
    inverse = operation.result(2).tensor.reshape(batch, count, 1)
    return _Form(
        (batch, count, -1), (2,), inverse, _tensor(weight, by_channel), _tensor(bias, by_channel)
    )


def _batch(operation: Operation) -> _Form:
    shape = operation.slots[0].shape
    by_channel = (1, shape[1], *[1] * (len(shape) - 2))
    axes = tuple(axis for axis in range(len(shape)) if axis != 1)
    weight, bias = (_tensor(given, by_channel) for given in operation.arguments[1:3])
    inverse = operation.result(2).tensor.reshape(by_channel)
    return _Form(tuple(shape), axes, inverse, weight, bias)


def _tensor(given: Value | None, shape: tuple[int, ...] | None = None) -> Tensor | None:
    if given is None:
        return None
    return given.tensor if shape is None else given.tensor.reshape(shape)


def is_plain(operation: Operation) -> bool:
    """Whether a fused norm has constants for weight and bias."""
    return not any(value.carries for value in operation.slots[1:])
