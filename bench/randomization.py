"""What the sanity check by randomized layers costs beside explaining as many models.

    python bench/randomization.py                              # ResNet-18, each method by itself
    python bench/randomization.py --methods saliency lrp --size 112 --batch 8

`floor` is the time of explaining the same photographs by as many models as there are layers: by one
copy, the numbers of one layer of which are drawn anew each time, so that nothing that methods keep
of weights can be used again. `check` is that of `model_randomization`: a copy of the model, its
layers one by one from the output, and the similarity of all maps. Both in turns, on one thread; the
ratio is that of the medians. `similarities` is what the maps' comparisons alone take of it.
"""

import argparse
import copy
import os
import statistics
import time

# Set before torch is imported, so that no library starts threads of its own.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from measure import interleaved
from networks import build

import pellucid as pl
from pellucid.evaluate.randomization.layers import steps_of
from pellucid.evaluate.similarity import maps, similarity_of
from pellucid.structure import Inputs

BAR = 1.15
FORM = "{:<24} {:>6} {:>9} {:>9} {:>7} {:>5} {:<8} {:>12}"


def row(model, x, k, methods, similarity, rounds):
    """Print one row: all methods together."""
    found = list(pl.compare(model, x, methods, target=k))
    metric = pl.evaluate.ModelRandomization(similarity=similarity)

    def floor():
        other = copy.deepcopy(model)
        for step in steps_of(other, Inputs.of(x[:1]), None):
            with torch.no_grad():
                for tensor in step.tensors[0]:
                    tensor.normal_(0, float(tensor.std()) if tensor.numel() > 1 else 1.0)
            pl.compare(other, x, methods, target=k)

    steps = len(steps_of(copy.deepcopy(model), Inputs.of(x[:1]), None))
    jobs = {"floor": floor, "check": lambda: pl.evaluate.measure(model, found, metric)}
    seconds = {name: statistics.median(each) for name, each in interleaved(jobs, rounds).items()}
    way = similarity_of(similarity)
    started = time.perf_counter()
    for each in found:
        way(maps([each.values]), maps([each.values]))
    compared = (time.perf_counter() - started) / 2 * (steps + 1)
    ratio = seconds["check"] / seconds["floor"]
    cells = [f"{seconds[name]:.2f} s" for name in ("floor", "check")]
    verdict = "reached" if ratio <= BAR else "missed"
    part = f"{compared / seconds['check']:.1%}"
    print(FORM.format("+".join(methods), steps, *cells, f"{ratio:.3f}", BAR, verdict, part))


def main():
    """Print all rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--methods", nargs="+", default=["saliency", "gradcam", "lrp"])
    parser.add_argument("--similarity", default="absolute_spearman")
    for name, default in (("size", 224), ("batch", 4), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, k = build(options.network, size=options.size), 3
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.batch, 3, options.size, options.size, generator=generator)
    print(FORM.format("methods", "layers", "floor", "check", "ratio", "bar", "", "similarities"))
    for methods in [*([each] for each in options.methods), options.methods]:
        row(model, x, k, methods, options.similarity, options.rounds)


if __name__ == "__main__":
    main()
