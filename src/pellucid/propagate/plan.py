"""Rules assigned to the operations of a tape, and the walk that applies them and keeps books."""

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import MissingRuleError
from pellucid.propagate.auto import choose
from pellucid.propagate.canonize import folded_biases, folded_norms, folded_paddings
from pellucid.propagate.composites import Composite
from pellucid.propagate.linear import Linear
from pellucid.propagate.rules.families import DEFAULTS
from pellucid.propagate.rules.homogeneous import GradientTimesInput, of_complex_numbers
from pellucid.propagate.rules.registered import REGISTERED
from pellucid.propagate.rules.rule import Rule, SignalRule
from pellucid.propagate.rules.sharing import Share, first
from pellucid.propagate.samples import Layout, Samples
from pellucid.propagate.where import Place, places
from pellucid.tape.adjoints import Signals, kind
from pellucid.tape.ledger import Entry, Ledger
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import carriers, walk

# What happens at an operation that no rule is known for.
Unknown: TypeAlias = Literal["error", "gradient"]
FALLBACK = GradientTimesInput()
# The name of the rule where an operation with weights accounts for what comes after it.
FOLDED = "Folded"

Sharing: TypeAlias = Callable[[Operation, Signals, Layout], Share]


@dataclass(frozen=True)
class Plan:
    """For each operation that carries relevance: how it shares it, and what that is called.

    `layout` says which sample it belongs to.
    """

    steps: dict[Operation, tuple[str, Sharing]]
    layout: Layout


def plan(
    tape: Tape,
    rules: Composite,
    until: Collection[Value] = (),
    *,
    unknown: Unknown = "error",
) -> Plan:
    """Give every operation between score and end its rule, before any number is computed.

    The end are the values in `until`, or the inputs; what lies below them needs no rule. What has
    none is an error, or, with `unknown="gradient"`, shares by gradient times input.
    """
    last = min((value.number for value in until), default=-1)
    rulebook = _Rulebook.of(tape, rules)
    steps: dict[Operation, tuple[str, Sharing]] = {}
    for operation in carriers(tape, _stops):
        if operation.number <= last:
            break
        step = rulebook.step(operation)
        if step is None and unknown == "gradient":
            step = (FALLBACK.name, FALLBACK.share)
        if step is None:
            raise missing_rule(tape, operation)
        steps[operation] = step
    return Plan(steps, Layout.of(tape))


def rule_names(tape: Tape, given: "str | Composite" = "auto") -> tuple[list[str], str]:
    """The name of every operation's rule, for tables, and a note on the composite if it was chosen.

    "none" is where there is no rule, "Stop" where no relevance passes.
    """
    chosen, note = choose(tape, given)
    rulebook = _Rulebook.of(tape, chosen)
    found = [(operation, rulebook.step(operation)) for operation in tape.operations]
    names = [
        step[0] if step else "Stop" if _stops(operation) else "none" for operation, step in found
    ]
    return names, note


@dataclass(frozen=True)
class _Rulebook:
    """A composite, and what it has to know of the tape it is used on."""

    rules: Composite
    norms: dict[Operation, Operation]
    biases: dict[Operation, tuple[Operation, bool]]
    paddings: dict[Operation, Operation]
    folded: set[Operation]
    places: dict[Operation, Place]
    memory: dict[Hashable, Any] | None

    @classmethod
    def of(cls, tape: Tape, rules: Composite) -> "_Rulebook":
        norms, biases, found = folded_norms(tape), folded_biases(tape), places(tape)
        rules.check(list(found.values()))
        folded = {*norms.values(), *(shift for shift, _ in biases.values())}
        paddings = folded_paddings(tape)
        return cls(rules, norms, biases, paddings, folded, found, tape.memory)

    def step(self, operation: Operation) -> tuple[str, Sharing] | None:
        """The name and the function by which an operation shares relevance; `None` without rule."""
        if operation.name in REGISTERED:
            registered = REGISTERED[operation.name]
            return registered.name, registered
        if operation in self.folded:
            return FOLDED, _share_folded
        place = self.places.get(operation)
        if place is None:
            return None
        rule = self.rules.rule(place) or DEFAULTS.get(place.family)
        if isinstance(rule, SignalRule):
            return rule.name, rule.share
        if rule is None:
            raise MissingRuleError(
                f"The composite `{self.rules.name}` must give a rule to every operation with "
                "weights",
                got=operation,
                hint='Add a last entry ("any", Epsilon()).',
            )
        shift, straight = self.biases.get(operation, (None, True))
        linear = Linear(
            operation=operation,
            norm=self.norms.get(operation),
            shift=shift,
            straight=straight,
            padding=self.paddings.get(operation),
            memory=self.memory,
        )
        return rule.name, _Weighted(rule, linear)


