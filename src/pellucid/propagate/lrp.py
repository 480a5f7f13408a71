"""Layer-wise relevance propagation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.at import At, Site, check_at
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.method import Attribution, Method, register
from pellucid.options import one_of
from pellucid.propagate.auto import choose
from pellucid.propagate.composites import Composite, composite
from pellucid.propagate.plan import Unknown, plan, propagate
from pellucid.propagate.rules import Rule, SumPlus, ZPlus
from pellucid.propagate.through import (
    PAST,
    THROUGH,
    Gate,
    ThroughLike,
    channels_of,
    propagate_through,
)
from pellucid.tape.expand import expanded
from pellucid.tape.ledger import AMOUNTS, Ledger
from pellucid.tape.operations import Value
from pellucid.tape.record import Tape
from pellucid.target.unit import check_axis

LEAK = 1e-4
# What ledgers call the rules that leave neurons without positive input what they got.
ZPLUS = {ZPlus.__name__, SumPlus.label}


@register("lrp")
@dataclass(frozen=True, kw_only=True)
class LRP(Method):
    """Send the score back through the network, each operation sharing what it gets.

        f(x) = ... = sum over layer l of R = ... = sum over inputs of R  (+ what biases took)

    Axes: values have the axes of the input, or with `at` those of what that layer (or operation:
    `at=17`, `at="relu:0"`) returned; what goes around it is booked. `through` names layers and
    their channels, `{"features.5": [3, 17]}`, and lets relevance pass only those: what came
    another way is booked as stopped. `axis` says where channels are, if not on axis 1.
    `composite` names which rule goes where, or is one;
    "auto" picks and says which. `rules` gives one rule to every operation with weights instead.
    An operation that no rule is known for is an error, or, with `unknown="gradient"`, shares by
    gradient times input, and what that loses is booked as stopped.
    `explanation.ledger` says what every operation got, gave and kept.
    Laws: complete without biases; with them the ledger sums to the score; a ReLU network without
    biases under epsilon is gradient x input.
    Source: Bach et al. (2015), On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
    Layer-Wise Relevance Propagation; Montavon et al. (2019), LRP: An Overview; `through`: Achtibat
    et al. (2023), From Attribution Maps to Human-Understandable Explanations through Concept
    Relevance Propagation.

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
    differentiable: ClassVar[bool] = True

    composite: str | Composite = "auto"
    rules: Rule | None = None
    at: At = None
    through: ThroughLike = None
    axis: int | None = None
    unknown: Unknown = "error"

    def __post_init__(self) -> None:
        one_of(self.unknown, "`unknown`", ("error", "gradient"))
        check_at(self.at)
        check_axis(self.axis)
        if self.through is not None:
            object.__setattr__(self, "through", channels_of(self.through))
        if self.composite != "auto":
            composite(self.composite)
        if self.rules is not None and not isinstance(self.rules, Rule):
            raise InputError(
                "`rules` must be one rule for all operations with weights",
                got=self.rules,
                hint="For example pellucid.rules.Epsilon(epsilon=1e-6).",
            )
        if self.rules is not None and self.composite != "auto":
            raise InputError(
                "`rules` and `composite` must not be given together: `rules` is one for all",
                found=f"rules={self.rules} and composite={_named(self.composite)}",
                hint='In a composite it is the entry ("any", rule).',
            )

    def attribute(self, case: Case) -> Attribution:
        """One recorded forward pass and one walk."""
        tape, site = expanded(case.tape), Site(case=case, path=self.at)
        chosen, note = self._composite(tape)
        until = site.values
        with torch.set_grad_enabled(case.attached):
            made = plan(tape, chosen, until, unknown=self.unknown)
            gates, consume = self._gates(case, until), not case.shared
            if gates:
                found, ledger = propagate_through(tape, made, gates, until, consume=consume)
            else:
                found, ledger = propagate(tape, made, until, consume=consume)
        case.count(backward=len(case))
        notes, leak = self.judge(ledger, tape.outcome.score.dtype)
        return Attribution(
            values=site.read(found),
            at=site.label,
            expected=tape.outcome.score,
            ledger=ledger,
            notes=(note, *notes) if note else notes,
            leak=leak,
        )

    def judge(self, ledger: Ledger, dtype: torch.dtype) -> tuple[tuple[str, ...], str]:
        """What was kept and what went around, and at which operation relevance leaks."""
        notes = (_kept(ledger), _around(ledger, self.at), _passed(ledger))
        leak = _leak(ledger, max(LEAK, 4 * torch.finfo(dtype).eps))
        return tuple(note for note in notes if note), leak

    def _gates(self, case: Case, until: list[Value]) -> list[Gate]:
        """Where relevance passes only some channels: above the values that it goes to."""
        found = [
            Gate.of(Site(case=case, path=layer), channels, self.axis)
            for layer, channels in channels_of(self.through)
        ]
        for gate in found:
            if gate.value.number < max(value.number for value in until):
                raise InputError(
                    f"A layer of `through` must lie between the score and {self.at!r}",
                    got=gate.layer,
                    hint="Relevance comes to `at` before it would pass that layer.",
                )
        return found

    def _composite(self, tape: Tape) -> tuple[Composite, str]:
        if self.rules is None:
            return choose(tape, self.composite)
        return Composite(name=self.rules.name, entries=(("any", self.rules),)), ""


def _named(given: str | Composite) -> str:
    return given.name if isinstance(given, Composite) else given


def _kept(ledger: Ledger) -> str:
    """Say what biases, stabilizers and rules kept of the score, where that is worth a sentence."""
    bias, stabilizer = ledger.each_of("bias"), ledger.each_of("stabilizer")
    rules = ledger.each_of("stopped")
    for apart in ("around", THROUGH, PAST):  # which have notes of their own
        rules = rules - ledger.each_of("stopped", apart)
    size = ledger.numbers[:, 0, 0].abs()
    much = bias.abs() + stabilizer.abs() + rules.abs() > 0.01 * size
    if not bool(much.any()):
        return ""
    silent = _silent(ledger)
    kept = [f"biases kept {_span(bias)}", f"stabilizers {_span(stabilizer, 2)}"]
    for who, amount in (("neurons without positive input", silent), ("rules", rules - silent)):
        if bool((amount.abs() > 0.01 * size).any()):
            kept.append(f"{who} {_span(amount)}")
    told = f"{', '.join(kept[:-1])} and {kept[-1]}"
    rest = f"{told}; the values show how the rest is shared, and the ledger where it went."
    if len(much) > 1:
        many = f"{int(much.sum())} of {len(much)} samples"
        return f"More than 1 % of the score is kept in {many}: {rest}"
    return f"Of the {_score(ledger)}, {rest}"


def _silent(ledger: Ledger) -> Tensor:
    """What neurons without positive contributions kept under z+, for every sample."""
    rows = [1 + i for i, row in enumerate(ledger.rows) if row.rule in ZPLUS]
    return ledger.numbers[:, rows, AMOUNTS.index("stopped")].sum(1)


def _around(ledger: Ledger, path: At) -> str:
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


def _passed(ledger: Ledger) -> str:
    """Say how much of the score came through the chosen channels, to the last of their layers."""
    last = max((i for i, row in enumerate(ledger.rows) if row.name == THROUGH), default=None)
    if last is None:
        return ""
    part = ledger.numbers[:, 1 + last, AMOUNTS.index("relevance_in")]
    layer = ledger.rows[last].path
    if len(part) > 1:
        return f"Of the scores, {_span(part)} came through the chosen channels of `{layer}`."
    return f"Of the {_score(ledger)}, {part.item():.4g} came through channels of `{layer}`."


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
