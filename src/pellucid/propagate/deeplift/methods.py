"""DeepLIFT, from one reference, and DeepSHAP, from a background of many."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.at import At, Site, check_at, ones
from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.method import Attribution, Method, register
from pellucid.options import one_of
from pellucid.propagate.deeplift.multipliers import RULES, RuleName, contributions
from pellucid.remarks import Remark, Share
from pellucid.structure import Inputs
from pellucid.tape.adjoints import is_training_norm
from pellucid.tape.expand import expanded
from pellucid.tape.record import Tape

# Contributions may miss this part of what they should sum to, and so many roundings of their size.
LEAK = 1e-4
ROUNDINGS = 64
ROUNDINGS_OF_HALVES = 8
LEAK_TEXT = "DeepLIFT must sum to f(x) - f(baseline); {} did not. "
ASTRAY_TEXT = (
    "The model goes another way for the baseline, or chooses or rounds by values that no signal "
    "follows: take another baseline, or integrated_gradients."
)
COARSE_TEXT = " Or it is rounded too much: explain model.float() to see."
UNSETTLED_TEXT = (
    "The slope of `%s` changes too often between baseline and input to be integrated: take a "
    "nearer baseline, or integrated_gradients with many steps."
)
MIXED_NOTE = (
    "Samples share the statistics of their batch: only the values of all of them together sum to "
    "the differences of their scores."
)


@register("deeplift")
@dataclass(frozen=True, kw_only=True)
class DeepLIFT(Method):
    """What each element's difference from a reference adds to the difference of the scores.

        C = m (x - x0),   m_in = m_out * dy / dx                       a linear map
                          m_in = m_out * (y - y0) / (x - x0)           Rescale, at an activation
                          m_in+ = m_out * D y+ / D x+, and D y-, D x-  RevealCancel

    Axes: values have the axes of the input, or with `at` those of what that layer returned. The
    model runs on the input and on the reference, and one walk reads both runs. `rule` says what
    passes an activation: "rescale"; "reveal_cancel", which tells apart what pushes a neuron up and
    what pushes it down; "paper", which is Rescale behind convolutions and RevealCancel behind dense
    layers. An activation is an elementwise function of one value, as however many operations it is
    written, and so is a norm. A maximum gives max(y, y0) - y0 to the winner at the input and
    y - max(y, y0) to the one at the reference; what is put in order (sort, topk, a median) has each
    rank for as long as it has it between both; anything else that couples elements (softmax, layer
    norm, a product of two signals) has its adjoint integrated between reference and input. A
    background of several baselines is averaged over. Halves are passed in single precision.
    Laws: complete; exact on a linear model; an ignored input gets zero; equal functions get equal
    answers as far as their activations are of the same sums.
    Source: Shrikumar, Greenside, Kundaje (2017), Learning Important Features Through Propagating
    Activation Differences.

    >>> least = lambda x: x[:, :1] - (x[:, :1] - x[:, 1:]).relu()
    >>> DeepLIFT()(least, torch.tensor([[3.0, 1.0]])).values
    tensor([[0., 1.]])
    >>> DeepLIFT(rule="reveal_cancel")(least, torch.tensor([[3.0, 1.0]])).values
    tensor([[0.5000, 0.5000]])
    """

    answers: ClassVar[str] = (
        "What did each pixel add to the score, compared with a reference input?"
    )
    weakness: ClassVar[str] = (
        "Depends on the reference, and two ways to compute the same function may get two answers."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant", "complete"})

    baseline: BaselineLike = field(default_factory=Baseline)
    rule: RuleName = "rescale"
    at: At = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        one_of(self.rule, "`rule` of deeplift", RULES)
        check_at(self.at)

    def attribute(self, case: Case) -> Attribution:
        """Two recorded forward passes, and one walk; for each row of a background."""
        return _answer(case, self.baseline, self.rule, self.at, errors=False)


@register("deep_shap")
@dataclass(frozen=True, kw_only=True)
class DeepSHAP(Method):
    """DeepLIFT from many baselines, averaged: a fast estimate of Shapley values.

        R = mean over rows x0 of the baseline of C(x, x0),  C as in DeepLIFT

    Axes: values have the axes of the input, or with `at` those of what that layer returned. All
    rows of the baseline are used, in full batches. `error` is the standard error of each value,
    where there are several rows; `rule` is that of DeepLIFT.
    Laws: the values sum to f(x) - mean f(x0); exact on a linear model; an ignored input gets zero.
    Source: Lundberg, Lee (2017), A Unified Approach to Interpreting Model Predictions; Shrikumar,
    Greenside, Kundaje (2017), Learning Important Features Through Propagating Activation
    Differences.

    >>> line = lambda x: (x * torch.tensor([2.0, -1.0])).sum(1, keepdim=True)
    >>> background = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    >>> DeepSHAP(baseline=background)(line, torch.tensor([[1.0, 3.0]])).values
    tensor([[ 1., -2.]])
    """

    answers: ClassVar[str] = "What did each pixel add, compared with the inputs of a background?"
    weakness: ClassVar[str] = (
        "Shapley values only where the network is linear; depends on the background, and costs a "
        "pass for each row of it."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant", "complete"})

    baseline: BaselineLike = field(default_factory=Baseline)
    rule: RuleName = "rescale"
    at: At = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        one_of(self.rule, "`rule` of deep_shap", RULES)
        check_at(self.at)

    def attribute(self, case: Case) -> Attribution:
        """Stream the rows of the background, keeping running sums and sums of squares."""
        return _answer(case, self.baseline, self.rule, self.at, errors=True)


def _answer(
    case: Case, baseline: BaselineLike, rule: RuleName, at: At, *, errors: bool
) -> Attribution:
    """From one reference, or the mean over several."""
    references = case.background(baseline)
    if len(references) > 1:
        return _averaged(case, references, rule, at, errors=errors)
    here = case if case.shared else _keeping(case)
    tape = here.tape
    there = here.moved(_laid_out(references[0], case.inputs), torch.arange(len(case)))
    found = _explained(here, tape, there, rule, at, consume=not case.shared)
    _note_mixed(case, found)
    return Attribution(values=found.values, expected=found.expected, at=found.at, leak=_leak(found))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Contributions, what they should sum to, and the name of the layer they are of.

    `mixed` says that samples share statistics, `unsettled` names what was not integrated, and
    `eps` is the rounding of the coarsest type in the model.
    """

    values: list[Tensor]
    expected: Tensor | None
    at: str | None
    mixed: bool
    unsettled: tuple[str, ...]
    eps: float


