"""Two models, one photograph: do they look at the same things?

Shows the same question put to two networks, by Grad-CAM and by integrated gradients (IG). Each
normalizes its pixels in its own way, so both are given the plain ones: a model is any callable.
Misleads if scores are compared: those of two models have no common unit. So each map has its own
scale, and what can be compared is where the evidence lies.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

METHODS = {"Grad-CAM": "gradcam", "IG": "integrated_gradients"}


def of_pixels(entry):
    """A model of the zoo for pixels from 0 to 1."""
    mean, std = (
        torch.tensor(each).reshape(3, 1, 1)
        for each in (entry.preprocess.mean, entry.preprocess.std)
    )
    return lambda pixels: entry.model((pixels - mean) / std)


entries = [pl.zoo.load(name) for name in ("mobilenet_v2", "efficientnet_lite0")]
picture = entries[0].picture(PHOTOS / "cat_and_coffee.png")
pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255

espresso = entries[0].index("espresso")
models, methods = [of_pixels(entry) for entry in entries], list(METHODS.values())
found = pl.compare(models, pixels, methods, target=espresso)
names = [f"{entry.name}: {method}" for entry in entries for method in METHODS]
save(panels(dict(zip(names, found, strict=True)), picture=picture), "two_models")

for name, each in zip(names, found, strict=True):
    positive = each.values.clamp(min=0)
    cup = positive[..., positive.shape[3] // 2 :].sum() / positive.sum()
    chance = each.output.softmax(1)[0, espresso]
    print(f"{name}: espresso with {chance:.0%}; {cup:.0%} of what speaks for it is on the cup")
