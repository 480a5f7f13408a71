"""Interior gradients: the gradient of a dimmed photograph, where the score is not saturated yet.

Shows, for small alpha, pixels that lose their gradient as soon as the evidence is plenty
(Sundararajan, Taly and Yan 2016). The curve is the reason: most of the score is gained early.
Misleads because a photograph at a fiftieth of its contrast is none that the model has ever seen.
"""

import torch
from _panels import PHOTOS, panels, save
from matplotlib.figure import Figure

import pellucid as pl

ALPHAS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "coffee.png")
espresso = entry.index("espresso")

maps = {
    f"alpha {alpha}": pl.explain(
        entry.model, photo, "interior_gradient", target=espresso, alpha=alpha
    )
    for alpha in ALPHAS
}
shown = list(maps.items())
save(panels(dict(shown[:5]), dict(shown[5:])), "interior_gradient")

line = torch.linspace(0, 1, 51)
with torch.no_grad():
    output = entry.model(line.reshape(-1, 1, 1, 1) * photo)
figure = Figure(figsize=(6, 3.2), dpi=100, layout="constrained")
ax = figure.add_subplot(xlabel="alpha: contrast of the photograph", ylabel="score of espresso")
ax.plot(line, output[:, espresso])
ax.twinx().plot(line, output.softmax(1)[:, espresso], "--", color="tab:orange")
figure.axes[1].set_ylabel("probability (dashed)")
save(figure, "saturation")

gained = (output[20, espresso] - output[0, espresso]) / (output[-1, espresso] - output[0, espresso])
steep = maps["alpha 0.1"].values.norm() / maps["alpha 1.0"].values.norm()
print(f"at alpha 0.4 the score has gained {gained:.0%} of what it gains in all")
print(f"the gradient at alpha 0.1 is {steep:.1f} times as long as at alpha 1")
