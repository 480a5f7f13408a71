"""Rules for operations with weights that tell positive contributions from negative ones.

Contributions are c_ij = x_i w_ij; c+ is the positive part of one and c- the negative part. Where
no input is negative, c+ is x_i w_ij+, so that all positive contributions take one pass with other
weights; else there are two parts, of the positive and of the negative inputs. The sum of the
negative contributions is what z has beside the sum of the positive ones.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isclose

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.options import number
from pellucid.propagate.blocks import Change, blockwise
from pellucid.propagate.linear import Linear, times
from pellucid.propagate.rules.rule import Rule
from pellucid.propagate.rules.sharing import (
    EPSILON,
    Share,
    divide,
    divide_positive,
    divided,
)
from pellucid.propagate.rules.weighted import check_epsilon

# A sum of negative contributions is a difference of larger numbers: below this many units of
# rounding of those, it is zero.
ROUNDING = 16


@dataclass(frozen=True)
class Halves:
    """The input of an operation, as parts none of which has both signs.

    `parts` are x alone where it is not negative, else its positive and its negative part. Those of
    a narrow convolution run side by side, as channels of one.
    """

    linear: Linear
    parts: tuple[Tensor, ...]

    @classmethod
    def of(cls, linear: Linear) -> "Halves":
        """Split the input by its sign."""
        return cls(linear, linear.once("halves", lambda: _split(linear.x)))

    @property
    def is_joined(self) -> bool:
        """Whether both parts run side by side."""
        return len(self.parts) == 2 and self.linear.is_narrow

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """What runs through the operation: each part, or both side by side."""
        return (torch.cat(self.parts, 1),) if self.is_joined else self.parts

    def weights(self, sign: int) -> list[Tensor]:
        """For each input, the weights with which its contributions have one sign, else zero."""
        return self.modified("part", (_positive_part, _negative_part)[::sign])

    def modified(self, name: Hashable, changes: Sequence[Change]) -> list[Tensor]:
        """For each input the weights, changed in another way for each part."""
        linear, pairs = self.linear, list(zip(changes, self.parts, strict=False))
        made = [
            linear.once((name, change), partial(linear.modified, change)) for change, _ in pairs
        ]
        return [torch.cat(made, 1)] if self.is_joined else made

    def forward(self, weights: Sequence[Tensor], bias: Tensor | None = None) -> Tensor:
        """The sum of contributions, with other weights for each input."""
        z = self.linear.forward(self.inputs[0], weights[0], bias)
        for part, weight in zip(self.inputs[1:], weights[1:], strict=True):
            z = z + self.linear.forward(part, weight)
        return z

    def above(self, bias: Tensor | None) -> Tensor:
        """The sum of positive contributions, with that of the bias, to each output."""
        make = partial(self.forward, self.weights(1), positive(bias))
        return self.linear.once(("above", bias is None), make)

    def backward(self, *terms: tuple[Tensor, Sequence[Tensor]]) -> Tensor:
        """For each input the sum of contribution times ratio, over outputs and over the terms.

        A term is a ratio, and the weights that it goes with for each input.
        """
        shared = []
        for place, part in enumerate(self.inputs):
            back = [self.linear.backward(ratio, weights[place]) for ratio, weights in terms]
            shared.append(times(_sum(back), part))
        if self.is_joined:
            shared = list(shared[0].chunk(2, 1))
        return _sum(shared)


def _positive_part(weight: Tensor) -> Tensor:
    return weight.clamp(min=0)


def _negative_part(weight: Tensor) -> Tensor:
    return weight.clamp(max=0)


@dataclass(frozen=True)
class _Raised:
    """A weight, of which the part of one sign counts 1 + gamma times."""

    gamma: float
    sign: int

    def __call__(self, weight: Tensor) -> Tensor:
        part = (_positive_part if self.sign > 0 else _negative_part)(weight)
        return torch.add(weight, part, alpha=self.gamma)


def _sum(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else tensors[0] + tensors[1]


def _split(x: Tensor) -> tuple[Tensor, ...]:
    """The input, or its positive and its negative part where it has both."""
    signed = x.numel() > 0 and bool(x.min() < 0)
    return (x.clamp(min=0), x.clamp(max=0)) if signed else (x,)


def positive(bias: Tensor | None) -> Tensor | None:
    """The positive part of a bias, if there is one."""
    return None if bias is None else bias.clamp(min=0)


def negative(bias: Tensor | None) -> Tensor | None:
    """The negative part of a bias, if there is one."""
    return None if bias is None else bias.clamp(max=0)


def _output(linear: Linear, signal: Tensor, *, bias: bool) -> Tensor:
    """The output where the signal needs it, with the bias or without."""
    return linear.preactivation(signal) if bias else linear.without_bias()


@dataclass(frozen=True, kw_only=True)
class ZPlus(Rule):
    """Share by positive contribution only.

        R_i = sum over j of (x_i w_ij)+ / (sum over i of (x_i w_ij)+ + b_j+) R_j

    With `bias=False` biases are left out, as in deep Taylor decomposition. An output without any
    positive contribution has no one to give its relevance to, and keeps it, booked as stopped.
    Law: without biases it conserves relevance, and keeps its sign.
    Source: Montavon et al. (2017), Explaining Nonlinear Classification Decisions with Deep Taylor
    Decomposition; with bias as alpha = 1, beta = 0 of Bach et al. (2015).

    >>> ZPlus(bias=False)
    ZPlus(epsilon=1e-06, bias=False)
    """

    epsilon: float = EPSILON
    bias: bool = True

    def __post_init__(self) -> None:
        check_epsilon(self)

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """A forward and a backward pass with positive weights; two where inputs are negative."""
        halves, bias = Halves.of(linear), linear.bias if self.bias else None
        above = halves.above(bias)
        ratio, stabilizer, stopped = divide_positive(signal, above, self.epsilon, linear.samples)
        shared = halves.backward((ratio, halves.weights(1)))
        return Share([shared], linear.bias_share(ratio, positive(bias)), stabilizer, stopped)


@dataclass(frozen=True, kw_only=True)
class Gamma(Rule):
    """Share by contribution, where those that agree with the output count 1 + gamma times.

        R_i = sum over j of (c_ij + gamma c_ij+) / (z_j + gamma z_j+) R_j   where z_j >= 0
        R_i = sum over j of (c_ij + gamma c_ij-) / (z_j + gamma z_j-) R_j   where z_j < 0

    Here c_ij = x_i w_ij, z_j is their sum with the bias, and z_j+ and z_j- the sums of its positive
    and of its negative parts. With `bias=False` biases are left out.
    Laws: without biases it conserves relevance; gamma = 0 is epsilon, and a large one comes close
    to z+ where z is positive.
    Source: Montavon et al. (2019), Layer-Wise Relevance Propagation: An Overview; for negative z
    Andeol et al. (2022), Learning Domain Invariant Representations by Joint Wasserstein Distance
    Minimization.

    >>> Gamma(gamma=0.1).gamma
    0.1
    """

    gamma: float = 0.25
    epsilon: float = EPSILON
    bias: bool = True

    def __post_init__(self) -> None:
        number(self.gamma, "gamma", "a number that is not negative", least=0)
        check_epsilon(self)

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """A forward and a backward pass; another backward pass if relevance is at negative z."""
        halves, bias = Halves.of(linear), linear.bias if self.bias else None
        z = _output(linear, signal, bias=self.bias)
        above = halves.above(bias)
        raised = self._raised(bias, positive(bias))
        if bool(z.min() >= 0):  # as after a rectifier
            whole = torch.add(z, above, alpha=self.gamma)
            ratio, stabilizer = divide(signal, whole, self.epsilon, linear.samples)
            kept = linear.bias_share(ratio, raised)
            return Share([halves.backward((ratio, self._weights(halves, 1)))], kept, stabilizer)
        tensors = (signal, z, above)
        (ratio, at_negative), stabilizer = blockwise(self._divided, tensors, linear.samples)
        terms = [(ratio, self._weights(halves, 1))]
        kept = linear.bias_share(ratio, raised)
        if any(float(end) for end in at_negative.detach().aminmax()):
            terms.append((at_negative, self._weights(halves, -1)))
            kept = kept + linear.bias_share(at_negative, self._raised(bias, negative(bias)))
        return Share([halves.backward(*terms)], kept, stabilizer)

    def _divided(self, signal: Tensor, z: Tensor, above: Tensor) -> tuple[Tensor, ...]:
        """Relevance at z >= 0 and at z < 0, each divided, and what the stabilizer keeps."""
        is_positive = z >= 0
        total = z + self.gamma * torch.where(is_positive, above, z - above)
        ratio, kept = divided(signal, total, self.epsilon)
        return torch.where(is_positive, ratio, 0), torch.where(is_positive, 0, ratio), kept

    def _weights(self, halves: Halves, sign: int) -> list[Tensor]:
        """For each input, the weights that raise contributions of one sign."""
        return halves.modified("raised", [_Raised(self.gamma, sign), _Raised(self.gamma, -sign)])

    def _raised(self, bias: Tensor | None, part: Tensor | None) -> Tensor | None:
        """A bias, of which one part counts 1 + gamma times."""
        return None if bias is None or part is None else bias + self.gamma * part


@dataclass(frozen=True, kw_only=True)
class AlphaBeta(Rule):
    """Share alpha times the relevance by positive contribution, less beta times by negative ones.

        R_i = sum over j of (alpha c_ij+ / z_j+ - beta c_ij- / z_j-) R_j,   alpha - beta = 1

    Here c_ij = x_i w_ij, and z_j+ and z_j- are the sums of their positive and of their negative
    parts, each with that of the bias. With `bias=False` biases are left out. An output without
    contributions of one sign has no one to give that part to, and the part is booked as stabilizer.
    Laws: without biases, and where both signs occur, it conserves relevance; alpha = 1 is z+.
    Source: Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation.

    >>> AlphaBeta(alpha=3, beta=2).alpha
    3
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = EPSILON
    bias: bool = True

    def __post_init__(self) -> None:
        alpha = number(self.alpha, "alpha", "a number of at least 1", least=1)
        beta = number(self.beta, "beta", "a number that is not negative", least=0)
        check_epsilon(self)
        if not isclose(alpha - beta, 1, abs_tol=1e-9):
            raise InputError(
                "`alpha` - `beta` must be 1, or relevance would be made or lost",
                found=f"alpha={alpha:g} and beta={beta:g}",
                hint=f"For example AlphaBeta(alpha={1 + beta:g}, beta={beta:g}).",
            )

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """A forward pass, and a backward pass for each sign."""
        if self.beta == 0:
            return ZPlus(epsilon=self.epsilon, bias=self.bias).share(linear, signal)
        halves, bias = Halves.of(linear), linear.bias if self.bias else None
        z = _output(linear, signal, bias=self.bias)
        tensors = (signal, z, halves.above(bias))
        (plus, minus), stabilizer = blockwise(self._divided, tensors, linear.samples)
        kept = linear.bias_share(plus, positive(bias)) + linear.bias_share(minus, negative(bias))
        shared = halves.backward((plus, halves.weights(1)), (minus, halves.weights(-1)))
        return Share([shared], kept, stabilizer)

    def _divided(self, signal: Tensor, z: Tensor, above: Tensor) -> tuple[Tensor, ...]:
        """The relevance for each sign, divided, and what is kept of both.

        By arithmetic alone: torch chooses by a mask ten times slower than it multiplies.
        """
        below = z - above
        rounding = ROUNDING * torch.finfo(z.dtype).eps
        # -1 where there are negative contributions, 0 where there is but rounding.
        some = torch.add(below, above, alpha=rounding).clamp_(max=0).sign_()
        owed = signal * some  # -1 times the signal there
        plus, kept = divided(self.alpha * signal, above, self.epsilon)
        least = torch.finfo(z.dtype).tiny
        minus = self.beta * owed / (below.clamp(max=-least) - self.epsilon)
        kept = torch.add(kept, minus, alpha=-self.epsilon)
        return plus, minus, torch.add(kept, signal + owed, alpha=-self.beta)
