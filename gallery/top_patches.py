"""Top patches: the pieces of digits that units of two layers answer most, and their projections.

Shows, for three channels of each of two layers, the nine digits of 4,000 that excite a unit of the
channel most, cut to what that unit can see, and below each piece the unit projected back to it by a
deconvnet. A unit of the first layer sees 4 x 4 pixels and answers an edge of one direction; one of
the second sees 10 x 10 and answers a corner, an end or a bend of a stroke.
Misleads if a channel is taken for the name that its nine best pieces suggest: they are the top of
4,000, and what it answers weakly, and so most of the time, is not shown. The projection knows the
input by the rectified activations alone, and not what the unit would like better.
"""

from _digits import digits, reader
from _panels import save

import pellucid as pl

CHANNELS = {"1": [1, 4, 10], "3": [3, 20, 41]}

net, (inputs, _) = reader(epochs=3).eval(), digits("train")
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
