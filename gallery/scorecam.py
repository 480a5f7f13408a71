"""Score-CAM: channels are weighed by what the model says of the photograph seen through them.

Shows a map without any gradient, so nothing of it can be shattered or saturated.
Misleads because it asks about pictures that the model never saw: the photograph, gray but for a
soft spot. It also costs one forward pass for each channel, 1,280 here; the strongest few give about
the same map, unless a channel that matters is weak.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")
espresso = entry.index("espresso")

maps = {"gradcam": pl.explain(entry.model, photo, "gradcam", target=espresso)}
for channels in (20, 100):
    maps[f"scorecam, {channels} channels"] = pl.explain(
        entry.model, photo, "scorecam", target=espresso, channels=channels
    )
save(panels(maps, picture=entry.inverse(photo)), "scorecam")

for title, each in maps.items():
    positive = each.values.clamp(min=0)
    cup = positive[..., 112:].sum() / positive.sum()
    print(f"{title}: {each.evaluations}; {cup:.0%} of the positive evidence is on the cup")
both = torch.stack([each.values.flatten() for each in list(maps.values())[1:]])
print(f"correlation of 20 and 100 channels: {torch.corrcoef(both)[0, 1]:.2f}")
