"""Growing a data set: label, train, pick, and what picking gains over chance."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pellucid.batching import BatchSize
from pellucid.border.models import is_estimator
from pellucid.errors import InputError, UnknownNameError
from pellucid.evaluate.retrain.answers import accuracy
from pellucid.evaluate.retrain.chance import chance
from pellucid.evaluate.retrain.curves import Estimate, estimate
from pellucid.evaluate.retrain.data import Examples, Taken, packed
from pellucid.evaluate.retrain.trainer import EstimatorFit, Fit, Trainer, factory_of, fit_of
from pellucid.exemplar.labelling import WAYS, Space, drawn, picked
from pellucid.inspect.pools import Pool
from pellucid.method import Method
from pellucid.options import one_of, whole
from pellucid.seeding import seeded

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

RANDOM = "random"


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """Accuracy on the test set while a data set grows, by the way in which samples are picked.

    `sizes` are the numbers of labelled samples (round,), `accuracy` the accuracies (seed, round) of
    each way, always with "random". `picks` are the rows in the order of their labelling, (seed,
    sample), of which the first come from a random draw that all ways share.
    """

    sizes: tuple[int, ...]
    accuracy: dict[str, Tensor]
    picks: dict[str, Tensor]
    samples: int
    trainings: int

    def curve(self, how: str) -> list[Estimate]:
        """The mean accuracy over seeds after each round, with its interval at 95 %."""
        return [estimate(values, self._least) for values in self._known(how).T.tolist()]

    def gain(self, how: str, size: int | None = None) -> Estimate:
        """How much more accurate than with random picks, and its interval over seeds at 95 %.

            mean over rounds of A_how - A_random,   for each seed, from the same first samples

        `size` is one of `sizes`, or all after the first. It is the accuracy that picking adds.
        """
        drops = self._known(how) - self._known(RANDOM)
        if size is None:
            kept = drops[:, 1:]
        elif size in self.sizes:
            kept = drops[:, self.sizes.index(size)].unsqueeze(1)
        else:
            raise UnknownNameError("A size of the data set", size, map(str, self.sizes))
        return estimate(kept.mean(1).tolist(), self._least * (2 / kept.shape[1]) ** 0.5)

    @property
    def _least(self) -> float:
        """Accuracies on n samples are rounded to 1 / n, which is a deviation of its own."""
        return 1 / (self.samples * 12**0.5)

    def _known(self, how: str) -> Tensor:
        if how not in self.accuracy:
            raise UnknownNameError("A way to pick", how, self.accuracy)
        return self.accuracy[how]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each way and size: the accuracy, the gain, and their intervals."""
        import pandas as pd

        rows = []
        for how in self.accuracy:
            for size, found in zip(self.sizes, self.curve(how), strict=True):
                gain = self.gain(how, size)
                rows.append(
                    {"how": how, "labelled": size, "accuracy": found.mean, "low": found.low}
                    | {"high": found.high, "gain": gain.mean, "gain_low": gain.low}
                    | {"gain_high": gain.high}
                )
        return pd.DataFrame(rows)

    def plot(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw accuracy over the number of labelled samples; options as in `plot.labelling`."""
        from pellucid.plot.labelling import draw_growth

        return draw_growth(self, ax, **options)

    def __repr__(self) -> str:
        seeds = len(self.accuracy[RANDOM])
        draws = f"{seeds} seeds" if seeds > 1 else "1 seed"
        lines = [f"Growth from {self.sizes[0]} to {self.sizes[-1]} labelled samples, {draws}"]
        for how in self.accuracy:
            last, gain = self.curve(how)[-1], self.gain(how)
            said = f"  {how}: accuracy {last.mean:.1%} in the end"
            if how != RANDOM:
                said += f", {100 * gain.mean:+.1f} points over random on average"
                said += f" ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})" if seeds > 1 else ""
            lines.append(said)
        return "\n".join(lines)


def grow(
    model_factory: Any,
    inputs: Any,
    labels: Any,
    *,
    test: tuple[Any, Any],
    how: str | Sequence[str] = "diverse",
    start: int = 20,
    step: int = 20,
    rounds: int = 5,
    seeds: int | Sequence[int] = 5,
    fit: Fit | None = None,
    features: Space = "model",
    layer: str | None = None,
    method: "str | Method" = "gradient_x_input",
    pool: Pool = "auto",
    batch_size: BatchSize = "auto",
) -> Growth:
    """Measure what it gains to choose the samples to label, instead of drawing them.

        repeat: train on the labelled samples, test, pick `step` others by `how`, take their labels

    All labels are known here and given out when they are asked for. For each seed all ways begin
    with the same `start` samples, of two classes or more, trainings of one seed draw the same
    initial weights, and random picks are always measured. `model_factory` makes a new model, torch
    module or estimator, and `fit` trains it: a `Trainer` or any function of the factory and
    `Examples`. `test` are inputs and labels of other samples. Distances are those of the `features`
    that the model of the round has at the `layer`, or of the inputs themselves. The other options
    are those of `choose_to_label`.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> found = grow(LogisticRegression(max_iter=500), x[::2], y[::2], test=(x[1::2], y[1::2]),
    ...              how="uncertainty", start=8, step=4, rounds=2, seeds=2)
    >>> found.sizes, found.accuracy["uncertainty"].shape
    ((8, 12, 16), torch.Size([2, 3]))
    """
    ways, numbers = _ways(how), _numbers(seeds)
    factory = factory_of(model_factory)
    data = Taken.of((Examples(inputs, labels), Examples(*test)), sorts=is_estimator(model_factory))
    start, step, rounds = _sizes(start, step, rounds, len(data.train))
    one_of(features, "`features` to grow by", get_args(Space))
    options = {"features": features, "layer": layer, "method": method, "pool": pool,
               "batch_size": batch_size}  # fmt: skip
    trainer = fit_of(fit, factory, data.train.inputs)
    runs: dict[str, list[tuple[list[float], list[int]]]] = {way: [] for way in ways}
    with tqdm(total=len(ways) * len(numbers), desc="grow", leave=False, disable=None) as bar:
        for seed, way in itertools.product(numbers, ways):
            run = _Run(data=data, factory=factory, fit=_reseeded(trainer, seed), seed=seed)
            runs[way].append(run.all(way, start, step, rounds, options))
            bar.update()
    return Growth(
        sizes=tuple(start + step * each for each in range(rounds + 1)),
        accuracy={way: _accuracies(found) for way, found in runs.items()},
        picks={way: torch.tensor([rows for _, rows in found]) for way, found in runs.items()},
        samples=len(data.test),
        trainings=len(ways) * len(numbers) * (rounds + 1),
    )


def _numbers(seeds: int | Sequence[int]) -> list[int]:
    """The seeds themselves, each once, of which there is at least one."""
    if not isinstance(seeds, Sequence | np.ndarray):
        return list(range(whole(seeds, "seeds")))
    if not len(seeds):
        raise InputError("`seeds` must be their number, or at least one of them", got=seeds)
    return list(dict.fromkeys(whole(seed, "seed", least=None) for seed in seeds))


def _ways(how: str | Sequence[str]) -> list[str]:
    """The ways to pick, each once, and at last the random one."""
    listed = [how] if isinstance(how, str) else list(how)
    found = [one_of(each, "`how` to grow", WAYS) for each in listed]
    return [*dict.fromkeys(way for way in found if way != RANDOM), RANDOM]


def _sizes(start: int, step: int, rounds: int, total: int) -> tuple[int, int, int]:
    """How many samples are labelled at first and in each round, and the rounds."""
    start, step = whole(start, "start", least=2), whole(step, "step")
    rounds = whole(rounds, "rounds")
    if start + step * rounds > total:
        raise InputError(
            f"`start` and `rounds` of `step` must be at most the {total} samples there are",
            found=f"{start} and {rounds} x {step}",
        )
    return start, step, rounds


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """The growth of one data set, by one way, from one draw."""

    data: Taken
    factory: Any
    fit: Fit
    seed: int

    def all(
        self, way: str, start: int, step: int, rounds: int, options: dict[str, Any]
    ) -> tuple[list[float], list[int]]:
        """The accuracy after each round, and the rows in the order in which they got labels."""
        rows, found = self._first(start), []
        for turn in range(rounds + 1):
            model = self._trained(torch.tensor(rows))
            found.append(accuracy(model, self.data, self.data.test, self.data.test.inputs))
            if turn < rounds:
                rows = rows + self._next(model, rows, way, step, turn, options)
        return found, rows

    def _first(self, count: int) -> list[int]:
        """The first samples, drawn so that two classes are among them."""
        order = torch.randperm(len(self.data.train), generator=seeded(self.seed))
        classes = self.data.train.classes[order]
        other = int((classes != classes[0]).nonzero()[0])
        kept = [0, other, *(i for i in range(1, len(order)) if i != other)]
        return order[kept[:count]].tolist()

    def _trained(self, rows: Tensor) -> Any:
        train = self.data.train
        labels = train.labels if isinstance(train.labels, Tensor) else np.asarray(train.labels)
        examples = Examples(packed(train.inputs.select(rows).copied()), labels[rows])
        with chance(self.seed), torch.inference_mode(False), torch.enable_grad():
            model = self.fit(self.factory, examples)
        return model.eval() if isinstance(model, torch.nn.Module) else model

    def _next(
        self, model: Any, rows: list[int], way: str, step: int, turn: int, options: dict[str, Any]
    ) -> list[int]:
        inputs, known = self.data.train.inputs, set(rows)
        left = torch.tensor([row for row in range(inputs.rows) if row not in known])
        seed = seeded(self.seed, turn).initial_seed()
        if way == RANDOM:
            return left[drawn(len(left), step, seed)].tolist()
        labelled, others = (packed(inputs.select(each)) for each in (torch.tensor(rows), left))
        picks = picked(model, labelled, others, step, way, seed=seed, **options)
        return left[picks.rows].tolist()


def _accuracies(found: list[tuple[list[float], list[int]]]) -> Tensor:
    """What each seed came to after each round, (seed, round), with all digits."""
    return torch.tensor([each for each, _ in found], dtype=torch.float64)


def _reseeded(fit: Fit, seed: int) -> Fit:
    """The ready trainers with another seed; those of users draw from what is seeded around them."""
    return replace(fit, seed=seed) if isinstance(fit, Trainer | EstimatorFit) else fit
