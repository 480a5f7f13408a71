"""What Shapley values cost beside the runs of the model, and how exact they are for it.

    python bench/shapley.py            # rows of this library
    python bench/shapley.py --peers    # and of shap, where it is installed

Each row says what is beyond the model's own time: in milliseconds an evaluation, or as a part of
bare predictions on as many rows in batches of the same size. One thread.
"""

import argparse
import importlib.util
import os
import statistics
import time
import warnings

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import torch
from cheap import CELL, SIDE, model
from measure import interleaved
from sklearn.neural_network import MLPRegressor

import pellucid as pl

PLAYERS, BACKGROUND = 12, 100


class Watched:
    """A model that knows how long it has run, and on how many rows."""

    def __init__(self, model):
        self.model = model
        self.seconds, self.rows, self.calls = 0.0, 0, 0

    def __call__(self, x):
        """Run the model."""
        started = time.perf_counter()
        out = self.model(x)
        self.seconds += time.perf_counter() - started
        self.rows += len(x)
        self.calls += 1
        return out


def photo(samples, rounds):
    """Own milliseconds an evaluation of 49 patches of a photograph of 224 x 224."""
    net = model()
    x, features = torch.rand(1, 3, SIDE, SIDE), pl.Features.patches(CELL)
    methods = {
        "kernel_shap": pl.KernelSHAP(features=features, samples=samples),
        "shapley_sampling": pl.ShapleySampling(features=features, samples=samples // 48),
        "partition_shapley": pl.PartitionShapley(features=features),
    }
    for name, method in methods.items():
        for size in (1, 16):
            method(net, x, target=0, batch_size=size)
            own = []
            for _ in range(rounds):
                watched = Watched(net)
                started = time.perf_counter()
                method(watched, x, target=0, batch_size=size)
                own.append((time.perf_counter() - started - watched.seconds) / watched.rows * 1e3)
            print(f"{name:<20} batch {size:<4} {statistics.median(own):.3f} ms (bar 0.3)")


def table(seed=0):
    """A regression of twelve columns with interactions, and rows of it."""
    draw = np.random.default_rng(seed)
    data = draw.normal(size=(2000, PLAYERS))
    y = np.sin(data[:, 0] * data[:, 1]) + data[:, 2] * data[:, 3] * data[:, 4] + data[:, 8]
    y = y + np.maximum(data[:, 5], data[:, 6]) * data[:, 7]
    return data, MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=300, random_state=seed).fit(
        data, y
    )


def cost_of_table(rounds):
    """Own work of KernelSHAP, as a part of bare predictions on as many rows."""
    data, fitted = table()
    x, background = torch.from_numpy(data[1000:1001]), torch.from_numpy(data[:BACKGROUND])

    def predict(rows):
        return torch.from_numpy(fitted.predict(rows.numpy())).unsqueeze(1)

    method = pl.KernelSHAP(samples=2072, baseline=background)
    watched = Watched(predict)
    method(watched, x, target=0)
    size = -(-watched.rows // watched.calls)
    rows = background.repeat(-(-watched.rows // BACKGROUND), 1)[: watched.rows]

    def bare():
        for part in rows.split(size):
            predict(part)

    jobs = {"kernel_shap": lambda: method(predict, x, target=0), "bare": bare}
    seconds = {name: min(each) for name, each in interleaved(jobs, rounds).items()}
    part = seconds["kernel_shap"] / seconds["bare"] - 1
    print(
        f"kernel_shap, table   {watched.rows} rows in {watched.calls} calls: {part:+.1%} (bar 10 %)"
    )


def error_of_table(repeats, peers):
    """Root mean square error against the exact values, by evaluations spent."""
    data, fitted = table()
    x, background = torch.from_numpy(data[1000:1003]), torch.from_numpy(data[:BACKGROUND])

    def predict(rows):
        return torch.from_numpy(fitted.predict(rows.numpy())).unsqueeze(1)

    exact = pl.ExactShapley(baseline=background)(predict, x, target=0).players
    for samples in (250, 500, 1036, 2072):
        found = [
            pl.KernelSHAP(baseline=background, samples=samples, seed=seed)(predict, x, target=0)
            for seed in range(repeats)
        ]
        off = torch.stack([each.players - exact for each in found])
        print(f"kernel_shap          {samples:>5} coalitions: error {_size(off):.5f}")
    if not peers or importlib.util.find_spec("shap") is None:
        return
    import shap

    warnings.simplefilter("ignore")
    explainer = shap.KernelExplainer(fitted.predict, background.numpy())
    for samples in (500, 1000, 2072):
        rows = []
        for seed in range(repeats):
            np.random.seed(seed)
            options = {"nsamples": samples, "l1_reg": 0, "silent": True}
            rows.append(explainer.shap_values(x.numpy(), **options))
        off = torch.from_numpy(np.stack(rows)) - exact
        print(f"shap KernelExplainer {samples:>5} coalitions: error {_size(off):.5f}")


def _size(off):
    return float(off.square().mean().sqrt())


def main():
    """Print all rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each timing")
    parser.add_argument("--repeats", type=int, default=5, help="seeds of each error")
    parser.add_argument("--samples", type=int, default=1000, help="coalitions of a photograph")
    parser.add_argument("--peers", action="store_true", help="measure shap as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    photo(options.samples, options.rounds)
    cost_of_table(options.rounds)
    error_of_table(options.repeats, options.peers)


if __name__ == "__main__":
    main()
