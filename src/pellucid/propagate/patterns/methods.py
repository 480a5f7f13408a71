"""PatternNet and PatternAttribution: back-propagation through what neurons detect."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.at import At, Site
from pellucid.case import Case
from pellucid.errors import InputError, ModelError, show
from pellucid.method import Attribution, Method, register
from pellucid.options import one_of
from pellucid.propagate.patterns.affine import Affine, factors
from pellucid.propagate.patterns.neurons import as_weight, scaled, weights_of, wiring_of
from pellucid.propagate.patterns.patterns import FIT, Patterns
from pellucid.propagate.patterns.places import (
    Places,
    along_channels,
    channels,
    counted,
    factor,
    own_factor,
)
from pellucid.structure import Inputs
from pellucid.tape.adjoints import Signals, adjoint, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import carriers, walk

ESTIMATORS = ("auto", "linear", "positive")
REST_NOTE = (
    "Patterns are for weights, sums of two signals, constant factors and rectifiers; the gradient "
    "passes {}."
)
SUMS_NOTE = (
    "Sums of two signals that did not occur where the patterns were fitted give half to each."
)

Step = Callable[[Operation, Signals], Signals]


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """What a walk does at each operation: `weighs` says whether a pattern is times its weight."""

    patterns: Patterns
    estimator: str
    weighs: bool
    places: Places

    def steps(
        self, tape: Tape, until: Collection[Value]
    ) -> tuple[dict[Operation, Step], list[str]]:
        """The step of each operation from score to end that is not its adjoint, and notes."""
        last = min((value.number for value in until), default=-1)
        own, rest, halves = set(tape.extra), [], False
        steps: dict[Operation, Step] = {}
        for operation in carriers(tape):
            if operation.number <= last or operation in own:
                continue
            step = self._step(operation)
            if step is not None:
                steps[operation] = step
            elif self._is_unknown(operation):
                rest.append(operation.name)
            halves = halves or (operation in self.places.sums and self._shares(operation) is None)
        notes = [REST_NOTE.format(counted(rest[::-1]))] if rest else []
        return steps, [*notes, SUMS_NOTE] if halves else notes

    def _step(self, operation: Operation) -> Step | None:
        if operation in self.places.weighted:
            return self._weighted(operation)
        if operation in self.places.folded:
            return _passed
        if operation in self.places.sums:
            return self._summed
        if operation.number in self.places.forms:
            return None
        if own_factor(operation) not in (None, 1):
            return self._shifted
        return self._scaled if factor(operation) is not None else None

    def _is_unknown(self, operation: Operation) -> bool:
        """Whether it is neither linear nor a rectifier, so that no pattern says what to do."""
        form = self.places.forms.get(operation.number)
        if form is not None:
            return form.name == "activation"
        return kind(operation) in ("pass", "other", "affine", "scale") and not (
            kind(operation) == "scale" and factor(operation) is not None
        )

    def _weighted(self, operation: Operation) -> Step:
        """W' with patterns in the place of weights, or the two multiplied."""
        affine = self.places.weighted[operation]
        pattern, wiring = self.patterns.find(affine), wiring_of(affine)
        positive = self._is_positive(operation).to(pattern.linear.device)
        on = wiring.spread(wiring.of_outputs(positive))
        chosen = torch.where(on, pattern.positive, pattern.linear)

        def step(operation: Operation, signals: Signals) -> Signals:
            signal = self._back(affine, chosen, _first(signals))
            return [signal if value is affine.linear.entry else None for value in operation.slots]

        return step

    def _back(self, affine: Affine, pattern: Tensor, signal: Tensor) -> Tensor:
        pattern = pattern.to(signal)
        other = pattern * weights_of(affine) if self.weighs else scaled(affine, pattern)
        return affine.linear.backward(signal, as_weight(affine, other.to(signal)))

    def _is_positive(self, operation: Operation) -> Tensor:
        """For each output whether its pattern is that of the positive regime."""
        rectified = self.places.rectified_outputs(operation)
        if self.estimator == "auto":
            return rectified
        return torch.full_like(rectified, self.estimator == "positive")

    def _shares(self, operation: Operation) -> Tensor | None:
        found = self.patterns.share(self.places.sums[operation], channels(operation))
        if found is None:
            return None
        positive = self._is_positive(operation).to(found.linear.device)
        return torch.where(positive, found.positive, found.linear)

    def _summed(self, operation: Operation, signals: Signals) -> Signals:
        """Each signal gets its share; the pattern is that over the factor it is added with."""
        signal, share = _first(signals), self._shares(operation)
        each = signal.new_full((channels(operation),), 0.5) if share is None else share.to(signal)
        parts = (along_channels(operation, part) for part in (each, 1 - each))
        slots = zip(parts, factors(operation), operation.slots, strict=True)
        return [
            (signal * part / (1 if self.weighs or scale == 0 else scale)).sum_to_size(value.shape)
            for part, scale, value in slots
        ]

    def _shifted(self, operation: Operation, signals: Signals) -> Signals:
        """Y = s x + c, where c is a constant: as a constant factor."""
        signal, scale = _first(signals), own_factor(operation) or 0
        passed = signal * bool(scale) / (1 if self.weighs or scale == 0 else scale)
        return [
            passed.sum_to_size(value.shape) if value.carries else None for value in operation.slots
        ]

    def _scaled(self, operation: Operation, signals: Signals) -> Signals:
        """Y = s x: the pattern is 1 / s, and times the weight it is one."""
        signal, scale = _first(signals), factor(operation)
        if scale is None:
            return adjoint(operation, signals)
        alive = scale != 0
        passed = signal if self.weighs else signal / torch.where(alive, scale, 1)
        return [passed * alive if value.carries else None for value in operation.slots]


