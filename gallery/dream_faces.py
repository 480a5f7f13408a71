"""Which of all faces has the most of a wig? A classifier is asked in the code space of a generator.

Shows activation maximization in code space with a generator that others have trained: DCGAN draws
faces of 64 by 64 pixels from 100 numbers, and these are moved until an image classifier, which was
never shown a class of faces, gives most to one of its own classes. Below each face of the start is
what became of it, for each class in turn. The prior holds the code where faces are likely. Hair
grows for the wig and red comes for the lipstick; of sunglasses little but shade is found.
Misleads if a dream is taken for the classifier's idea of the thing: it can only choose among faces,
and takes what comes nearest. The generator was trained on DigiFace-1M, faces that are rendered; its
data are for research only.
"""

from itertools import pairwise

import torch
from _panels import save
from torch import nn

import pellucid as pl
from pellucid.plot.thumbnails import Cell, sheet
from pellucid.seeding import seeded
from pellucid.zoo.package import find_file

CLASSES, FACES, STEPS = ("hair wig", "sunglasses", "lipstick"), 4, 24


def generator():
    """DCGAN: codes (sample, 100, 1, 1) to faces (sample, 3, 64, 64) from -1 to 1."""
    layers, widths = [], (100, 512, 256, 128, 64)
    for place, (before, after) in enumerate(pairwise(widths)):
        stride, margin = (1, 0) if place == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(before, after, 4, stride, margin, bias=False))
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    net = nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())
    path = find_file("gan_face_generate", "weights.tar", alone="gan-face-generate")
    weights = torch.load(path, map_location="cpu", weights_only=True)["netG_state_dict"]
    net.load_state_dict({name.removeprefix("main."): each for name, each in weights.items()})
    return net.eval().requires_grad_(requires_grad=False)


faces, entry = generator(), pl.zoo.load("efficientnet_lite0")


def seen(codes):
    """Faces as the classifier takes photographs: it too wants about -1 to 1."""
    return nn.functional.interpolate(faces(codes), size=224, mode="bilinear")


targets = [entry.index(name) for name in CLASSES]
codes = torch.randn(FACES, 100, 1, 1, generator=seeded(3))
found = pl.inspect.dream(
    entry.model,
    [target for target in targets for _ in range(FACES)],
    generator=seen,
    start=codes.repeat(len(targets), 1, 1, 1),
    prior_weight=0.02,
    steps=STEPS,
    rate=0.1,
)
lines = [("start", [Cell(sample=face) for face in faces(codes)])]
for place, name in enumerate(CLASSES):
    rows = slice(place * FACES, (place + 1) * FACES)
    scores = zip(found.started[rows].tolist(), found.score[rows].tolist(), strict=True)
    captions = [f"{before:.1f} to {after:.1f}" for before, after in scores]
    drawn = zip(faces(found.codes[rows]), captions, strict=True)
    lines.append((name, [Cell(sample=face, caption=caption) for face, caption in drawn]))
    print(f"{name}: the score goes from {', '.join(captions)}")
pictures = lambda face: (face[0].permute(1, 2, 0) + 1) / 2  # noqa: E731
save(sheet(lines, pictures=pictures, title="above each face: its score, before and after"),
     "dream_faces")  # fmt: skip
print(f"{found.evaluations.forward} forward passes of the classifier")
for note in found.notes:
    print(note)
