"""Answers: methods are run on the samples of a model batch by batch, and put together again."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.attached import AttachedCase
from pellucid.baseline import Baseline
from pellucid.batching import Batcher, BatchSize, are_few, auto_rows, wide
from pellucid.case import Case, Counter
from pellucid.errors import IncompleteError, IncompleteWarning, UnknownNameError, warn
from pellucid.explanation import Completeness, Evaluations, Explanation
from pellucid.features import Players
from pellucid.inside import inside
from pellucid.outputs import concatenate
from pellucid.program import Program, untouched
from pellucid.remarks import Share, sentences
from pellucid.sharing import Recording, SharedCase, batch_notes, normalizes_by_batch
from pellucid.structure import Inputs
from pellucid.tape.operations import RandomState
from pellucid.target import Outcome, Target, TargetLike

if TYPE_CHECKING:
    from pellucid.method import Attribution, Method
    from pellucid.tape.ledger import Ledger

T = TypeVar("T")
OnIncomplete: TypeAlias = Literal["warn", "raise", "ignore"]

NO_SCORE = (
    "Values must be finite; those of {} are not, for the score itself is infinite or no number. "
    "The model may overflow, or divide by zero."
)
NO_SLOPE = (
    "Values must be finite; those of {} are not, though the score is. Somewhere on the way an "
    "answer or a slope of the model is not, as the slopes of a root, a norm and a logarithm are at "
    "zero: add a small number there, or take another baseline."
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one method found for one batch of samples; the batch itself, and its tape, let go."""

    method: "Method"
    rows: int
    outcome: Outcome
    notes: list[str]
    attribution: "Attribution"
    evaluations: Evaluations
    seconds: float


def answer(
    chosen: "list[Method]",
    model: Callable[..., Any],
    inputs: Inputs,
    targets: Sequence[TargetLike],
    *,
    batch_size: BatchSize,
    on_incomplete: OnIncomplete,
    differentiable: bool = False,
) -> list[Explanation]:
    """Explain every target by every method, all on the same runs of the model where they can be.

    A target inside of a layer needs a run that returns what is there; others share one.
    """
    policies = ("warn", "raise", "ignore")
    if on_incomplete not in policies:
        raise UnknownNameError("`on_incomplete`", on_incomplete, policies)
    # Of inputs that autograd is to follow back to the user's, a copy that it follows.
    attached = inputs.replace([leaf.clone() for leaf in inputs.leaves]) if differentiable else None
    taken = attached or inputs.copied()
    aims = [Target.of(each).check_rows(inputs.rows) for each in targets]
    runs = [list(group) for _, group in groupby(aims, lambda aim: aim.layer)]
    programs = [Program(inside(model, group[0].layer)) for group in runs]
    for each in chosen:
        each.check(taken)
    found = []
    for program, group in zip(programs, runs, strict=True):
        with untouched(model) as program.states:
            ask = partial(_ask_attached, chosen[0]) if differentiable else partial(ask_all, chosen)
            columns = batches(ask, program, taken, group, batch_size)
        aimed = [aim for aim in group for _ in chosen]
        pairs = zip(aimed, columns, strict=True)
        found += [_join(taken, aim, column, on_incomplete) for aim, column in pairs]
    return found


def batches(
    ask: "Callable[[Case, list[Target]], list[T]]",
    program: Program,
    inputs: Inputs,
    aims: list[Target],
    batch_size: BatchSize,
) -> list[list[T]]:
    """What is found in each batch of samples: a list for each of what `ask` gives."""
    budget = program.budget if _is_bounded(program.model, inputs) else None
    # What integers become is not guessed here: the first run shows it, or memory that runs out.
    start = auto_rows(inputs.leaves[0], inputs.rows, embedding=1)
    batcher = Batcher(batch_size, start=start, budget=budget)
    looks = budget is not None and batcher.halve and not are_few(inputs.rows, inputs.leaves)
    looked = _look(program, inputs) if looks else 0

    def work(start: int, stop: int) -> list[T]:
        rows = torch.arange(start, stop)
        targets = [aim.select(rows) for aim in aims]
        spent = looked if start == 0 else 0
        case = Case(
            program=program,
            inputs=inputs.select(slice(start, stop)),
            target=targets[0],
            rows=rows,
            total=inputs.rows,
            batcher=batcher,
            counter=Counter(spent, 0, spent, batch_notes(program.model)),
        )
        return ask(case, targets)

    return [list(column) for column in zip(*batcher.run(inputs.rows, work), strict=True)]


