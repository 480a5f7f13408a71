"""Layer-wise relevance propagation."""

from dataclasses import dataclass
from typing import ClassVar

import torch

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
        return Attribution(
            values=site.read(found),
            at=self.at,
            expected=tape.outcome.score,
            ledger=ledger,
            notes=tuple(part for part in (note, _kept(ledger), _around(ledger, self.at)) if part),
            leak=_leak(ledger, max(LEAK, 4 * torch.finfo(tape.outcome.score.dtype).eps)),
        )

    def _composite(self, tape: Tape) -> tuple[Composite, str]:
        if self.rules is None:
            return choose(tape, self.composite)
        return Composite(name=self.rules.name, entries=(("any", self.rules),)), ""


def _kept(ledger: Ledger) -> str:
    """Say what biases and stabilizers kept of the score, where that is worth a sentence."""
    if abs(ledger.bias) + abs(ledger.stabilizer) <= 0.01 * abs(ledger.score):
        return ""
    return (
        f"Of the score {ledger.score:.4g}, biases kept {ledger.bias:.4g} and stabilizers "
        f"{ledger.stabilizer:.2g}; the values show how the rest is shared, and the ledger where "
        "it went."
    )


def _around(ledger: Ledger, path: str | None) -> str:
    """Say what went around a layer, through other branches."""
    past = sum(row.stopped for row in ledger.rows if row.name == "around")
    if path is None or abs(past) <= 0.01 * abs(ledger.score):
        return ""
    return f"Of the score {ledger.score:.4g}, {past:.4g} went around `{path}`."


def _leak(ledger: Ledger, tolerance: float) -> str:
    """Name the operation at which relevance got lost, or made, for no stated cause."""
    row = ledger.leak()
    if row is None or abs(ledger.residual) <= tolerance * ledger.largest:
        return ""
    where = f"{row.name} (operation {row.number}, layer `{row.path}`, rule {row.rule})"
    return (
        f"Relevance must add up to the score; {ledger.residual:.3g} of {ledger.score:.3g} is "
        f"missing, most of it at {where}. See explanation.ledger."
    )
