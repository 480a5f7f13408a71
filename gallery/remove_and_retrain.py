"""Remove what a map calls relevant, train again, and see what is still known.

Shows ROAR (Hooker et al. 2019) on handwritten digits: from all digits, of the training set and of
the test set, the share of pixels that a method ranks first is replaced by the mean, and a new net
is trained on what is left. A method has found what matters where the new net reads worse than one
that was trained without random pixels. Thin: the first net on the same digits, without training
again, which falls for every order, since it has never seen such pictures. Published, on ImageNet:
squared SmoothGrad and VarGrad are far better than random, integrated gradients and plain gradients
are not. The first three come out here; but the plain gradient is better than random too, for at
90 % it has found all the ink. Keeping what ranks first (KAR) tells methods less apart.
Misleads where the pattern of what is gone draws the digit: a new net then reads the holes.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from _digits import digits, net
from _panels import save

import pellucid as pl
from pellucid.evaluate.retrain import Trainer, roar

METHODS = {
    "gradient": pl.Saliency(),
    "integrated gradients": pl.IntegratedGradients(steps=20),
    "SmoothGrad squared": pl.SmoothGrad(samples=15, reduce="squared"),
    "VarGrad": pl.SmoothGrad(samples=15, reduce="variance"),
    "LRP, epsilon": pl.LRP(composite="epsilon"),
}
PERCENTAGES = (0.5, 0.7, 0.9)


def curves(keep, folder, percentages=PERCENTAGES, seeds=3):
    """Accuracy after retraining, for every method, percentage and seed."""
    return roar(
        net,
        (digits("train"), digits("test")),
        METHODS,
        fit=Trainer(epochs=4, batch_size=64),
        keep=keep,
        percentages=percentages,
        seeds=seeds,
        folder=Path(folder) / ("kar" if keep else "roar"),
    )


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        removed = curves(False, folder)
        kept = curves(True, folder, percentages=(0.9,))
    save(removed.plot().figure, "remove_and_retrain")
    print(removed)
    print(kept)
