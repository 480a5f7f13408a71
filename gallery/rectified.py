"""Saliency, deconvolution and guided back-propagation, side by side.

Shows what the three do at a ReLU: pass the gradient where the unit was active, where the signal is
positive, or where both hold. The more is removed, the sharper is the picture.
Misleads because sharp is not specific: the picture holds a cat and a cup, and guided
back-propagation draws both, whichever is asked for. Deconvolution knows the photograph only
through the switches of max-pooling, of which MobileNetV2 has none: it draws no photograph at all.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

METHODS = ["saliency", "deconvnet", "guided_backprop"]

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")
classes = {"cat": entry.index("Egyptian Mau"), "espresso": entry.index("espresso")}

found = {name: pl.compare(entry.model, photo, METHODS, target=k) for name, k in classes.items()}
rows = [{f"{METHODS[i]}: {name}": each for i, each in enumerate(found[name])} for name in classes]
save(panels(*rows, picture=entry.inverse(photo)), "rectified")

other = entry.preprocess(PHOTOS / "coffee.png")
for i, method in enumerate(METHODS):
    elsewhere = pl.explain(entry.model, other, method, target=classes["cat"])
    maps = [found["cat"][i], found["espresso"][i], elsewhere]
    table = torch.corrcoef(torch.stack([each.values.sum(1).flatten() for each in maps]))
    print(
        f"{method}: correlation {table[0, 1]:.2f} with the map of the other class, "
        f"{table[0, 2]:.2f} with that of another photograph"
    )
