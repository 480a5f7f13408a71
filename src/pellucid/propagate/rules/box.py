"""The rule for inputs that lie in a box, as pixels do."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import InputError, show
from pellucid.propagate.linear import Linear
from pellucid.propagate.rules.rule import Rule
from pellucid.propagate.rules.sharing import EPSILON, Share, divide
from pellucid.propagate.rules.signed import Halves
from pellucid.propagate.rules.weighted import check_epsilon

# How far outside, as a share of the width of the box, an input may lie by rounding.
SLACK = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ZBox(Rule):
    """Share by what each input adds to z beyond the worst that its bounds allow.

        R_i = sum over j of c_ij / (sum over i of c_ij) R_j
        c_ij = x_i w_ij - low_i w_ij+ - high_i w_ij-

    It is deep Taylor decomposition where the inputs lie in a box; biases have no part. `low` and
    `high` are numbers, tensors with one number a channel (feature), or of the shape of one sample;
    without them the box is what each sample's own channel spans.
    Law: it conserves relevance up to the stabilizer, and keeps its sign.
    Source: Montavon et al. (2017), Explaining Nonlinear Classification Decisions with Deep Taylor
    Decomposition.

    >>> ZBox(low=torch.tensor([-2.1, -2.0, -1.8]), high=2.7)
    ZBox(low=float32[3] on cpu, high=2.7, epsilon=1e-06)
    """

    low: float | Tensor | None = None
    high: float | Tensor | None = None
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        check_epsilon(self)
        low, high = _bound(self.low, "low"), _bound(self.high, "high")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        _check_order(low, high)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZBox):
            return NotImplemented
        pairs = ((self.low, other.low), (self.high, other.high))
        return self.epsilon == other.epsilon and all(_same(a, b) for a, b in pairs)

    def __hash__(self) -> int:
        return hash(("ZBox", self.epsilon))

    def __repr__(self) -> str:
        return f"ZBox(low={show(self.low)}, high={show(self.high)}, epsilon={self.epsilon})"

    def share(self, linear: Linear, signal: Tensor) -> Share:
        """Two forward and two backward passes: x - low with w+, and x - high with w-."""
        x = linear.x
        low = _least(x, linear) if self.low is None else _fitted(self.low, x)
        high = -_least(-x, linear) if self.high is None else _fitted(self.high, x)
        _check_inside(x, low, high, linear)
        inside = x.maximum(low).minimum(high)
        halves = Halves(linear, (inside - low, inside - high))
        weights = halves.weights(1)
        ratio, stabilizer = divide(signal, halves.forward(weights), self.epsilon, linear.samples)
        return Share([halves.backward((ratio, weights))], 0.0, stabilizer)


def _least(x: Tensor, linear: Linear) -> Tensor:
    """The least number of each sample; of an image, of each of its channels."""
    if linear.is_convolution:
        return x.amin(tuple(range(2, x.ndim)), keepdim=True)
    return x.amin(-1 if linear.input_is_left else -2, keepdim=True)


def _fitted(bound: float | Tensor, x: Tensor) -> Tensor:
    """A bound in the type of the input, in a shape that broadcasts over it."""
    if not isinstance(bound, Tensor):
        return torch.full((), bound, dtype=x.dtype, device=x.device)
    fitted, sample = bound.to(x), x.shape[1:]
    if bound.ndim == 1 and len(sample) > 1 and len(bound) == sample[0]:
        return fitted.reshape(-1, *[1] * (len(sample) - 1))
    if bound.shape[:1] == (1,) and bound.ndim == x.ndim:
        fitted = fitted[0]
    if fitted.numel() == sample.numel():
        return fitted.reshape(sample)
    if _broadcasts(fitted.shape, sample):
        return fitted
    raise InputError(
        "The bounds of a box must be numbers, one number for each channel, or of the shape of "
        "one sample",
        found=f"{show(bound)} for {show(x)}",
    )


def _broadcasts(shape: torch.Size, whole: torch.Size) -> bool:
    """Whether a tensor of one shape fits another, with axes of length one repeated."""
    ends = zip(reversed(shape), reversed(whole), strict=False)
    return len(shape) <= len(whole) and all(a in (1, b) for a, b in ends)


def _bound(given: object, name: str) -> float | Tensor | None:
    """A finite number, or a copy of a tensor of finite numbers; `None` stays."""
    if given is None:
        return None
    must = f"`{name}` of a box must be a finite number, or a tensor of finite numbers"
    try:
        found = torch.as_tensor(given, dtype=None if isinstance(given, Tensor) else torch.float64)
        good = bool(found.isfinite().all()) and not isinstance(given, bool)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(must, got=given) from error
    if not good or found.is_complex() or not found.numel():
        raise InputError(must, found=show(given))
    if found.ndim == 0:
        return float(found)
    return found.detach().clone() if found.is_floating_point() else found.double()


def _same(a: float | Tensor | None, b: float | Tensor | None) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return type(a) is type(b) and a == b


def _check_order(low: float | Tensor | None, high: float | Tensor | None) -> None:
    """Raise where the lower bound is above the upper one, as far as their shapes let one see."""
    if low is None or high is None:
        return
    try:
        crossed = torch.as_tensor(low) > torch.as_tensor(high)
    except RuntimeError:  # of shapes that meet only at the input
        return
    if bool(crossed.any()):
        raise InputError(
            "`low` of a box must not be above `high`",
            found=f"low={_range(low)} and high={_range(high)}",
        )


def _range(bound: float | Tensor) -> str:
    if not isinstance(bound, Tensor) or bound.min() == bound.max():
        return f"{float(bound if not isinstance(bound, Tensor) else bound.min()):.4g}"
    return f"{float(bound.min()):.4g} to {float(bound.max()):.4g}"


def _check_inside(x: Tensor, low: Tensor, high: Tensor, linear: Linear) -> None:
    """Raise unless the box contains the input."""
    slack = SLACK * (high - low)
    if bool((x >= low - slack).all()) and bool((x <= high + slack).all()):
        return
    operation = linear.operation
    raise InputError(
        "The bounds of a box must contain the input of the operation they are given for",
        found=f"low={_range(low)} and high={_range(high)} for an input of {_range(x)} at "
        f"`{operation.name}` (operation {operation.number}, layer "
        f"`{operation.path or 'the model itself'}`)",
        hint="Bounds are those of what the model reads, after any normalization: for pixels from "
        "0 to 1 they are (0 - mean) / std and (1 - mean) / std of each channel.",
    )
