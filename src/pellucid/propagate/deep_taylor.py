"""Deep Taylor decomposition."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.at import At, Site, check_at
from pellucid.case import Case
from pellucid.errors import InputError, show
from pellucid.method import Attribution, Method, register
from pellucid.propagate.composites import Composite
from pellucid.propagate.forms import form_of
from pellucid.propagate.lrp import LRP
from pellucid.propagate.plan import FOLDED, Plan, plan, propagate
from pellucid.propagate.rules import Rule, SumPlus, WSquare, ZBox, ZPlus
from pellucid.propagate.rules.positive import TERMS
from pellucid.propagate.where import Place, places
from pellucid.remarks import Share
from pellucid.tape.expand import expanded
from pellucid.tape.ledger import Ledger
from pellucid.tape.operations import Operation

# Families of operations that are no layer of rectified neurons.
FOREIGN = {
    "product": "a product of two signals",
    "matmul": "a product of two signals",
    "softmax": "a softmax",
    "norm": "a norm of each sample",
    "reduction": "a norm",
}
# Operations that give the least of several elements, and those that cut elements off.
LEAST = {"minimum", "fmin", "amin", "min", "cummin"}
CLIPS = {"clamp", "clamp_min", "clamp_max"}
ABSENT = "{} have no positive score: there is nothing to decompose, and their values are zero."
OUTSIDE = (
    "Deep Taylor decomposition is made for rectified neurons with inputs that are not negative. "
    "Relevance passes others here, by rules that the theory does not stand behind: {}."
)


@register("deep_taylor")
@dataclass(frozen=True, kw_only=True, eq=False)
class DeepTaylor(Method):
    """Decompose the positive part of the score, neuron by neuron, around a root of each.

        max(f(x), 0) = sum over inputs of R  (+ what neurons without a positive input keep)
        R_i = sum over j of (x_i - root_i) dR_j / dx_i (root),   R_j(root) = 0

    The root of a neuron lies where it just falls silent. It is sought where the inputs may be:

    | inputs | direction of the root | rule |
    |---|---|---|
    | not negative, as those of hidden layers | x_i where w_ij > 0 | z+ |
    | any, as those of the model (the default) | w_ij | w^2 |
    | between `low` and `high`, as pixels | x_i - low_i where w_ij > 0, else x_i - high_i | z^B |

    `low` and `high` are numbers, or tensors with one number a channel or of the shape of a sample;
    they are bounds of what the first layer with weights reads. Biases are ignored; batch norm is
    folded into the layer before it; max-pooling gives all to the winner, average pooling and
    additions share by positive contribution. Axes: values have the axes of the input, or with `at`
    those of what that layer returned. `explanation.ledger` says what was kept where.
    Laws: values are not negative, and sum to max(score, 0) less what the ledger books.
    Source: Montavon et al. (2017), Explaining Nonlinear Classification Decisions with Deep Taylor
    Decomposition.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 3.0]]))
    >>> DeepTaylor()(net, torch.tensor([[4.0, 2.0]])).values
    tensor([[1., 9.]])
    """

    answers: ClassVar[str] = "Which parts of the input does the evidence for the score come from?"
    weakness: ClassVar[str] = (
        "It shows no evidence against the score, ignores biases, and is made for rectifiers."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"dummy"})
    differentiable: ClassVar[bool] = True

    low: float | Tensor | None = None
    high: float | Tensor | None = None
    at: At = None

    def __post_init__(self) -> None:
        check_at(self.at)
        given = [name for name in ("low", "high") if getattr(self, name) is not None]
        if len(given) == 1:
            raise InputError(
                "`low` and `high` must be given together",
                found=f"only {given[0]}={show(getattr(self, given[0]))}",
                hint="Without both, inputs may be any number.",
            )
        if given:
            box = ZBox(low=self.low, high=self.high)
            object.__setattr__(self, "low", box.low)
            object.__setattr__(self, "high", box.high)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeepTaylor):
            return NotImplemented
        return (self._entrance, self.at) == (other._entrance, other.at)

    def __hash__(self) -> int:
        return hash((self._entrance, self.at))

    def attribute(self, case: Case) -> Attribution:
        """One recorded forward pass and one walk."""
        tape, site = expanded(case.tape), Site(case=case, path=self.at)
        until, score = site.values, tape.score_value
        with torch.set_grad_enabled(case.attached):
            made, found = plan(tape, self._composite, until), places(tape)
            notes = _outside(made, found)
            positive = tape.outcome.score.clamp(min=0)
            start = {score: score.tensor.clamp(min=0)} if score.depends else {}
            values, ledger = propagate(tape, made, until, start=start, consume=not case.shared)
        case.count(backward=len(case))
        ledger = _starting_from(ledger, positive)
        kept, leak = self.judge(ledger, positive.dtype)
        absent = Share(text=ABSENT, some=int((positive == 0).sum()), of=len(positive))
        return Attribution(
            values=site.read(values),
            at=site.label,
            expected=positive,
            ledger=ledger,
            notes=(absent, *notes, *kept),
            leak=leak,
        )

    def judge(self, ledger: Ledger, dtype: torch.dtype) -> tuple[tuple[str, ...], str]:
        """What was kept and what went around, and at which operation relevance leaks."""
        return LRP(at=self.at).judge(ledger, dtype)

    @property
    def _entrance(self) -> Rule:
        """The rule of the operations with weights that read the inputs."""
        return WSquare() if self.low is None else ZBox(low=self.low, high=self.high)

    @property
    def _composite(self) -> Composite:
        rules = (("first", self._entrance), ("any", ZPlus(bias=False)), ("any", SumPlus()))
        return Composite(name="deep-taylor", entries=rules)


def _starting_from(ledger: Ledger, positive: Tensor) -> Ledger:
    """The ledger of a walk that starts with the positive part of the score."""
    numbers = ledger.numbers.clone()
    start = positive.to(numbers)
    numbers[:, 0, 0] = start if len(numbers) == len(start) else start.sum()
    return Ledger.of(ledger.rows, numbers, ledger.samples)


def _outside(made: Plan, found: dict[Operation, Place]) -> Iterable[str]:
    """A note that names the operations on the walk to which the theory does not apply."""
    reasons: dict[str, list[Operation]] = {}
    for operation in reversed(made.steps):
        place = found.get(operation) if made.steps[operation][0] != FOLDED else None
        reason = _reason(operation, place) if place is not None else ""
        if reason:
            reasons.setdefault(reason, []).append(operation)
    texts = [f"{reason} at {_listed(held)}" for reason, held in reasons.items()]
    return (OUTSIDE.format("; ".join(texts)),) if texts else ()


def _reason(operation: Operation, place: Place) -> str:
    """What makes an operation no layer of rectified neurons; empty for one that is."""
    if place.family in FOREIGN:
        return FOREIGN[place.family]
    if operation.name in LEAST:
        return "a minimum"
    if place.family == "activation" or operation.name in CLIPS:
        return "" if _rectifies(operation) else "another activation"
    reads = place.family in ("sum", "affine") or (place.weighted and not place.first)
    return "negative inputs" if reads and _has_negative(operation) else ""


def _rectifies(operation: Operation) -> bool:
    """Whether what comes out is max(x, 0), or x itself, by its form or in this run."""
    form = form_of(operation)
    if form is not None and form.name == "rectifier" and form.bound is None:
        return True
    x = next(value for value in operation.slots if value.carries).tensor
    y = operation.output.tensor
    return any(torch.equal(y, same.expand(y.shape)) for same in (x, x.clamp(min=0)))


def _has_negative(operation: Operation) -> bool:
    """Whether relevance is shared among inputs of which some are negative."""
    entries = [value for value in operation.slots if value.carries]
    if operation.name in TERMS and len(entries) == 1:
        return False  # a bias that is written out
    return any(value.shape.numel() > 0 and bool(value.tensor.min() < 0) for value in entries)


def _listed(operations: list[Operation]) -> str:
    """The first of some operations, and how many there are."""
    one = operations[0]
    where = f"`{one.name}` (operation {one.number}, layer `{one.path or 'the model itself'}`)"
    more = len(operations) - 1
    return where + (f" and {more} more" if more else "")
