"""Dreams: images that a network answers most to, by three recipes, and units from depth to depth.

Shows in the first three lines what EfficientNet would like to see of four classes. Plain ascent
finds noise, to which it gives a high score all the same. Faded, blurred and clipped (Yosinski et
al. 2015), the answer comes from a few smooth shapes; as waves that are shifted and turned (Olah et
al. 2017), from petals, a neck, a shell. The last line has units of ever deeper layers, each at the
size of what it sees: first colors and edges, then textures, then parts.
Misleads if they are taken for what the network expects to see: each has several times the score of
a photograph, so that it is a caricature, and the recipe decides what is drawn of it. A dream holds
one thing that moves the score, and other runs may find others.
"""

from _panels import save
from matplotlib.figure import Figure

import pellucid as pl
from pellucid.inspect.dreaming.terms import Range

SIZE, LARGE, STEPS = 96, 160, 96
CLASSES = ["goldfish", "flamingo", "daisy", "ladybug"]
UNITS = {"_blocks.0": 4, "_blocks.2": 10, "_blocks.4": 20, "_blocks.6": 5}
RECIPES = ["plain", "yosinski", "fourier"]

entry = pl.zoo.load("efficientnet_lite0")
classes = [entry.index(name) for name in CLASSES]
shape = (3, SIZE, SIZE)
lines = []
for recipe in RECIPES:
    found = pl.inspect.dream(entry.model, classes, shape=shape, recipe=recipe, steps=STEPS)
    chances = entry.model(found.inputs).detach().softmax(1)[range(len(classes)), classes]
    for name, score, chance in zip(CLASSES, found.score.tolist(), chances.tolist(), strict=True):
        print(f"{recipe}: {name}: score {score:.1f}, probability {chance:.3f}")
    lines.append((recipe, found))
units = [pl.Target.unit(layer, channel) for layer, channel in UNITS.items()]
terms = [Range(low=-2.0, high=2.4)]  # from black to white, as this network is shown them
found = pl.inspect.dream(
    entry.model, units, shape=(3, LARGE, LARGE), recipe="fourier", terms=terms, steps=STEPS
)
for target, patch in zip(found.targets, found.patches, strict=True):
    print(f"{target.words()} sees {patch.shape[1]} x {patch.shape[2]} pixels")
lines.append(("units", found))

figure = Figure(figsize=(8.4, 9.6), dpi=100, facecolor="white")
for y, (line, found) in enumerate(lines):
    for x, (target, patch) in enumerate(zip(found.targets, found.patches, strict=True)):
        ax = figure.add_axes((0.02 + 0.245 * x, 0.765 - 0.25 * y, 0.225, 0.197))
        ax.imshow(entry.inverse(patch[None]), interpolation="nearest")
        name = f"{line}: {CLASSES[x]}" if line in RECIPES else target.words()
        ax.set_title(f"{name}\nscore {float(found.score[x]):.1f}", fontsize=8)
        ax.set_axis_off()
save(figure, "dreams")