def propagate(
    tape: Tape,
    made: Plan,
    until: Collection[Value] = (),
    *,
    start: dict[Value, Tensor] | None = None,
    consume: bool = False,
) -> tuple[dict[Value, Tensor], Ledger]:
    """Walk relevance from the score to the inputs, or to `until`; also return where it went.

    It may `start` with other relevance than the score. With `consume`, tape and plan are used up on
    the way, and their memory freed.
    """
    score, ends = tape.score_value, list(until or tape.entries)
    if start is None:
        start = {score: score.tensor} if score.depends else {}
    books = _Books.begin(made, start, ends, consume=consume)
    found = walk(tape, start, ends, books.step, consume=consume)
    relevance = {value: found[value] for value in ends if value in found}
    return found, books.close(tape.outcome.score, relevance)


def missing_rule(tape: Tape, operation: Operation) -> MissingRuleError:
    """Say which operation has no rule, where it is, and what to do about it."""
    line = tape.source_line(operation.number)
    if any(value.dtype.is_complex for value in operation.slots):
        return of_complex_numbers(operation, line)
    hint = (
        f"Register one: pellucid.register_rule({operation.name!r}, pellucid.rules.Pass()) "
        "for an elementwise function, or a function of (operation, signals). LRP("
        'unknown="gradient") shares by gradient times input there.'
    )
    if getattr(tape.model, "training", False):
        hint = f"The model is in training mode: call model.eval() first. {hint}"
    return MissingRuleError(
        "Every operation between score and input must have a relevance rule",
        found=f"`{operation.name}` (operation {operation.number}, layer "
        f"`{operation.path or 'the model itself'}`{f', {line}' if line else ''})",
        hint=hint,
    )


@dataclass(frozen=True)
class _Weighted:
    """A rule bound to the linear map of one operation."""

    rule: Rule
    linear: Linear

    def __call__(self, operation: Operation, signals: Signals, layout: Layout) -> Share:
        linear = self.linear
        if layout.apart:
            linear = replace(linear, samples=layout[linear.output])
        share = self.rule.share(linear, first(signals))
        (signal,) = share.signals
        if signal is not None:
            signal = linear.padded(signal)  # the padding itself is the next step
        slots: Signals = [signal if value.carries else None for value in operation.slots]
        return Share(slots, share.bias, share.stabilizer, share.stopped)


def _share_folded(operation: Operation, signals: Signals, layout: Layout) -> Share:
    """What is folded hands on what it gets: the operation before it accounts for both."""
    carrying = next(value for value in operation.slots if value.carries)
    return Share([first(signals) if value is carrying else None for value in operation.slots])


