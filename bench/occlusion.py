"""What exact incremental occlusion costs beside as many full passes, and the work on paper.

    python bench/occlusion.py                       # VGG-16 and ResNet-18, window 16, stride 8
    python bench/occlusion.py resnet18 --size 112 --window 8 --stride 8

`products` are the multiply-adds of full passes over those on regions, counted from the shapes; the
time ratio is that of processor time, of the full passes of all windows over all of `Occlusion`:
recording, planning, regions and the windows that are checked. Full passes are timed in batches of
`--batch` and multiplied, in turns with the other, since all of them would take minutes.
`difference` is the largest of the drops of some windows from those of full passes, as a part of
the largest drop; `rounding` is that of these full passes from double precision, below which none
can be expected. One thread.
"""

import argparse
import copy
import os
import statistics
import sys
import time

# Set before torch is imported, so that no library starts threads of its own.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from networks import build
from torch import Tensor, nn

import pellucid as pl
from pellucid.perturb.incremental.plan import Course
from pellucid.perturb.incremental.run import Readout
from pellucid.perturb.windows import Windows

BARS = {"vgg16": 5.0, "resnet18": 2.5}
HEAD = (
    "network",
    "windows",
    "products",
    "bar",
    "time",
    "",
    "ms a pass",
    "ms a window",
    "difference",
    "rounding",
)
FORM = "{:<9} {:>7} {:>9} {:>4} {:>6} {:<7} {:>10} {:>12} {:>11} {:>9}"


def products(model: nn.Module, x: Tensor, windows: Windows, k: int) -> float:
    """The multiply-adds of full passes over those on regions."""
    tape = pl.record(model, x).aim(pl.Target.of(k))
    course = Course.of(tape, tape.entries[0], Readout.of(tape).ends)
    done = sum(len(p.numbers) * p.cost.products for p in course.arranged(windows))
    return windows.total * course.cost.products / done


def pass_seconds(model: nn.Module, x: Tensor, batch: int) -> float:
    """The processor time of one full pass, in a batch of so many."""
    rows = x.expand(batch, *x.shape[1:]).contiguous()
    start = time.process_time()
    with torch.no_grad():
        model(rows)
    return (time.process_time() - start) / batch


def drops_of(model: nn.Module, x: Tensor, hidden: Tensor, k: int) -> Tensor:
    """The drops of full passes, in double precision."""
    with torch.no_grad():
        rest = torch.cat([model(each)[:, k] for each in hidden.split(4)])
        return (model(x)[:, k] - rest).double()


def differences(
    model: nn.Module, x: Tensor, found: Tensor, windows: Windows, k: int
) -> list[float]:
    """How far drops on regions are from those of full passes, and these from double precision."""
    numbers = torch.arange(0, windows.total, max(1, windows.total // 12))
    hidden = torch.where(windows.members(numbers), 0, x)
    drops = drops_of(model, x, hidden, k)
    exact = drops_of(copy.deepcopy(model).double(), x.double(), hidden.double(), k)
    alone = windows.average(torch.eye(windows.total, dtype=torch.float64))  # of each, on elements
    solved = torch.linalg.lstsq(alone.flatten(1).T, found.double().flatten().unsqueeze(1)).solution
    apart = solved[numbers, 0] - drops, drops - exact
    return [float(each.abs().max() / found.abs().max()) for each in apart]


def measure(name: str, options: argparse.Namespace) -> None:
    """Print one row."""
    model, k = build(name, size=options.size), 3
    x = torch.randn(1, 3, options.size, options.size, generator=torch.Generator().manual_seed(0))
    windows = Windows.of(x, options.window, options.stride)
    counted = products(model, x, windows, k)
    method = pl.Occlusion(window=options.window, stride=options.stride)
    pass_seconds(model, x, options.batch)
    passes, times = [], []
    for _ in range(options.rounds):
        passes.append(pass_seconds(model, x, options.batch))
        start = time.process_time()
        found = method(model, x, target=k)
        times.append(time.process_time() - start)
        passes.append(pass_seconds(model, x, options.batch))
    one, all_of_it = statistics.median(passes), statistics.median(times)
    ratio, bar = windows.total * one / all_of_it, BARS.get(name)
    verdict = "" if bar is None else "reached" if ratio >= bar else "missed"
    apart = ["-", "-"]
    if windows.total <= 800:
        apart = [f"{each:.0e}" for each in differences(model, x, found.values, windows, k)]
    per_window = f"{all_of_it / windows.total * 1e3:.1f}"
    cells = (windows.total, f"{counted:.2f}", bar or "", f"{ratio:.2f}", verdict)
    print(FORM.format(name, *cells, f"{one * 1e3:.1f}", per_window, *apart), flush=True)
    print(f"{'':<9} {' '.join(found.notes)} {found.evaluations}", flush=True)


def main() -> None:
    """Measure the networks that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(BARS))
    for name, default in (
        ("size", 224),
        ("window", 16),
        ("stride", 8),
        ("batch", 8),
        ("rounds", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(FORM.format(*HEAD))
    for name in options.networks:
        measure(name, options)


if __name__ == "__main__":
    sys.exit(main())
