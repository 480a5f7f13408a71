"""The same explanation under other choices: which features keep their place, and which do not."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.errors import InputError, UnknownNameError, show
from pellucid.evaluate.faithfulness.coalitions import by_count
from pellucid.evaluate.relevance import relevance
from pellucid.evaluate.similarity import Correlation
from pellucid.explanation import Explanation
from pellucid.features import Features, FeaturesLike, Players
from pellucid.method import Method, compare, named
from pellucid.options import whole
from pellucid.structure import Inputs
from pellucid.target import TargetLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# The name of the choice between several models.
MODEL = "model"
# A sign is kept where so much of the relevance of a player, over all choices, has it.
SIGN_KEPT = 0.9


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Audit:
    """Explanations of the same samples under every combination of some choices.

    `choices` are the labels of each combination by option, `explanations` in the same order.
    `relevance` (choice, sample, player) are what each gives to each player, as shares: the sizes
    of a sample sum to one. A feature is among the strongest if it is one of the `top` of a sample.

    | verdict | of a player |
    |---|---|
    | "robust" | among the strongest under all choices, with one sign |
    | "artefact" | among the strongest under some choices, but under fewer than half |
    | "sign changes" | among the strongest under half of the choices or more, with either sign |
    | "depends" | among the strongest under half of the choices or more, but not under all |
    | "weak" | never among the strongest |
    """

    choices: tuple[Mapping[str, str], ...]
    explanations: tuple[Explanation, ...]
    relevance: Tensor
    players: Players
    top: int

    def __len__(self) -> int:
        return len(self.choices)

    @cached_property
    def ranks(self) -> Tensor:
        """The place of each player, from 1 for the strongest, of shape (choice, sample, player)."""
        order = self.relevance.abs().argsort(dim=2, descending=True, stable=True)
        return order.argsort(dim=2) + 1

    @property
    def agreement(self) -> Tensor:
        """How far choices agree on the sign: |sum of R| / sum of |R|, of shape (sample, player)."""
        size = self.relevance.abs().sum(0)
        return torch.where(size > 0, self.relevance.sum(0).abs() / size, 1.0)

    @property
    def among_top(self) -> Tensor:
        """Under how many of the choices a player is among the strongest, (sample, player)."""
        chosen = (self.ranks <= self.top) & (self.relevance != 0)
        return chosen.double().mean(0)

    def verdict(self, row: int) -> list[str]:
        """The verdict on each player of a sample, by the table above."""
        count = int(self.players.counts[row if len(self.players.counts) > 1 else 0])
        pairs = zip(self.among_top[row].tolist(), self.agreement[row].tolist(), strict=True)
        return [_verdict(often, sign) for often, sign in list(pairs)[:count]]

    def by_choice(self) -> "pd.DataFrame":
        """How much each choice matters: one row for each, the one that matters most first.

        `correlation` is the rank correlation of explanations that differ in this choice alone, on
        the mean over their pairs and all samples; `lowest` is that of the worst pair.
        """
        import pandas as pd

        rows = []
        for option in self.choices[0]:
            found = [self._correlation(a, b) for a, b in self._pairs(option)]
            if found:
                mean = sum(found) / len(found)
                rows.append({"choice": option, "correlation": mean, "lowest": min(found)})
        frame = pd.DataFrame(rows, columns=["choice", "correlation", "lowest"])
        return frame.sort_values("correlation", kind="stable", ignore_index=True)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each player of each sample, the most often strong first.

        Shares are the least, the median and the greatest over the choices.
        """
        import pandas as pd

        rows = []
        low, high = self.relevance.amin(0), self.relevance.amax(0)
        middle = np.median(self.relevance.numpy(), axis=0)
        for row in range(self.relevance.shape[1]):
            verdicts, names = self.verdict(row), self.players.named(row)
            for player, (name, verdict) in enumerate(zip(names, verdicts, strict=True)):
                at = (row, player)
                rows.append({
                    "sample": row,
                    "player": player,
                    "name": name,
                    "verdict": verdict,
                    "among_top": float(self.among_top[at]),
                    "agreement": float(self.agreement[at]),
                    "least": float(low[at]),
                    "median": float(middle[at]),
                    "greatest": float(high[at]),
                    "best_rank": int(self.ranks[:, row, player].min()),
                    "worst_rank": int(self.ranks[:, row, player].max()),
                })  # fmt: skip
        frame = pd.DataFrame(rows)
        return frame.sort_values(
            ["sample", "among_top", "worst_rank"],
            ascending=[True, False, True],
            kind="stable",
            ignore_index=True,
        )

    def plot(self, ax: "Axes | None" = None, *, row: int = 0, **options: Any) -> "Axes":
        """Draw the shares of the strongest players: see `pellucid.plot.audit.draw_audit`."""
        from pellucid.plot.audit import draw_audit

        rows = self.relevance.shape[1]
        if not 0 <= whole(row, "row", least=None) < rows:
            raise InputError(f"A sample must be from 0 to {rows - 1}", got=row)
        return draw_audit(self, ax, row=row, **options)

    def _correlation(self, a: int, b: int) -> float:
        """The rank correlation of two choices, over the players that each sample has."""
        alike, one, other = Correlation(ranks=True), self.relevance[a], self.relevance[b]
        groups = by_count(self.players, self.relevance.shape[1])
        found = [alike([one[rows, :n]], [other[rows, :n]]) for n, rows in groups.items()]
        return float(torch.cat(found).nanmean())

    def _pairs(self, option: str) -> list[tuple[int, int]]:
        """Combinations that differ in one option alone."""

        def rest(choice: Mapping[str, str]) -> dict[str, str]:
            return {name: label for name, label in choice.items() if name != option}

        numbered = itertools.combinations(enumerate(self.choices), 2)
        return [(a, b) for (a, x), (b, y) in numbered if rest(x) == rest(y)]

    def __repr__(self) -> str:
        counts = {"robust": 0, "sign changes": 0, "depends": 0, "artefact": 0}
        for row in range(self.relevance.shape[1]):
            for verdict in self.verdict(row):
                counts[verdict] = counts.get(verdict, 0) + 1
        shown = ", ".join(f"{n} {word}" for word, n in counts.items() if word != "weak")
        lines = [
            f"Audit of {self.explanations[0].method.name} under {len(self)} choices, "
            f"{self.relevance.shape[1]} samples",
            f"  of the {min(self.top, self.relevance.shape[2])} strongest features: {shown}",
        ]
        lines += [
            f"  {row.choice}: rank correlation {row.correlation:.2f} (at worst {row.lowest:.2f})"
            for row in self.by_choice().itertuples()
        ]
        return "\n".join(lines)


