"""Influence: the digits of the training set that a network's answer rests on.

Shows, for three digits that it has not seen, the training examples which helped most (blue) and
which harmed most (orange), by influence functions with EK-FAC over all layers. Those that help have
mostly its label, or are what its rival is not; those that harm look like it under another label.
Below, one label in ten was changed by hand: the examples that only themselves speak for come first,
and nearly all of them are wrong.
Misleads if its numbers are taken for amounts: in a deep network that is at no minimum they rank,
and are far too large where the loss is (a loss of 2.4 does not rise by 11). And a value is of one
example alone: in a group that says the same, none matters on its own.
"""

import torch
from _digits import digits, net
from _panels import PICTURES
from _training import accuracy, train
from torch.nn.functional import avg_pool2d

import pellucid as pl


def save(figure, name):
    """Write a picture in full size, since digits are small."""
    figure.savefig(PICTURES / f"{name}.webp", dpi=110, pil_kwargs={"lossless": True})
    print(f"drew gallery/pictures/{name}.webp")


def ink(x):
    """A digit as dark ink on paper."""
    return 1 - x[0, 0].numpy()


torch.manual_seed(0)
inputs, classes = digits("train")
tests, wanted = digits("test")
model = train(net(), inputs, classes, epochs=4, rate=1e-3, batch=64)
print(f"digits right: {accuracy(model, tests, wanted):.1%}")
missed = (model(tests).argmax(1) != wanted).nonzero()[:2, 0].tolist()
rows = [*missed, 430]
found = pl.exemplar.influence(model, (inputs, classes), (tests[rows], wanted[rows]), how="ekfac")
print(f"{found.convergence}; planned {found.memory / 2**20:.0f} MB")
top = found.top(10)
for test, row in enumerate(rows):
    same = [(classes[side[test]] == wanted[row]).float().mean() for side in top]
    said = int(model(tests[row : row + 1]).argmax())
    print(
        f"a {wanted[row]} read as {said}: of the ten that help most {same[0]:.0%} are labelled "
        f"{wanted[row]}, of the ten that harm most {same[1]:.0%}"
    )
title = "above the digit its loss, above training examples their label and what they do to it"
save(found.plot(5, pictures=ink, title=title), "influence")

generator = torch.Generator().manual_seed(0)
flipped = torch.zeros(len(classes), dtype=torch.bool)
flipped[torch.randperm(len(classes), generator=generator)[: len(classes) // 10]] = True
moved = torch.randint(1, 10, (len(classes),), generator=generator)
labels = torch.where(flipped, (classes + moved) % 10, classes)
small = avg_pool2d(inputs, 2)
layers = [torch.nn.Flatten(), torch.nn.Linear(196, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)]
reader = train(torch.nn.Sequential(*layers), small, labels, epochs=8, rate=3e-3, batch=64)
suspects = pl.exemplar.self_influence(reader, (small, labels), how="ekfac")
for share in (0.1, 0.2):
    seen = suspects.found(flipped)[int(share * len(labels)) - 1]
    print(f"looking at {share:.0%} of the labels finds {seen:.0%} of the wrong ones")
title = "the first sixteen suspects, with the labels that they have"
save(suspects.plot(16, pictures=ink, title=title), "wrong_labels")
