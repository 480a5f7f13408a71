"""What EK-FAC costs: a network of a million parameters, 5,000 digits, ten test examples.

    python bench/influence.py                       # 784-850-400-10, 5,000 examples
    python bench/influence.py --examples 1000 --width 400

`planned` is the memory that is stated before the work starts, `peak` by how much the process has
grown by its end, beside what training left: the bars are that it ends in minutes, and that the peak
is at most what was planned and the runs of the network themselves take. `passes` is the time over
that of one plain pass forward and backward over the examples. Digits are those of MNIST, repeated
where there are not enough.
"""

import argparse
import resource
import sys
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import pellucid as pl
from pellucid.errors import InputError

sys.path.insert(0, "gallery")
from _digits import digits

FORM = "{:<16} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}"


def grown():
    """The largest size that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def trained(x, y, width):
    """Three dense layers, trained for a few epochs."""
    torch.manual_seed(0)
    layers = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 400), nn.ReLU()]
    net = nn.Sequential(nn.Flatten(), *layers, nn.Linear(400, 10))
    step = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(3):
        for rows in torch.randperm(len(x)).split(64):
            step.zero_grad()
            cross_entropy(net(x[rows]), y[rows]).backward()
            step.step()
    return net.eval()


def plain(net, x, y):
    """The seconds of one pass forward and backward, in batches of 64."""
    start = time.perf_counter()
    for rows in torch.arange(len(x)).split(64):
        cross_entropy(net(x[rows]), y[rows]).backward()
    net.zero_grad()
    return time.perf_counter() - start


def main():
    """Measure influence and self-influence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("examples", 5000), ("width", 850), ("tests", 10), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, y = digits("train")
    rows = torch.arange(options.examples) % len(x)
    x, y, (tests, wanted) = x[rows], y[rows], digits("test")
    net = trained(x, y, options.width)
    one = plain(net, x, y)
    asked = (tests[: options.tests], wanted[: options.tests])
    runs = {
        "ekfac": lambda **more: pl.exemplar.influence(net, (x, y), asked, how="ekfac", **more),
        "self-influence": lambda **more: pl.exemplar.self_influence(
            net, (x, y), how="ekfac", **more
        ),
    }
    print(FORM.format("work", "parameters", "examples", "seconds", "passes", "planned", "peak"))
    for name, run in runs.items():
        before, start = grown(), time.perf_counter()
        found = run()
        seconds = time.perf_counter() - start
        count = sum(each.numel() for each in net.parameters())
        sizes = [f"{each / 2**20:.0f} MB" for each in (found.memory, grown() - before)]
        cells = (f"{count:,}", len(x), f"{seconds:.1f}", f"{seconds / one:.1f}", *sizes)
        print(FORM.format(name, *cells), flush=True)
        print(f"  {found.convergence}")
    try:
        runs["ekfac"](memory=2**24)
    except InputError as error:
        print(f"within 16 MB: {error}")


if __name__ == "__main__":
    sys.exit(main())
