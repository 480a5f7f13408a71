"""One sample as a sum: a base value, what each player adds to it, and the score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.plot.color import Floats, number
from pellucid.plot.map import Map
from pellucid.plot.names import with_values

# Of what is expected, a residual that is smaller than this is not drawn.
SMALL = 1e-4
# The name of what the values miss of the score.
REST = "not explained"


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """What the players of one sample add to a base value.

        score = base + sum of values + rest

    `values` and `errors` (standard errors; `None` where nothing was sampled, not a number where it
    is not known) have shape (player,), and `names` one name each. Where the method claims to be
    complete, `base` is the score with all players absent, and `rest` is what the values miss of the
    score; where it does not, `base` is what the values leave of the score, and `rest` is zero.

    >>> import torch
    >>> import pellucid as pl
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 3.0)
    >>> parts = Parts.of(pl.explain(model, torch.tensor([[1.0, 2.0]]), "gradient_x_input"))
    >>> parts.names, parts.values.tolist(), parts.score
    (('feature 0 = 1', 'feature 1 = 2'), [3.0, 6.0], 9.0)
    """

    names: tuple[str, ...]
    values: Floats
    score: float
    base: float
    rest: float = 0.0
    errors: Floats | None = None
    complete: bool = False

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        *,
        row: int = 0,
        names: Sequence[str] | None = None,
        tokens: Sequence[str] | None = None,
    ) -> "Parts":
        """Take one sample: its players, or the elements of a table or text."""
        check_explanation(explanation)
        sample = explanation[row]
        return cls._of(sample, *(_players(sample, names) or _elements(sample, names, tokens)))

    @classmethod
    def of_map(cls, sample: Explanation, shown: Map) -> "Parts":
        """Take what the map of one sample shows of a table or text."""
        return cls._of(sample, shown.labels, shown.values.astype(np.float64), shown.errors)

    @classmethod
    def _of(
        cls, sample: Explanation, names: tuple[str, ...], values: Floats, errors: Floats | None
    ) -> "Parts":
        score, law = float(sample.score[0]), sample.completeness
        total = float(values[np.isfinite(values)].sum())
        base = score - total if law is None else score - float(law.expected[0])
        return cls(
            names=names,
            values=values,
            errors=errors,
            score=score,
            base=base,
            rest=0.0 if law is None else score - base - total,
            complete=law is not None,
        )

    @property
    def total(self) -> float:
        """The sum of the values, but for those that are not finite."""
        return float(self.values[np.isfinite(self.values)].sum())

    @property
    def order(self) -> list[int]:
        """The players with the largest absolute values first; what is not finite before all."""
        sizes = np.nan_to_num(np.abs(self.values), nan=np.inf)
        return np.argsort(-sizes, kind="stable").tolist()

    def strongest(self, most: int) -> "Parts":
        """Those with the largest absolute values, strongest first; the others are summed to one.

        The standard error of a sum of several is not known: their errors are not independent.
        """
        check_most(most)
        order = self.order
        kept, others = order[:most], order[most:]
        if len(others) == 1:
            kept, others = order, []
        names = [self.names[i] for i in kept]
        values = self.values[kept]
        errors = None if self.errors is None else self.errors[kept]
        if others:
            names.append(f"{len(others)} others")
            values = np.append(values, np.nansum(self.values[others]))
            errors = None if errors is None else np.append(errors, np.nan)
        return replace(self, names=tuple(names), values=values, errors=errors)

    @property
    def has_errors(self) -> bool:
        """Whether any value was left to chance."""
        return self.errors is not None and bool((np.nan_to_num(self.errors) > 0).any())

    @property
    def chance(self) -> list[str]:
        """What a caption says of sampling: nothing where the method does not sample."""
        if self.errors is None:
            return []
        return ["bars: standard error" if self.has_errors else "exact: no sampling error"]

    @property
    def has_rest(self) -> bool:
        """Whether the values miss so much of the score that it must be drawn."""
        reach = max(abs(self.score - self.base), float(np.abs(self.values).max(initial=0)))
        return abs(self.rest) > SMALL * reach

    def steps(self) -> list[tuple[str, float, float]]:
        """From the base value to the score: the name of each step, where it starts and its size.

        The weakest is first, next to the base value; values that are not finite are no step. What
        the values miss of the score is the last.
        """
        found = []
        at = self.base
        for name, value in reversed(list(zip(self.names, self.values.tolist(), strict=True))):
            size = value if np.isfinite(value) else 0.0
            found.append((name, at, size))
            at += size
        if self.has_rest:
            found.append((REST, at, self.rest))
        return found

    def check_finite(self) -> None:
        """Raise where nothing leads from the base value to the score."""
        if not np.isfinite([self.base, self.score]).all():
            raise InputError(
                "A score and its base value must be finite to be drawn as a sum",
                found=f"{number(self.base)} and {number(self.score)}",
                hint="explanation.plot() draws the values alone.",
            )

    @property
    def start(self) -> str:
        """Say what the base value is."""
        if self.complete:
            return f"base value {number(self.base)}"
        return f"{number(self.base)} (the score less all values)"


Found = tuple[tuple[str, ...], Floats, Floats | None]


def _players(sample: Explanation, names: Sequence[str] | None) -> Found | None:
    """The players of one sample that it has: names, values and errors."""
    if sample.features is None or sample.players is None:
        return None
    labels = with_values(sample, names=names)
    values, errors = _floats(sample.players), sample.player_error
    count = len(labels)
    return labels, values[:count], None if errors is None else _floats(errors)[:count]


def _elements(
    sample: Explanation, names: Sequence[str] | None, tokens: Sequence[str] | None
) -> Found:
    """The elements of a table or text without players."""
    shown = Map.of(sample, names=names, tokens=tokens)
    if shown.kind not in ("table", "text"):
        raise InputError(
            "Values must be those of players, of a table or of a text",
            got=shown.values,
            hint='For an image, ask a method with `features`: say "kernel_shap", or "lime".',
        )
    return shown.labels, shown.values.astype(np.float64), shown.errors


def _floats(values: Tensor) -> Floats:
    return values[0].detach().cpu().double().numpy()


def check_explanation(explanation: Explanation) -> None:
    """Raise for what is no explanation."""
    if not isinstance(explanation, Explanation):
        raise InputError("What is drawn must be an explanation", got=explanation)


def check_most(most: int) -> None:
    """Raise unless at least one player is to be shown."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise InputError("`most` must be a whole number, 1 or more", got=most)
