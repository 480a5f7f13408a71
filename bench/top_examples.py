"""What the search for top examples costs beside the plain forward passes over the data.

    python bench/top_examples.py                    # digits and photographs
    python bench/top_examples.py digits --rows 2000 --turns 3

The time ratio is that of processor time: of `top_examples` over all channels of a layer by
activation, over bare forward passes of the same rows in batches of the same size, in turns; the
bar is 1.1. `patches` adds the receptive fields, and `maps` the deconvnet reconstruction of nine
examples of `--channels` channels, which is not part of the search. Random digits and pieces do as
well as real ones. One thread.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

# Set before torch is imported, so that no library starts threads of its own.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.batching import FORWARD_ELEMENTS, auto_rows

BAR = 1.1
FORM = "{:<13} {:>6} {:>6} {:>8} {:>10} {:>8} {:>8} {:>8}"


def digits(rows: int) -> tuple[nn.Module, Tensor, str]:
    """Two strided convolutions and two dense layers on 28 x 28."""
    convolutions = (nn.Conv2d(1, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU())
    dense = (nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10))
    return nn.Sequential(*convolutions, *dense).eval(), torch.rand(rows, 1, 28, 28), "3"


def photographs(rows: int) -> tuple[nn.Module, Tensor, str]:
    """EfficientNet-lite0 of the zoo on 224 x 224."""
    entry = pl.zoo.load("efficientnet_lite0")
    return entry.model, torch.randn(rows, 3, 224, 224), "_blocks.8"


def bare(model: nn.Module, data: Tensor) -> float:
    """The processor time of plain forward passes."""
    size = auto_rows(data, 1, FORWARD_ELEMENTS)
    started = time.process_time()
    with torch.no_grad():
        for part in data.split(size):
            model(part)
    return time.process_time() - started


def searched(model: nn.Module, data: Tensor, layer: str, channels: int | None, **options) -> float:
    """The processor time of a search."""
    wanted = None if channels is None else list(range(channels))
    started = time.process_time()
    pl.top_examples(model, data, layer, wanted, by="activation", **options)
    return time.process_time() - started


def in_turns(
    model: nn.Module, data: Tensor, turns: int, work: Callable[[], float]
) -> tuple[float, float]:
    """The median ratio of some work to bare passes before it, and the median of these."""
    times = [(bare(model, data), work()) for _ in range(turns)]
    ratios = [own / plain for plain, own in times]
    return statistics.median(ratios), statistics.median(plain for plain, _ in times)


def main() -> None:
    """Measure in turns, and print medians of ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", default=["digits", "photographs"])
    parser.add_argument("--rows", type=int, help="samples: 5000 digits, 96 photographs")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--channels", type=int, default=8)
    asked = parser.parse_args()
    print(FORM.format("data", "rows", "bar", "search", "", "patches", "maps", "seconds"))
    for what in asked.what:
        torch.manual_seed(0)
        made = {"digits": (digits, 5000), "photographs": (photographs, 96)}[what]
        model, data, layer = made[0](asked.rows or made[1])
        searched(model, data, layer, None, method=None)  # to warm up
        # The search takes turns with the bare passes alone: what frees more memory than it, as the
        # maps do, makes whatever runs next slower.
        search = partial(searched, model, data, layer, None, method=None)
        draw = partial(searched, model, data, layer, asked.channels, patches=True)
        alone, plain = in_turns(model, data, asked.turns, search)
        patches, _ = in_turns(model, data, 1, partial(search, patches=True))
        maps, _ = in_turns(model, data, 1, draw)
        kept = "held" if alone <= BAR else "NOT held"
        cells = [f"{each:.2f}" for each in (alone, patches, maps, plain)]
        print(FORM.format(what, len(data), BAR, cells[0], kept, *cells[1:]))


if __name__ == "__main__":
    main()
