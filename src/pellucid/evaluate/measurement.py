"""What a metric found: one number for each sample, and how far their mean can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.bootstrap import mean_interval
from pellucid.explanation import Evaluations
from pellucid.method import Method
from pellucid.options import number

if TYPE_CHECKING:
    import pandas as pd

    from pellucid.evaluate.metric import Metric

# Curves of samples with different steps are shown at so many places.
COMMON = 101


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """What was measured on the way: `y` (sample, step) over `x` (step,), with their names.

    `ticks` are the names of the steps, where they have any: layers, say, or classes.
    """

    x: Tensor
    y: Tensor
    xlabel: str
    ylabel: str
    ticks: tuple[str, ...] = ()

    @classmethod
    def join(cls, parts: "Sequence[Curve]") -> "Curve":
        """The curves of all samples of several; where their steps differ, on steps for all."""
        x = parts[0].x
        if any(not torch.equal(part.x, x) for part in parts):
            ends = [float(part.x[end]) for part in parts for end in (0, -1)]
            x = torch.linspace(min(ends), max(ends), COMMON, dtype=x.dtype)
        return replace(parts[0], x=x, y=torch.cat([part.at(x) for part in parts]))

    def at(self, x: Tensor) -> Tensor:
        """The curve at other places, on straight lines between its own; (sample, place)."""
        if torch.equal(x, self.x) or len(self.x) < 2:
            return self.y.expand(-1, len(x))
        right = torch.searchsorted(self.x, x).clamp(1, len(self.x) - 1)
        low, high = self.x[right - 1], self.x[right]
        part = ((x - low) / (high - low)).clamp(0, 1)
        return torch.lerp(self.y[:, right - 1], self.y[:, right], part.to(self.y))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Measurement:
    """What a metric found for the explanations of one method.

    `values` has one number for each sample, of shape (sample,), in double precision; it is not a
    number where the metric is not defined, of which `notes` say why. `curves` are what it was
    computed from, by name.
    """

    metric: "Metric"
    method: Method
    values: Tensor
    curves: dict[str, Curve] = field(default_factory=dict)
    evaluations: Evaluations = Evaluations()  # noqa: RUF009  # immutable
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def defined(self) -> Tensor:
        """The values that are numbers."""
        return self.values[self.values.isfinite()]

    @property
    def mean(self) -> float:
        """The mean over the samples for which the metric is defined; else not a number."""
        return float(self.defined.mean())

    def interval(self, level: float = 0.95, *, seed: int = 0) -> tuple[float, float]:
        """Where the mean lies, at this level: by a bootstrap over the samples (percentiles).

        Not numbers for fewer than two samples.
        """
        allowed = number(level, "level", "a probability", above=0, most=1)
        low, high = mean_interval(self.defined.cpu().numpy(), allowed, seed=seed)
        return (float(low), float(high))

    def to_frame(self) -> "pd.DataFrame":
        """One row for each sample: metric, method, sample, value."""
        import pandas as pd

        return pd.DataFrame({
            "metric": self.metric.name,
            "method": self.method.name,
            "sample": range(len(self)),
            "value": self.values.numpy(),
        })  # fmt: skip

    def __repr__(self) -> str:
        low, high = self.interval()
        lines = [
            f"{self.metric!r} of {self.method!r}",
            f"  mean    {self.mean:.4g} (95 % interval {low:.4g} to {high:.4g}), "
            f"{len(self.defined)} of {len(self)} samples",
            f"  better  {self.metric.better}",
            f"  cost    {self.evaluations}, {self.seconds:.2f} s",
        ]
        return "\n".join([*lines, *(f"  note    {note}" for note in self.notes)])