@dataclass
class _Books:
    """Applies the plan step by step and writes down every sum.

    `pending` has the sum of the relevance that waits at each value, so that what leaves one
    operation is not summed again when it arrives at the next. The walk ends at `ends`, with the
    operation `last`; `around` is the relevance that has passed them by.
    """

    plan: Plan
    consume: bool
    ends: set[Value]
    last: int
    pending: dict[Value, Any] = field(default_factory=dict)
    around: list[Any] = field(default_factory=list)
    rows: list[tuple[dict[str, Any], list[Any]]] = field(default_factory=list)

    @classmethod
    def begin(
        cls, made: Plan, start: dict[Value, Tensor], ends: list[Value], *, consume: bool
    ) -> "_Books":
        """Open the books with what waits at the score."""
        books = cls(made, consume, set(ends), min((value.number for value in ends), default=-1))
        for value, signal in start.items():
            books._wait(value, made.layout[value].sum(signal))
        return books

    def step(self, operation: Operation, signals: Signals) -> Signals:
        """Share what arrives at an operation, and book it."""
        take = self.plan.steps.pop if self.consume else self.plan.steps.get
        name, sharing = take(operation, None) or ("", None)
        if sharing is None:
            return [None] * len(operation.slots)
        out = _plus([self.pending.pop(v) for v in operation.outputs if v in self.pending])
        share = sharing(operation, signals, self.plan.layout)
        sums = []
        for signal, value in zip(share.signals, operation.slots, strict=True):
            if signal is not None and value.carries:
                held = signals[0] is not None and _is_same(signal, signals[0])
                sums.append(out if held else self.plan.layout[value].sum(signal))
                self._wait(value, sums[-1])
        head = {"number": operation.number, "name": operation.name, "path": operation.path}
        numbers = [out, _plus(sums), share.bias, share.stabilizer, share.stopped]
        self.rows.append(({**head, "rule": name}, numbers))
        return share.signals

    def _wait(self, value: Value, relevance: Any) -> None:
        """Let relevance wait at a value; the walk comes to it unless it lies below the ends."""
        if value.number <= self.last and value not in self.ends:
            self.around.append(relevance)
            return
        held = self.pending.get(value)
        self.pending[value] = relevance if held is None else held + relevance

    def close(self, score: Tensor, relevance: dict[Value, Tensor]) -> Ledger:
        """Read all sums at once, now that the walk is over."""
        layout, count = self.plan.layout, len(score)
        explained = [layout[value].sum(signal) for value, signal in relevance.items()]
        start = score if layout.apart else Samples().sum(score)
        lines = [[start, _plus(explained), 0.0, 0.0, 0.0], *(sums for _, sums in self.rows)]
        heads = [head for head, _ in self.rows]
        if self.around:
            heads.append({"number": self.last, "name": "around", "path": "", "rule": "Stop"})
            lines.append([_plus(self.around), 0.0, 0.0, 0.0, _plus(self.around)])
        rows = tuple(Entry(**head, relevance_out=0.0, relevance_in=0.0) for head in heads)
        return Ledger.of(rows, _numbers(lines, count, apart=layout.apart), count)


def _is_same(signal: Tensor, other: Tensor) -> bool:
    """Whether two signals are the same numbers in the same memory, perhaps in another shape."""
    return signal is other or (
        signal.data_ptr() == other.data_ptr()
        and signal.numel() == other.numel()
        and signal.dtype == other.dtype
    )


def _plus(sums: list[Any]) -> Any:
    return sum(sums[1:], sums[0]) if sums else 0.0


def _numbers(lines: list[list[Any]], count: int, *, apart: bool) -> Tensor:
    """What was booked, of shape (sample, line, amount), or (1, line, amount) for all together.

    A rule that books one sum over the batch leaves the samples together.
    """
    flat = [number for line in lines for number in line]
    known = _on_host([number for number in flat if isinstance(number, Tensor)])
    sums = [known.get(id(number), [number]) for number in flat]
    each = [isinstance(number, Tensor) and number.ndim > 0 for number in flat]
    if not apart or any(not own and found[0] for found, own in zip(sums, each, strict=True)):
        totals = torch.tensor([sum(found) for found in sums], dtype=torch.float64)
        return totals.reshape(1, len(lines), -1)
    blank = [0.0] * count
    columns = [found if own else blank for found, own in zip(sums, each, strict=True)]
    return torch.tensor(columns, dtype=torch.float64).T.reshape(count, len(lines), -1)


def _on_host(tensors: list[Tensor]) -> dict[int, list[float]]:
    """The numbers in small tensors by their ids, read together, since one by one takes long."""
    groups: dict[Any, dict[int, Tensor]] = {}
    for tensor in tensors:
        alike = (tensor.shape, tensor.dtype, tensor.device)
        groups.setdefault(alike, {})[id(tensor)] = tensor
    found: dict[int, list[float]] = {}
    with torch.no_grad():
        for group in groups.values():
            rows = torch.stack(list(group.values())).reshape(len(group), -1)
            found.update(zip(group, rows.double().tolist(), strict=True))
    return found


def _stops(operation: Operation) -> bool:
    return kind(operation) == "stop" and operation.name not in REGISTERED