def _is_bounded(model: Callable[..., Any], inputs: Inputs) -> bool:
    """Whether batches stay within a bound of memory where their size is left open.

    On a CPU, memory that runs out ends the process. Elsewhere it is an error, upon which batches
    are halved. Samples that share statistics stay together, and of a table nothing is large.
    """
    on_cpu = inputs.leaves[0].device.type == "cpu"
    return on_cpu and inputs.schema is None and not normalizes_by_batch(model)


def _look(program: Program, inputs: Inputs) -> int:
    """Run one sample alone, to see what it takes; returns how many evaluations that was."""
    random = RandomState.now()
    try:
        with torch.no_grad():
            Program(program.model, program.states, program.budget).run(inputs.select(slice(1)))
    except Exception:  # a model for batches of one size, say; what else is wrong is said later
        for state in program.states or ():
            state.restore()
    finally:
        random.put()
    return 1


def ask_all(chosen: "list[Method]", case: Case, targets: list[Target]) -> "list[Part]":
    """Ask methods on one batch, which share what they can: for each target, for each method."""
    if case.inputs.schema is not None:  # the model is only called, and its codes stay codes
        alone = _alone(case, targets)
        return _run_all(chosen, alone, alone)
    reads = frozenset[str]().union(*(each.reads for each in chosen))
    several = len(chosen) * len(targets) > 1
    shared = SharedCase.of(case, Recording(tuple(targets), reads), shared=several)
    if case.embedded is not None or all(each.keeps_integers for each in chosen):
        return _run_all(chosen, shared, shared)
    return _run_all(chosen, shared.of_embeddings(), _alone(case, targets))


def _alone(case: Case, targets: list[Target]) -> SharedCase:
    """The case for methods that leave integers as they are, and share no run with others."""
    return SharedCase.of(case, Recording(tuple(targets), frozenset()), shared=False)


def _ask_attached(method: "Method", case: Case, targets: list[Target]) -> "list[Part]":
    """Ask one method on one batch, such that autograd follows its answer."""
    return [_run(method, AttachedCase(**vars(case)).of_embeddings())]


def _run_all(chosen: "list[Method]", case: SharedCase, plain: SharedCase) -> "list[Part]":
    """Run methods on one batch; the first pays for what they share, each has its own notes.

    `plain` is the case without embeddings in the place of integers.
    """
    known, counter = list(case.counter.notes), case.counter
    found = []
    for number in range(len(case.recording.targets)):
        aimed, own = case.aimed(number), plain.aimed(number)
        for each in chosen:
            found.append(_run(each, (own if each.keeps_integers else aimed).view(counter)))
            counter = Counter(notes=list(known))
    return found


def _run(chosen: "Method", case: Case) -> Part:
    """Run one method on one batch, and measure what it cost."""
    started = time.perf_counter()
    attribution = chosen.attribute(case)
    if case.embedded is not None and attribution.at is None:
        attribution = case.embedded.lower(attribution)
    outcome = case.outcome
    seconds = time.perf_counter() - started
    return Part(
        method=chosen,
        rows=len(case),
        outcome=outcome,
        notes=case.counter.notes,
        attribution=attribution,
        evaluations=case.counter.spent(),
        seconds=seconds,
    )


def _join(
    inputs: Inputs, aim: Target, parts: list[Part], on_incomplete: OnIncomplete
) -> Explanation:
    """Put the batches together again."""
    outcomes = [part.outcome for part in parts]
    found = [part.attribution for part in parts]
    values = _stack([each.values for each in found])
    ledgers = [each.ledger for each in found if each.ledger is not None]
    ledger = ledgers[0].join(ledgers) if ledgers else None
    remarks, leaks = _findings(parts, ledger)
    leaks = [*_unknown(values, [outcome.score for outcome in outcomes]), *leaks]
    _act_on_leaks(leaks, on_incomplete)
    notes = [*(note for part in parts for note in part.notes), *remarks]
    expected = [each.expected for each in found if each.expected is not None]
    errors = [each.error for each in found if each.error is not None]
    at = found[0].at
    pack = inputs.pack_values if at is None else _only
    rows = [part.rows for part in parts]
    players = _players(found, rows)
    resolved = aim.join([outcome.target for outcome in outcomes], rows)
    notes += [resolved.note()] if resolved.layer else []
    return Explanation(
        values=pack(values),
        **_given(inputs),
        output=concatenate([outcome.output for outcome in outcomes], rows, aim.batch_axis),
        score=torch.cat([outcome.score for outcome in outcomes]),
        target=resolved,
        method=parts[0].method,
        baseline=_baseline(inputs, parts),
        completeness=_completeness([players["players"]] if players else values, expected)
        if expected
        else None,
        error=pack(_stack(errors)) if errors else None,
        evaluations=Evaluations(*map(sum, zip(*(p.evaluations for p in parts), strict=True))),
        seconds=sum(part.seconds for part in parts),
        notes=tuple(dict.fromkeys([*notes, *inputs.notes(), *leaks])),
        ledger=ledger,
        at=at,
        evidence=_evidence([each.evidence for each in found]),
        **players,
    )


