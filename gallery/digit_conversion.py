"""Which pixels make an 8 an 8, and no 3? Erase them, and see.

Shows the test by which DeepLIFT was introduced (Shrikumar et al. 2017): of each digit the pixels
are erased that a method says speak for its own class and against another one, up to a fifth of all.
The better the method, the more the odds move to the other class. Each bar is a 95 % interval, by
a bootstrap over the digits, of what a method has over gradient times input on the same digit. The
published order comes out: RevealCancel, then Rescale and integrated gradients, then gradient times
input, and guided back-propagation last.
Misleads if read as how well a net is explained in general: pixels of ink are erased to the black
that these methods take as their baseline, which is the question that they answer best.
"""

import torch
from _digits import digits, reader
from _intervals import bars, told
from _panels import save
from _training import accuracy
from matplotlib.figure import Figure

import pellucid as pl

TASKS = ((8, 3), (8, 6), (9, 1), (4, 1))
MOST = 157  # a fifth of 28 x 28 pixels
PLAIN = "gradient x input"
METHODS = {
    "DeepLIFT RevealCancel": pl.DeepLIFT(rule="reveal_cancel"),
    "DeepLIFT Rescale": pl.DeepLIFT(rule="rescale"),
    "integrated gradients, 10 steps": pl.IntegratedGradients(steps=10),
    "integrated gradients, 5 steps": pl.IntegratedGradients(steps=5),
    "guided back-propagation x input": pl.GuidedBackprop(),
    PLAIN: pl.GradientXInput(),
}


def gains(model, inputs, classes, own, other):
    """What each method moves the log-odds beyond gradient times input: {name: (sample,)}."""
    images, methods = inputs[classes == own], list(METHODS.values())
    maps = pl.compare(model, images, methods, targets=[own, other], on_incomplete="ignore")
    moved = {}
    for name, a, b in zip(METHODS, maps[: len(methods)], maps[len(methods) :], strict=True):
        guided = isinstance(a.method, pl.GuidedBackprop)
        difference = (a.values - b.values) * (images if guided else 1)
        erased = without(images, difference)
        moved[name] = odds(model, erased, own, other) - odds(model, images, own, other)
    return {name: each - moved[PLAIN] for name, each in moved.items() if name != PLAIN}


def without(images, difference):
    """The images, black at the pixels with the largest differences above zero."""
    flat = difference.flatten(1)
    first = flat.argsort(dim=1, descending=True)[:, :MOST]
    gone = torch.zeros_like(flat, dtype=torch.bool).scatter(1, first, value=True) & (flat > 0)
    return torch.where(gone.view_as(images), 0, images)


def odds(model, images, own, other):
    """The log-odds of the other class against the own."""
    scores = model(images)
    return scores[:, other] - scores[:, own]


if __name__ == "__main__":
    model, (inputs, classes) = reader(), digits("test")
    figure = Figure(figsize=(10, 3.2), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(TASKS), sharey=True, sharex=True)
    found = [gains(model, inputs, classes, *task) for task in TASKS]
    for axes, task, each in zip(panels, TASKS, found, strict=True):
        bars(axes, each)
        axes.set_title("{} to {}".format(*task), fontsize=10)
    figure.supxlabel(f"rise of the log-odds beyond that by {PLAIN}", fontsize=10)
    save(figure, "digit_conversion")
    print(f"the net reads {accuracy(model, inputs, classes):.1%} of 1,000 digits")
    for name in found[0]:
        print(f"{name}: {told(torch.cat([each[name] for each in found]))} more than {PLAIN}")
