"""Methods and their registry; `explain` and `compare`, the two ways to ask.

A method is a frozen keyword-only dataclass: its fields are its options, and calling it explains.
Registering it is all that is needed for `explain`, the command line, the report, the docs and the
tests to know it.
"""

import dataclasses
import importlib
import pkgutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.batching import Batcher, BatchSize, auto_rows, wide
from pellucid.case import Case, Counter
from pellucid.errors import (
    IncompleteError,
    IncompleteWarning,
    InputError,
    UnknownNameError,
    show,
    warn,
)
from pellucid.explanation import Completeness, Evaluations, Explanation
from pellucid.outputs import concatenate
from pellucid.program import Program, untouched
from pellucid.remarks import Remark, sentences
from pellucid.sharing import SharedCase, batch_notes
from pellucid.structure import Inputs
from pellucid.target import Outcome, Target, TargetLike

if TYPE_CHECKING:
    from pellucid.tape.ledger import Ledger

# An axis, or axes in the structure of the inputs.
BatchAxis: TypeAlias = Any
OnIncomplete: TypeAlias = Literal["warn", "raise", "ignore"]

M = TypeVar("M", bound="type[Method]")

# Where methods live: every module in these rooms is imported before the registry is read.
ROOMS = ("gradient", "cam", "propagate")

