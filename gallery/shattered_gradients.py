"""Why saliency is noisy: the gradient jumps within changes of the photograph that nobody sees.

Shows one pixel's gradient along a short line from the photograph, as in the paper on SmoothGrad
(Smilkov et al. 2017): the network is made of linear pieces, and every step crosses some of them.
Misleads if it is read as noise that must go: it is what the function does. Averaging over it
answers another question.
"""

import torch
from _panels import PHOTOS, save
from matplotlib.figure import Figure

import pellucid as pl

STEPS = 40

entry = pl.zoo.load("mobilenet_v2")
photo = entry.preprocess(PHOTOS / "chelsea.png")
direction = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))

# At the end of the line a pixel has moved by two gray levels of 255; nobody sees it.
levels = torch.linspace(0, 2, STEPS)
line = photo + levels.reshape(-1, 1, 1, 1) * direction / 255 / 0.225
found = pl.explain(entry.model, line, "saliency", target=entry.index("Egyptian Mau"))

strongest = found.values[0].abs().sum(0).flatten().argmax()
row, column = divmod(int(strongest), photo.shape[3])
figure = Figure(figsize=(6, 3.2), dpi=100, layout="constrained")
ax = figure.add_subplot(xlabel="noise in gray levels of 255", ylabel="gradient of one pixel")
for name, color in enumerate(("red", "green", "blue")):
    ax.plot(levels, found.values[:, name, row, column], color=f"tab:{color}", label=color)
ax.legend(frameon=False)
save(figure, "shattered_gradients")

spread = found.values.std(0).mean() / found.values.mean(0).abs().mean()
print(f"on the line the score is {found.score.min():.2f} to {found.score.max():.2f}")
print(f"gradients spread about their mean by {spread:.0%} of its size, for the average pixel")
