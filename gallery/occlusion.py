"""Occlusion: how far the score of a class drops when a window of the photograph is hidden.

Shows what the model needs, without any gradient: the windows on the cup cost most. Small windows
show detail, and miss what only a large one hides.
Misleads where a thing is there twice: hiding one of two eyes costs nothing. What is hidden must
be replaced by something, and gray paper in front of the cup is an object too.
"""

from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")
espresso = entry.index("espresso")

maps = {}
for window in (64, 32, 16):
    maps[f"window {window}"] = pl.explain(
        entry.model, photo, "occlusion", target=espresso, window=window, stride=window // 2
    )
blurred = pl.Occlusion(window=32, stride=16, baseline=pl.Baseline.blur(0.1))
maps["window 32, blurred"] = blurred(entry.model, photo, target=espresso)
save(panels(maps, picture=entry.inverse(photo)), "occlusion")

for title, each in maps.items():
    positive, score = each.values.clamp(min=0), each.score.item()
    cup = positive[..., 112:].sum() / positive.sum()
    print(f"{title}: {each.evaluations}; {cup:.0%} of all drops is on the side of the cup")
    print(
        f"largest drop {each.values.amax():.1f} of a score of {score:.1f}. {' '.join(each.notes)}"
    )
