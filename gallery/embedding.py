"""Embeddings: what a net makes of digits, layer by layer, and whom it sees as alike.

Shows test digits as points, by t-SNE of the pixels and of the layer before the classes: there they
come in heaps, and the errors (red) lie between them. Below, the nearest training digits of some
errors, of the class that the net gives them and of others.
Misleads where distances between heaps and their sizes are read: t-SNE keeps neighbours, and nothing
else. PCA keeps large distances, and puts most digits on top of each other. How far each can be
trusted is written below it.
"""

import torch
from _digits import digits, reader
from _panels import save
from matplotlib.figure import Figure

import pellucid as pl

net = reader()
x, y = digits("test")
seen, answers = digits("train")

figure = Figure(figsize=(15, 5.4), layout="constrained", facecolor="white")
first, second, third = figure.subplots(1, 3)
pixels = pl.inspect.embed(None, x, labels=y, how="tsne")
pixels.plot(first, title="pixels, t-SNE")
plain = pl.inspect.embed(net, x, "6", labels=y)
plain.plot(second, title="last hidden layer, PCA")
hidden = pl.inspect.embed(net, x, "6", labels=y, how="tsne")
hidden.plot(third, images=200, title="last hidden layer, t-SNE")
for ax in (first, second):
    ax.get_legend().remove()
save(figure, "embedding")

wrong = hidden.errors.nonzero().flatten()[:3]
alike = pl.exemplar.neighbours(net, x[wrong], seen, "6", answers, k=6)
said = ", ".join(f"{y[row]} taken for {alike.classes[i]}" for i, row in enumerate(wrong))
save(alike.plot(title=f"errors: {said}; their nearest training digits"), "neighbours")

for name, found in {"pixels": pixels, "hidden, PCA": plain, "hidden, t-SNE": hidden}.items():
    print(f"{name}: {found.evidence}")
everything = pl.exemplar.neighbours(net, x, seen, "6", answers, k=6)
right = ~hidden.errors
for name, rows in {"right": right, "wrong": ~right}.items():
    print(
        f"{int(rows.sum())} {name} answers: {everything.support[rows].mean():.0%} of the 6 nearest "
        f"have the class of the answer, margin {torch.median(everything.margin[rows]):.2f}"
    )
