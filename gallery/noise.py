"""Why is this map noisy? Three hypotheses, measured for one photograph, for the gradient and LRP.

Shows what the gradient's noise is worth when its pixels are removed, how little noise on the
photograph makes the map another one while the score stays, at which layers that begins, and that
the score of a cat is complete long before all of the contrast is there.
Misleads where the questions do: removed pixels leave a photograph that no model was trained on, so
that any scattered removal harms; and a map that never changes is not therefore right. It may hardly
depend on the model, as that of LRP with only positive parts.
"""

from _panels import PHOTOS, save

import pellucid as pl

for name in ("efficientnet_lite0", "mobilenet_v2"):
    entry = pl.zoo.load(name)
    photo = entry.preprocess(PHOTOS / "chelsea.png")
    found = pl.diagnose_noise(entry.model, photo, methods=["saliency", "lrp"])
    print(f"{name}: {found.findings()[0]}")
    if name == "efficientnet_lite0":
        for answer in found.findings()[1:]:
            print(answer)
        save(found.plot(picture=entry.inverse(photo)), "noise")
