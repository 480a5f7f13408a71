"""Destroy what the network has learned. Does the map notice?

Shows the sanity check of Adebayo et al. (2018): the layers of a network are made random, one after
the other, from the output down, and the class stays. A map that explains the network has to change;
one that stays was an edge detector, which shows the picture. Lines are the rank correlation of the
sizes with those of the map before, on the mean over parts of four photographs. Published: with the
top layer random, the gradient and Grad-CAM change far more than guided back-propagation. So they do
here; LRP by positive contributions (epsilon-plus) hardly changes either, as Sixt et al. (2020) say.
Misleads if any change is taken for a good sign: a map of pure noise passes this test best.
"""

from _crops import crops
from _intervals import told
from _panels import save
from matplotlib.figure import Figure

import pellucid as pl
from pellucid.evaluate import measure, metrics

METHODS = {
    "gradient": pl.Saliency(),
    "gradient x input": pl.GradientXInput(),
    "Grad-CAM": pl.GradCAM(),
    "LRP, epsilon-plus": pl.LRP(composite="epsilon-plus"),
    "guided back-propagation": pl.GuidedBackprop(),
    "guided Grad-CAM": pl.GuidedGradCAM(),
}
COLORS = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7")
LAYERS = 12  # from the output on, of each kind of block


def curves(model, inputs, layers=LAYERS):
    """How alike the maps stay, layer by layer: {method: a curve}, y of shape (sample, step)."""
    maps = pl.compare(model, inputs, list(METHODS.values()), on_incomplete="ignore", batch_size=8)
    chosen = metrics()["model_randomization"](layers=layers)
    found = measure(model, maps, chosen, batch_size=8)
    return {
        name: next(iter(each.curves.values())) for name, each in zip(METHODS, found, strict=True)
    }


if __name__ == "__main__":
    entry = pl.zoo.load("efficientnet_lite0")
    found = curves(entry.model, crops(entry, 4))
    figure = Figure(figsize=(9, 4), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for color, (name, curve) in zip(COLORS, found.items(), strict=True):
        mean = curve.y.nanmean(0)
        error = ((curve.y - mean) ** 2).nanmean(0).sqrt() / curve.y.isfinite().sum(0).sqrt()
        axes.plot(curve.x, mean, label=name, color=color)
        axes.fill_between(curve.x, mean - error, mean + error, color=color, alpha=0.2, linewidth=0)
    axes.set_xticks(curve.x, curve.ticks, rotation=30, ha="right", fontsize=7)
    axes.set_xlabel("randomized down to (bands: standard error of the mean)")
    axes.set_ylabel("rank correlation of sizes")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, "sanity_checks")
    for name, curve in found.items():
        top, last = curve.y[:, 1], curve.y[:, -1]
        print(f"{name}: {told(top, '{:.2f}')} alike with the top layer random,", end=" ")
        print(f"{told(last, '{:.2f}')} with {LAYERS} random")
