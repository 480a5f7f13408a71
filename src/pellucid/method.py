"""Methods and their registry; `explain` and `compare`, the two ways to ask.

A method is a frozen keyword-only dataclass: its fields are its options, and calling it explains.
Registering it is all that is needed for `explain`, the command line, the report, the docs and the
tests to know it.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor

from pellucid.answer import OnIncomplete, answer
from pellucid.baseline import Baseline
from pellucid.batching import BatchSize
from pellucid.border import asked
from pellucid.case import Case
from pellucid.errors import InputError, show
from pellucid.explanation import Explanation
from pellucid.features import Features, Players
from pellucid.registry import Kinds
from pellucid.remarks import Remark
from pellucid.structure import Inputs
from pellucid.target import TargetLike

if TYPE_CHECKING:
    from pellucid.tape.ledger import Ledger

# An axis, or axes in the structure of the inputs.
BatchAxis: TypeAlias = Any

M = TypeVar("M", bound="type[Method]")

# Where methods live: every module in these rooms is imported before the registry is read.
ROOMS = ("gradient", "cam", "propagate", "perturb", "lime", "shapley")


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What a method computes for one case; `explain` makes an `Explanation` of it.

    `values` and `error` have one tensor for each input. `expected` is what the values of a sample
    should sum to, of shape (sample,), or `None` where the method claims no such law. `leak` says
    what is wrong, where the method itself sees that its law does not hold. Of notes and leaks with
    numbers of samples in them see `pellucid.remarks`. `at` is the layer whose
    output the one tensor of `values` belongs to, `None` for the inputs; `reference` the point of
    each sample that the values start from, where the method itself has found it. Where `features`
    cut the inputs into players, `players` (sample, player) has one value for each, which sum to
    what is expected, and every element has that of its player. `evidence` has what else is known of
    each sample, by name, with the samples on the first axis.
    """

    values: list[Tensor]
    expected: Tensor | None = None
    error: list[Tensor] | None = None
    ledger: "Ledger | None" = None
    notes: tuple[Remark, ...] = ()
    leak: Remark = ""
    at: str | None = None
    reference: list[Tensor] | None = None
    features: Players | None = None
    players: Tensor | None = None
    player_error: Tensor | None = None
    evidence: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_players(
        cls,
        features: Players,
        values: Tensor,
        like: Inputs,
        error: Tensor | None = None,
        **more: Any,
    ) -> "Attribution":
        """Values of players (sample, player), and of each element that of its player."""
        pairs = [
            (found, leaf) for found, leaf in zip(features.spread(values), like.leaves, strict=True)
        ]
        errors = None if error is None else features.spread(error)
        return cls(
            values=[_typed(found, leaf) for found, leaf in pairs],
            error=errors and [_typed(e, leaf) for e, leaf in zip(errors, like.leaves, strict=True)],
            features=features,
            players=values,
            player_error=error,
            **more,
        )


def _typed(values: Tensor, leaf: Tensor) -> Tensor:
    """Values in the type of an input, on its device; those of integers stay as they are."""
    return values.to(leaf) if leaf.is_floating_point() else values.to(leaf.device)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """One way to explain a score: options as fields, `attribute` as the mathematics.

    `answers` and `weakness` are one sentence each, for people. `laws` are what the method claims,
    and what the tests hold it to: `linear` (exact on an affine model), `dummy` (an input that the
    model ignores gets zero), `invariant` (the same function written differently gets the same
    answer), `complete` (values sum to the expected score). Autograd can follow the values of one
    that is `differentiable`: all that `attribute` does to what a case gives it. What is `agnostic`
    only calls the model, which may be any callable, and takes `features` and a `baseline`.
    """

    name: ClassVar[str] = ""
    answers: ClassVar[str] = ""
    weakness: ClassVar[str] = ""
    laws: ClassVar[frozenset[str]] = frozenset()
    smooth: ClassVar[bool] = False
    differentiable: ClassVar[bool] = False
    agnostic: ClassVar[bool] = False

    @abstractmethod
    def attribute(self, case: Case) -> Attribution:
        """Compute the values for one batch of samples."""

    def check(self, inputs: Inputs) -> None:
        """Raise, before any run of the model, unless the options fit the inputs."""
        baseline = Baseline.of(getattr(self, "baseline", None))
        baseline.check(inputs)
        if not (self.agnostic or baseline.is_plain):
            raise InputError(
                "The baseline of a method that follows the model's operations must be points that "
                "count alike",
                found=f"{baseline!r} for {self.name}",
                hint="Take Baseline.samples(data, count), or a method that leaves out players.",
            )
        if hasattr(self, "features"):
            Features.of(self.features).check(inputs)

    @property
    def reads(self) -> frozenset[str]:
        """What of its case it asks for: "tape", "gradient" (autograd's at the inputs), or neither.

        Where compared methods ask for both, autograd follows the run that is recorded. One that
        asks for something else than it says is answered all the same, by a run more.
        """
        return frozenset({"tape"})

    @property
    def keeps_integers(self) -> bool:
        """Whether integer inputs stay what they are, as a baseline of integers says."""
        return self.agnostic and Baseline.of(getattr(self, "baseline", None)).is_integer

    @property
    def is_slope(self) -> bool:
        """Whether values say how the score would move, not what share of it they carry.

        Then it is their size that tells how much an element matters.
        """
        return False

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
        differentiable: bool = False,
    ) -> Explanation:
        """Explain the score of `target` for every sample: see `explain`."""
        if differentiable and not self.differentiable:
            known = [name for name, method in methods().items() if method.differentiable]
            raise InputError(
                "The values of a method must be differentiable where differentiable=True",
                found=self.name,
                hint=f"Those of {', '.join(known)} are.",
            )
        on = asked(model, inputs, [self], [target], batch_axis)
        (found,) = answer(
            on.methods,
            on.model,
            on.inputs,
            on.targets,
            batch_size=batch_size,
            on_incomplete=on_incomplete,
            differentiable=differentiable,
        )
        return found


