"""Adam, without an optimizer of torch: the first of these imports the whole compiler."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# How slowly the two averages move, and what stands for zero.
MOMENTA, TINY = (0.9, 0.999), 1e-8


def moments_of(like: Tensor) -> list[Tensor]:
    """The two averages of slopes and of their squares, before the first step."""
    return [torch.zeros_like(like) for _ in MOMENTA]


def direction(slope: Tensor, moments: Sequence[Tensor], step: int) -> Tensor:
    """Where step number `step`, from 1, goes; the moments are brought up to date.

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
        d = m / (1 - b1^step) / (sqrt(v / (1 - b2^step)) + 1e-8)

    Source: Kingma and Ba (2015), Adam: A Method for Stochastic Optimization.

    >>> direction(torch.tensor([5.0, -0.1]), moments_of(torch.zeros(2)), 1)
    tensor([ 1., -1.])
    """
    for power, (moment, keep) in enumerate(zip(moments, MOMENTA, strict=True), 1):
        moment.mul_(keep).add_(slope**power, alpha=1 - keep)
    first, second = (m / (1 - keep**step) for m, keep in zip(moments, MOMENTA, strict=True))
    return first / (second.sqrt() + TINY)


class Descent:
    """Steps down of some weights, which are written to."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weights = list(weights)
        self.moments = [moments_of(weight) for weight in self.weights]
        self.steps = 0

    def step(self, slopes: Iterable[Tensor], rate: float) -> None:
        """Go one step, of length `rate` in each number."""
        self.steps += 1
        with torch.no_grad():
            for weight, moments, slope in zip(self.weights, self.moments, slopes, strict=True):
                weight.sub_(direction(slope, moments, self.steps), alpha=rate)
