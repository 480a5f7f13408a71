"""Why is this map noisy? Three hypotheses, each measured for a model and an input."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from pellucid.answer import batches
from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import BatchSize
from pellucid.case import Case, Counter
from pellucid.diagnose.decay import Decay, decay
from pellucid.diagnose.findings import findings
from pellucid.diagnose.regions import Regions, regions
from pellucid.diagnose.removal import Removal, is_share, removal
from pellucid.diagnose.saturation import Saturation, saturation
from pellucid.diagnose.study import Study
from pellucid.errors import InputError, show
from pellucid.explanation import Evaluations, Explanation
from pellucid.inside import inside
from pellucid.method import Method, all_named, compare
from pellucid.options import number, whole
from pellucid.program import Program, untouched
from pellucid.structure import Inputs
from pellucid.target import Target, TargetLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FRACTIONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
DISTANCES = (0.001, 0.003, 0.01, 0.03, 0.1)
ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Part: TypeAlias = Removal | Decay | Regions | Saturation


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The options of `diagnose_noise`, checked once."""

    baseline: BaselineLike = None
    replacement: BaselineLike = None
    fractions: Sequence[float] = FRACTIONS
    distances: Sequence[float] = DISTANCES
    alphas: Sequence[float] = ALPHAS
    layers: Sequence[str] | None = None
    draws: int = 4
    points: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        found = {
            "baseline": Baseline.of(self.baseline),
            "replacement": None
            if self.replacement is None
            else Baseline.of(self.replacement, "replacement"),
            "fractions": growing(
                self.fractions, "fractions", "numbers above 0, at most 1", above=0, most=1
            ),
            "distances": growing(self.distances, "distances", "positive numbers", above=0),
            "alphas": _line(self.alphas),
            "layers": _layers(self.layers),
            "draws": whole(self.draws, "draws", least=2),
            "points": whole(self.points, "points"),
            "seed": whole(self.seed, "seed", least=None),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def fitting(self, inputs: Inputs) -> "Questions":
        """The same, unless a baseline does not fit the inputs."""
        for each in (self.baseline, self.replacement):
            Baseline.of(each).check(inputs)
        return self

    def measured(self, case: Case, methods: tuple[Method, ...]) -> dict[str, Part]:
        """Ask all of them of one batch of samples."""
        study = Study(
            case=case, methods=methods, layers=self.layers, draws=self.draws, seed=self.seed
        )
        start = Baseline.of(self.baseline)
        return {
            "removal": removal(study, self.replacement, start, self.fractions),
            "decay": decay(study, self.distances),
            "regions": regions(study, self.distances, self.points),
            "saturation": saturation(study, start, self.alphas),
        }


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NoiseDiagnosis:
    """What was measured, with all of its numbers; `print` it for the findings in words.

    | question | numbers |
    |---|---|
    | do the scattered pixels matter? | `removal`: drops of the score as pixels are removed |
    | do the maps jump? | `decay`: correlation of the maps at x and x + noise, also at layers |
    | how many linear regions are on the way? | `regions`: counted by activation patterns |
    | is the score saturated? | `saturation`: score and maps on the line from the baseline |

    `explanations` are the maps themselves, `names` those of their methods; `questions` are the
    options, and `evaluations` count all that was spent. See the classes of the parts for shapes and
    formulas.
    """

    explanations: tuple[Explanation, ...]
    removal: Removal
    decay: Decay
    regions: Regions
    saturation: Saturation
    questions: Questions
    evaluations: Evaluations
    seconds: float
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.score)

    @property
    def score(self) -> Tensor:
        """The explained score, shape (sample,)."""
        return self.explanations[0].score

    @property
    def target(self) -> Target:
        """Which score it is."""
        return self.explanations[0].target

    @property
    def names(self) -> tuple[str, ...]:
        """What the methods are called; those used twice with all their options, or a number."""
        methods = [each.method for each in self.explanations]
        names, full = [each.name for each in methods], [repr(each) for each in methods]
        return tuple(
            name if names.count(name) == 1
            else full[i] if full.count(full[i]) == 1
            else f"{name} {1 + full[:i].count(full[i])}"
            for i, name in enumerate(names)
        )  # fmt: skip

    @property
    def sensitive(self) -> tuple[bool, ...]:
        """Which methods say how the score would move, and share out none of it."""
        return tuple(not is_share(each.method) for each in self.explanations)

    def findings(self, row: int = 0) -> tuple[str, ...]:
        """What follows for one sample, in sentences made from the numbers; a summary first."""
        return findings(self, self.row(row))

    def row(self, row: int) -> int:
        """The position of a sample, or an error."""
        if isinstance(row, int) and not isinstance(row, bool) and -len(self) <= row < len(self):
            return row % len(self)
        raise InputError(f"A sample must be from 0 to {len(self) - 1}", got=row)

    def to_frame(self) -> "pd.DataFrame":
        """Every number as one row: sample, measure, method, layer, draw, at, value.

        `at` is the fraction removed, the distance or the position on the line.
        """
        from pellucid.diagnose.frame import frame

        return frame(self)

    def plot(self, row: int = 0, **options: Any) -> "Figure":
        """Draw maps, measures and findings of one sample: see `pellucid.plot.noise.figure`."""
        from pellucid.plot.noise import figure

        return figure(self, row=row, **options)

    def _repr_html_(self) -> str:
        from pellucid.plot.noise import html

        return html(self)

    def __repr__(self) -> str:
        lines = [f"NoiseDiagnosis of {', '.join(self.names)}: {self.target!r}"]
        for row in range(len(self)):
            lines += [f"  sample {row}"] if len(self) > 1 else []
            lines += [f"  {text}" for text in self.findings(row)]
        lines.append(f"  cost  {self.evaluations}, {self.seconds:.1f} s")
        lines += [f"  note  {note}" for note in self.notes]
        return "\n".join(lines)


