"""Relevance rules in matrix form, one output and one input at a time, as the papers write them.

Each takes z = W x + b as `Dense`, the input x and the relevance at z, both flat, and returns the
relevance of each input and what was kept: by biases, and by stabilizers or for want of an input.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeAlias

import torch
from torch import Tensor, nn

from tests.textbook import Dense, matrix_of

EPSILON = 1e-6
Shared: TypeAlias = tuple[Tensor, float, float]
Rule: TypeAlias = Callable[[Dense, Tensor, Tensor], Shared]


def unrolled(layer: nn.Module, shape: torch.Size) -> Dense:
    """The matrix of a layer, for one sample of a shape."""
    return matrix_of(lambda t: layer(t).detach(), shape)


def reads(layer: nn.Module, shape: torch.Size) -> Tensor:
    """Which inputs each output reads, (out, in): the matrix of the same layer with weights one."""
    ones = deepcopy(layer)
    nn.init.ones_(ones.weight)
    if ones.bias is not None:
        nn.init.zeros_(ones.bias)
    return unrolled(ones, shape).weight


def up(number: float) -> float:
    return max(number, 0.0)


def down(number: float) -> float:
    return min(number, 0.0)


def same(number: float) -> float:
    return number


def away_from_zero(z: float, epsilon: float = EPSILON) -> float:
    return z + epsilon if z >= 0 else z - epsilon


def shared(
    layer: Dense,
    x: Tensor,
    relevance: Tensor,
    part: Callable[[float, float], float],
    *,
    bias: bool,
    epsilon: float = EPSILON,
) -> Shared:
    """R_i = sum_j part(c_ij) / stabilize(sum_i part(c_ij) + part(b_j)) R_j.

    `part(number, z)` is what counts of a contribution to an output z, or of its bias.
    """
    out = [0.0] * len(x)
    by_bias = by_stabilizer = 0.0
    for j, r in enumerate(relevance.tolist()):
        each = (layer.weight[j] * x).tolist()
        own = float(layer.bias[j]) if bias else 0.0
        z = sum(each) + own
        counts = [part(c, z) for c in each]
        total = sum(counts) + part(own, z)
        stable = away_from_zero(total, epsilon) if epsilon else total
        if stable == 0:
            by_stabilizer += r
            continue
        for i, c in enumerate(counts):
            out[i] += c / stable * r
        by_bias += part(own, z) / stable * r
        by_stabilizer += (stable - total) / stable * r
    return torch.tensor(out, dtype=x.dtype), by_bias, by_stabilizer


def zero(*, bias: bool) -> Rule:
    return lambda *given: shared(*given, lambda c, z: c, bias=bias, epsilon=0)


def epsilon(size: float, *, bias: bool) -> Rule:
    return lambda *given: shared(*given, lambda c, z: c, bias=bias, epsilon=size)


def zplus(*, bias: bool) -> Rule:
    return lambda *given: shared(*given, lambda c, z: up(c), bias=bias)


def gamma(size: float, *, bias: bool) -> Rule:
    def part(c: float, z: float) -> float:
        return c + size * (up(c) if z >= 0 else down(c))

    return lambda *given: shared(*given, part, bias=bias)


def alpha_beta(alpha: float, beta: float, *, bias: bool) -> Rule:
    def rule(layer: Dense, x: Tensor, relevance: Tensor) -> Shared:
        above = shared(layer, x, alpha * relevance, lambda c, z: up(c), bias=bias)
        below = shared(layer, x, -beta * relevance, lambda c, z: down(c), bias=bias)
        return tuple(a + b for a, b in zip(above, below, strict=True))

    return rule


def box(low: Tensor, high: Tensor) -> Rule:
    """`low` and `high` have the shape of x."""

    def rule(layer: Dense, x: Tensor, relevance: Tensor) -> Shared:
        out, kept = [0.0] * len(x), 0.0
        ends = list(zip(x.tolist(), low.tolist(), high.tolist(), strict=True))
        for j, r in enumerate(relevance.tolist()):
            rows = zip(layer.weight[j].tolist(), ends, strict=True)
            counts = [at * w - least * up(w) - most * down(w) for w, (at, least, most) in rows]
            stable = away_from_zero(sum(counts))
            for i, c in enumerate(counts):
                out[i] += c / stable * r
            kept += (stable - sum(counts)) / stable * r
        return torch.tensor(out, dtype=x.dtype), 0.0, kept

    return rule


def by_weights(square: Callable[[float], float], *, bias: bool) -> Rule:
    """R_i = sum_j s(w_ij) / (sum_i s(w_ij) + s(b_j)) R_j."""

    def rule(layer: Dense, x: Tensor, relevance: Tensor) -> Shared:
        out, by_bias, kept = [0.0] * len(x), 0.0, 0.0
        for j, r in enumerate(relevance.tolist()):
            counts = [square(w) for w in layer.weight[j].tolist()]
            own = square(float(layer.bias[j])) if bias else 0.0
            total = sum(counts) + own
            if total == 0:
                kept += r
                continue
            for i, c in enumerate(counts):
                out[i] += c / total * r
            by_bias += own / total * r
        return torch.tensor(out, dtype=x.dtype), by_bias, kept

    return rule
