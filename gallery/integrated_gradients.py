"""Integrated gradients: what each pixel added on the way from a baseline to the photograph.

Shows contributions that sum to the difference of two scores, whatever the model; the residual is
part of the answer.
Misleads where the photograph looks like the baseline: with a black one the pupils of the cat get
nothing, and not because they do not matter.
"""

from _panels import PHOTOS, panels, save
from PIL import Image

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "chelsea.png")
cat = entry.index("Egyptian Mau")
picture = entry.inverse(photo)
darkest = picture.sum(2) < 90  # the pupils, and little else

black = entry.preprocess(Image.new("RGB", (8, 8), "black"))
maps = {}
for title, baseline in {
    "from black": black,
    "from the mean color": 0.0,
    "from a blurred copy": pl.Baseline.blur(),
}.items():
    maps[title] = found = pl.explain(
        entry.model, photo, "integrated_gradients", target=cat, baseline=baseline
    )
    size = found.values.abs().sum(1)[0].numpy()
    law = found.completeness
    print(
        f"{title}: sums to {law.explained.item():.2f} of {law.expected.item():.2f}; a pixel of the "
        f"pupils has {size[darkest].mean() / size.mean():.2f} times what a pixel has on average"
    )

save(panels(maps, picture=picture), "integrated_gradients")