_REGISTRY: dict[str, type["Method"]] = {}


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What a method computes for one case; `explain` makes an `Explanation` of it.

    `values` and `error` have one tensor for each input. `expected` is what the values of a sample
    should sum to, of shape (sample,), or `None` where the method claims no such law. `leak` says
    what is wrong, where the method itself sees that its law does not hold. Of notes and leaks with
    numbers of samples in them see `pellucid.remarks`. `at` is the layer whose
    output the one tensor of `values` belongs to, `None` for the inputs; `reference` the point of
    each sample that the values start from, where the method itself has found it.
    """

    values: list[Tensor]
    expected: Tensor | None = None
    error: list[Tensor] | None = None
    ledger: "Ledger | None" = None
    notes: tuple[Remark, ...] = ()
    leak: Remark = ""
    at: str | None = None
    reference: list[Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """One way to explain a score: options as fields, `attribute` as the mathematics.

    `answers` and `weakness` are one sentence each, for people. `laws` are what the method claims,
    and what the tests hold it to: `linear` (exact on an affine model), `dummy` (an input that the
    model ignores gets zero), `invariant` (the same function written differently gets the same
    answer), `complete` (values sum to the expected score).
    """

    name: ClassVar[str] = ""
    answers: ClassVar[str] = ""
    weakness: ClassVar[str] = ""
    laws: ClassVar[frozenset[str]] = frozenset()
    smooth: ClassVar[bool] = False

    @abstractmethod
    def attribute(self, case: Case) -> Attribution:
        """Compute the values for one batch of samples."""

    def check(self, inputs: Inputs) -> None:
        """Raise, before any run of the model, unless the options fit the inputs."""
        Baseline.of(getattr(self, "baseline", None)).check(inputs)

    def judge(self, ledger: "Ledger", dtype: torch.dtype) -> tuple[tuple[str, ...], str]:
        """Notes on a ledger, and its leak: of each batch, and again of all batches together."""
        return (), ""

    def __call__(
        self,
        model: Callable[..., Any],
        inputs: Any,
        *,
        target: TargetLike = None,
        batch_axis: BatchAxis = 0,
        batch_size: BatchSize = "auto",
        on_incomplete: OnIncomplete = "warn",
    ) -> Explanation:
        """Explain the score of `target` for every sample: see `explain`."""
        taken = Inputs.of(inputs, batch_axis)
        return _answer([self], model, taken, target, batch_size, on_incomplete)[0]


def register(name: str) -> Callable[[M], M]:
    """Enter a method into the registry under a name."""

    def enter(method: M) -> M:
        method.name = name
        _REGISTRY[name] = method
        return method

    return enter


def methods() -> dict[str, type[Method]]:
    """All methods by name; the command line, the docs and the tests read this."""
    _enter_rooms()
    return dict(_REGISTRY)


@cache
def _enter_rooms() -> None:
    """Import every module in which methods of ours register themselves, once."""
    for room in ROOMS:
        module = importlib.import_module(f"pellucid.{room}")
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            importlib.import_module(f"{module.__name__}.{found.name}")


def named(name: "str | Method", **options: Any) -> Method:
    """Make a method from its name and options; a method that is made already passes through.

    >>> named("saliency", reduce="absolute")
    Saliency(reduce='absolute', at=None)
    """
    if isinstance(name, Method):
        if options:
            raise InputError(
                "Options must be given to the method itself when it is not named by a string",
                found=", ".join(options),
            )
        return name
    _check_name(name)
    known = methods()
    if name not in known:
        raise UnknownNameError("A method", name, known)
    fields = [field.name for field in dataclasses.fields(known[name])]
    for option in options:
        if option not in fields:
            raise UnknownNameError(f"An option of {name}", option, fields)
    return known[name](**options)


def _check_name(name: object) -> None:
    """Raise for what cannot be the name of a method, a class of methods, say."""
    if isinstance(name, str):
        return
    hint = 'For example "saliency", or Saliency().'
    if isinstance(name, type) and issubclass(name, Method):
        hint = f"Pass {name.__name__}()."
    raise InputError("A method must be a name, or made of its class", found=show(name), hint=hint)


def explain(
    model: Callable[..., Any],
    inputs: Any,
    name: "str | Method",
    *,
    target: TargetLike = None,
    batch_axis: BatchAxis = 0,
    batch_size: BatchSize = "auto",
    on_incomplete: OnIncomplete = "warn",
    **options: Any,
) -> Explanation:
    """Explain one score for each sample, by one method.

    `inputs` are a tensor, a tuple (positional) or a dict (keyword arguments) of tensors, of tuples
    of tensors and so on. `batch_axis` says where their samples are: first, on another axis of all,
    or by their structure, `None` for what all samples share: `(0, (1, 1))` for (x, (h0, c0)) of an
    LSTM. `target` says which score: see `Target`. `batch_size` bounds the rows of one model call;
    "auto" starts with the samples given and halves when memory runs out.
    `on_incomplete` says what to do when the values do not add up: "warn", "raise" or "ignore".

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 3.0)
    >>> explain(model, torch.tensor([[1.0, 2.0]]), "gradient_x_input").values
    tensor([[3., 6.]])
    """
    chosen, taken = [named(name, **options)], Inputs.of(inputs, batch_axis)
    return _answer(chosen, model, taken, target, batch_size, on_incomplete)[0]


def compare(
    model: "Callable[..., Any] | Sequence[Callable[..., Any]]",
    inputs: Any,
    names: "Sequence[str | Method]",
    *,
    target: TargetLike = None,
    batch_axis: BatchAxis = 0,
    batch_size: BatchSize = "auto",
    on_incomplete: OnIncomplete = "warn",
) -> list[Explanation]:
    """Explain the same score by many methods, or also for several models.

    Methods share one recording, and those that read the gradient one gradient. The answers are
    those of `explain`; methods come in the order given, for each model in turn.
    """
    if isinstance(names, str | Method) or not isinstance(names, Iterable):
        hint = f"Pass [{names!r}]." if isinstance(names, str | Method) else ""
        raise InputError("`names` must be a list of methods", found=show(names), hint=hint)
    chosen = [named(name) for name in names]
    if not chosen:
        raise InputError("`names` must hold at least one method", got=names)
    models = list(model) if isinstance(model, Sequence) else [model]
    taken = Inputs.of(inputs, batch_axis)
    answers = [_answer(chosen, m, taken, target, batch_size, on_incomplete) for m in models]
    return [explanation for answer in answers for explanation in answer]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one method found for one batch of samples; the batch itself, and its tape, let go."""

    method: Method
    rows: int
    outcome: Outcome
    notes: list[str]
    attribution: Attribution
    evaluations: Evaluations
    seconds: float


