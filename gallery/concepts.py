"""Concepts: the channels that carry a score, and the pieces of photographs that they stand for.

Shows the two channels of a late layer with the largest shares of the score, for the cat and for the
espresso, and for each the pieces, cut from two photographs, in which it has the most relevance.
Below each piece is the relevance that passes through that channel alone: where in it the channel
finds its concept.
Misleads if these two are taken for the reason: each has a few percent of what the layer has, and
many channels with small shares carry the rest. Nor has a channel a duty to stand for one thing:
other photographs would bring out other pieces.
"""

from _panels import PHOTOS, save
from PIL import Image

import pellucid as pl

LAYER, SIDE, STRIDE = "features.14", 150, 50
PAIRS = {"chelsea.png": "Egyptian Mau", "coffee.png": "espresso"}

entry = pl.zoo.load("mobilenet_v2")
method = pl.LRP(composite="epsilon-plus")


def pieces():
    """Squares of the photographs, as a data set that is read one by one."""
    for name in PAIRS:
        photo = Image.open(PHOTOS / name).convert("RGB")
        for top in range(0, photo.height - SIDE + 1, STRIDE):
            for left in range(0, photo.width - SIDE + 1, STRIDE):
                yield entry.preprocess(photo.crop((left, top, left + SIDE, top + SIDE)))


shown = []
for name, label in PAIRS.items():
    photo, target = entry.preprocess(PHOTOS / name), entry.index(label)
    ranked = pl.rank_channels(entry.model, photo, LAYER, method=method, target=target)
    all_of_them, first = ranked.relevance.sum().item(), ranked.to_frame(2)
    channels = first["channel"].tolist()
    found = pl.top_examples(
        entry.model, pieces(), LAYER, channels, method=method, target=target, k=5
    )
    print(
        f"{label}: score {ranked.explanation.score.item():.2f}, of which the "
        f"{ranked.relevance.shape[1]} channels of {LAYER} have {all_of_them:.2f}, and biases above "
        "them the rest"
    )
    for each, relevance in zip(found, first["relevance"], strict=True):
        print(
            f"channel {each.channel}: {relevance / all_of_them:.1%} of that; of {each.seen} pieces "
            f"the most in {', '.join(map(str, each.index.tolist()))}"
        )
    shown += found
save(pl.plot.examples(shown, pictures=entry.inverse), "concepts")
