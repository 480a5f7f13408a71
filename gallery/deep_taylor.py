"""Deep Taylor decomposition: what the evidence is made of, without a word against it.

Shows values that are never negative, since each neuron's share of the score is taken apart at a
point where that neuron just falls silent. Where the inputs may be any number, the first layer
shares by its weights alone; within the range of pixels it looks at the values too.
Misleads where biases do the work: they are ignored, and neurons without any positive input keep
what they got. Of this score less than a thousandth reaches the pixels, says the ledger, and a note
names the layers with negative inputs, for which the theory is not made.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")
mean, std = (torch.tensor(getattr(entry.preprocess, name)) for name in ("mean", "std"))
METHODS = {
    "any number": pl.DeepTaylor(),
    "pixels": pl.DeepTaylor(low=(0 - mean) / std, high=(1 - mean) / std),
}

rows = {}
for name in ("Egyptian Mau", "espresso"):
    rows[name] = {
        f"{inputs}: {name}": method(entry.model, photo, target=entry.index(name))
        for inputs, method in METHODS.items()
    }
save(panels(*rows.values(), picture=entry.inverse(photo)), "deep_taylor")

for name, row in rows.items():
    for inputs, found in zip(METHODS, row.values(), strict=True):
        right = found.values[..., 112:].sum() / found.values.sum()
        print(
            f"{name}, {inputs}: score {found.score.item():.2f}, pixels {found.values.sum():.3g}, "
            f"least {found.values.min():.2g}, on the cup {right:.0%}"
        )
print(next(note for note in found.notes if note.startswith("Deep Taylor")))
