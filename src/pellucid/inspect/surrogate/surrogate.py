"""What was fitted: a model that one can read, and how far it can be trusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.explanation import Evaluations
from pellucid.inspect.surrogate import words
from pellucid.inspect.surrogate.columns import Columns
from pellucid.inspect.surrogate.fidelity import Fidelity, Step
from pellucid.inspect.surrogate.lines import LinearModel
from pellucid.inspect.surrogate.rules import RuleList
from pellucid.inspect.surrogate.trees import DecisionTree

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, repr=False)
class Surrogate:
    """A small model in the place of a large one, made by `pellucid.fit_surrogate`.

    `print(surrogate)` shows all of it. Called with rows of the table that it was fitted on it gives
    its answers. `fidelity` says how close they come to the model's on samples that were held out,
    `trivial` how close the mean answer comes, `curve` how both grow with the size. `outputs` are
    the names of the answers, `evaluations` what asking the model cost.
    """

    fitted: DecisionTree | RuleList | LinearModel
    columns: Columns
    outputs: tuple[str, ...]
    answers: str
    classes: bool
    steps: tuple[Step, ...]
    evaluations: Evaluations
    seed: int = 0

    @property
    def kind(self) -> str:
        """The word for it: tree, rules or linear."""
        return {DecisionTree: "tree", RuleList: "rules", LinearModel: "linear"}[type(self.fitted)]

    @property
    def size(self) -> int:
        """Leaves of a tree, rules of a list, features of a linear model."""
        return self.fitted.size

    @property
    def fidelity(self) -> Fidelity:
        """How close it comes to the model on the samples held out."""
        return next(step.held_out for step in self.steps if step.size == self.size)

    @property
    def trivial(self) -> Fidelity:
        """How close the mean answer comes, which reads nothing."""
        return self.steps[0].held_out

    @property
    def curve(self) -> "pd.DataFrame":
        """Fidelity by size: one row for each, on the samples held out and those fitted to."""
        import pandas as pd

        rows = [
            {
                "size": step.size,
                "r2": step.held_out.r2,
                "agreement": step.held_out.agreement,
                "r2_fitted": step.fitted.r2,
                "agreement_fitted": step.fitted.agreement,
            }
            for step in self.steps
        ]
        return pd.DataFrame(rows)

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the columns that it reads, in the order in which it does."""
        features = (self.columns.features[i] for i in self.fitted.features)
        return tuple(dict.fromkeys(self.columns.columns[each.column].name for each in features))

    def __call__(self, rows: Any) -> Tensor:
        """Its answers to rows of the table, of shape (sample, output), or (sample,) for one."""
        said = torch.from_numpy(self.fitted.answer(self.columns.read(rows)))
        return said if self.classes else said[:, 0]

    def reasons(self, rows: Any) -> list[str]:
        """For each row, the conditions that it meets and that decide its answer."""
        if isinstance(self.fitted, LinearModel):
            raise InputError(
                "Reasons must be those of a tree or of rules",
                found="a linear model, in which every column counts",
                hint="Its weights are in to_frame().",
            )
        found = self.fitted.reasons()
        places = self.fitted.place(self.columns.read(rows)).tolist()
        return [words.conjunction(found[place], self.columns) for place in places]

    def to_frame(self) -> "pd.DataFrame":
        """A table of it: one row for each leaf, rule or weight."""
        import pandas as pd

        fitted = self.fitted
        if isinstance(fitted, LinearModel):
            rows = [
                {
                    "column": words.feature_name(self.columns, weight.feature),
                    **dict(zip(self.outputs, weight.slope, strict=True)),
                    "scale": weight.scale,
                }
                for weight in fitted.weights
            ]
            start = {
                "column": "intercept",
                **dict(zip(self.outputs, fitted.intercept, strict=True)),
            }
            return pd.DataFrame([*rows, start])
        found = fitted.reasons()
        ends = (
            [(i, fitted.nodes[i].answer, fitted.nodes[i].share) for i in found]
            if isinstance(fitted, DecisionTree)
            else [
                *((i, rule.answer, rule.share) for i, rule in enumerate(fitted.rules)),
                (fitted.size, fitted.otherwise, fitted.share),
            ]
        )
        return pd.DataFrame(
            {
                "conditions": words.conjunction(found[i], self.columns),
                **dict(zip(self.outputs, answer, strict=True)),
                "share": share,
            }
            for i, answer, share in ends
        )

    def plot(self, ax: "Axes | None" = None, *, dark: bool = False) -> "Axes":
        """Draw the tree, the rules or the weights."""
        from pellucid.plot.surrogate import draw_surrogate

        return draw_surrogate(self, ax, dark=dark)

    def plot_curve(self, ax: "Axes | None" = None, *, dark: bool = False) -> "Axes":
        """Draw how fidelity grows with size."""
        from pellucid.plot.surrogate import draw_curve

        return draw_curve(self, ax, dark=dark)

    def save(self, path: str | Path) -> Path:
        """Write it to one file, without pickle."""
        from pellucid.inspect.surrogate.file import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Surrogate":
        """Read it back, equal to the one that was saved."""
        from pellucid.inspect.surrogate.file import load

        return load(path)

    def __str__(self) -> str:
        return words.text(self)

    def __repr__(self) -> str:
        return f"Surrogate({self.kind}, {words.sized(self)}, {self.fidelity} held out)"
