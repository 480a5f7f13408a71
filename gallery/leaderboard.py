"""Which explanation can I trust here? Ask the model, and let the methods compete.

Shows the leaderboard of six methods and of a random ranking, for a network that reads digits on
photographs: whether removing what is relevant makes the score fall (selectivity), whether the map
lies on the digit (relevance_mass), how few pixels it rests on (sparseness), whether it stays where
the picture is moved a little (max_sensitivity), and whether it notices that the network has
forgotten all (model_randomization). Bars are means, with 95 % intervals over the pictures. The last
one: is a simple map a less faithful one?
Misleads if one column is taken for all: no method here is best in each, and columns such as
sparseness describe more than they judge.
"""

from _panels import save
from matplotlib.figure import Figure

import pellucid as pl
from pellucid.evaluate import ground_truth, leaderboard

METHODS = [
    pl.Saliency(),
    pl.GradientXInput(),
    pl.IntegratedGradients(steps=20),
    pl.LRP(composite="epsilon-plus"),
    pl.GradCAM(),
    pl.Occlusion(window=4, stride=2),
]
METRICS = ["selectivity", "relevance_mass", "sparseness", "max_sensitivity", "model_randomization"]
COUNT = 60


def board(fitted, count=COUNT):
    """The standings of all methods on pictures that the network has not seen."""
    test = fitted.test
    return leaderboard(
        fitted.model, test.inputs[:count], METHODS, METRICS, masks=test.masks[:count]
    )


if __name__ == "__main__":
    fitted = ground_truth.pasted_digits(n=3000).fit()
    found = board(fitted)
    figure = Figure(figsize=(16, 7), facecolor="white", layout="constrained")
    panels = figure.subplots(2, 3).flat
    for metric, axes in zip(METRICS, panels, strict=False):
        pl.plot.leaderboard(found, metric, axes)
    pl.plot.tradeoff(found, "sparseness", "selectivity", figure.axes[-1])
    save(figure, "leaderboard")
    print(found)
