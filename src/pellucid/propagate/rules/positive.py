"""The z+ rule for operations without weights, so that a walk of z+ meets no cancelling sum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide_positive, first
from pellucid.propagate.rules.signals import Sum
from pellucid.propagate.samples import Layout
from pellucid.tape.adjoints import Signals, adjoint, norm_affine, sum_to
from pellucid.tape.operations import Operation, Value

# Sums of two: the factors of their terms, each times `alpha` where they have one.
TERMS = {"add": (1, 1), "sub": (1, -1), "rsub": (-1, 1)}
# Sums whose factors are not negative.
POSITIVE = {
    "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "cumsum", "im2col", "col2im", "trace",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SumPlus(SignalRule):
    """Share by positive contribution to a sum, mean, average pooling or batch norm.

        R_i = (c_i x_i)+ / sum over i of (c_i x_i)+ R

    Constants have no part, so that one signal to which one is added gets all: it is a layer whose
    bias is written out. An output without any positive contribution keeps what it got, booked as
    stopped. Other sums, whose factors have both signs, share as `Sum`.
    Law: it conserves relevance up to the stabilizer, and keeps its sign.
    Source: Montavon et al. (2017), Explaining Nonlinear Classification Decisions with Deep Taylor
    Decomposition, where a sum is a layer with weights one.
    """

    families: ClassVar[frozenset[str]] = frozenset({"sum", "affine"})
    label: ClassVar[str] = "ZPlus"

    epsilon: float = EPSILON

    def share(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        """One forward and one backward pass of the operation."""
        parts = self._parts(operation)
        if parts is None:
            return Sum(epsilon=self.epsilon).share(operation, signals, layout)
        signal, samples = first(signals), layout[operation.output]
        if _is_alone(operation):
            return Share([sum_to(signal, v.shape) if v.carries else None for v in operation.slots])
        total = _total(operation, parts).expand_as(signal)
        ratio, kept, stopped = divide_positive(signal, total, self.epsilon, samples)
        if operation.name in TERMS:
            shared = [None if c is None else sum_to(ratio * c, c.shape) for c in parts]
        else:
            both = zip(adjoint(operation, [ratio, *signals[1:]]), parts, strict=True)
            shared = [None if s is None or c is None else s * c for s, c in both]
        return Share(shared, 0.0, kept, stopped)

    def _parts(self, operation: Operation) -> list[Tensor | None] | None:
        """For each slot what of it contributes positively, times its factor in a sum of terms."""
        slots = operation.slots
        if operation.name in TERMS:
            factors = zip(slots, _factors(operation), strict=False)
            return [(v.tensor * f).clamp(min=0) if v.carries else None for v, f in factors]
        if operation.name in POSITIVE:
            return [v.tensor.clamp(min=0) if v.carries else None for v in slots]
        if _is_affine(operation):
            scale, _ = norm_affine(operation)
            x = slots[0].tensor
            positive = x * scale.reshape(1, -1, *[1] * (x.ndim - 2)) > 0
            return [torch.where(positive, x, 0), *[None] * (len(slots) - 1)]
        return None


def _factors(operation: Operation) -> Sequence[float]:
    """The factors of the tensors that are added; a number is none."""
    one, other = TERMS[operation.name]
    alpha = operation.argument(2, operation.keywords.get("alpha", 1))
    of_first, of_other = (one * alpha, other) if operation.name == "rsub" else (one, other * alpha)
    return (of_first, of_other) if isinstance(operation.argument(0), Value) else (of_other,)


def _is_alone(operation: Operation) -> bool:
    """Whether one signal, as it is, and constants are added."""
    if operation.name not in TERMS:
        return False
    factors = zip(operation.slots, _factors(operation), strict=False)
    carrying = [factor for value, factor in factors if value.carries]
    return len(carrying) == 1 and carrying[0] > 0


def _is_affine(operation: Operation) -> bool:
    return operation.name in ("native_batch_norm", "_native_batch_norm_legit_no_training")


def _total(operation: Operation, parts: Sequence[Tensor | None]) -> Tensor:
    """The sum of positive contributions to each output."""
    present = [part for part in parts if part is not None]
    if operation.name in TERMS:
        return present[0] if len(present) == 1 else present[0] + present[1]
    if _is_affine(operation):
        scale, _ = norm_affine(operation)
        return present[0] * scale.reshape(1, -1, *[1] * (present[0].ndim - 2))
    given = dict(zip(operation.slots, parts, strict=True))

    def read(value: Value) -> Tensor:
        part = given.get(value)
        return torch.zeros_like(value.tensor) if part is None else part

    return operation.again(read)[0]
