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
from cheap import SIDE, bare, model
from measure import interleaved, peak_bytes

import pellucid as pl

BAR = 0.3


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