def _answer(
    chosen: list[Method],
    model: Callable[..., Any],
    inputs: Inputs,
    target: TargetLike,
    batch_size: BatchSize,
    on_incomplete: OnIncomplete,
) -> list[Explanation]:
    policies = ("warn", "raise", "ignore")
    if on_incomplete not in policies:
        raise UnknownNameError("`on_incomplete`", on_incomplete, policies)
    program, taken, aim = Program(model), inputs.copied(), Target.of(target)
    aim = aim.check_rows(taken.rows)
    for each in chosen:
        each.check(taken)
    batcher = Batcher(batch_size, start=auto_rows(taken.leaves[0], taken.rows))

    def work(start: int, stop: int) -> list[_Part]:
        rows = torch.arange(start, stop)
        case = SharedCase(
            program=program,
            inputs=taken.select(slice(start, stop)),
            target=aim.select(rows),
            rows=rows,
            total=taken.rows,
            batcher=batcher,
            counter=Counter(notes=batch_notes(model)),
            shared=len(chosen) > 1,
        )
        return _run_all(chosen, case.of_embeddings())

    with untouched(model) as program.states:
        parts = list(batcher.run(taken.rows, work))
    return [_join(taken, aim, list(column), on_incomplete) for column in zip(*parts, strict=True)]


def _run_all(chosen: list[Method], case: Case) -> list[_Part]:
    """Run methods on one batch; the first pays for what they share, each has its own notes."""
    known = list(case.counter.notes)
    counters = [case.counter, *(Counter(notes=list(known)) for _ in chosen[1:])]
    views = [replace(case, counter=counter) for counter in counters]
    return [_run(each, view) for each, view in zip(chosen, views, strict=True)]


def _run(chosen: Method, case: Case) -> _Part:
    """Run one method on one batch, and measure what it cost."""
    started = time.perf_counter()
    attribution = chosen.attribute(case)
    if case.embedded is not None and attribution.at is None:
        attribution = case.embedded.lower(attribution)
    outcome = case.outcome
    seconds = time.perf_counter() - started
    return _Part(
        method=chosen,
        rows=len(case),
        outcome=outcome,
        notes=case.counter.notes,
        attribution=attribution,
        evaluations=case.counter.spent(),
        seconds=seconds,
    )


def _join(
    inputs: Inputs, aim: Target, parts: list[_Part], on_incomplete: OnIncomplete
) -> Explanation:
    """Put the batches together again."""
    outcomes = [part.outcome for part in parts]
    found = [part.attribution for part in parts]
    values = _stack([each.values for each in found])
    ledgers = [each.ledger for each in found if each.ledger is not None]
    ledger = ledgers[0].join(ledgers) if ledgers else None
    remarks, leaks = _findings(parts, ledger)
    _act_on_leaks(leaks, on_incomplete)
    notes = [*(note for part in parts for note in part.notes), *remarks]
    expected = [each.expected for each in found if each.expected is not None]
    errors = [each.error for each in found if each.error is not None]
    at = found[0].at
    pack = inputs.pack_values if at is None else _only
    rows = [part.rows for part in parts]
    return Explanation(
        values=pack(values),
        inputs=inputs.pack(inputs.leaves),
        output=concatenate([outcome.output for outcome in outcomes], rows, aim.batch_axis),
        score=torch.cat([outcome.score for outcome in outcomes]),
        target=aim.join([outcome.target for outcome in outcomes], rows),
        method=parts[0].method,
        baseline=_baseline(inputs, parts),
        completeness=Completeness(_total(values), torch.cat(expected)) if expected else None,
        error=pack(_stack(errors)) if errors else None,
        evaluations=Evaluations(*map(sum, zip(*(p.evaluations for p in parts), strict=True))),
        seconds=sum(part.seconds for part in parts),
        notes=tuple(dict.fromkeys([*notes, *inputs.notes(), *leaks])),
        ledger=ledger,
        at=at,
        batch_axis=inputs.batch_axis,
    )


def _findings(parts: list[_Part], ledger: "Ledger | None") -> tuple[list[str], list[str]]:
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


def _baseline(inputs: Inputs, parts: list[_Part]) -> Baseline | None:
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


def _total(values: list[Tensor]) -> Tensor:
    """Sum the values of each sample, in double precision, shape (sample,)."""
    sums = [v.reshape(len(v), -1).sum(1, dtype=wide(v)) for v in values if v.is_floating_point()]
    return torch.stack(sums).sum(0) if sums else torch.zeros(len(values[0]), dtype=torch.float64)


def _act_on_leaks(leaks: list[str], on_incomplete: OnIncomplete) -> None:
    if leaks and on_incomplete == "raise":
        raise IncompleteError(leaks[0].rstrip("."))
    if leaks and on_incomplete == "warn":
        warn(leaks[0], IncompleteWarning)
