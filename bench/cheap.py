"""A net for images that costs next to nothing, so that what else is done beside it shows."""

import torch
from measure import Job
from torch import Tensor, nn

SIDE, CELL = 224, 32


def model() -> nn.Module:
    """It reads the mean of each of 7 x 7 cells."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(CELL), nn.Flatten(), nn.Linear(3 * 49, 10)).eval()


def bare(net: nn.Module, x: Tensor, samples: int, batch: int) -> Job:
    """As many forward passes as an explanation has, on rows that are there already."""
    rows = x.expand(batch, -1, -1, -1).contiguous()

    def job() -> None:
        with torch.no_grad():
            for start in range(0, samples, batch):
                net(rows[: min(batch, samples - start)])

    return job