def audit(
    model: "Callable[..., Any] | Mapping[str, Callable[..., Any]]",
    inputs: Any,
    method: str | Method,
    choices: Mapping[str, Any] | None = None,
    *,
    target: TargetLike = None,
    features: FeaturesLike = None,
    top: int = 5,
) -> Audit:
    """Explain the same inputs under every combination of choices, and hold the answers together.

    `choices` give the values of options of the method, in a list or, with their labels, in a dict:
    `{"baseline": [0.0, Baseline.blur()], "seed": [0, 1, 2]}`. If none are given, those that the
    method leaves to taste are varied: baseline, seed, steps, noise, composite. `model` may be
    several models by their names, which are a choice as well; all are asked for what the first one
    predicts, unless `target` says otherwise. `features` are what relevance is summed over: those
    of the method, or such as `Features` finds for the inputs.

    >>> model, x = torch.nn.Linear(3, 2), torch.rand(4, 3)
    >>> found = audit(model, x, "integrated_gradients", {"baseline": [0.0, 0.1], "steps": [5, 10]})
    >>> len(found)
    4
    """
    base = named(method)
    models = _models(model)
    options = _labelled(base, _usual(base, inputs) if choices is None else choices)
    combined = [
        dict(zip(options, each, strict=True)) for each in itertools.product(*options.values())
    ]
    chosen = [
        replace(base, **{name: value for name, (_, value) in each.items()}) for each in combined
    ]
    if len(models) * len(chosen) < 2:
        raise InputError(
            "`choices` must leave at least two answers to hold against each other",
            got=choices,
            hint=f"Options of {base.name}: {', '.join(_fields(base))}.",
        )
    found: list[Explanation] = []
    labels = []
    for name, each in models.items():
        aim = found[0].target if found and target is None else target
        found += compare(each, inputs, chosen, target=aim, on_incomplete="ignore")
        own = {MODEL: name} if len(models) > 1 else {}
        labels += [own | {k: v[0] for k, v in one.items()} for one in combined]
    players = players_of(found, features)
    return Audit(
        choices=tuple(labels),
        explanations=tuple(found),
        relevance=shares(_relevance(found, players, labels)),
        players=players,
        top=whole(top, "top"),
    )


def _models(given: Any) -> dict[str, Callable[..., Any]]:
    """The models by their names; the only one has none."""
    models = dict(given) if isinstance(given, Mapping) else {"": given}
    if not models:
        raise InputError("`model` must be one, or a dict of at least one", got=given)
    return models


