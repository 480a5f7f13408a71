"""Units: what excites the channels of early, middle and late layers, and where in it.

Shows, for one channel of each of four layers, the pieces of two photographs that excite a unit of
it most: glints, then ends of edges, at last whiskers with their spots. Below each piece is that
unit, projected back to the input by guided back-propagation from its activation, with all other
units zero: a unit of an early layer sees a few pixels, one of a late layer most of the picture.
Misleads if the fine structure of a projection is read: it shows where a unit looks rather than what
it looks for. That the pieces look alike is the better evidence.
"""

from _panels import PHOTOS, save
from PIL import Image

import pellucid as pl

SIDE, STRIDE = 150, 50
CHANNELS = {"features.2": 5, "features.6": 3, "features.10": 20, "features.14": 46}

entry = pl.zoo.load("mobilenet_v2")


def pieces():
    """Squares of the photographs, as a data set that is read one by one."""
    for name in ("chelsea.png", "coffee.png"):
        photo = Image.open(PHOTOS / name).convert("RGB")
        for top in range(0, photo.height - SIDE + 1, STRIDE):
            for left in range(0, photo.width - SIDE + 1, STRIDE):
                yield entry.preprocess(photo.crop((left, top, left + SIDE, top + SIDE)))


shown = []
for layer, channel in CHANNELS.items():
    (found,) = pl.top_examples(
        entry.model, pieces(), layer, channel, by="activation", method="guided_backprop", k=5
    )
    shown.append(found)
    seen = (found.explanation.values != 0).any(1).flatten(1).double().mean().item()
    print(f"{layer}, channel {channel}: a unit is projected to {seen:.1%} of the pixels")
save(pl.plot.examples(shown, pictures=entry.inverse), "units")
