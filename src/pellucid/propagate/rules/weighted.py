"""Rules for operations with weights: how an output shares its relevance among what it weighs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.propagate.linear import Linear
from pellucid.propagate.rules.rule import Rule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide, preactivation
from pellucid.tape.operations import Operation


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