def _passed(operation: Operation, signals: Signals) -> Signals:
    """A folded norm: the operation before it accounts for both."""
    return [_first(signals), *[None] * (len(operation.slots) - 1)]


def _first(signals: Signals) -> Tensor:
    return next(signal for signal in signals if signal is not None)


def _attribute(
    case: Case, method: "PatternNet | PatternAttribution", *, weighs: bool
) -> Attribution:
    """One recorded forward pass, and one walk that starts from the score."""
    tape, site = case.tape, Site(case=case, path=method.at)
    until, score = site.values, tape.score_value
    if method.patterns is None:
        raise _needed(method)
    with torch.no_grad():
        places = Places.of(tape, until)
        rules = _Walk(
            patterns=method.patterns, estimator=method.estimator, weighs=weighs, places=places
        )
        steps, notes = rules.steps(tape, until)

        def step(operation: Operation, signals: Signals) -> Signals:
            return steps.get(operation, adjoint)(operation, signals)

        def walked(scale: float) -> dict[Value, Tensor]:
            start = {score: score.tensor * scale} if score.depends else {}
            return walk(tape, start, until, step)

        found = walked(1.0)
        if not _finite(found):
            found, note = _in_range(walked, score.dtype)
            notes = [*notes, note]
    case.count(backward=len(case))
    return Attribution(values=site.read(found), at=site.label, notes=tuple(notes))


def _finite(found: dict[Value, Tensor]) -> bool:
    return all(bool(signal.isfinite().all()) for signal in found.values())


def _in_range(
    walked: Callable[[float], dict[Value, Tensor]], dtype: torch.dtype
) -> tuple[dict[Value, Tensor], str]:
    """Walk once more with a smaller signal, as each of many neurons adds all of what it detects."""
    exponent = round(0.75 * math.log2(torch.finfo(dtype).max))
    found = walked(2.0**-exponent)
    if not _finite(found):
        raise ModelError(
            "The signal must stay in the range of the model's precision",
            found=f"a signal beyond that of {str(dtype).removeprefix('torch.')}",
            hint="Fit and explain model.double(), or stop earlier: at=.",
        )
    return found, f"The signal grows out of range; values are given times 2^-{exponent}."


def _needed(method: Method) -> InputError:
    return InputError(
        f"{method.name} must be given the patterns of the model",
        found="patterns=None",
        hint=f"Learn them from data first: patterns={FIT}.",
    )


def _check(method: "PatternNet | PatternAttribution") -> None:
    one_of(method.estimator, f"`estimator` of {method.name}", ESTIMATORS)
    if method.patterns is not None and not isinstance(method.patterns, Patterns):
        raise InputError(
            f"`patterns` of {method.name} must be what fit_patterns returns",
            found=show(method.patterns),
            hint=f"Learn them from data: patterns={FIT}, or pellucid.Patterns.load(path).",
        )


