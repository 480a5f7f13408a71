"""Guided Grad-CAM: guided back-propagation, where Grad-CAM finds the class.

Shows fine structure that belongs to one class, which neither of the two can alone.
Misleads because only the place is about the class: the structure within it is what guided
back-propagation draws for any class.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

METHODS = ["gradcam", "guided_backprop", "guided_gradcam"]

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")

rows = []
for name in ("Egyptian Mau", "espresso"):
    found = pl.compare(entry.model, photo, METHODS, target=entry.index(name))
    rows.append({f"{m}: {name}": each for m, each in zip(METHODS, found, strict=True)})
save(panels(*rows, picture=entry.inverse(photo)), "guided_gradcam")

for method, *pair in zip(METHODS, *(row.values() for row in rows), strict=True):
    sizes = [each.values.abs().sum(1) for each in pair]
    cups = [float(size[..., 112:].sum() / size.sum()) for size in sizes]
    alike = torch.corrcoef(torch.stack([size.flatten() for size in sizes]))[0, 1]
    print(
        f"{method}: on the cup {cups[0]:.0%} for cat, {cups[1]:.0%} for espresso; "
        f"correlation of the two maps {alike:.2f}"
    )
