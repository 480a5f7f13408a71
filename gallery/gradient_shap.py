"""GradientSHAP: gradients on the lines from photographs of a background, drawn at random.

Shows what sets this photograph apart from others, instead of from a black one that nobody took.
Misleads if few samples are drawn: the values sum to the difference of the scores only on average.
Their standard errors come with the answer, and so does the residual.
"""

import torch
from _panels import PHOTOS, panels, save
from PIL import Image
from sklearn.datasets import load_sample_images

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "chelsea.png")
others = [Image.fromarray(image) for image in load_sample_images().images]
background = torch.cat([entry.preprocess(each) for each in [*others, PHOTOS / "coffee.png"]])

maps = {
    f"{samples} samples": pl.explain(
        entry.model,
        photo,
        "gradient_shap",
        baseline=background,
        samples=samples,
        on_incomplete="ignore",
    )
    for samples in (5, 20, 80)
}
save(panels(maps, picture=entry.inverse(photo)), "gradient_shap")

for title, each in maps.items():
    law, settled = each.completeness, (each.values.abs() > 2 * each.error).float().mean()
    print(
        f"{title}: sums to {law.explained.item():.2f} of {law.expected.item():.2f}; "
        f"{settled:.0%} of values are above 2 standard errors"
    )
