"""Remove and retrain, keep and retrain: the run itself, which can be stopped anywhere."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.baseline import BaselineLike
from pellucid.batching import BatchSize, check_batch_size
from pellucid.border.models import is_estimator
from pellucid.evaluate.metric import Metric
from pellucid.evaluate.retrain.curves import RetrainCurves
from pellucid.evaluate.retrain.data import Taken
from pellucid.evaluate.retrain.plan import (
    Explained,
    MethodsLike,
    Plan,
    explained_of,
    percentages_of,
    proxies_of,
    rivals_of,
    seeds_of,
)
from pellucid.evaluate.retrain.ranking import Removal
from pellucid.evaluate.retrain.run import Run
from pellucid.evaluate.retrain.trainer import Fit, factory_of, fit_of, made
from pellucid.features import FeaturesLike
from pellucid.options import whole
from pellucid.run.folder import run_folder


def roar(
    model_factory: Any,
    data: Any,
    methods: MethodsLike,
    *,
    fit: Fit | None = None,
    keep: bool = False,
    percentages: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    seeds: int | Sequence[int] = 5,
    target: Explained = "predicted",
    features: FeaturesLike = None,
    fill: BaselineLike = None,
    proxies: "Sequence[str | Metric]" = ("selectivity", "road"),
    proxy_samples: int = 100,
    leak: bool = False,
    folder: str | os.PathLike[str] | None = None,
    batch_size: BatchSize = "auto",
    retry: bool = False,
    progress: bool = True,
) -> RetrainCurves:
    """Remove what methods call relevant from all data, train again, and see what is still known.

        A_m(t) = accuracy on T without the fraction t that m ranks first
                 of a model trained on D without it

    A first model is trained on the training set D and explains every sample of D and of the test
    set T. For each method m, each of the `percentages` t and each of the `seeds`, a new model is
    trained from the start on what is left. A method has found what matters where the accuracy
    falls below that of a random ranking, which is always among them. To `keep` (KAR), the fraction
    that is ranked last goes, and accuracy should stay above that of the random ranking.

    | option | what it says |
    |---|---|
    | `model_factory` | makes an untrained model; or an estimator, which is cloned |
    | `data` | a `Split`, or ((inputs, labels) to train, (inputs, labels) to test) |
    | `fit` | `fit(model_factory, data) -> model`; a `Trainer`, or an estimator's own `fit` |
    | `target` | the class that the first model predicts is explained, or the "label" |
    | `features` | what is removed: single pixels, positions, tokens or columns, if not said |
    | `fill` | what takes its place: the mean of each channel of the training set, or a baseline |
    | `proxies` | metrics that need no training, on `proxy_samples` drawn from the test set |
    | `leak` | train also on the pattern of what is removed alone, by the first seed |
    | `folder` | keeps all that was found; the same call goes on where it stopped |
    | `retry` | trainings that failed before are tried again |

    The pattern of what is removed may tell a new model the class, whatever is left: accuracy then
    stays high for a method that finds what matters. So it is for maps of the true label, and nearly
    so for those of the predicted class, which mostly is the label; `leak` measures how much the
    pattern alone tells. Removal without training again runs beside it: the first model on the same
    inputs, which it has never seen the like of.
    Labels that are whole numbers are columns of the model's scores; others, and those of an
    estimator, are classes in sorted order. Of one score for the second of two classes, its negative
    is explained where the first is asked for. Seeds that change nothing, as of most estimators
    without a `random_state`, count as one, for they say nothing of chance.
    A trainer or a method that fails is a row with its reason, and all else goes on. Randomness is
    decided by the seeds alone and global random states are put back. The first model of torch is
    kept in the folder; another one is trained again if the run was stopped before all maps of it
    were made.
    Source: Hooker, Erhan, Kindermans and Kim (2019), A Benchmark for Interpretability Methods in
    Deep Neural Networks; Rong et al. (2022), A Consistent and Efficient Evaluation Strategy for
    Attribution Methods, for the leak of the label.

    >>> import torch
    >>> from torch import nn
    >>> x = torch.rand(80, 4, generator=torch.Generator().manual_seed(0))
    >>> data = (x[:60], (x[:60, 0] > 0.5).long()), (x[60:], (x[60:, 0] > 0.5).long())
    >>> from pellucid.evaluate.retrain import Trainer
    >>> found = roar(lambda: nn.Linear(4, 2), data, ["gradient_x_input"], percentages=[0.5],
    ...              seeds=2, fit=Trainer(epochs=20, learning_rate=0.1), proxies=[])
    >>> len(found.rows), list(found.rivals)
    (6, ['gradient_x_input', 'random'])
    """
    check_batch_size(batch_size)
    factory = factory_of(model_factory)
    taken = Taken.of(data, sorts=is_estimator(made(factory)))
    removal = Removal.of(features, fill, taken.train.inputs, keep=keep, leak=leak)
    plan = Plan(
        rivals=rivals_of(methods),
        data=taken,
        factory=factory,
        fit=fit_of(fit, factory, taken.train.inputs),
        removal=removal,
        percentages=percentages_of(percentages),
        seeds=seeds_of(seeds),
        target=explained_of(target),
        proxies=proxies_of(proxies, removal.features),
        proxy_samples=min(whole(proxy_samples, "proxy_samples"), len(taken.test)),
    )
    with _place(folder) as path, run_folder(path, plan.settings()) as opened:
        return Run(plan=plan, folder=opened, batch_size=batch_size).all(retry, progress)


@contextmanager
def _place(folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    """The user's folder; else one that goes with the run."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="pellucid-") as path:
        yield Path(path)
