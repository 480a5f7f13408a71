"""Rules for operations with weights that share by contribution, by weight, or evenly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.options import number
from pellucid.propagate.linear import Linear, times
from pellucid.propagate.rules.rule import Rule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide


def check_epsilon(rule: Rule) -> None:
    """Keep the stabilizer of a rule as a float; raise unless it is a number that keeps signs."""
    given = getattr(rule, "epsilon", 0)
    plain = number(given, "epsilon", "a number that is not negative", least=0)
    if isinstance(given, Tensor):
        object.__setattr__(rule, "epsilon", plain)


@dataclass(frozen=True, kw_only=True)
class Zero(Rule):
    """LRP-0: share by contribution.

        R_i = sum over j of x_i w_ij / z_j R_j,  z_j = sum over i of x_i w_ij + b_j

    An output that is zero has no shares, and keeps what it got, booked as stabilizer; with
    `bias=False` biases are left out of z.
    Law: without biases it conserves relevance, and on a network of rectifiers it is gradient
    times input.
    Source: Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation.

    >>> Zero().name
    'Zero'
    """

    bias: bool = True

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """One pass through the transposed weights."""
        return _by_contribution(linear, signal, 0, bias=self.bias)


@dataclass(frozen=True, kw_only=True)
class Epsilon(Rule):
    """Share by contribution, weakened where contributions cancel.

        R_i = sum over j of x_i w_ij / stabilize(z_j) R_j,  z_j = sum over i of x_i w_ij + b_j

    With `bias=False` biases are left out of z, and keep nothing; in a deep network relevance then
    grows where contributions nearly cancel, layer by layer.
    Law: without biases it conserves relevance up to the stabilizer.
    Source: Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation.

    >>> Epsilon(epsilon=0.25)
    Epsilon(epsilon=0.25, bias=True)
    """

    epsilon: float = EPSILON
    bias: bool = True

    def __post_init__(self) -> None:
        check_epsilon(self)

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """One pass through the transposed weights."""
        return _by_contribution(linear, signal, self.epsilon, bias=self.bias)


def _by_contribution(linear: Linear, signal: Tensor, epsilon: float, *, bias: bool) -> Share:
    z = linear.preactivation(signal) if bias else linear.without_bias()
    ratio, stabilizer = divide(signal, z, epsilon, linear.samples)
    kept = linear.bias_share(ratio, linear.bias if bias else None)
    return Share([times(linear.backward_plain(ratio), linear.x)], kept, stabilizer)


@dataclass(frozen=True, kw_only=True)
class WSquare(Rule):
    """Share by the square of the weights, whatever the values.

        R_i = sum over j of w_ij^2 / (sum over i of w_ij^2) R_j

    It is deep Taylor decomposition where the inputs may be any number: the root of each z_j is the
    nearest one. `bias=True` counts b_j^2 among the squares, as some libraries do.
    Law: it conserves relevance, and keeps its sign.
    Source: Montavon et al. (2017), Explaining Nonlinear Classification Decisions with Deep Taylor
    Decomposition.

    >>> WSquare().name
    'WSquare'
    """

    bias: bool = False

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """A forward pass of ones and a backward pass, with squared weights."""
        bias = linear.bias if self.bias else None
        return by_weight(linear, signal, linear.weight**2, None if bias is None else bias**2)


@dataclass(frozen=True, kw_only=True)
class Flat(Rule):
    """Share equally among all inputs that an output reads, whatever their values and weights.

        R_i = sum over j of 1 / n_j R_j,  n_j the number of inputs that j reads

    `bias=True` counts the bias as one more input.
    Law: it conserves relevance. For the first layer, where single pixels mean little.
    Source: Lapuschkin et al. (2019), Unmasking Clever Hans Predictors.

    >>> Flat().name
    'Flat'
    """

    bias: bool = False

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """A convolution with a kernel of ones; one channel stands for all, where it can."""
        bias = linear.bias if self.bias else None
        if bias is None and linear.is_convolution and not linear.operation.arguments[6]:
            return _flat_convolution(linear, signal)
        ones = torch.ones_like(linear.weight)
        return by_weight(linear, signal, ones, None if bias is None else torch.ones_like(bias))


def by_weight(linear: Linear, signal: Tensor, weight: Tensor, bias: Tensor | None) -> Share:
    """Share by weights that are not negative; an output that reads nothing keeps what it got."""
    shape = list(linear.entry.shape)
    if linear.is_convolution:
        shape[0] = 1  # every sample has the same total
    total = linear.forward(signal.new_ones(shape), weight, bias).expand_as(signal)
    ratio, unread = divide(signal, total, 0, linear.samples)
    return Share([linear.backward(ratio, weight)], linear.bias_share(ratio, bias), unread)


def _flat_convolution(linear: Linear, signal: Tensor) -> Share:
    """All channels of a group share alike, so each group is one channel with a kernel of ones."""
    x, weight = linear.entry, linear.operation.arguments[1]
    stride, padding, dilation, *_, groups = linear.operation.arguments[3:9]
    places = (stride, padding, dilation, False, [0] * len(stride))
    kernel = signal.new_ones(1, 1, *weight.shape[2:])
    ones = linear.padded(signal.new_ones(1, 1, *x.shape[2:]))
    count = torch.ops.aten.convolution(ones, kernel, None, *places, 1)
    empty = count == 0  # all that is read is padding
    unread = linear.samples.sum(torch.where(empty, signal, 0)) if bool(empty.any()) else 0.0
    batch, channels = x.shape[:2]
    per_group = signal.reshape(batch * groups, -1, *signal.shape[2:]).sum(1, keepdim=True)
    per_group = torch.where(empty, 0, per_group / (count * (channels // groups)))
    like = signal.new_empty(batch * groups, 1, *ones.shape[2:])
    mask = [True, False, False]
    shared = torch.ops.aten.convolution_backward(per_group, like, kernel, None, *places, 1, mask)[0]
    shared = linear.cropped(shared).expand(-1, channels // groups, *x.shape[2:])
    return Share([shared.reshape(x.shape)], 0.0, unread)


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
