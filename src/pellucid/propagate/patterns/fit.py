"""Patterns learned from a data set, in one pass over it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import Batcher
from pellucid.case import Case, Counter
from pellucid.errors import InputError, ModelError, show
from pellucid.options import whole
from pellucid.program import Program, untouched
from pellucid.propagate.patterns.affine import Affine
from pellucid.propagate.patterns.moments import Moments
from pellucid.propagate.patterns.neurons import (
    AdditionWiring,
    Neurons,
    Wiring,
    neurons_of,
    weights_of,
)
from pellucid.propagate.patterns.patterns import Fingerprint, Pattern, Patterns, Shares
from pellucid.propagate.patterns.places import Places, channels, sum_of
from pellucid.propagate.patterns.quality import Quality, Sample
from pellucid.seeding import seeded
from pellucid.structure import Inputs
from pellucid.tape.operations import Operation
from pellucid.tape.record import Tape, record_run
from pellucid.target import Target

Select = Callable[[Any], Any]


def fit_patterns(
    model: Callable[..., Any],
    batches: Iterable[Any],
    *,
    select: Select | None = None,
    batch_axis: Any = 0,
    quality: bool = True,
    seed: int = 0,
) -> Patterns:
    """Learn from data what each neuron of a model detects, for PatternNet and PatternAttribution.

        a  = cov[x, y]  / w' cov[x, y]
        a+ = cov+[x, y] / w' cov+[x, y],    cov+[x, y] = E+[x y] - E+[x] E[y]

    y = w'x + b is what a neuron answers, E the mean over all inputs, E+ over those with y > 0. A
    large bias can make w' cov+ vanish: where it is at most half the variance of y over those
    inputs, and where y is never positive, a+ is a.

    `batches` is gone through once, and each batch run once; nothing is kept of it but sums and a
    small sample. A batch is what the model takes, or a pair of that and labels as a data loader
    gives: a list, or a tuple whose second is a row of integers. `select(batch)` takes the inputs
    out of any other; `batch_axis` is as in `explain`. `quality` measures how good the patterns are
    (`patterns.quality`), on positions drawn with `seed`.

    Law: w'a = 1 for every neuron whose answer varies.
    Source: Kindermans, Schütt, Alber, Müller, Erhan, Kim, Dähne (2018), Learning How to Explain
    Neural Networks: PatternNet and PatternAttribution.

    >>> model = torch.nn.Linear(2, 1)
    >>> patterns = fit_patterns(model, [torch.randn(50, 2), torch.randn(50, 2)])
    >>> (patterns.patterns[0].linear * model.weight).sum().round(decimals=4).item()
    1.0
    """
    if select is not None and not callable(select):
        raise InputError(
            "`select` must be a function that takes the inputs out of a batch",
            got=select,
            hint="For example select=lambda batch: batch['image'].",
        )
    seed = whole(seed, "seed", least=None)
    program, fit = Program(model), _Fit(seed=seed, quality=quality)
    with untouched(model) as program.states, torch.no_grad():
        for batch in _batches(batches):
            inputs = Inputs.of(_inputs_of(batch, select), batch_axis).copied()
            fit.add(_run(program, inputs, batch, select), inputs.rows)
    if fit.samples < 2:
        raise InputError(
            "`batches` must hold at least two samples to learn patterns from",
            found=f"{fit.samples}",
            hint="Pass a data loader or a list of input batches; a generator can be read once.",
        )
    return fit.result()


def _batches(batches: Iterable[Any]) -> Iterator[Any]:
    alone = isinstance(batches, Tensor | Mapping | str) or not isinstance(batches, Iterable)
    if alone:
        raise InputError(
            "`batches` must be an iterable of batches",
            got=batches,
            hint="Pass [inputs] for one batch, or a data loader.",
        )
    return iter(batches)


def _inputs_of(batch: Any, select: Select | None) -> Any:
    """What the model takes of a batch: all of it, or the first of inputs and labels."""
    if select is not None:
        return select(batch)
    if isinstance(batch, list):
        return batch[0] if batch else batch
    labels = batch[1] if isinstance(batch, tuple) and len(batch) == 2 else None
    is_row = isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point()
    return batch[0] if is_row else batch


def _run(program: Program, inputs: Inputs, batch: Any, select: Select | None) -> Tape:
    """One recorded run; of a batch of several, an error says how to name the inputs among them."""
    try:
        return _recorded(program, inputs)
    except ModelError as error:
        several = isinstance(batch, list | tuple) and len(batch) > 1
        if select is not None or not several or not isinstance(error.__cause__, TypeError):
            raise
        taken = "the first of which" if isinstance(batch, list) else "all of which"
        raise InputError(
            "Each of `batches` must be what the model takes, or a pair of that and labels",
            found=f"{show(batch)}, {taken} the model was given. It raised {error.__cause__}",
            hint="Say what the inputs are: for example select=lambda batch: batch[0].",
        ) from error


def _recorded(program: Program, inputs: Inputs) -> Tape:
    """One run, from the embeddings on where the model reads integers."""
    case = Case(
        program=program,
        inputs=inputs,
        target=Target.of(None),
        rows=torch.arange(inputs.rows),
        total=inputs.rows,
        batcher=Batcher(inputs.rows, start=inputs.rows),
        counter=Counter(),
    ).of_embeddings()
    with case.program.repeatable():
        return record_run(case.program.model, case.inputs)


@dataclass(kw_only=True)
class _Weighted:
    """What is known so far of one set of weights."""

    path: str
    operation: str
    fingerprint: Fingerprint
    weight: Tensor
    wiring: Wiring
    moments: Moments
    sample: Sample | None
    rectified: bool

    def pattern(self) -> Pattern:
        """The patterns, in the precision of the weights, but at least single."""
        exact = torch.promote_types(self.weight.dtype, torch.float32)
        found = (
            self.moments.linear(self.wiring, self.weight),
            self.moments.positive_regime(self.wiring, self.weight),
        )
        linear, positive = (a.to(exact) for a in found)
        return Pattern(
            path=self.path,
            operation=self.operation,
            fingerprint=self.fingerprint,
            linear=linear,
            positive=positive,
        )

    def qualities(self) -> Iterator[Quality]:
        """Rho of each estimator."""
        if self.sample is None:
            return
        moments, wiring, weight = self.moments, self.wiring, self.weight
        linear = moments.linear(wiring, weight).cpu()
        both = (
            moments.positive_regime(wiring, weight).cpu(),
            moments.negative_regime(wiring, weight).cpu(),
        )
        estimators = {"linear": (linear, linear), "positive": both}
        for name, rho, neurons in self.sample.judge(weight, estimators, wiring):
            yield Quality(
                layer=self.path,
                operation=self.operation,
                rectified=self.rectified,
                estimator=name,
                rho=float(rho[0]),
                rho_rectified=float(rho[1]),
                neurons=neurons,
                positions=len(self.sample.key),
            )


@dataclass(kw_only=True)
class _Fit:
    """Adds up the runs of one data set."""

    seed: int
    quality: bool
    samples: int = 0
    weighted: list[_Weighted] = field(default_factory=list)
    sums: list[tuple[int, Moments | None]] = field(default_factory=list)

    def add(self, tape: Tape, rows: int) -> None:
        """Take in one run."""
        places = Places.of(tape)
        self.samples += rows
        for operation, affine in places.weighted.items():
            self._add_weighted(affine, rectified=bool(places.rectified_outputs(operation).any()))
        for operation, number in places.sums.items():
            self._add_sum(operation, number)

    def _add_weighted(self, affine: Affine, *, rectified: bool) -> None:
        neurons, wanted = neurons_of(affine), Fingerprint.of(affine)
        known = wanted.nearest(each.fingerprint for each in self.weighted)
        if known is None:
            found = self._first(affine, neurons, wanted)
        else:
            found = self.weighted[known]
            found.moments.add(neurons)
        found.rectified = found.rectified or rectified
        if found.sample is not None:
            found.sample.add(neurons)

    def _first(self, affine: Affine, neurons: Neurons, own: Fingerprint) -> _Weighted:
        generator = seeded(self.seed + len(self.weighted))
        made = _Weighted(
            path=affine.operation.path,
            operation=affine.operation.name,
            fingerprint=own,
            weight=weights_of(affine),
            wiring=neurons.wiring,
            moments=Moments.of(neurons),
            sample=Sample(generator=generator) if self.quality else None,
            rectified=False,
        )
        self.weighted.append(made)
        return made

    def _add_sum(self, operation: Operation, number: int) -> None:
        """The n-th sum of a run; `None` for one that has other channels in another run."""
        size = channels(operation)
        if number == len(self.sums):
            self.sums.append((size, Moments.of(sum_of(operation))))
            return
        known, moments = self.sums[number]
        if known != size or moments is None:
            self.sums[number] = (0, None)
        else:
            moments.add(sum_of(operation))

    def result(self) -> Patterns:
        """What was learned."""
        return Patterns(
            patterns=tuple(each.pattern() for each in self.weighted),
            sums=tuple(_shares(size, moments) for size, moments in self.sums),
            samples=self.samples,
            qualities=tuple(row for each in self.weighted for row in each.qualities()),
        )


def _shares(size: int, moments: Moments | None) -> Shares:
    """What the first of two signals has of a sum; nothing is known of one that changes."""
    if moments is None:
        return Shares(linear=torch.zeros(0), positive=torch.zeros(0))
    wiring = AdditionWiring(shape=torch.Size([size]))
    linear, positive = moments.linear(wiring, None), moments.positive_regime(wiring, None)
    half = torch.full_like(linear, 0.5)
    return Shares(
        linear=torch.where(moments.varies, linear, half),
        positive=torch.where(moments.varies, positive, half),
    )
