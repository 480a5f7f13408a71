"""What RISE spends beyond the model: milliseconds an evaluation, at 224 x 224 with 7 x 7 cells.

    F       forward passes without gradients on as many images, in batches of the same size
    each    one explanation of one image, by as many masks

Own work is (each - F) / evaluations: masks, what is seen through them, and the sums of their first
and second powers. Bar: 0.3 ms, as for other methods on images. One thread.
"""

import argparse
import os
import statistics

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from measure import Job, interleaved, peak_bytes
from torch import Tensor, nn

import pellucid as pl

SIDE, CELL, BAR = 224, 32, 0.3


def model() -> nn.Module:
    """A net that costs next to nothing, so that what else is done shows."""
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


def main() -> None:
    """Print one line for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batches", type=int, nargs="*", default=[16, 50])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    net, x = model(), torch.rand(1, 3, SIDE, SIDE)
    for batch in given.batches:
        method = pl.RISE(samples=given.samples)
        ask = lambda method=method, batch=batch: method(net, x, target=0, batch_size=batch)  # noqa: E731
        jobs = {"F": bare(net, x, given.samples, batch), "rise": ask}
        found = interleaved(jobs, given.rounds)
        own = statistics.median(
            1000 * (each - least) / given.samples
            for each, least in zip(found["rise"], found["F"], strict=True)
        )
        print(
            f"rise, batches of {batch}: {own:.3f} ms an evaluation (bar {BAR}); "
            f"{ask().evaluations}; peak {peak_bytes(ask) / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
