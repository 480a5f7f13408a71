"""Saliency: how much the score would move if a pixel changed a little.

Shows where the model looks for change, as the picture is: the gradient, its absolute value with
the strongest channel (Simonyan et al. 2013), or its square.
Misleads because it is noise to a large part: an invisible change of the photograph gives another
map. And it is no share of the score: it says what would change it, not what it is made of.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "chelsea.png")
cat = entry.index("Egyptian Mau")

signed = pl.explain(entry.model, photo, "saliency", target=cat)
absolute = pl.explain(entry.model, photo, "saliency", target=cat, reduce="absolute")
squared = pl.explain(entry.model, photo, "saliency", target=cat, reduce="squared")

# Two gray levels of 255, at random: nobody sees it, and the score hardly moves.
hidden = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0)) * 2 / 255
nearly = pl.explain(entry.model, photo + hidden / 0.225, "saliency", target=cat)

maps = {
    "gradient": signed,
    "|gradient|, max of channels": absolute.pool("max"),
    "gradient²": squared,
    "gradient, photo + 2 gray levels": nearly,
}
save(panels(maps, picture=entry.inverse(photo)), "saliency")

pair = torch.stack([signed.values.sum(1).flatten(), nearly.values.sum(1).flatten()])
print(f"score {signed.score.item():.2f}, with two gray levels of noise {nearly.score.item():.2f}")
print(f"correlation of the two maps: {torch.corrcoef(pair)[0, 1]:.2f}")
