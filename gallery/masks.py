"""Masks: the least that must be hidden for a score to be gone, and what has to be seen.

Shows, learned by gradient steps, the part of the photograph without which the score falls to that
of a blurred copy (meaningful perturbation), and the tenth of it that keeps the score best (extremal
perturbation); and without any gradient, where a random mask had to be open for a high score (RISE),
with a standard error for every pixel.

Misleads where a mask fools the model rather than hides the thing: each answer is about photographs
that nobody took, and depends on what is put in the place of what is hidden. A tenth of the
photograph keeps nearly all of the score of the cat and a half of that of the espresso: the search
need not find the best tenth. RISE is no sharper than its seven cells a side, and a thousand masks
leave noise that looks like structure.
"""

from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("efficientnet_lite0")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")
methods = {
    "meaningful": pl.MeaningfulPerturbation(steps=100),
    "extremal": pl.ExtremalPerturbation(steps=100),
    "RISE": pl.RISE(samples=1000),
}
classes = {"cat": "Egyptian Mau", "espresso": "espresso"}
rows = [
    {
        f"{title}, {name}": method(entry.model, photo, target=entry.index(label), batch_size=16)
        for title, method in methods.items()
    }
    for name, label in classes.items()
]
save(panels(*rows, picture=entry.inverse(photo)), "masks")

for row in rows:
    for title, each in row.items():
        positive = each.values.clamp(min=0)
        cup = positive[..., 112:].sum() / positive.sum()
        print(f"{title}: {each.evaluations}; {cup:.0%} on the cup")
        for note in each.notes:
            print(f"  {note}")
    noise = list(row.values())[-1]
    print(f"  values up to {noise.values.max():.2f}, standard errors up to {noise.error.max():.2f}")