_REGISTRY: Kinds[Method] = Kinds(
    what="method", kind=Method, rooms=ROOMS, hint='For example "saliency", or Saliency().'
)


def register(name: str) -> Callable[[M], M]:
    """Enter a method into the registry under a name."""
    return _REGISTRY.register(name)


def methods() -> dict[str, type[Method]]:
    """All methods by name; the command line, the docs and the tests read this."""
    return _REGISTRY.all()


def named(name: "str | Method", **options: Any) -> Method:
    """Make a method from its name and options; a method that is made already passes through.

    >>> named("saliency", reduce="absolute")
    Saliency(reduce='absolute', at=None)
    """
    return _REGISTRY.named(name, **options)


def all_named(given: Any, argument: str) -> list[Method]:
    """Make the methods of a list, at least one, that an argument of this name holds.

    >>> all_named(["saliency"], "methods")
    [Saliency(reduce='signed', at=None)]
    """
    if isinstance(given, str | Method) or not isinstance(given, Iterable):
        hint = f"Pass [{given!r}]." if isinstance(given, str | Method) else ""
        raise InputError(f"`{argument}` must be a list of methods", found=show(given), hint=hint)
    found = [named(each) for each in given]
    if not found:
        raise InputError(f"`{argument}` must hold at least one method", got=given)
    return found


def explain(
    model: Callable[..., Any],
    inputs: Any,
    name: "str | Method",
    *,
    target: TargetLike = None,
    batch_axis: BatchAxis = 0,
    batch_size: BatchSize = "auto",
    on_incomplete: OnIncomplete = "warn",
    differentiable: bool = False,
    **options: Any,
) -> Explanation:
    """Explain one score for each sample, by one method.

    `model` is a torch module or a callable; for methods that only call it also an estimator of
    scikit-learn's kind, or a callable on arrays, data frames or lists of strings, which `inputs`
    then are. Else `inputs` are a tensor, a tuple (positional) or a dict (keyword arguments) of
    tensors, of tuples of tensors and so on. `batch_axis` says where their samples are: first, on
    another axis of all, or by their structure, `None` for what all samples share: `(0, (1, 1))` for
    (x, (h0, c0)) of an LSTM. `target` says which score: see `Target`; of an estimator's classes
    also by their labels. `batch_size` bounds the rows of one model call; "auto" takes all samples
    given, but on a CPU no more at once than fit in 512 MB by what a run makes of them (of many or
    large ones the first is run alone, to see: `pellucid.memory`), and halves when memory runs out.
    `on_incomplete` says what to do when values do not add up, or are not finite: "warn", "raise" or
    "ignore".
    With `differentiable`, autograd follows values and score back to the inputs and to the model's
    parameters, so that a loss on an explanation can train the model.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 3.0)
    >>> explain(model, torch.tensor([[1.0, 2.0]]), "gradient_x_input").values
    tensor([[3., 6.]])
    """
    return named(name, **options)(
        model,
        inputs,
        target=target,
        batch_axis=batch_axis,
        batch_size=batch_size,
        on_incomplete=on_incomplete,
        differentiable=differentiable,
    )


def compare(
    model: "Callable[..., Any] | Sequence[Callable[..., Any]]",
    inputs: Any,
    names: "Sequence[str | Method]",
    *,
    target: TargetLike = None,
    targets: "Sequence[TargetLike] | None" = None,
    batch_axis: BatchAxis = 0,
    batch_size: BatchSize = "auto",
    on_incomplete: OnIncomplete = "warn",
) -> list[Explanation]:
    """Explain the same scores by many methods, or also for several models.

    `targets` are several scores, each what `target` may be. One run of each model is recorded for
    all methods and targets, and autograd follows the same run; what rules compute from the run
    alone is computed once. The answers are those of `explain`, ordered by model, then by target,
    then by method.

    >>> import torch
    >>> model, x = torch.nn.Linear(2, 3), torch.ones(1, 2)
    >>> [each.target.classes for each in compare(model, x, ["saliency"], targets=[0, 2])]
    [(0,), (2,)]
    """
    chosen = all_named(names, "names")
    aims = [target] if targets is None else _several(targets, target)
    models = list(model) if isinstance(model, Sequence) else [model]
    ask = partial(answer, batch_size=batch_size, on_incomplete=on_incomplete)
    taken = [asked(each, inputs, chosen, aims, batch_axis) for each in models]
    return [found for on in taken for found in ask(on.methods, on.model, on.inputs, on.targets)]


def _several(targets: Sequence[TargetLike], target: TargetLike) -> list[TargetLike]:
    """The targets in a list, if it is one, and no other target was given."""
    if not isinstance(targets, list | range) or not targets:
        hint = "For example [0, 1, 2]; what explains one score is `target`."
        raise InputError("`targets` must be a list of targets", got=targets, hint=hint)
    if target is not None:
        raise InputError(
            "`target` or `targets` must be given, not both",
            found=f"target={target!r} and targets={targets!r}",
        )
    return list(targets)
