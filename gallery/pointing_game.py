"""Does the map point at what the class is about? Where that is known, count.

Shows handwritten digits pasted on photographs: the network learns to read the digit, so its pixels
are what matters, to the pixel. For each method, how often its strongest pixel lies on the digit
(the pointing game of Zhang et al. 2018), and which part of what is positive lies there.
Misleads if a high score is read as a faithful map: a detector of bright strokes that knows nothing
of the network, here the brightness of the picture itself, points at the digit as well.
"""

from dataclasses import replace

from _intervals import bars, told
from _panels import save
from matplotlib.figure import Figure

import pellucid as pl
from pellucid.evaluate import ground_truth, measure

METHODS = {
    "saliency": pl.Saliency(),
    "smoothgrad": pl.SmoothGrad(samples=20),
    "gradient x input": pl.GradientXInput(),
    "integrated gradients": pl.IntegratedGradients(steps=20),
    "LRP, epsilon-plus": pl.LRP(composite="epsilon-plus"),
    "Grad-CAM": pl.GradCAM(),
    "guided back-propagation": pl.GuidedBackprop(),
    "occlusion": pl.Occlusion(window=4, stride=2),
}
COUNT = 150


def located(fitted, count=COUNT):
    """What the metrics give each method on pictures read right: {metric: {name: (sample,)}}."""
    right = fitted.model(fitted.test.inputs).argmax(1) == fitted.test.labels
    rows = right.nonzero()[:count, 0]
    inputs, labels, masks = (
        each[rows] for each in (fitted.test.inputs, fitted.test.labels, fitted.test.masks)
    )
    maps = pl.compare(
        fitted.model, inputs, list(METHODS.values()), target=labels.tolist(), on_incomplete="ignore"
    )
    maps.append(replace(maps[0], method=pl.GradientXInput(), values=inputs.mean(1, keepdim=True)))
    names = [*METHODS, "brightness"]
    found = measure(fitted.model, maps, ["pointing_game", "energy_inside"], masks=masks)
    values = [each.values for each in found]
    return {
        "points at the digit": dict(zip(names, values[::2], strict=True)),
        "energy on the digit": dict(zip(names, values[1::2], strict=True)),
        "chance": masks.double().mean((1, 2)),
    }


if __name__ == "__main__":
    fitted = ground_truth.pasted_digits(n=3000).fit()
    found = located(fitted)
    chance = found.pop("chance")
    figure = Figure(figsize=(10, 3.4), facecolor="white", layout="constrained")
    for axes, (title, each) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
        bars(axes, each, zero=chance.mean().item())
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("share; the line is that of a random pixel")
    save(figure, "pointing_game")
    print(f"the net reads {fitted.accuracy:.0%} of the digits; they cover {chance.mean():.0%}")
    for title, each in found.items():
        for name, values in each.items():
            print(f"{title}, {name}: {told(values.double(), '{:.2f}')}")