def _note_mixed(case: Case, found: _Found) -> None:
    """Say that only all samples together add up, where it is so."""
    if found.mixed:
        case.counter.note(MIXED_NOTE)


def _explained(
    case: Case, tape: Tape, there: Case, rule: RuleName, at: At, *, consume: bool
) -> _Found:
    """The contributions of one reference for each sample."""
    with _same_draws(tape):
        reference = there.tape
    score = tape.outcome.score
    _check_finite(reference)
    site = Site(case=case, path=at)
    until, label = site.values, site.label
    mixed = len(case) > 1 and any(map(is_training_norm, tape.operations))
    eps = _coarsest(tape)
    _ = site.tensors  # read before the tape is used up
    # Where nothing leads to the score but what carries no signal (a sign), there is no walk.
    start = ones(tape) if tape.score_value.carries else {}
    walked = contributions(expanded(tape), expanded(reference), start, until, rule, consume=consume)
    case.count(backward=len(case))
    expected = None if walked.around else score - reference.outcome.score
    return _Found(
        values=site.read(walked.found), expected=expected, at=label, mixed=mixed,
        unsettled=walked.unsettled, eps=eps,
    )  # fmt: skip


def _keeping(case: Case) -> Case:
    """The same case, of which recordings keep what rectifiers overwrite; it is recorded here."""
    found = replace(case, keep=True)
    case.__dict__.setdefault("outcome", found.tape.outcome)
    return found


def _same_draws(tape: Tape) -> AbstractContextManager[None]:
    """Let another run draw what this one drew: dropout, where a model is in training mode."""
    drawn = (operation.random for operation in tape.operations if operation.random is not None)
    first = next(drawn, None)
    return nullcontext() if first is None else first.again()


def _laid_out(reference: Inputs, inputs: Inputs) -> Inputs:
    """References in the memory layout of the inputs, which the model may ask for."""
    pairs = zip(reference.leaves, inputs.leaves, strict=True)
    return reference.replace([torch.empty_like(leaf).copy_(point) for point, leaf in pairs])


def _averaged(
    case: Case, references: list[Inputs], rule: RuleName, at: At, *, errors: bool
) -> Attribution:
    """The mean over references, in full batches of samples and references.

    Batches of the same samples share one recording of them.
    """
    totals = Totals(len(case), len(references))
    held: tuple[Tensor, Case] | None = None
    for there, rows, _ in case.stream(
        len(references), lambda draw, rows: references[draw].select(rows), "references"
    ):
        if held is None or not torch.equal(held[0], rows):
            held = (rows, replace(case.select(rows), keep=True))
        here = held[1]
        there = replace(there, inputs=_laid_out(there.inputs, here.inputs), keep=True)
        found = _explained(here, here.tape, there, rule, at, consume=False)
        totals.add(found, rows)
    return totals.attribution(case, errors=errors)


