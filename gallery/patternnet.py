"""PatternNet and PatternAttribution: what neurons detect, and what their weights only cancel.

Shows the gradient, the signal (PatternNet) and its contributions (PatternAttribution) on digits.
Weights also cancel what gets in the way, so the gradient is no picture of the digit; contributions
of the signal, learned from the data, follow the strokes. The table is the quality of each estimate
of the signal: one if what it leaves of the input says nothing of the answer. Weights (`filter`) are
not half as good at that in the first layer, and in the others no better than any direction
(`random`).
Misleads because the signal is learned from data: with too few, or others, it is another one. What
goes along with a class is drawn whether or not the net would miss it, and every neuron adds all of
what it detects, so the numbers of PatternNet grow from layer to layer: proportions count.
"""

from dataclasses import replace

import torch
from _panels import panels, save
from _training import accuracy, train
from sklearn.datasets import load_digits
from torch import nn

import pellucid as pl

images, classes = (torch.tensor(part) for part in load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
torch.manual_seed(0)
layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10))
train(model, images[:1400], classes[:1400], epochs=8, rate=2e-3, batch=64)
print(f"digits right: {accuracy(model, images[1400:], classes[1400:]):.0%}")

patterns = pl.fit_patterns(model, images[:1400].split(200))
print(patterns.quality.pivot(index="layer", columns="estimator", values="rho").round(2))

methods = ["saliency", pl.PatternNet(patterns=patterns), pl.PatternAttribution(patterns=patterns)]
titles = ["gradient", "PatternNet", "PatternAttribution"]
shown = [int((classes[1400:] == digit).nonzero()[0]) + 1400 for digit in (0, 3, 5)]
found = [pl.compare(model, images[i : i + 1], methods) for i in shown]
inputs = [{"the digit": replace(each[0], values=each[0].inputs)} for each in found]
maps = [dict(zip(titles, each, strict=True)) for each in found]
rows = [one | rest for one, rest in zip(inputs, maps, strict=True)]
save(panels(*rows), "patternnet")
for title in titles:
    pairs = [torch.stack([m[title].values.flatten(), m[title].inputs.flatten()]) for m in maps]
    mean = torch.stack([pair.corrcoef()[0, 1] for pair in pairs]).mean()
    print(f"{title}: correlation with the digit {mean:.2f}")
