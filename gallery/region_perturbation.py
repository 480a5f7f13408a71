"""Replace what a map calls relevant, and watch the class go.

Shows the protocol of Samek et al. (2017) on handwritten digits that are pasted on photographs:
regions of 2 x 2 pixels are replaced, those with the most relevance first, until a sixth of the
picture is gone. The bars are how much more the score falls on the way than by random orders of the
same regions: the area over the curve (AOPC), less that of random orders. Published, with uniform
noise: LRP above deconvolution above sensitivity, which is the size of the gradient, and all above
random orders. Here all are above random orders, and the order is the published one where regions
are replaced by the mean; with noise it is not.
Misleads if one way of removing is taken for all: noise also draws new strokes. What the ways are
worth is told by the area between the curves of the most and of the least relevant first (ABPC).
"""

from _intervals import bars, told
from _panels import save
from matplotlib.figure import Figure

import pellucid as pl
from pellucid.evaluate import ground_truth, measure, metrics

METHODS = {
    "LRP, epsilon-plus": pl.LRP(composite="epsilon-plus"),
    "LRP, alpha 2 beta 1": pl.LRP(composite="epsilon-alpha2-beta1"),
    "deconvolution": pl.Deconvnet(),
    "sensitivity": pl.Saliency(reduce="absolute"),
}
REMOVALS = {
    "uniform noise": pl.Baseline.uniform(),
    "mean": pl.Baseline.mean(),
    "blur": pl.Baseline.blur(),
    "inpainting": pl.Baseline.inpaint(),
}
COUNT = 100


def areas(fitted, baseline, count=COUNT):
    """What both metrics give each method: {metric: {name: (sample,)}}."""
    inputs, methods = fitted.test.inputs[:count], list(METHODS.values())
    maps = pl.compare(fitted.model, inputs, methods, on_incomplete="ignore")
    options = {"features": pl.Features.patches(2), "baseline": baseline, "removed": 1 / 6}
    names = ("selectivity", "abpc")
    found = measure(fitted.model, maps, [metrics()[name](**options) for name in names])
    values = [each.values for each in found]
    return {
        name: dict(zip(METHODS, values[start::2], strict=True)) for start, name in enumerate(names)
    }


if __name__ == "__main__":
    fitted = ground_truth.pasted_digits(n=3000).fit()
    found = {title: areas(fitted, baseline) for title, baseline in REMOVALS.items()}
    figure = Figure(figsize=(11, 2.6), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(REMOVALS), sharey=True)
    for axes, (title, each) in zip(panels, found.items(), strict=True):
        bars(axes, each["selectivity"])
        axes.set_title(title, fontsize=10)
    figure.supxlabel("fall of the score beyond that by random orders", fontsize=10)
    save(figure, "region_perturbation")
    print(f"the net reads {fitted.accuracy:.0%} of the digits")
    for title, each in found.items():
        for metric, values in each.items():
            said = ", ".join(f"{name} {told(each)}" for name, each in values.items())
            print(f"{title}, {metric}: {said}")
