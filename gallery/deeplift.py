"""DeepLIFT and DeepSHAP: what sets an eight apart from a three, pixel by pixel.

Shows what each pixel adds to the score of 8 over 3, compared with blank paper (DeepLIFT, by two
rules) or with twenty other digits (DeepSHAP). Differences pass what is saturated, where a gradient
is blind. The test is that of the paper: of eights, the tenth of the pixels with the largest values
is erased, and the score of 8 over 3 falls; the more, the better they were found. On a net as
shallow as this the plain gradient does as well; what DeepLIFT adds is that its values sum up.
Misleads if the reference is forgotten: ink that both digits have adds nothing, and against other
digits paper speaks as well as ink. Rescale shares by the sum of what comes in, so that parts which
cancel there get nothing; RevealCancel tells them apart.
"""

import torch
from _panels import panels, save
from _training import accuracy, train
from sklearn.datasets import load_digits
from torch import nn

import pellucid as pl

images, classes = (torch.tensor(part) for part in load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
torch.manual_seed(0)
layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
model = nn.Sequential(*layers, nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
train(model, images[:1400], classes[:1400], epochs=20, rate=3e-3, batch=64)
print(f"digits right: {accuracy(model, images[1400:], classes[1400:]):.0%}")

eights = images[1400:][classes[1400:] == 8]
methods = {
    "gradient x input": pl.GradientXInput(),
    "integrated gradients": pl.IntegratedGradients(),
    "DeepLIFT, Rescale": pl.DeepLIFT(),
    "DeepLIFT, RevealCancel": pl.DeepLIFT(rule="reveal_cancel"),
    "DeepSHAP, 20 digits": pl.DeepSHAP(baseline=images[:20]),
}
found = pl.compare(model, eights, list(methods.values()), target=(8, 3))
save(panels({title: each[0] for title, each in zip(methods, found, strict=True)}), "deeplift")


def contrast(x):
    """The score of 8 less that of 3, on average."""
    return (model(x)[:, 8] - model(x)[:, 3]).mean().item()


print(f"score of 8 over 3: {contrast(eights):.1f}")
for title, each in zip(methods, found, strict=True):
    most = each.values.flatten(1).argsort(1, descending=True)[:, :6]
    erased = eights.flatten(1).scatter(1, most, 0.0).reshape(eights.shape)
    law = each.completeness
    left = "claims no sum" if law is None else f"off by {law.residual.abs().max():.0e}"
    print(f"{title}: falls to {contrast(erased):.1f}; {left}")
