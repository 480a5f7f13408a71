"""Layer-wise relevance propagation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.at import Site
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.method import Attribution, Method, register
from pellucid.propagate.composites import Composite, composite
from pellucid.propagate.plan import choose, plan, propagate
from pellucid.propagate.rules import Rule
from pellucid.tape.expand import expanded
from pellucid.tape.ledger import Ledger
from pellucid.tape.record import Tape

LEAK = 1e-4


@register("lrp")
@dataclass(frozen=True, kw_only=True)
class LRP(Method):
    """Send the score back through the network, each operation sharing what it gets.

        f(x) = ... = sum over layer l of R = ... = sum over inputs of R  (+ what biases took)

    Axes: values have the axes of the input, or with `at` those of what that layer returned; what
    goes around the layer is booked. `composite` names which rule goes where, or is one;
    "auto" picks and says which. `rules` gives one rule to every operation with weights instead.
    `explanation.ledger` says what every operation got, gave and kept.
    Laws: complete without biases; with them the ledger sums to the score; a ReLU network without
    biases under epsilon is gradient x input.
    Source: Bach et al. (2015), On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
    Layer-Wise Relevance Propagation; Montavon et al. (2019), LRP: An Overview.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(net.weight, 3.0)
    >>> LRP(composite="epsilon")(net, torch.tensor([[1.0, 2.0]])).values
    tensor([[3.0000, 6.0000]])
    """

    answers: ClassVar[str] = "How is the score made up of contributions of single pixels?"
    weakness: ClassVar[str] = (
        "The answer depends on the rules, and biases keep a part of the score, often most of it."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant"})

    composite: str | Composite = "auto"
    rules: Rule | None = None
    at: str | None = None

    def __post_init__(self) -> None:
        if self.composite != "auto":
            composite(self.composite)
        if self.rules is not None and not isinstance(self.rules, Rule):
            raise InputError(
                "`rules` must be one rule for all operations with weights",
                got=self.rules,
                hint="For example pellucid.rules.Epsilon(epsilon=1e-6).",
            )

    def attribute(self, case: Case) -> Attribution:
        """One recorded forward pass and one walk."""
        tape, site = expanded(case.tape), Site(case=case, path=self.at)
        chosen, note = self._composite(tape)
        until = site.values
        with torch.no_grad():
            made = plan(tape, chosen, until)
            found, ledger = propagate(tape, made, until, consume=not case.shared)
        case.count(backward=len(case))
        notes, leak = self.judge(ledger, tape.outcome.score.dtype)
        return Attribution(
            values=site.read(found),
            at=self.at,
            expected=tape.outcome.score,
            ledger=ledger,
            notes=(note, *notes) if note else notes,
            leak=leak,
        )

    def judge(self, ledger: Ledger, dtype: torch.dtype) -> tuple[tuple[str, ...], str]:
        """What was kept and what went around, and at which operation relevance leaks."""
        notes = (_kept(ledger), _around(ledger, self.at))
        leak = _leak(ledger, max(LEAK, 4 * torch.finfo(dtype).eps))
        return tuple(note for note in notes if note), leak

    def _composite(self, tape: Tape) -> tuple[Composite, str]:
        if self.rules is None:
            return choose(tape, self.composite)
        return Composite(name=self.rules.name, entries=(("any", self.rules),)), ""


def _kept(ledger: Ledger) -> str:
    """Say what biases and stabilizers kept of the score, where that is worth a sentence."""
    bias, stabilizer = ledger.each_of("bias"), ledger.each_of("stabilizer")
    much = bias.abs() + stabilizer.abs() > 0.01 * ledger.numbers[:, 0, 0].abs()
    if not bool(much.any()):
        return ""
    rest = "the values show how the rest is shared, and the ledger where it went."
    if len(much) > 1:
        return (
            f"In {int(much.sum())} of {len(much)} samples biases and stabilizers kept more than "
            f"1 % of the score, biases {_span(bias)} and stabilizers {_span(stabilizer, 2)}; {rest}"
        )
    return (
        f"Of the {_score(ledger)}, biases kept {ledger.bias:.4g} and stabilizers "
        f"{ledger.stabilizer:.2g}; {rest}"
    )


def _around(ledger: Ledger, path: str | None) -> str:
    """Say what went around a layer, through other branches."""
    past = ledger.each_of("stopped", "around")
    much = past.abs() > 0.01 * ledger.numbers[:, 0, 0].abs()
    if path is None or not bool(much.any()):
        return ""
    if len(much) > 1:
        return (
            f"In {int(much.sum())} of {len(much)} samples more than 1 % of the score, "
            f"{_span(past)}, went around `{path}`."
        )
    return f"Of the {_score(ledger)}, {past.item():.4g} went around `{path}`."


def _leak(ledger: Ledger, tolerance: float) -> str:
    """Name the operation at which relevance got lost, or made, for no stated cause."""
    leaking = ledger.leaking(tolerance)
    if not ledger.rows or not leaking:
        return ""
    number = max(leaking, key=lambda n: abs(float(ledger.residuals[n])))
    one = ledger.select([number]) or ledger
    row = one.leak()
    if row is None:
        return ""
    where = f"{row.name} (operation {row.number}, layer `{row.path}`, rule {row.rule})"
    several = f" in sample {number}, the worst of {len(leaking)}," if one is not ledger else ""
    return (
        f"Relevance must add up to the score;{several} {one.residual:.3g} of {one.score:.3g} is "
        f"missing, most of it at {where}. See explanation.ledger."
    )


def _score(ledger: Ledger) -> str:
    """The score of one sample, or of several that a model mixes."""
    if ledger.samples == 1:
        return f"score {ledger.score:.4g}"
    return f"scores of all {ledger.samples} samples, {ledger.score:.4g} together"


def _span(numbers: Tensor, digits: int = 4) -> str:
    low, high = (f"{end.item():.{digits}g}" for end in (numbers.min(), numbers.max()))
    return low if low == high else f"{low} to {high}"
