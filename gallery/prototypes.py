"""Prototypes and criticisms: few digits that stand for all, and those they do not stand for.

Shows for each class of MNIST prototypes, found by the maximum mean discrepancy, and criticisms,
which are slanted, thick or hardly digits. Below: which of the other digits to label next, and what
a small data set (the digits of scikit-learn) gains when they are chosen so.
Misleads where the pixels are not what matters: which digits are alike is decided by the distance.
Criticisms are unusual, not wrong; without `side="missing"`, as in the paper, some have too many
prototypes around them and look typical. Choosing can be worse than chance, by the uncertainty of a
model that has seen too little, or by coverage where outliers are far: measure it, as here.
"""

import torch
from _digits import digits
from _panels import save
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import pellucid as pl

x, y = digits("train")
test, answers = digits("test")

found = pl.exemplar.prototypes(x, labels=y, count=5, criticisms=4, side="missing")
save(found.plot(), "prototypes")
errors = {}
for how in ("mmd", "protodash", "kmedoids", "random"):
    few = pl.exemplar.prototypes(x, labels=y, count=5, criticisms=0, how=how)
    errors[how] = 1 - few.score(test, answers)
print("nearest of 50 prototypes, error on test digits:", end=" ")
print(", ".join(f"{how} {error:.1%}" for how, error in errors.items()))

some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
picks = pl.exemplar.choose_to_label(None, x[some[:100]], x[some[100:1100]], 10)
save(picks.plot(), "labelling")

small, classes = load_digits(return_X_y=True)
order = torch.randperm(len(small), generator=torch.Generator().manual_seed(0)).numpy()
small, classes = small[order] / 16, classes[order]
grown = pl.exemplar.grow(
    LogisticRegression(max_iter=500), small[:1200], classes[:1200],
    test=(small[1200:], classes[1200:]), how=["coverage", "uncertainty"],
    start=20, step=20, rounds=4, seeds=6,
)  # fmt: skip
save(grown.plot().figure, "growing")
print(grown)
