"""At a layer instead of the input: how the evidence gathers from pixels to the last maps.

Shows relevance at what layers returned, from 112 x 112 maps of edges to 7 x 7 maps of things. At
each of them it sums to the score less what the biases above kept.
Misleads if a map of 7 x 7 is read as if it had pixels: one cell of it has seen most of the
photograph.
"""

from _panels import PHOTOS, panels, save

import pellucid as pl

LAYERS = ("features.1", "features.3", "features.6", "features.13", "features.18")

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "chelsea.png")

maps = {
    layer: pl.explain(entry.model, photo, "lrp", at=layer, composite="epsilon-plus")
    for layer in LAYERS
}
save(panels(maps, picture=entry.inverse(photo)), "layers")

print(f"score {maps[LAYERS[0]].score.item():.2f}")
for layer, each in maps.items():
    shape = " x ".join(map(str, each.values.shape[1:]))
    print(f"{layer}: {shape}, relevance sums to {each.values.sum():.3f}")
