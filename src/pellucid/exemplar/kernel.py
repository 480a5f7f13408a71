"""The Gaussian kernel between samples, read by columns and by means, never as a whole."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.inspect.distances import HELD, blocks
from pellucid.seeding import seeded

# So many pairs of samples say how wide a kernel has to be, where there are too many to take all.
PAIRS = 10_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernel:
    """How alike samples (sample, feature) are, from 0 to 1.

        k(a, b) = exp(-gamma |a - b|^2)

    >>> Kernel(samples=torch.tensor([[0.0], [1.0]]), gamma=1.0).mean
    tensor([0.6839, 0.6839], dtype=torch.float64)
    """

    samples: Tensor
    gamma: float

    def columns(self, rows: Tensor | list[int]) -> Tensor:
        """The kernel of all samples with some of them, of shape (sample, row)."""
        found = [block for _, block in blocks(self.samples[rows], self.samples)]
        return torch.cat(found).mul_(-self.gamma).exp_().T

    @cached_property
    def mean(self) -> Tensor:
        """The mean kernel of each sample with all, of shape (sample,)."""
        sums = [
            block.mul_(-self.gamma).exp_().mean(1)
            for _, block in blocks(self.samples, self.samples)
        ]
        return torch.cat(sums)

    def within(self, rows: list[int]) -> Tensor:
        """The kernel among some samples, of shape (row, row)."""
        some = self.samples[rows]
        found = torch.cat([block for _, block in blocks(some, some)])
        return found.mul_(-self.gamma).exp_()


def usual_gamma(samples: Tensor, seed: int = 0) -> float:
    """One over the median squared distance of pairs of samples that are no copies.

    Of more than 2048 samples, 10,000 pairs are drawn.
    Source: Gretton et al. (2012), A Kernel Two-Sample Test.

    >>> usual_gamma(torch.tensor([[0.0], [0.0], [2.0]]))
    0.25
    """
    if len(samples) ** 2 <= HELD:
        distances = torch.cat([block.flatten() for _, block in blocks(samples, samples)])
    else:
        draw = seeded(seed)
        first, second = torch.randint(len(samples), (2, PAIRS), generator=draw).to(samples.device)
        a, b = (samples[each].to(wide(samples)) for each in (first, second))
        distances = (a - b).square().sum(1)
    distances = distances[distances > 0]
    return 1 / float(distances.median()) if len(distances) else 1.0
