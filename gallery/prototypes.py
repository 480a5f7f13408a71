"""Prototypes and criticisms: few digits that stand for all, and those they do not stand for.

Shows for each class of MNIST prototypes, found by the maximum mean discrepancy, and criticisms,
which are slanted, thick or hardly digits. Below: which digits to label next, when a net has seen
100 of them, and what a small set of them gains when they are chosen so.
Misleads where the pixels are not what matters: which digits are alike is decided by the distance.
Criticisms are unusual, not wrong; with `side="both"`, as in the paper, some have too many
prototypes around them and look typical. Choosing can be worse than chance: coverage takes what is
far from all, scrawls that teach little; so measure it, as here. What is uncertain and diverse
gains.
"""

import torch
from _digits import digits
from _panels import save
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import avg_pool2d

import pellucid as pl

x, y = digits("train")
test, answers = digits("test")

found = pl.exemplar.prototypes(x, labels=y, count=5, criticisms=4)
save(found.plot(), "prototypes")
errors = {}
for how in ("mmd", "protodash", "kmedoids", "random"):
    few = pl.exemplar.prototypes(x, labels=y, count=5, criticisms=0, how=how)
    errors[how] = 1 - few.score(test, answers)
print("nearest of 50 prototypes, error on test digits:", end=" ")
print(", ".join(f"{how} {error:.1%}" for how, error in errors.items()))

# Two by two pixels are one from here on, so that many small models are trained soon.
small, held_out = (avg_pool2d(part, 2).flatten(1).double().numpy() for part in (x, test))
some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
young = LogisticRegression(max_iter=300).fit(small[some[:100]], y[some[:100]])
picks = pl.exemplar.choose_to_label(
    young, small[some[:100]], small[some[100:]], 10, features="inputs"
)
save(picks.plot(pictures=lambda row: row.reshape(14, 14)), "labelling")

grown = pl.exemplar.grow(
    LogisticRegression(max_iter=300), small[some[:2500]], y[some[:2500]].numpy(),
    test=(held_out, answers.numpy()), how=["diverse", "margin", "coverage"], features="inputs",
    start=20, step=20, rounds=4, seeds=5,
)  # fmt: skip
save(grown.plot().figure, "growing")
print(grown)
