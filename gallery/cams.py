"""Class activation maps: where the last feature maps speak for a class.

Shows the cat on the left for one class and the cup on the right for the other. CAM needs a head of
average pooling and one linear layer, as here; Grad-CAM is the same map there, up to its scale, and
runs on other heads too. Grad-CAM++ and Layer-CAM weigh every position by its own gradient.
Misleads by looking sharper than it is: a map of 7 x 7 cells is drawn smoothly on 224 x 224 pixels.
Grad-CAM++ has no negative weights, so for the cat it lights up the cup as well.
"""

from _panels import PHOTOS, panels, save

import pellucid as pl

METHODS = ["cam", "gradcam", "gradcam_plus_plus", "layercam"]

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")

rows = {}
for name in ("Egyptian Mau", "espresso"):
    found = pl.compare(entry.model, photo, METHODS, target=entry.index(name))
    rows[name] = {f"{m}: {name}": each for m, each in zip(METHODS, found, strict=True)}
save(panels(*rows.values(), picture=entry.inverse(photo)), "cams")

for row in rows.values():
    for title, each in row.items():
        positive = each.values.clamp(min=0)
        cup = positive[..., 112:].sum() / positive.sum()
        print(f"{title}: {cup:.0%} of the positive evidence is on the cup")

exact = pl.explain(entry.model, photo, "cam", upsample=False)
law = exact.completeness
explained, expected = law.explained.item(), law.expected.item()
print(f"the 7 x 7 cells of CAM sum to {explained:.3f}; the score less its bias is {expected:.3f}")
