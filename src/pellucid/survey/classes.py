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
from pellucid.survey.aim import aim_at, classes_in
from pellucid.survey.choice import spread
from pellucid.survey.views import ClassView

# A mean map is that of so many samples of a class at most, evenly spread; so many at once, for a
# walk backwards holds all that the model makes of each.
MOST_MAPS, AT_ONCE = 24, 4
# What the answers of a model must be to tell of classes.
UNLIKE = "what the model answers is no table of scores (sample, class)."
NO_CLASSES = f"No classes are shown: there are no labels, and {UNLIKE}"
NO_MAPS = f"Classes have no maps: {UNLIKE}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """What is asked of classes: of so many of the most frequent, so many samples that stand out.

    `labels` (sample,) tell them apart, or what the model predicts does; `names` are theirs. The
    `output` of the model for one image, before a softmax at its end, shows what it answers.
    """

    model: Callable[..., Any]
    samples: Samples
    layer: str
    output: Any
    labels: Tensor | None
    names: Sequence[str]
    most: int
    count: int
    criticisms: int
    method: Method
    seed: int
    batch_size: BatchSize

    @property
    def notes(self) -> tuple[str, ...]:
        """What cannot be shown, and why."""
        if not self.most or self._has_scores:
            return ()
        return (NO_CLASSES if self.labels is None else NO_MAPS,)

    @property
    def _has_scores(self) -> bool:
        return classes_in(self.output) is not None

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
            heatmap=made.get("heatmap"),
            example=made.get("example"),
            maps=min(len(rows), MOST_MAPS),
        )

    def _found(self, number: int, rows: list[int], features: Tensor) -> Found:
        own = torch.tensor(rows)
        standing = self._standing(own, features[own])
        if not self._has_scores:
            return standing
        first = int(standing["prototypes"][0])
        asked = spread(rows, MOST_MAPS)
        maps = self._maps(number, [first, *(row for row in asked if row != first)])
        sizes = maps.abs().sum((1, 2), keepdim=True).clamp(min=1e-30)
        kept = slice(None if first in asked else 1, None)
        return standing | {"heatmap": (maps / sizes)[kept].mean(0), "example": maps[0]}

    def _standing(self, own: Tensor, features: Tensor) -> Found:
        """The prototypes and criticisms among the samples of a class; of few, all are the first."""
        if len(own) <= self.count:
            return {"prototypes": own, "criticisms": own[:0]}
        left = min(self.criticisms, len(own) - self.count)
        found = prototypes(features, count=self.count, criticisms=left, seed=self.seed)
        return {"prototypes": own[found.index], "criticisms": own[found.criticisms]}

    def _maps(self, number: int, rows: Sequence[int]) -> Tensor:
        """The maps of samples for a class, summed over channels: (sample, height, width)."""
        made = []
        for start in range(0, len(rows), AT_ONCE):
            found = explain(
                self.model,
                torch.cat([self.samples.read(row, row + 1) for row in rows[start:][:AT_ONCE]]),
                self.method,
                target=aim_at(number, self.output),
                batch_size=self.batch_size,
                on_incomplete="ignore",
            )
            values: Tensor = found.values
            made.append(values.sum(1).float().cpu())
        return torch.cat(made)
