"""An operation as neurons: what each reads through its weights, and what it answers.

All statistics of patterns are sums over the positions at which a neuron is applied: samples, and
pixels, tokens or moments. No activation is ever unfolded into patches for them: the sum of x times
y over all positions has the shape of the weights, and is the gradient of those for the signal y.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Size, Tensor

from pellucid.batching import wide
from pellucid.propagate.patterns.affine import Affine

aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class Wiring(ABC):
    """Which weights belong to which neuron, for weights of the shape `shape`."""

    shape: Size

    @abstractmethod
    def spread(self, per_neuron: Tensor) -> Tensor:
        """Give every weight the number of its neuron, up to broadcasting."""

    @abstractmethod
    def gather(self, per_weight: Tensor) -> Tensor:
        """Sum over the weights of each neuron."""

    def of_outputs(self, each: Tensor) -> Tensor:
        """Give every neuron the number of the output, shape (out,), that it answers at."""
        return each

    @property
    @abstractmethod
    def key(self) -> tuple[Any, ...]:
        """What must be equal for two to be the same."""


@dataclass(frozen=True, kw_only=True)
class DenseWiring(Wiring):
    """Weights of shape (head, out, in): a matrix, or several side by side."""

    def spread(self, per_neuron: Tensor) -> Tensor:
        """From (head, out) to (head, out, 1)."""
        return per_neuron.unsqueeze(-1)

    def gather(self, per_weight: Tensor) -> Tensor:
        """From (head, out, in) to (head, out)."""
        return per_weight.expand(self.shape).sum(-1)

    @property
    def key(self) -> tuple[Any, ...]:
        """Kind and shape."""
        return ("dense", *self.shape)


@dataclass(frozen=True, kw_only=True)
class ConvolutionWiring(Wiring):
    """Weights of shape (out, in / groups, *kernel), one neuron an output channel."""

    groups: int

    def spread(self, per_neuron: Tensor) -> Tensor:
        """From (out,) to (out, 1, ...)."""
        return per_neuron.reshape(-1, *[1] * (len(self.shape) - 1))

    def gather(self, per_weight: Tensor) -> Tensor:
        """From (out, in / groups, *kernel) to (out,)."""
        return per_weight.expand(self.shape).flatten(1).sum(1)

    @property
    def key(self) -> tuple[Any, ...]:
        """Kind, groups and shape."""
        return ("convolution", self.groups, *self.shape)


@dataclass(frozen=True, kw_only=True)
class TransposedWiring(Wiring):
    """Weights of shape (in, out / groups, *kernel) of a transposed convolution.

    With a stride, the positions of one output channel are made by different weights in turn: those
    whose place in the kernel has the same phase. Each (out, phase) is a neuron.
    """

    groups: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @cached_property
    def phase(self) -> Tensor:
        """The phase of every place in the kernel, flattened."""
        axes = zip(self.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        each = [[(d * k - p) % s for k in range(size)] for size, s, p, d in axes]
        found = []
        for places in product(*each):
            number = 0
            for place, stride in zip(places, self.stride, strict=True):
                number = number * stride + place
            found.append(number)
        return torch.tensor(found)

    def spread(self, per_neuron: Tensor) -> Tensor:
        """From (out, phase) to the shape of the weights."""
        inner = self.shape[0] // self.groups
        each = per_neuron[:, self.phase.to(per_neuron.device)]  # (out, place)
        each = each.reshape(self.groups, 1, self.shape[1], -1)
        return each.expand(-1, inner, -1, -1).reshape(self.shape)

    def gather(self, per_weight: Tensor) -> Tensor:
        """From the shape of the weights to (out, phase)."""
        inner = self.shape[0] // self.groups
        split = per_weight.expand(self.shape).reshape(self.groups, inner, self.shape[1], -1)
        each = split.sum(1).flatten(0, 1)  # (out, place)
        sums = each.new_zeros(len(each), prod(self.stride))
        return sums.index_add_(1, self.phase.to(each.device), each)

    def of_outputs(self, each: Tensor) -> Tensor:
        """All phases of an output have its number."""
        return each.unsqueeze(1).expand(-1, prod(self.stride))

    @property
    def key(self) -> tuple[Any, ...]:
        """Kind, geometry and shape."""
        places = (self.groups, self.stride, self.padding, self.dilation)
        return ("transposed", *places, *self.shape)


@dataclass(frozen=True, kw_only=True)
class AdditionWiring(Wiring):
    """One weight a neuron: what the first of two signals has in their sum, for each channel."""

    def spread(self, per_neuron: Tensor) -> Tensor:
        """As it is."""
        return per_neuron

    def gather(self, per_weight: Tensor) -> Tensor:
        """As it is."""
        return per_weight

    @property
    def key(self) -> tuple[Any, ...]:
        """Kind and number of channels."""
        return ("sum", *self.shape)


@dataclass(frozen=True, kw_only=True)
class Neurons(ABC):
    """The neurons of one operation of a run: what they read, `x`, and what they answered, `y`."""

    x: Tensor
    y: Tensor
    wiring: Wiring

    @abstractmethod
    def correlate(self, signal: Tensor) -> Tensor:
        """Sum what each weight reads times a signal of the shape of y over all positions."""

    @abstractmethod
    def presence(self) -> Tensor:
        """Sum what each weight reads over all positions, up to broadcasting."""

    @abstractmethod
    def total(self, signal: Tensor) -> Tensor:
        """Sum a signal of the shape of y over the positions of each neuron."""

    @abstractmethod
    def center(self) -> Tensor:
        """The mean answer of each neuron, or of each of its channels, to take off y."""

    def widened(self, sums: Tensor) -> Tensor:
        """In the type in which sums of many batches are kept."""
        return sums.to(wide(sums))


@dataclass(frozen=True, kw_only=True)
class Dense(Neurons):
    """x (head, position, in), y (head, position, out)."""

    def correlate(self, signal: Tensor) -> Tensor:
        """A product of matrices."""
        return self.widened(signal.mT @ self.x)

    def presence(self) -> Tensor:
        """Shape (head, 1, in): all neurons read the same."""
        return self.x.sum(1, keepdim=True, dtype=wide(self.x))

    def total(self, signal: Tensor) -> Tensor:
        """Shape (head, out)."""
        return signal.sum(1, dtype=wide(signal))

    def center(self) -> Tensor:
        """Shape (head, 1, out)."""
        return self.y.mean(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Convolution(Neurons):
    """x (batch, channel, *space), y (batch, out, *space); also transposed.

    `places` are stride, padding, dilation, transposed, output padding and groups, as in ATen.
    """

    places: tuple[Any, ...]

    def correlate(self, signal: Tensor) -> Tensor:
        """The gradient of the weights for a signal."""
        return self._weight_gradient(signal, self.wiring.shape)

    def presence(self) -> Tensor:
        """One neuron of each group stands for all, since they read the same."""
        groups, shape = self.places[5], list(self.wiring.shape)
        ones = self.y.new_ones(self.y.shape[0], groups, *self.y.shape[2:])
        if self.places[3]:
            return self._weight_gradient(ones, [shape[0], 1, *shape[2:]])
        found = self._weight_gradient(ones, [groups, *shape[1:]])
        return found.repeat_interleave(shape[0] // groups, 0)

    def total(self, signal: Tensor) -> Tensor:
        """Shape (out,), or (out, phase) of a transposed convolution."""
        axes = [0, *range(2, signal.ndim)]
        if not isinstance(self.wiring, TransposedWiring):
            return signal.sum(axes, dtype=wide(signal))
        starts = product(*map(range, self.wiring.stride))
        parts = [self._every(signal, start, self.wiring.stride) for start in starts]
        return torch.stack([part.sum(axes, dtype=wide(part)) for part in parts], 1)

    def center(self) -> Tensor:
        """Shape (1, out, 1, ...)."""
        return self.y.mean([0, *range(2, self.y.ndim)], keepdim=True)

    @staticmethod
    def _every(signal: Tensor, start: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """The positions of one phase."""
        steps = (slice(first, None, step) for first, step in zip(start, stride, strict=True))
        return signal[(slice(None), slice(None), *steps)]

    def _weight_gradient(self, signal: Tensor, shape: Any) -> Tensor:
        like = self.x.new_zeros(1).expand(shape)  # of which only the shape is read
        mask = [False, True, False]
        found = aten.convolution_backward(signal, self.x, like, None, *self.places, mask)
        return self.widened(found[1])


@dataclass(frozen=True, kw_only=True)
class Addition(Neurons):
    """y = x + something else, of any one shape; the neurons are the channels along `axis`."""

    axis: int

    def correlate(self, signal: Tensor) -> Tensor:
        """Shape (channel,)."""
        return self.total(self.x * signal)

    def presence(self) -> Tensor:
        """Shape (channel,)."""
        return self.total(self.x)

    def total(self, signal: Tensor) -> Tensor:
        """Shape (channel,)."""
        return signal.movedim(self.axis, 0).flatten(1).sum(1, dtype=wide(signal))

    def center(self) -> Tensor:
        """Zero: the variance of a sum is read off its own moments, which have to be about zero."""
        return self.y.new_zeros(())


# -- from the tape


def wiring_of(affine: Affine) -> Wiring:
    """How the weights of an operation belong to its neurons."""
    linear = affine.linear
    weight = linear.weight
    if not linear.is_convolution:
        return DenseWiring(shape=_matrices(affine, weight).shape)
    stride, padding, dilation, transposed, _, groups = linear.operation.arguments[3:9]
    if not transposed:
        return ConvolutionWiring(shape=weight.shape, groups=groups)
    axes = weight.ndim - 2
    return TransposedWiring(
        shape=weight.shape,
        groups=groups,
        stride=_each(stride, axes),
        padding=_each(padding, axes),
        dilation=_each(dilation, axes),
    )


def neurons_of(affine: Affine) -> Neurons:
    """The neurons of an operation with weights, in at least single precision."""
    linear, wiring = affine.linear, wiring_of(affine)
    x, y = _work(linear.x), _work(_answers(affine))
    if linear.is_convolution:
        places = tuple(linear.operation.arguments[3:9])
        return Convolution(x=x, y=y, wiring=wiring, places=places)
    if not affine.is_left:
        x, y = x.mT, y.mT
    heads = wiring.shape[0]
    return Dense(
        x=x.reshape(heads, -1, x.shape[-1]), y=y.reshape(heads, -1, y.shape[-1]), wiring=wiring
    )


def weights_of(affine: Affine) -> Tensor:
    """The weights of the neurons, in the shape of their patterns, times the scale behind them."""
    weight = affine.linear.weight.detach()
    found = weight if affine.linear.is_convolution else _matrices(affine, weight)
    return found if affine.scale is None else scaled(affine, found.to(affine.scale))


def scaled(affine: Affine, pattern: Tensor) -> Tensor:
    """A pattern, or weights in its shape, times the scale that is behind the operation."""
    if affine.scale is None:
        return pattern
    wiring = wiring_of(affine)
    return pattern * wiring.spread(wiring.of_outputs(affine.scale.to(pattern)))


def _matrices(affine: Affine, weight: Tensor) -> Tensor:
    """The weight of a product of matrices, as (head, out, in); of equal heads, one."""
    found = weight.mT if affine.is_left else weight
    found = found if found.ndim == 3 else found.unsqueeze(0)
    return found[:1] if found.stride(0) == 0 else found


def as_weight(affine: Affine, pattern: Tensor) -> Tensor:
    """A pattern, shaped as `Linear.backward` takes the weight."""
    linear = affine.linear
    if linear.is_convolution:
        return pattern
    found = pattern.mT if affine.is_left else pattern
    return found.expand(linear.weight.shape) if linear.weight.ndim == 3 else found[0]


def _answers(affine: Affine) -> Tensor:
    """Y in the layout of z."""
    z, shape = affine.linear.output.tensor, [1] * len(affine.linear.output.shape)
    shape[affine.axis] = -1
    y = z if affine.scale is None else z * affine.scale.reshape(shape)
    return y if affine.shift is None else y + affine.shift.reshape(shape)


def _each(given: Any, axes: int) -> tuple[int, ...]:
    """One number an axis, where a convolution was given one for all."""
    return tuple(given) * (axes if len(given) == 1 else 1)


def _work(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
