"""Gradient x input: each pixel's contribution, if the model were linear at this photograph.

Shows signed contributions for the price of one gradient, in the units of the score.
Misleads where its zero is not what a reader takes for nothing. A model that normalizes inside, and
so takes pixels from 0 to 1, is the same function of the photograph; but now black is zero instead
of ImageNet's mean color, and the map is another one.
"""

import torch
from _panels import PHOTOS, panels, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
normalized = entry.preprocess(PHOTOS / "coffee.png")
mean, std = (
    torch.tensor(each).reshape(3, 1, 1) for each in (entry.preprocess.mean, entry.preprocess.std)
)
pixels = normalized * std + mean


def normalizes_inside(pixels):
    """The same model, for pixels from 0 to 1."""
    return entry.model((pixels - mean) / std)


from_mean = pl.explain(entry.model, normalized, "gradient_x_input", target=967)
from_black = pl.explain(normalizes_inside, pixels, "gradient_x_input", target=967)
maps = {"zero is the mean color": from_mean, "zero is black": from_black}
save(panels(maps, picture=entry.inverse(normalized)), "gradient_x_input")

pair = torch.stack([each.values.sum(1).flatten() for each in (from_mean, from_black)])
print(f"the score is {from_mean.score.item():.2f} for both, of the same photograph")
print(f"the values sum to {from_mean.values.sum():.2f} and {from_black.values.sum():.2f}")
print(f"correlation of the two maps: {torch.corrcoef(pair)[0, 1]:.2f}")
