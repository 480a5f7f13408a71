"""Classes in a survey: the samples that stand for them, and where in these the model looks."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.exemplar.prototypes import prototypes
from pellucid.inspect.representation import represented
from pellucid.method import Method, explain
from pellucid.run.samples import Samples
from pellucid.run.stages import Found, Stages
from pellucid.survey.views import ClassView

# A mean map is that of so many samples of a class at most, evenly spread.
MOST_MAPS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """What is asked of classes: of so many of the most frequent, so many samples that stand out.

    `labels` (sample,) tell them apart, or what the model predicts does; `names` are theirs.
    """

    model: Callable[..., Any]
    samples: Samples
    layer: str
    labels: Tensor | None
    names: Sequence[str]
    most: int
    count: int
    criticisms: int
    method: Method
    seed: int
    batch_size: BatchSize

    def features(self) -> Found:
        """Features of all samples, and the class of each, where the model has classes."""
        found = represented(
            self.model, self.samples, self.layer, "auto", batch_size=self.batch_size
        )
        known = found.predicted if self.labels is None else self.labels
        kinds = {} if known is None else {"classes": known}
        return {"features": found.features} | kinds

    def views(self, stages: Stages) -> list[ClassView]:
        """The classes with most samples, by number."""
        found = stages.find("features", "features of all samples", self.features)
        if "classes" not in found:
            return []
        classes = found["classes"].tolist()
        wanted = sorted(number for number, _ in Counter(classes).most_common(self.most))
        return [
            self._view(number, [row for row, own in enumerate(classes) if own == number], found,
                       stages)
            for number in wanted
        ]  # fmt: skip

    def _view(self, number: int, rows: list[int], found: Found, stages: Stages) -> ClassView:
        name = self.names[number] if number < len(self.names) else str(number)
        made = stages.find(
            f"class-{number}", f"class {name}", lambda: self._found(number, rows, found["features"])
        )
        return ClassView(
            number=number,
            name=name,
            samples=len(rows),
            prototypes=made["prototypes"].tolist(),
            criticisms=made["criticisms"].tolist(),
            heatmap=made["heatmap"],
            example=made["example"],
        )

    def _found(self, number: int, rows: list[int], features: Tensor) -> Found:
        own = torch.tensor(rows)
        standing = self._standing(own, features[own])
        first = int(standing["prototypes"][0])
        step = max(1, -(-len(rows) // MOST_MAPS))
        return standing | {
            "heatmap": self._mean_map(number, rows[::step]),
            "example": self._maps(number, first)[0],
        }

    def _standing(self, own: Tensor, features: Tensor) -> Found:
        """The prototypes and criticisms among the samples of a class; of few, all are the first."""
        if len(own) <= self.count:
            return {"prototypes": own, "criticisms": own[:0]}
        left = min(self.criticisms, len(own) - self.count)
        found = prototypes(features, count=self.count, criticisms=left, seed=self.seed)
        return {"prototypes": own[found.index], "criticisms": own[found.criticisms]}

    def _mean_map(self, number: int, rows: Sequence[int]) -> Tensor:
        """The mean of the maps of samples, each of which has the same total size."""
        total = torch.zeros(())
        for row in rows:
            found = self._maps(number, row)
            total = total + found.sum(0) / found.abs().sum().clamp(min=1e-30)
        return total / len(rows)

    def _maps(self, number: int, row: int) -> Tensor:
        """The map of a sample for a class, summed over channels: (1, height, width)."""
        found = explain(
            self.model,
            self.samples.read(row, row + 1),
            self.method,
            target=number,
            on_incomplete="ignore",
        )
        values: Tensor = found.values
        return values.sum(1).float().cpu()
