"""CAM for the five classes that a model finds most likely.

Shows that one photograph holds evidence for several classes, in places of their own: cats on the
left, cups on the right.
Misleads by what it leaves open: it says where, not what. Three kinds of cat get the same map, and
nothing on it tells why one of them is ahead.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")

chances, classes = entry.model(photo).softmax(1)[0].topk(5)
found = {int(k): pl.explain(entry.model, photo, "cam", target=int(k)) for k in classes}
limit = max(float(each.values.abs().max()) for each in found.values())
maps = {
    f"{entry.classes[k]}: {chance:.0%}": each
    for (k, each), chance in zip(found.items(), chances, strict=True)
}
save(panels(maps, picture=entry.inverse(photo), scale=limit), "cam_top5")

table = torch.corrcoef(torch.stack([each.values.flatten() for each in maps.values()]))
for title, each, row in zip(maps, maps.values(), table, strict=True):
    print(f"{title}: score {each.score.item():.2f}; correlation with each map", end=" ")
    print(", ".join(f"{value:.2f}" for value in row))
