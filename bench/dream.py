"""What dreams cost beside the bare forward and backward passes of as many inputs.

    python bench/dream.py                           # 64 classes of MobileNetV2, 64 by 64
    python bench/dream.py --size 96 --dreams 16 --recipe fourier

The bare passes are those of one batch of all dreams, with the gradient of the sum of their scores
at the inputs and at nothing else. Both take as many steps, in turns; times are of the processor.
One thread.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

# Set before torch is imported, so that no library starts threads of its own.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from torch import Tensor

import pellucid as pl

BAR = 1.1
HEAD = ("recipe", "dreams", "steps", "ms a bare step", "ms a step", "ratio", "bar", "")
FORM = "{:<9} {:>6} {:>6} {:>15} {:>10} {:>6} {:>4} {:<7}"


def bare(model: Callable[[Tensor], Tensor], x: Tensor, classes: Tensor) -> None:
    """One pass forward and back."""
    free = x.detach().requires_grad_()
    score = model(free).gather(1, classes).sum()
    torch.autograd.grad(score, free)


def seconds(work: Callable[[], object]) -> float:
    """The processor time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(model: Callable[[Tensor], Tensor], recipe: str, options: argparse.Namespace) -> None:
    """Print one row: the median of rounds in which both are measured, one after the other."""
    count, steps = options.dreams, options.steps
    x, classes = torch.zeros(count, 3, options.size, options.size), torch.arange(count)

    def passes() -> None:
        for _ in range(steps):
            bare(model, x, classes[:, None])

    def dreams() -> None:
        pl.inspect.dream(model, classes, like=x[:1], recipe=recipe, steps=steps, batch_size=count)

    bare(model, x, classes[:, None])
    found = []
    for _ in range(options.rounds):
        before, own, after = seconds(passes), seconds(dreams), seconds(passes)
        found.append((own / ((before + after) / 2), (before + after) / 2, own))
    ratio, plain, own = (statistics.median(each) for each in zip(*found, strict=True))
    cells = (f"{plain / steps * 1e3:.0f}", f"{own / steps * 1e3:.0f}", f"{ratio:.2f}", BAR)
    verdict = "reached" if ratio <= BAR else "missed"
    print(FORM.format(recipe, count, steps, *cells, verdict), flush=True)


def main() -> None:
    """Measure the recipes that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", nargs="*", default=["plain"])
    for name, default in (("dreams", 64), ("size", 64), ("steps", 24), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    entry = pl.zoo.load("mobilenet_v2")
    print(FORM.format(*HEAD))
    for recipe in options.recipe:
        measure(entry.model, recipe, options)


if __name__ == "__main__":
    sys.exit(main())
