"""Do two models decide for the same reasons? What part of the relevance has moved, and where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.evaluate.audit import players_of, shares
from pellucid.evaluate.relevance import relevance
from pellucid.explanation import Explanation
from pellucid.features import FeaturesLike, Players
from pellucid.method import Method, explain
from pellucid.options import number
from pellucid.target import TargetLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

TOLERANCE = 0.1
# Samples that a picture shows.
SHOWN = 4


def moved(a: Explanation, b: Explanation, features: FeaturesLike = None) -> Tensor:
    """What part of the relevance lies elsewhere in another explanation, of shape (sample,).

        d = 1/2 sum_p |a_p - b_p|,  where sum |a_p| = sum |b_p| = 1

    From 0, where both give every player the same share, to 1, where no player has shares of one
    sign in both. A map of zeros is as far as can be from all but another one; one with values that
    are not finite, from all.
    Law: it is a distance, and a positive factor on either explanation does not change it.
    """
    if len(a) != len(b):
        raise InputError(
            "Explanations must be of as many samples to be held against each other",
            found=f"{len(a)} and {len(b)}",
        )
    players = players_of([a, b], features)
    return _distance(_of(a, players), _of(b, players))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Difference:
    """How the explanations of one model differ from those of another, on the same samples.

    `distance` (sample,) is the part of the relevance that has moved: see `moved`. A sample has
    `changed` where that is more than the tolerance. `labels` are the true classes, if given:
    numbers or names.
    """

    a: Explanation
    b: Explanation
    distance: Tensor
    tolerance: float
    predicted: tuple[Tensor, Tensor] | None
    labels: "NDArray[Any] | None" = None

    def __len__(self) -> int:
        return len(self.distance)

    @property
    def changed(self) -> Tensor:
        """Which samples are explained differently, of shape (sample,)."""
        return self.distance > self.tolerance

    @property
    def worst(self) -> list[int]:
        """The samples that have changed, those that differ most first."""
        order = self.distance.argsort(descending=True, stable=True)
        return [row for row in order.tolist() if bool(self.changed[row])]

    @property
    def shown(self) -> list[int]:
        """The samples that a picture shows if none are named: those that differ most."""
        return self.distance.argsort(descending=True, stable=True)[:SHOWN].tolist()

    def to_frame(self) -> "pd.DataFrame":
        """One row for each sample: distance, whether it changed, scores, classes."""
        import pandas as pd

        columns: dict[str, Any] = {
            "sample": range(len(self)),
            "distance": self.distance.numpy(),
            "changed": self.changed.numpy(),
            "score_a": self.a.score.detach().cpu().double().numpy(),
            "score_b": self.b.score.detach().cpu().double().numpy(),
        }
        if self.predicted is not None:
            columns |= dict(
                zip(("class_a", "class_b"), (p.numpy() for p in self.predicted), strict=True)
            )
        if self.labels is not None:
            columns["label"] = self.labels
        return pd.DataFrame(columns)

    def by_class(self) -> "pd.DataFrame":
        """One row for each class: samples, how many changed, mean and greatest distance.

        Classes are the labels, or else what the first model predicts.
        """
        frame = self.to_frame()
        by = "label" if self.labels is not None else "class_a"
        if by not in frame:
            raise InputError(
                "A difference by class must have classes",
                found="a model without a table of scores, and no labels",
                hint="Pass labels=.",
            )
        groups = frame.groupby(by)
        found = groups.agg(
            samples=("sample", "size"),
            changed=("changed", "sum"),
            mean=("distance", "mean"),
            greatest=("distance", "max"),
        )
        if self.predicted is not None:
            other = (frame["class_a"] != frame["class_b"]).groupby(frame[by]).sum()
            found["other_class"] = other
        return found.rename_axis("class").reset_index()

    def plot(self, rows: Sequence[int] | None = None, **options: Any) -> "Figure":
        """Draw both maps of samples side by side: of the four that differ most, if none are named.

        Options are those of `pellucid.plot.grid`.
        """
        from pellucid.plot import grid

        chosen = self.shown if rows is None else list(rows)
        pairs = [[self.a[row], self.b[row]] for row in chosen]
        titles = [f"sample {row}: {float(self.distance[row]):.0%} moved" for row in chosen]
        figure = grid(pairs, titles=titles, **options)
        each = len(figure.axes) // len(chosen)
        for line in range(len(chosen)):
            for name, axes in zip("AB", figure.axes[line * each :][each - 2 :], strict=False):
                title = name if each > 2 else f"{titles[line]}, {name}"
                axes.set_title(title, fontsize=10)
        return figure

    def __repr__(self) -> str:
        count, total = int(self.changed.sum()), len(self)
        lines = [
            f"Difference of {self.a.method.name} between two models on {total} samples",
            f"  {count} of {total} explained differently: more than {self.tolerance:.0%} of the "
            "relevance lies elsewhere",
            f"  moved on the mean {float(self.distance.mean()):.1%}, at most "
            f"{float(self.distance.max()):.1%} (sample {int(self.distance.argmax())})",
        ]
        if self.predicted is not None:
            other = int((self.predicted[0] != self.predicted[1]).sum())
            lines.append(f"  {other} of {total} predicted to be of another class")
        return "\n".join(lines)


def diff(
    a: Callable[..., Any],
    b: Callable[..., Any],
    inputs: Any,
    method: str | Method,
    *,
    target: TargetLike = None,
    labels: Any = None,
    features: FeaturesLike = None,
    tolerance: float = TOLERANCE,
    inputs_b: Any = None,
    **options: Any,
) -> Difference:
    """Hold the explanations of model `b` against those of model `a`, sample by sample.

    Both are asked for the class that the first one predicts, unless `target` says otherwise.
    `tolerance` is the part of the relevance that may move; `features` are what it is summed over:
    the players of the method, or such as `Features` finds for the inputs. `inputs_b` are the same
    samples as the second model sees them, if it does so differently (normalized otherwise, say).

    >>> model, x = torch.nn.Linear(3, 2), torch.rand(4, 3)
    >>> bool(diff(model, model, x, "gradient_x_input").changed.any())
    False
    """
    allowed = part_of(tolerance)
    first = explain(a, inputs, method, target=target, on_incomplete="ignore", **options)
    aim = first.target if target is None else target
    seen = inputs if inputs_b is None else inputs_b
    second = explain(b, seen, method, target=aim, on_incomplete="ignore", **options)
    return Difference(
        a=first,
        b=second,
        distance=moved(first, second, features),
        tolerance=allowed,
        predicted=_predicted(first, second),
        labels=_labels(labels, len(first)),
    )


def part_of(tolerance: float) -> float:
    """A tolerance, which is a part of the relevance."""
    return number(tolerance, "tolerance", "a part of the relevance, from 0 to 1", least=0, most=1)


def _of(explanation: Explanation, players: Players) -> Tensor:
    return shares(relevance(explanation, players).cpu())


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Half the sum of differences; 1 to a map of zeros, and to one that is not finite."""
    far = (a.abs().sum(1) == 0) != (b.abs().sum(1) == 0)
    far = far | ~(a.isfinite().all(1) & b.isfinite().all(1))
    return torch.where(far, 1.0, (a - b).abs().sum(1) / 2)


def _predicted(a: Explanation, b: Explanation) -> tuple[Tensor, Tensor] | None:
    """The classes that both models predict, where their outputs are tables of scores."""
    found = [each.target.table(each.output) for each in (a, b)]
    tables = [each for each in found if each is not None and each.ndim == 2 and each.shape[1] > 1]
    if len(tables) < 2:
        return None
    first, second = (table.detach().cpu().argmax(1) for table in tables)
    return first, second


def _labels(given: Any, rows: int) -> "NDArray[Any] | None":
    if given is None:
        return None
    made = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
    if made.shape != (rows,):
        raise InputError(f"`labels` must have one class for each of {rows} samples", got=given)
    return made
