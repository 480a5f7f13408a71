"""Simple Taylor decomposition: what sets the photograph apart from the nearest undecided one.

Shows the step from a root point to the photograph, weighed by the gradient at the root. The root
lies where another class catches up ("boundary"), or where the score is zero.
Misleads because it looks like the photograph: the decision turns within a change that nobody
sees, so the map is as noisy as a gradient. A root where the score is zero is further off, and the
terms of first order no longer account for the difference.
"""

from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "chelsea.png")

maps = {
    root: pl.explain(entry.model, photo, "taylor", root=root, on_incomplete="ignore")
    for root in ("boundary", "zero")
}
titled = {f"root: {root}": each for root, each in maps.items()}
save(panels(titled, picture=entry.inverse(photo)), "taylor")

for root, each in maps.items():
    moved = (each.baseline.tensors[0] - photo).abs().mean() * 0.225 * 255
    law = each.completeness
    print(
        f"root at the {root}: {moved:.2f} gray levels of 255 away on average; of the difference "
        f"{law.expected.item():.2f} of the scores, the first-order terms are "
        f"{law.explained.item():.2f}"
    )
