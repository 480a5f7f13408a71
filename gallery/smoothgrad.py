"""SmoothGrad: the gradient, averaged over noisy copies of the photograph.

Shows what the gradient has in common with its neighbors, so that shapes come out of the noise.
Misleads by the choice of the noise, which decides how the map looks: with much of it, the model
explains photographs that it no longer takes for a cat. The standard error says how far the
average is settled, not whether the noise was right.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

SAMPLES = 30

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "chelsea.png")
cat = entry.index("Egyptian Mau")

grains = torch.randn(8, *photo.shape[1:], generator=torch.Generator().manual_seed(0))
maps = {"gradient": pl.explain(entry.model, photo, "saliency", target=cat)}
for noise in (0.05, 0.15, 0.4):
    maps[f"{SAMPLES} copies, noise {noise}"] = smooth = pl.explain(
        entry.model, photo, "smoothgrad", target=cat, samples=SAMPLES, noise=noise
    )
    copies = photo + noise * (photo.max() - photo.min()) * grains
    with torch.no_grad():
        chance = entry.model(copies).softmax(1)[:, 281:288].sum(1).mean()
    settled = (smooth.values.abs() > 2 * smooth.error).float().mean()
    print(f"noise {noise}: some cat with {chance:.0%}; {settled:.0%} of values above 2 errors")

save(panels(maps, picture=entry.inverse(photo)), "smoothgrad")
