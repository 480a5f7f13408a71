"""Metrics and their registry.

A metric is a frozen keyword-only dataclass: its fields are its options, and calling it judges
explanations. Registering it is all that is needed for `measure`, the leaderboard, the command
line, the docs and the tests to know it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.evaluate.measurement import Curve, Measurement
from pellucid.explanation import Evaluations, Explanation
from pellucid.features import Features
from pellucid.registry import Kinds
from pellucid.remarks import Remark, sentences
from pellucid.structure import Inputs

if TYPE_CHECKING:
    from pellucid.evaluate.trial import Trial

M = TypeVar("M", bound="type[Metric]")
# Which direction of a metric is the good one.
Better: TypeAlias = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a metric found for one method on one batch: `values` (sample,), and curves by name."""

    values: Tensor
    curves: dict[str, Curve] = field(default_factory=dict)
    notes: tuple[Remark, ...] = ()
    evaluations: Evaluations = Evaluations()  # noqa: RUF009  # immutable
    seconds: float = 0.0


# What was found so far: for each batch, what was found for each method.
State: TypeAlias = tuple[tuple[Found, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """One way to judge explanations: options as fields, `judge` as the mathematics.

    `answers` and `weakness` are one sentence each, for people. `better` says which direction is:
    "higher", "lower", or "neither" where the number only describes. `needs` says what beyond the
    model and its explanations: "masks" (of what is important), "labels". `ignores` are the changes
    of a map under which the number must stay, and which the tests make: "scale" (values times a
    positive number), "order" (any change that keeps the order of players), "sign".
    """

    name: ClassVar[str] = ""
    answers: ClassVar[str] = ""
    weakness: ClassVar[str] = ""
    better: ClassVar[Better] = "higher"
    needs: ClassVar[frozenset[str]] = frozenset()
    ignores: ClassVar[frozenset[str]] = frozenset()
    # For the border, which turns data among the options into tensors.
    agnostic: ClassVar[bool] = True

    @abstractmethod
    def judge(self, trial: "Trial") -> Sequence[Found]:
        """What it finds on one batch, for each of the trial's rivals.

        All rivals are judged at once, so that what they share is computed once.
        """

    def check(self, inputs: Inputs) -> None:
        """Raise, before any run of the model, unless the options fit the inputs."""
        Baseline.of(getattr(self, "baseline", None)).check(inputs)
        if hasattr(self, "features"):
            Features.of(self.features).check(inputs)

    def update(self, state: State, trial: "Trial") -> State:
        """What was found so far, and on one batch more."""
        return (*state, tuple(self.judge(trial)))

    def compute(self, state: State, rivals: Sequence[Explanation]) -> list[Measurement]:
        """What was found on all batches, for each of the explanations."""
        return [
            self._join([part[number] for part in state], rival)
            for number, rival in enumerate(rivals)
        ]

    def _join(self, parts: list[Found], rival: Explanation) -> Measurement:
        first = parts[0]
        curves = {name: Curve.join([part.curves[name] for part in parts]) for name in first.curves}
        return Measurement(
            metric=self,
            method=rival.method,
            values=torch.cat([part.values.double().cpu() for part in parts]),
            curves=curves,
            evaluations=Evaluations(*map(sum, zip(*(p.evaluations for p in parts), strict=True))),
            seconds=sum(part.seconds for part in parts),
            notes=tuple(dict.fromkeys(sentences([n for part in parts for n in part.notes]))),
        )

    def __call__(
        self, model: Callable[..., Any], explanation: Explanation, **given: Any
    ) -> Measurement:
        """Judge one explanation: see `measure` for what else may be given."""
        from pellucid.evaluate.measure import measure

        (found,) = measure(model, explanation, self, **given)
        return found


_REGISTRY: Kinds[Metric] = Kinds(
    what="metric", kind=Metric, rooms=("evaluate",), hint="See metrics()."
)


def register_metric(name: str) -> Callable[[M], M]:
    """Enter a metric into the registry under a name."""
    return _REGISTRY.register(name)


def metrics() -> dict[str, type[Metric]]:
    """All metrics by name; the leaderboard, the command line, the docs and the tests read this."""
    return _REGISTRY.all()


def named_metric(name: Any, **options: Any) -> Metric:
    """Make a metric from its name and options; one that is made already passes through."""
    return _REGISTRY.named(name, **options)