def diagnose_noise(
    model: Callable[..., Any],
    inputs: Any,
    target: TargetLike = None,
    methods: "Sequence[str | Method]" = ("saliency", "lrp"),
    *,
    baseline: BaselineLike = None,
    replacement: BaselineLike = None,
    fractions: Sequence[float] = FRACTIONS,
    distances: Sequence[float] = DISTANCES,
    alphas: Sequence[float] = ALPHAS,
    layers: Sequence[str] | None = None,
    draws: int = 4,
    points: int = 512,
    seed: int = 0,
    batch_axis: Any = 0,
    batch_size: BatchSize = "auto",
) -> NoiseDiagnosis:
    """Measure why maps of a model at an input look noisy, by three hypotheses.

    1. The noise is true: are the scattered pixels worth more than their neighbors and than random
       ones? `fractions` of them are replaced by `replacement` (a blurred copy; `baseline` for
       tables and tokens).
    2. The function is made of pieces: how does a map change with noise of growing `distances`
       (fractions of the range of the input), at the input and at `layers` (three that all of the
       signal passes, unless named), and how many linear regions are on the way? With at most
       `points` runs for each of `draws` lines they are counted exactly, otherwise from below.
    3. The score is saturated: where on the line from `baseline` (zero) does it rise, and what do
       the maps show of that at `alphas`?

    A linear model has maps that stay, one region, and a score that rises evenly:

    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    >>> found = diagnose_noise(model, torch.rand(1, 1, 8, 8), target=0)
    >>> found.decay.correlation[0, 0, 0].min().item(), found.regions.count.max().item()
    (1.0, 1)
    >>> round(found.saturation.carried.item(), 4)
    1.0
    """
    started = time.perf_counter()
    taken, chosen = Inputs.of(inputs, batch_axis), _methods(methods)
    questions = Questions(
        baseline=baseline, replacement=replacement, fractions=fractions, distances=distances,
        alphas=alphas, layers=layers, draws=draws, points=points, seed=seed,
    ).fitting(taken)  # fmt: skip
    shared = {"batch_axis": batch_axis, "batch_size": batch_size}
    maps = compare(model, inputs, chosen, target=target, **shared)
    counter = Counter()
    parts = _measured(model, taken, chosen, maps[0].target, questions, batch_size, counter)
    spent = [each.evaluations for each in maps] + [counter.spent()]
    return NoiseDiagnosis(
        explanations=tuple(maps),
        **parts,
        questions=questions,
        evaluations=Evaluations(*map(sum, zip(*spent, strict=True))),
        seconds=time.perf_counter() - started,
        notes=tuple(dict.fromkeys([*(n for each in maps for n in each.notes), *counter.notes])),
    )


def _measured(
    model: Callable[..., Any],
    inputs: Inputs,
    methods: list[Method],
    target: Target,
    questions: Questions,
    batch_size: BatchSize,
    counter: Counter,
) -> dict[str, Any]:
    """All measures, batch by batch; they are joined along the samples."""
    program = Program(inside(model, target.layer))

    def ask(case: Case, _: Any) -> list[dict[str, Part]]:
        found = questions.measured(case.of_embeddings(), tuple(methods))
        counter.add(case.counter)
        return [found]

    with untouched(model) as program.states:
        (found,) = batches(ask, program, inputs.copied(), [target], batch_size)
    return {name: _concatenated([each[name] for each in found]) for name in found[0]}


def _methods(given: "Sequence[str | Method]") -> list[Method]:
    """The methods by name, all of which explain the inputs."""
    chosen = all_named(given, "methods")
    for each in chosen:
        if getattr(each, "at", None) is not None:
            raise InputError(
                "`methods` must explain the inputs",
                got=each,
                hint="Name layers to look at by `layers`.",
            )
    return chosen


def growing(given: Any, name: str, must: str, *, above: float, most: float = 1e9) -> list[float]:
    """Numbers that grow."""
    listed = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise InputError(f"`{name}` must be a list of {must}", found=show(given))
    found = [number(each, name, must, above=above, most=most) for each in listed]
    if not found or found != sorted(set(found)):
        raise InputError(f"`{name}` must be {must} that grow, at least one", found=show(given))
    return found


def _line(given: Any) -> list[float]:
    """Positions from the baseline, 0, to the input, 1."""
    found = growing(given, "alphas", "numbers from 0 to 1", above=-1e-12, most=1)
    if len(found) < 2 or found[0] != 0 or found[-1] != 1:
        raise InputError("`alphas` must begin with 0, the baseline, and end with 1, the input",
                         found=show(given))  # fmt: skip
    return found


def _layers(given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, str) or not all(isinstance(each, str) for each in given):
        raise InputError("`layers` must be a list of layers by their paths", found=show(given))
    return tuple(given)


def _concatenated(parts: Sequence[Any]) -> Any:
    """The numbers of consecutive batches in one; what is the same for all, from the first."""
    first = parts[0]
    whole = {"fractions", "distances", "alphas"}
    tensors = [f.name for f in fields(first) if isinstance(getattr(first, f.name), Tensor)]
    return replace(first, **{
        name: torch.cat([getattr(part, name) for part in parts])
        for name in tensors if name not in whole
    })  # fmt: skip
