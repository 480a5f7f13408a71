"""What pixel flipping costs beside the bare forward passes, and five methods beside one.

    python bench/flipping.py                       # ResNet-18, 64 images of 112 x 112, 49 patches
    python bench/flipping.py vgg16 --size 224 --batch 16 --rounds 3

`alone` is the time of flipping all images by one explanation over that of as many bare forward
passes, in batches of the same size; `together` that of five explanations over that of one, without
the time to explain. Bars: 1.05 and 4.95. Rows are counted: one for the whole image, one for none of
it, and one for each step and method between. One thread.
"""

import argparse
import os
import sys

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from measure import interleaved, ratios
from networks import build

import pellucid as pl

PATCHES, RIVALS = 7, 5
HEAD = ("network", "images", "rows", "calls", "alone", "bar", "together", "bar")
FORM = "{:<9} {:>6} {:>7} {:>6} {:>14} {:>5} {:>14} {:>5}"


def rivals(model, x):
    """Five explanations, by values drawn at random: what they say does not change the work."""
    found = pl.explain(model, x, "gradient_x_input", target=3)
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(x.shape, generator=generator) for _ in range(RIVALS)]
    return [type(found)(**{**vars(found), "values": values}) for values in drawn]


def row(name, options):
    """Measure one network."""
    model = build(name, size=options.size)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.images, 3, options.size, options.size, generator=generator)
    found = rivals(model, x)
    metric = pl.evaluate.AOPC(features=pl.Features.grid(PATCHES))

    def flip(count):
        return pl.evaluate.measure(model, found[:count], metric, batch_size=options.batch)

    (once,) = flip(1)
    forward = once.evaluations.forward
    source = x[torch.arange(options.batch) % len(x)]

    def bare():
        with torch.no_grad():
            for start in range(0, forward, options.batch):
                model(source[: min(options.batch, forward - start)])

    jobs = {"bare": bare, "one": lambda: flip(1), "five": lambda: flip(RIVALS)}
    seconds = interleaved(jobs, options.rounds)
    alone = ratios(seconds["one"], seconds["bare"])
    together = ratios(seconds["five"], seconds["one"])
    both = ["{:.3f} / {:.3f}".format(*each) for each in (alone, together)]
    cells = (name, options.images, forward, once.evaluations.calls)
    print(FORM.format(*cells, both[0], 1.05, both[1], 4.95), flush=True)


def main():
    """Measure the networks that are named; ratios are those of medians and of minima."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=["resnet18"])
    for name, default in (("size", 112), ("images", 64), ("batch", 16), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(FORM.format(*HEAD))
    for name in options.networks:
        row(name, options)


if __name__ == "__main__":
    sys.exit(main())
