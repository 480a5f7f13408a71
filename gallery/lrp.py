"""Layer-wise relevance propagation: the score, handed down from layer to layer to the pixels.

Shows shares of the score. With the epsilon rule, which is faithful to the function, the map of a
deep network is noise, since large shares of both signs cancel. The z+ rule follows what speaks for
a unit, layer by layer, and finds the eye and the spoon, whatever the class; the gamma rule lets it
count more and still knows what speaks against.
Misleads if its clear picture is taken for the whole answer. The ledger says where the score went:
of 52 convolutions each one's bias keeps a part, and a ten-thousandth reaches the pixels.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

COMPOSITES = ("epsilon", "epsilon-plus-flat", "epsilon-gamma")

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "cat_and_coffee.png")

rows = {}
for name in ("Egyptian Mau", "espresso"):
    rows[name] = {
        f"{composite}: {name}": pl.explain(
            entry.model, photo, "lrp", target=entry.index(name), composite=composite
        )
        for composite in COMPOSITES
    }
save(panels(*rows.values(), picture=entry.inverse(photo)), "lrp")

pairs = zip(*(row.values() for row in rows.values()), strict=True)
for composite, pair in zip(COMPOSITES, pairs, strict=True):
    maps = torch.stack([each.values.sum(1).flatten() for each in pair])
    positive = [each.values.clamp(min=0) for each in pair]
    right = [each[..., 112:].sum() / each.sum() for each in positive]
    law, ledger = pair[0].completeness, pair[0].ledger
    print(
        f"{composite}: score {law.expected.item():.2f}, pixels {law.explained.item():.4f}, biases "
        f"{ledger.bias:.2f}; on the cup {right[0]:.0%} and {right[1]:.0%} of what speaks for cat "
        f"and espresso; correlation of the two maps {torch.corrcoef(maps)[0, 1]:.2f}"
    )
lost = ledger.to_frame().nlargest(5, "bias")
print("the biases that kept most:", lost.to_string(index=False), sep="\n")