@dataclass
class Totals:
    """Running sums over references of contributions, their squares, and what they should be."""

    samples: int
    times: int
    first: list[Tensor] = field(default_factory=list)
    second: list[Tensor] = field(default_factory=list)
    expected: Tensor | None = None
    types: list[torch.dtype] = field(default_factory=list)
    at: str | None = None
    mixed: bool = False
    unsettled: tuple[str, ...] = ()
    eps: float = 0.0

    def add(self, found: _Found, rows: Tensor) -> None:
        """Add what was found for some rows, each of one sample."""
        self.mixed, self.eps = self.mixed or found.mixed, max(self.eps, found.eps)
        self.unsettled = tuple(dict.fromkeys((*self.unsettled, *found.unsettled)))
        if not self.first:
            self.types, self.at = [value.dtype for value in found.values], found.at
            self.first, self.second = (
                [_room(value, self.samples) for value in found.values] for _ in range(2)
            )
            if found.expected is not None:
                self.expected = _room(found.expected, self.samples)
        for value, first, second in zip(found.values, self.first, self.second, strict=True):
            index, value = rows.to(value.device), value.to(first.dtype)
            first.index_add_(0, index, value)
            second.index_add_(0, index, value.square())
        if found.expected is None:
            self.expected = None
        elif self.expected is not None:
            index = rows.to(self.expected.device)
            self.expected.index_add_(0, index, found.expected.to(self.expected.dtype))

    def attribution(self, case: Case, *, errors: bool) -> Attribution:
        """Means, and their standard errors where there are several references."""
        means = [first / self.times for first in self.first]
        expected = None
        if self.expected is not None:
            expected = (self.expected / self.times).to(case.outcome.score.dtype)
        values = [mean.to(dtype) for mean, dtype in zip(means, self.types, strict=True)]
        error = None
        if errors and self.times > 1:
            error = [
                (second / self.times - mean**2).clamp(min=0).div(self.times - 1).sqrt().to(dtype)
                for mean, second, dtype in zip(means, self.second, self.types, strict=True)
            ]
        found = _Found(
            values=values, expected=expected, at=self.at, mixed=self.mixed,
            unsettled=self.unsettled, eps=self.eps,
        )  # fmt: skip
        _note_mixed(case, found)
        return Attribution(
            values=values, expected=expected, error=error, at=self.at, leak=_leak(found)
        )


def _room(like: Tensor, samples: int) -> Tensor:
    return like.new_zeros((samples, *like.shape[1:]), dtype=wide(like))


def _leak(found: _Found) -> Remark:
    """Say for how many samples the contributions miss the difference of the scores."""
    expected = found.expected
    if expected is None:
        return ""
    parts = [v.reshape(len(v), -1).to(wide(v)) for v in found.values if v.is_floating_point()]
    total = torch.stack([part.sum(1) for part in parts]).sum(0)
    size = torch.stack([part.abs().sum(1) for part in parts]).sum(0)
    coarse = found.eps > torch.finfo(torch.float32).eps
    rounding = (ROUNDINGS_OF_HALVES if coarse else ROUNDINGS) * found.eps * size
    whole = expected.to(wide(expected))
    if found.mixed:  # what one sample adds to another's score is among its own values
        total, whole, rounding = (each.sum().expand(len(each)) for each in (total, whole, rounding))
    off = ~((total - whole).abs() <= LEAK * whole.abs() + rounding)
    names = "`, `".join(found.unsettled)
    text = LEAK_TEXT + (UNSETTLED_TEXT % names if names else ASTRAY_TEXT)
    text += COARSE_TEXT if coarse else ""
    return Share(text=text, some=int(off.sum()), of=len(expected))


def _coarsest(tape: Tape) -> float:
    """The rounding of the coarsest type that carries a signal, which autocast may have chosen."""
    values = [value for operation in tape.operations for value in operation.outputs]
    carrying = (value for value in (*tape.entries, *values) if value is not None and value.carries)
    eps = [torch.finfo(value.dtype).eps for value in carrying]
    return max(eps, default=torch.finfo(tape.outcome.score.dtype).eps)


def _check_finite(reference: Tape) -> None:
    """Raise if there is no score to compare with."""
    score = reference.outcome.score
    if not score.isfinite().all():
        raise InputError(
            "The score at the baseline must be finite",
            got=score,
            hint="Take another baseline: a mean, a blurred input or rows of data.",
        )