@register("patternnet")
@dataclass(frozen=True, kw_only=True)
class PatternNet(Method):
    """The signal that the score detects in the input, layer by layer through learned patterns.

        S_in = a S_out            at an operation with weights w, where a is its pattern
        S_in = S_out * (y > 0)    at a rectifier

    The gradient, with every weight replaced by what the neuron detects, started from the score. For
    a linear model it is the part of the input that varies with the score, without the distractors
    that its weights are there to cancel. `estimator` "auto" takes the pattern of the positive
    regime for outputs that a rectifier reads, and the linear one for others. In a sum of two
    signals each has its share of the sum's variance as its pattern, a constant factor the
    inverse. All else is passed by the gradient: pooling, what moves, and what notes name, such
    as products of signals, softmax and layer norm.

    Axes: values have the axes of the input, or with `at` those of what that layer returned.
    Laws: on a linear model, a f(x) with w'a = 1. What a score ignores may well get something: it
    can go along with what the score detects.
    Source: Kindermans, Schütt, Alber, Müller, Erhan, Kim, Dähne (2018), Learning How to Explain
    Neural Networks: PatternNet and PatternAttribution.

    >>> from pellucid import fit_patterns
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, -1.0]]))     # cancels what both have
    >>> signal, distractor = torch.randn(100, 1), torch.randn(100, 1)
    >>> x = signal * torch.tensor([1.0, 0.0]) + distractor
    >>> PatternNet(patterns=fit_patterns(net, [x]))(net, x).values.shape
    torch.Size([100, 2])
    """

    answers: ClassVar[str] = "What in the input is the signal that the score detects?"
    weakness: ClassVar[str] = (
        "Only as good as the patterns, which are learned from data; skips, norms and gates are "
        "beyond the theory."
    )
    laws: ClassVar[frozenset[str]] = frozenset()

    patterns: Patterns | None = None
    estimator: str = "auto"
    at: At = None

    def __post_init__(self) -> None:
        _check(self)

    def check(self, inputs: Inputs) -> None:
        """Raise unless there are patterns."""
        super().check(inputs)
        if self.patterns is None:
            raise _needed(self)

    @property
    def is_slope(self) -> bool:
        """Values are slopes of the score."""
        return True

    def attribute(self, case: Case) -> Attribution:
        """One forward pass and one walk."""
        return _attribute(case, self, weighs=False)


@register("pattern_attribution")
@dataclass(frozen=True, kw_only=True)
class PatternAttribution(Method):
    """How much the detected signal in each element contributes to the score.

        R_in = (w * a) R_out      at an operation with weights w, where a is its pattern
        R_in = R_out * (y > 0)    at a rectifier

    Deep Taylor decomposition with a root point learned from data: the input without its signal.
    Relevance starts from the score. Patterns are chosen as for PatternNet; a constant factor
    passes relevance as it is.

    Axes: values have the axes of the input, or with `at` those of what that layer returned.
    Laws: an input of weight zero gets zero. As w'a = 1, a dense layer hands on all it gets; what
    comes to a rectifier that is off, or lies in the padding, is lost, so that it does not sum to
    the score.
    Source: Kindermans, Schütt, Alber, Müller, Erhan, Kim, Dähne (2018), Learning How to Explain
    Neural Networks: PatternNet and PatternAttribution.

    >>> from pellucid import fit_patterns
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, -1.0]]))
    >>> x = torch.randn(100, 2)
    >>> found = PatternAttribution(patterns=fit_patterns(net, [x]))(net, x)
    >>> torch.allclose(found.values.sum(1), found.score, atol=1e-4)
    True
    """

    answers: ClassVar[str] = "How much does the signal in each element contribute to the score?"
    weakness: ClassVar[str] = (
        "Only as good as the patterns, which are learned from data; it does not sum to the score."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"dummy"})

    patterns: Patterns | None = None
    estimator: str = "auto"
    at: At = None

    def __post_init__(self) -> None:
        _check(self)

    def check(self, inputs: Inputs) -> None:
        """Raise unless there are patterns."""
        super().check(inputs)
        if self.patterns is None:
            raise _needed(self)

    def attribute(self, case: Case) -> Attribution:
        """One forward pass and one walk."""
        return _attribute(case, self, weighs=True)
