"""What a local model is fitted to: draws near a sample, and how much each of them counts."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Near:
    """Draws around samples, themselves first; a first axis of one is shared by all samples.

    `features` (sample or 1, draw, player) are those that the local model reads, `distance` and
    `mass` (sample or 1, draw) how far each draw is, and how much it counts without a kernel.
    """

    features: Tensor
    distance: Tensor
    mass: Tensor

    def weights(self, widths: Tensor) -> Tensor:
        """The weight of each draw, mass * exp(-distance^2 / (2 width^2)), (sample or 1, draw).

        `widths` are those of the samples, (sample or 1,).
        """
        return self.mass * torch.exp(-0.5 * (self.distance / widths.unsqueeze(1)) ** 2)
