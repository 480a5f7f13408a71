"""The fit of a surrogate: ask the model, hold some samples out, grow, and judge every size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.border import asked, models
from pellucid.errors import InputError
from pellucid.inspect.surrogate import lines, rules, trees
from pellucid.inspect.surrogate.answers import ANSWERS, Answers, ask
from pellucid.inspect.surrogate.columns import Columns, Floats
from pellucid.inspect.surrogate.fidelity import Step, judge
from pellucid.inspect.surrogate.surrogate import Surrogate
from pellucid.options import number, one_of, whole
from pellucid.seeding import seeded
from pellucid.target import TargetLike

Kind: TypeAlias = Literal["tree", "rules", "linear"]
Fitted: TypeAlias = trees.DecisionTree | rules.RuleList | lines.LinearModel
KINDS = ("tree", "rules", "linear")
# With fewer samples in either part neither the fit nor its fidelity says anything.
FEWEST = 2


def fit_surrogate(
    model: Callable[..., Any],
    data: Any,
    kind: Kind = "tree",
    *,
    target: TargetLike = None,
    answers: Literal["scores", "probabilities", "classes"] = "scores",
    size: int = 6,
    depth: int = 4,
    least: int = 5,
    table: Any = None,
    names: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    outputs: Sequence[str] | None = None,
    held_out: float = 0.3,
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Surrogate:
    """Fit a small model that one can read to a large model's own answers on data.

    With y what the model says of a sample and s what the surrogate does, s is fitted to make the
    sum of (y - s)^2 small, over samples and outputs: never to the truth, only to the model.

    | option | what it does |
    |---|---|
    | `kind` | "tree": a decision tree; "rules": an ordered list of if-then rules; "linear": a \
linear model of few columns, in the order of the lasso's path |
    | `target` | the score that is imitated, as in `explain`; `None` for those of all classes |
    | `answers` | "scores" as `explain` reads them (before a softmax at the end of a torch model), \
"probabilities", or "classes": one for the predicted class, else zero |
    | `size` | the most leaves, rules or columns |
    | `depth` | the most conditions on the way to a leaf, or in a rule |
    | `least` | the fewest samples of a leaf or a rule |
    | `table` | what the surrogate reads, one row a sample, if not the data: a frame that \
describes images or texts, for example |
    | `names`, `units`, `outputs` | words for columns without names, for units by column, for \
the model's outputs |
    | `held_out` | the part of the data that is left out of the fit, to measure the fidelity on |
    | `seed` | of the choice of that part |

    The result is a `Surrogate`. Missing numbers of the table count as the mean of the column, and
    whether one is missing is a condition of its own.

    Law: the answers of a model that is itself such a tree, list or linear model are repeated, where
    greedy steps find it. On the samples of the fit a larger surrogate is never worse.
    Source: Craven and Shavlik (1996), Extracting Tree-Structured Representations of Trained
    Networks, for fidelity; each kind names its own.

    >>> data = torch.tensor([[i / 40, (i * 7 % 40) / 40] for i in range(40)])
    >>> model = lambda x: (x[:, 0] > 0.5).float()
    >>> print(fit_surrogate(model, data, names=["age", "income"], size=2))
    Decision tree of 2 leaves, fitted to scores of the model
    on 12 samples held out: R² 1.000
    the mean answer alone: R² ...0.184
    <BLANKLINE>
    age ≤ 0.5
    ├─ yes: 0  (46%)
    └─ no: 1  (54%)
    """
    one_of(answers, "`answers` of a surrogate", ANSWERS)
    growth = _Growth.of(kind, size, depth, least, seed)
    part = number(held_out, "held_out", "a part of the data, between 0 and 1", above=0, most=1)
    taken, read = asked(model, data, [], [target], 0), data if table is None else table
    columns = Columns.of(read, names, units)
    features = columns.read(read)
    _check_rows(features, taken.inputs.rows)
    held, seen = _split(taken.inputs.rows, part, growth.seed)
    said = ask(taken.model, taken.inputs, taken.targets[0], answers, batch_size)
    named = _outputs(outputs, said, models.labels(model) if models.is_estimator(model) else [])
    grown = growth.grow(features[seen], said.values[seen])
    return Surrogate(
        fitted=next(each for each in reversed(grown) if each.size <= growth.size),
        columns=columns,
        outputs=named,
        answers=answers,
        classes=said.classes,
        steps=tuple(_step(each, features, said, (held, seen)) for each in grown),
        evaluations=said.evaluations,
        seed=growth.seed,
    )


@dataclass(frozen=True, kw_only=True)
class _Growth:
    """What is grown, and how far."""

    kind: Kind
    size: int
    depth: int
    least: int
    seed: int

    @classmethod
    def of(cls, kind: Kind, size: int, depth: int, least: int, seed: int) -> "_Growth":
        """Check the options."""
        one_of(kind, "`kind` of a surrogate", KINDS)
        return cls(
            kind=kind,
            size=whole(size, "size"),
            depth=whole(depth, "depth"),
            least=whole(least, "least"),
            seed=whole(seed, "seed", least=None),
        )

    def grow(self, features: Floats, answers: Floats) -> Sequence[Fitted]:
        """Surrogates of all sizes, to twice the one asked for, so that the curve goes on."""
        most, depth, least = 2 * self.size, self.depth, self.least
        if self.kind == "tree":
            seed = self.seed % 2**32  # as NumPy takes them
            return trees.grow(features, answers, most=most, depth=depth, least=least, seed=seed)
        if self.kind == "rules":
            return rules.grow(features, answers, most=most, depth=depth, least=least)
        return lines.grow(features, answers, most=most)


def _step(fitted: Fitted, features: Floats, said: Answers, rows: tuple[Tensor, Tensor]) -> Step:
    """How well one surrogate does, on the samples held out and those fitted."""
    answer = fitted.answer(features)
    held, seen = (judge(answer[part], said.values[part], classes=said.classes) for part in rows)
    return Step(size=fitted.size, held_out=held, fitted=seen)


def _split(rows: int, part: float, seed: int) -> tuple[Tensor, Tensor]:
    """The samples that are held out, and those that are fitted."""
    held = round(part * rows)
    if held < FEWEST or rows - held < FEWEST:
        raise InputError(
            f"`data` must have at least {FEWEST} samples to fit and {FEWEST} to hold out",
            found=f"{rows} in all, and held_out={part:g}",
            hint="Pass more data: the model labels it, so that it needs no labels.",
        )
    order = torch.randperm(rows, generator=seeded(seed))
    return order[:held].sort().values, order[held:].sort().values


def _check_rows(features: Floats, rows: int) -> None:
    if len(features) != rows:
        raise InputError(
            f"`table` must have one row for each of the {rows} samples", found=f"{len(features)}"
        )


def _outputs(names: Sequence[str] | None, said: Answers, labels: Sequence[Any]) -> tuple[str, ...]:
    """The names of the answers; by default classes are those of the estimator, or numbered."""
    width = said.values.shape[1]
    if names is None and said.classes and len(labels) == width:
        return tuple(map(str, labels))
    if names is None:
        return tuple(f"class {k}" for k in range(width)) if said.classes else ("answer",)
    if len(names) != width or isinstance(names, str):
        raise InputError(f"`outputs` must name each of the {width} answers", got=names)
    return tuple(map(str, names))