def _relevance(
    found: Sequence[Explanation], players: Players, labels: Sequence[Mapping[str, str]]
) -> Tensor:
    """What each explanation gives to each player, (choice, sample, player): finite numbers."""
    given = torch.stack([relevance(each, players).cpu() for each in found])
    for values, choice in zip(given, labels, strict=True):
        lost = (~values.isfinite().all(1)).nonzero()[:, 0].tolist()
        if lost:
            under = ", ".join(f"{name} {label}" for name, label in choice.items())
            raise InputError(
                "Values must be finite to be held against each other",
                found=f"values that are not in {len(lost)} of {len(values)} samples (the first is "
                f"{lost[0]}), under {under}",
            )
    return given


def _verdict(often: float, sign: float) -> str:
    """By how often a player is among the strongest, and how far its signs agree."""
    if often == 0:
        return "weak"
    if often < 0.5:
        return "artefact"
    if sign < SIGN_KEPT:
        return "sign changes"
    return "robust" if often == 1 else "depends"


def shares(values: Tensor) -> Tensor:
    """What each player has of the sum of sizes: models and options may have other units.

    None has any of a map of zeros; where values are not finite, neither are all of the shares.
    """
    sizes = values.abs().sum(-1, keepdim=True)
    return torch.where(sizes == 0, 0.0, values / sizes)


def players_of(found: Sequence[Explanation], features: FeaturesLike) -> Players:
    """What relevance is summed over: the method's own players, if all have the same."""
    own = found[0].features
    if features is None and own is not None and all(_alike(own, each.features) for each in found):
        return own
    first = found[0].batch_first()
    inputs = replace(Inputs.of(first.inputs), schema=first.schema)
    made = Features.of(features).players(inputs)
    return made if first.schema is None else first.schema.named(made, inputs)


def _alike(a: Players, b: Players | None) -> bool:
    return b is not None and all(
        x.shape == y.shape and torch.equal(x, y) for x, y in zip(a.labels, b.labels, strict=True)
    )


def _fields(method: Method) -> list[str]:
    return [each.name for each in dataclasses.fields(method)]


def _labelled(method: Method, choices: Mapping[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """The values of each option with their labels."""
    if not isinstance(choices, Mapping):
        raise InputError(
            "`choices` must be a dict of options and their values",
            got=choices,
            hint='For example {"seed": [0, 1, 2]}.',
        )
    found = {}
    for option, values in choices.items():
        if option not in _fields(method):
            raise UnknownNameError(f"An option of {method.name}", option, _fields(method))
        if isinstance(values, str | Tensor) or not hasattr(values, "__iter__"):
            raise InputError(
                f"The values of `{option}` must be in a list, or in a dict with their labels",
                got=values,
            )
        pairs = values.items() if isinstance(values, Mapping) else [(_label(v), v) for v in values]
        names = _apart([str(label) for label, _ in pairs])
        found[option] = [(name, value) for name, (_, value) in zip(names, pairs, strict=True)]
    return found


def _apart(labels: Sequence[str]) -> list[str]:
    """The labels, of which equal ones are numbered.

    >>> _apart(["0", "tensor", "tensor"])
    ['0', 'tensor (1)', 'tensor (2)']
    """
    seen: Counter[str] = Counter()
    found = []
    for label in labels:
        seen[label] += 1
        found.append(f"{label} ({seen[label]})" if labels.count(label) > 1 else label)
    return found


def _label(value: Any) -> str:
    """How a value of an option is told: by itself, if that is short."""
    if hasattr(value, "shape"):
        return show(value) if hasattr(value, "dtype") else f"table {list(value.shape)}"
    told = str(getattr(value, "name", "") or value)
    return told.removeprefix("Baseline.").removesuffix("()")


def _usual(method: Method, inputs: Any) -> dict[str, Any]:
    """Values of the options that a method leaves to taste."""
    usual: dict[str, Any] = {
        "seed": [0, 1, 2],
        "steps": [10, 50],
        "noise": [0.05, 0.15, 0.3],
        "composite": ["epsilon", "epsilon-plus", "epsilon-alpha2-beta1"],
    }
    if isinstance(inputs, Tensor) and inputs.is_floating_point() and inputs.ndim > 2:
        usual["baseline"] = [0.0, Baseline.mean(), Baseline.blur(), Baseline.uniform()]
    found = {name: values for name, values in usual.items() if name in _fields(method)}
    if getattr(method, "rules", None) is not None:
        found.pop("composite", None)
    return found
