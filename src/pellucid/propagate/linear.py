"""An operation with weights, as rules see it: one linear map, with modified weights on request."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.propagate.blocks import Change, is_zero_where
from pellucid.propagate.samples import TOGETHER, Samples
from pellucid.tape.adjoints import CONVOLUTIONS, FEW, norm_affine, transposed
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import remembered

T = TypeVar("T")

aten = torch.ops.aten


def times(made: Tensor, other: Tensor) -> Tensor:
    """A product, in the memory of `made`, which is ours, unless autograd holds on to it."""
    return made * other if torch.is_grad_enabled() else made.mul_(other)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """z = W x + b of one recorded operation; `norm` is a batch norm that is folded into it.

    `shift` is the addition of a bias that is folded into it; where that is b - W x, the weight is
    -W. It is `straight` where elements come to it in the order of the product. `padding` puts
    zeros around its input, which is then what comes before them.

    `x` has the shape of the operation's input, `z` that of its output. `forward` and `backward`
    apply the map, and its transpose, with weights of the caller's. `samples` are those of z.
    `memory` is that of the tape.
    """

    operation: Operation
    norm: Operation | None = None
    shift: Operation | None = None
    straight: bool = True
    padding: Operation | None = None
    samples: Samples = TOGETHER
    memory: dict[Hashable, Any] | None = None

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """What depends on the run and not on the score, made once for all targets of a run."""
        return remembered(self.memory, (self.operation, self.norm, name), make)

    @property
    def is_convolution(self) -> bool:
        """A convolution of any dimension, also transposed; else a matrix product."""
        return self.operation.name in CONVOLUTIONS

    @cached_property
    def _slots(self) -> tuple[Value, Value, Value | None]:
        """Input, weight and bias."""
        op = self.operation
        if self.is_convolution:
            return op.arguments[0], op.arguments[1], op.arguments[2]
        if op.name == "addmm":
            bias, x, weight = op.slots
            return x, weight, bias
        a, b = op.slots
        return (a, b, None) if a.depends else (b, a, None)

    @property
    def entry(self) -> Value:
        """The value that the input is."""
        return self._slots[0] if self.padding is None else self.padding.slots[0]

    @property
    def x(self) -> Tensor:
        """The input."""
        return self.entry.tensor

    @property
    def output(self) -> Value:
        """The value that z is, after the folded norm."""
        return (self.norm or self.operation).output

    @property
    def weight(self) -> Tensor:
        """The weight, times the scale of the folded norm."""
        weight = self._slots[1].tensor
        if self._is_turned:
            return -weight
        return weight if self.norm is None else weight * self._on_weight(self._affine[0], weight)

    def modified(self, change: Change) -> Tensor:
        """An elementwise change of the weight."""
        return change(self.weight)

    @property
    def bias(self) -> Tensor | None:
        """The bias, with the shift of the folded norm; shape (channel,)."""
        if self.shift is not None:
            added = constant_of(self.shift).tensor.flatten()
            return -added if self.shift.name == "sub" and not self._is_turned else added
        value = self._slots[2]
        bias = None if value is None else value.tensor.flatten()
        if self.norm is None:
            return bias
        scale, shift = self._affine
        return shift if bias is None else shift + scale * bias

    def preactivation(self, signal: Tensor) -> Tensor:
        """z, in the shape of the signal at the operation's output; see `sharing.preactivation`."""
        if self.shift is None:
            return preactivation(self.output, signal)
        if not self.straight:
            z, bias = self.operation.output.tensor, constant_of(self.shift).tensor.flatten()
            added = self._on_output(bias, z)
            if self.shift.name == "sub":
                return added - z if self._is_turned else z - added
            return z + added
        value = self.shift.output
        return preactivation(value, signal.reshape(value.shape)).reshape(signal.shape)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """W x + b, with the weight and bias given."""
        op = self.operation
        if self.is_convolution:
            return aten.convolution(self.padded(x), weight, bias, *op.arguments[3:9])
        z = x @ weight if self.input_is_left else weight @ x
        return z if bias is None else z + self._on_output(bias, z)

    @property
    def is_narrow(self) -> bool:
        """A convolution of so few channels that two of them, side by side, cost as much as one."""
        if not self.is_convolution:
            return False
        is_transposed, _, groups = self.operation.arguments[6:9]
        return not is_transposed and groups == 1 and 2 * self._slots[1].shape[1] <= FEW

    def backward(self, signal: Tensor, weight: Tensor) -> Tensor:
        """The transpose of W applied to a signal of the shape of z, with the weight given.

        Of a narrow one, that may be two side by side.
        """
        if self.is_convolution:
            places = self.operation.arguments[3:9]
            x = self._slots[0]
            like = x.tensor if x.kept else signal.new_empty(x.shape)
            if self.is_narrow and weight.shape[1] != like.shape[1]:
                like = signal.new_empty(len(like), weight.shape[1], *like.shape[2:])
            return self.cropped(transposed(signal, like, weight, places))
        return signal @ weight.mT if self.input_is_left else weight.mT @ signal

    def backward_plain(self, signal: Tensor) -> Tensor:
        """The transpose with the operation's own weight; a folded scale goes to the signal.

        The signal, which may be overwritten, is smaller than the weight in deep layers.
        """
        if self.norm is not None:
            signal = times(signal, self._on_output(self._affine[0], signal))
        if self._is_turned:
            signal = -signal
        return self.backward(signal, self._slots[1].tensor)

    def padded(self, x: Tensor) -> Tensor:
        """With the zeros around it that the folded padding puts there."""
        return x if self.padding is None else pad(x, self.padding.arguments[1])

    def cropped(self, x: Tensor) -> Tensor:
        """Without what is at the places of these zeros."""
        return x if self.padding is None else pad(x, [-n for n in self.padding.arguments[1]])

    @cached_property
    def _is_turned(self) -> bool:
        """Whether the product is subtracted from its bias."""
        shift = self.shift
        return shift is not None and shift.name == "sub" and shift.slots[1].carries

    def without_bias(self) -> Tensor:
        """W x, computed anew: what is left of z - b is rounding where contributions are none."""
        make = lambda: self.forward(self.x, self.weight)  # noqa: E731
        return self.output.tensor if self.bias is None else self.once("without bias", make)

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of the folded norm, each (channel,)."""
        if self.norm is None:
            raise RuntimeError("No norm is folded into this operation.")
        return norm_affine(self.norm)

    def _on_output(self, per_channel: Tensor, z: Tensor) -> Tensor:
        """Shape a tensor (channel,) so that it broadcasts over the output."""
        if self.is_convolution:
            return per_channel.reshape(-1, *[1] * (z.ndim - 2))
        return per_channel if self.input_is_left else per_channel.unsqueeze(-1)

    def bias_share(self, signal: Tensor, bias: Tensor | None) -> Tensor:
        """The sum of bias times signal over the output, for each sample."""
        if bias is None:
            return signal.new_zeros(())
        ids, wide = self.samples.ids, signal.dtype in (torch.float32, torch.float64)
        if self.is_convolution and (ids is None or self.samples.in_rows) and wide:
            kept = signal.sum(list(range(2, signal.ndim))) @ bias
            return kept.sum() if ids is None else kept
        if not self.is_convolution and self.input_is_left and wide:
            if ids is None:
                return (signal @ bias).sum()
            if ids.shape[-1] == 1:
                return replace(self.samples, ids=ids[..., 0]).sum(signal @ bias)
        return self.samples.sum(signal * self._on_output(bias, signal))

    @property
    def input_is_left(self) -> bool:
        """Whether a matrix product is x W rather than W x."""
        return self.operation.name == "addmm" or self.operation.slots[0].depends

    def _on_weight(self, per_channel: Tensor, weight: Tensor) -> Tensor:
        """Shape a tensor (output channel,) so that it broadcasts over the weight."""
        op = self.operation
        if not self.is_convolution:
            return per_channel
        if not op.arguments[6]:
            return per_channel.reshape(-1, *[1] * (weight.ndim - 1))
        groups = op.arguments[8]  # transposed: weight (input channel, output channel / groups, ...)
        per_input = per_channel.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
        return per_input.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))


def constant_of(addition: Operation) -> Value:
    """What is added that depends on no input."""
    return next(value for value in addition.slots if not value.depends)


def preactivation(value: Value, signal: Tensor) -> Tensor:
    """z, or what a rectifier made of it in place, if that is all the signal needs.

    A rectifier that wrote over z kept its positive part. Where the signal is zero wherever that
    part is, the rest of z is multiplied by zero and need not be computed again.
    """
    result = value.rectified
    if value.kept or result is None or not result.kept:
        return value.tensor
    return result.tensor if is_zero_where(result.tensor, signal) else value.tensor
