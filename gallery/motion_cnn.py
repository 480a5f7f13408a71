"""Human motion: which sensor of a watch, and which moment, tells running from walking?

Shows relevance for each channel and moment of six signals, on the signals themselves. The net is
trained here, in seconds, on 40 recordings of a smart watch (BasicMotions, of the UEA archive). It
counts the strokes of badminton and the swings of the arm; standing is told by where gravity pulls.
Summed over the recordings of a class, values say what the net goes by in general.
Misleads about what is typical of a class: a net needs no more than tells these four apart, and one
from another seed goes by other channels of badminton.
"""

import torch
from _motion import CHANNELS, CLASSES, RATE, recordings
from _panels import save
from _training import accuracy, train
from matplotlib.figure import Figure
from torch import nn

import pellucid as pl

LRP = pl.LRP(composite="epsilon")


def made(seed):
    """A small convolution net, trained on all of the training recordings."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv1d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 5, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, len(CLASSES)),
    )  # fmt: skip
    return train(model, *recordings("TRAIN"), epochs=60, rate=0.005, batch=10)


signals, classes = recordings("TEST")
models = [made(seed) for seed in (0, 1)]
for seed, model in enumerate(models):
    print(f"seed {seed}: {accuracy(model, signals, classes):.0%} of {len(signals)} held-out right")
found = [LRP(model, signals, target=classes.tolist()) for model in models]

figure = Figure(figsize=(11, 8), dpi=100, layout="constrained")
for ax, k in zip(figure.subplots(2, 2).flat, range(4), strict=True):
    row = int((classes == k).nonzero()[0])
    pl.plot.draw(found[0], ax, row=row, names=CHANNELS, rate=RATE, title=CLASSES[k])
save(figure, "motion_cnn")

for k, name in enumerate(CLASSES):
    sums = torch.stack([each.values[classes == k].sum((0, 2)) for each in found])
    shares = sums[0] / sums[0].abs().sum()
    strongest = ", ".join(f"{CHANNELS[i]} {shares[i]:+.0%}" for i in shares.abs().topk(3).indices)
    print(f"{name}: {strongest}; correlation with the other seed {torch.corrcoef(sums)[0, 1]:.2f}")
