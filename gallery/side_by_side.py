"""Many methods on one photograph: one recording of the run, one answer for each of them.

Shows that methods disagree, because each answers another question. Where several agree is where
to look first.
Misleads if the prettiest is taken for the truest: nothing here says which one is right.
"""

from _panels import PHOTOS, panels, save

import pellucid as pl

METHODS = ["gradient_x_input", "integrated_gradients", "lrp", "gradcam"]

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "coffee.png")

found = pl.compare(entry.model, photo, METHODS)
maps = dict(zip(METHODS, found, strict=True))
save(panels(maps, picture=entry.inverse(photo)), "side_by_side")

print(f"explained: {entry.classes[found[0].output.argmax()]}, score {found[0].score.item():.2f}")
for name, each in maps.items():
    law = each.completeness
    adds_up = f"sums to {law.explained.item():.2f}" if law is not None else "claims no sum"
    print(f"{name}: {each.evaluations}, {adds_up}. {each.method.weakness}")