def _given(inputs: Inputs) -> dict[str, Any]:
    """The inputs in the user's layout, and what is known of them."""
    return {
        "inputs": inputs.pack([leaf.detach() for leaf in inputs.leaves]),
        "batch_axis": inputs.batch_axis,
        "schema": inputs.schema,
    }


def _findings(parts: list[Part], ledger: "Ledger | None") -> tuple[list[str], list[str]]:
    """Notes and leaks of a method, such as they are of all batches in one."""
    method, found = parts[0].method, [part.attribution for part in parts]
    notes = [note for each in found for note in each.notes]
    leaks = [each.leak for each in found]
    if ledger is not None and len(parts) > 1:
        dtype = parts[0].outcome.score.dtype
        old = [method.judge(each.ledger, dtype)[0] for each in found if each.ledger is not None]
        new, leak = method.judge(ledger, dtype)
        notes = [*(note for note in notes if not any(note in judged for judged in old)), *new]
        leaks = [leak]
    return sentences(notes), sentences(leaks)


def _baseline(inputs: Inputs, parts: list[Part]) -> Baseline | None:
    """What the values start from: given to the method, or found by it for each sample."""
    found = [part.attribution.reference for part in parts]
    if any(each is None for each in found):
        return getattr(parts[0].method, "baseline", None)
    return Baseline.per_sample(inputs.pack(_stack([each for each in found if each is not None])))


def _only(values: list[Tensor]) -> Tensor:
    """The one tensor of values at a layer."""
    (value,) = values
    return value


def _stack(parts: list[list[Tensor]]) -> list[Tensor]:
    return [
        torch.cat(column) if len(column) > 1 else column[0] for column in zip(*parts, strict=True)
    ]


def _players(found: "list[Attribution]", rows: list[int]) -> dict[str, Any]:
    """What an explanation has of players, where the inputs are cut into any."""
    features = [each.features for each in found if each.features is not None]
    if not features:
        return {}
    errors = [each.player_error for each in found if each.player_error is not None]
    return {
        "features": Players.join(features, rows),
        "players": _padded([each.players for each in found if each.players is not None]),
        "player_error": _padded(errors) if errors else None,
    }


def _padded(parts: list[Tensor]) -> Tensor:
    """Values of players in one tensor; of samples with fewer players the last are zero."""
    count = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, count - part.shape[1])) for part in parts])


def _evidence(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What is known of the samples of all batches; of fewer numbers of one the last are zero."""
    columns = {name: [part[name] for part in parts] for name in parts[0]}
    return {
        name: torch.cat(column) if column[0].ndim == 1 else _padded(column)
        for name, column in columns.items()
    }


def _completeness(values: list[Tensor], expected: list[Tensor]) -> Completeness:
    return Completeness(_total(values).detach(), torch.cat(expected).detach())


def _total(values: list[Tensor]) -> Tensor:
    """Sum the values of each sample, in double precision, shape (sample,)."""
    sums = [v.reshape(len(v), -1).sum(1, dtype=wide(v)) for v in values if v.is_floating_point()]
    return torch.stack(sums).sum(0) if sums else torch.zeros(len(values[0]), dtype=torch.float64)


def _unknown(values: list[Tensor], scores: list[Tensor]) -> list[str]:
    """Say of how many samples a value is infinite or no number, and why that may be."""
    if all(math.isfinite(value.sum().item()) for value in values):  # the rule, which one sum shows
        return []
    score = torch.cat(scores)
    unknown = ~_total(values).isfinite().to(score.device)
    scoreless = unknown & ~score.isfinite()
    shares = [
        Share(text=text, some=int(some.sum()), of=len(score))
        for text, some in ((NO_SCORE, scoreless), (NO_SLOPE, unknown & ~scoreless))
    ]
    return sentences(shares)


def _act_on_leaks(leaks: list[str], on_incomplete: OnIncomplete) -> None:
    if leaks and on_incomplete == "raise":
        raise IncompleteError(leaks[0].rstrip("."))
    if leaks and on_incomplete == "warn":
        warn(leaks[0], IncompleteWarning)
