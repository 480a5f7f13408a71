"""Top patches: the pieces of digits that units of two layers answer most, and their projections.

Shows, for three channels of each of two layers, the nine digits of 4,000 that excite a unit of the
channel most, cut to what that unit can see, and below each piece the unit projected back to it by a
deconvnet. A unit of the first layer sees 5 x 5 pixels and answers an edge or a corner; one of the
second sees 14 x 14 and answers a bend or a fork of strokes. Between the two the net pools maxima:
behind these windows a projection knows which pixel of each window won, and differs from digit to
digit. Before them it does not, and is the filter of the unit each time.
Misleads if a channel is taken for the name that its nine best pieces suggest: they are the top of
4,000, and what it answers weakly, and so most of the time, is not shown. The projection knows the
input by the winners and the rectified activations alone, and not what the unit would like better.
"""

import torch
from _digits import digits
from _panels import save
from _training import accuracy, train
from torch import nn

import pellucid as pl

CHANNELS = {"1": [1, 4, 10], "4": [3, 12, 20]}

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
)  # fmt: skip
inputs, classes = digits("train")
train(net, inputs, classes, epochs=5, rate=1e-3, batch=64)
print(f"accuracy on 1,000 other digits: {accuracy(net, *digits('test')):.1%}")
shown = []
for layer, channels in CHANNELS.items():
    found = pl.top_examples(net, inputs, layer, channels, by="activation", patches=True)
    field = pl.inspect.receptive_field(net, inputs, layer)
    table = pl.inspect.activations(net, inputs[:200], layer)[layer]
    print(
        f"layer {layer}: a unit sees {field.size[0]} x {field.size[1]} pixels; "
        f"{table.zeros:.0%} of its activations are zero, {int(table.dead.sum())} units are dead"
    )
    for each in found:
        print(f"  channel {each.channel}: {each.amounts[0]:.2f} down to {each.amounts[-1]:.2f}")
    shown += found
save(pl.plot.patches(shown), "top_patches")
