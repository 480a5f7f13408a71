"""Data of which it is known what is important, with a small model for it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.errors import InputError

if TYPE_CHECKING:
    from pellucid.evaluate.retrain.trainer import Fit

# The first samples are trained on, the others tell the accuracy.
TRAINED = 0.8


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Truth:
    """Samples whose important features are known by the way they were made.

    `inputs` (sample, ...), `labels` (sample,), and `masks`, true at what is important: the shape
    of the inputs, or for images (sample, height, width). `parts` hold what else is known of each
    sample, `facts` what is known of all; `law` says what holds. `network` makes a model that has
    not learned yet, `exact` is one that need not learn; `lessons` are what is learned from, inputs
    and labels, where these are not the samples. `words` are those of token ids.
    """

    name: str
    law: str
    inputs: Tensor
    labels: Tensor
    masks: Tensor
    classes: tuple[str, ...]
    network: Callable[[], nn.Module] | None = None
    exact: nn.Module | None = None
    training: dict[str, Any] = field(default_factory=dict)
    lessons: Callable[["Truth"], tuple[Tensor, Tensor]] | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Tensor] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> "Truth":
        """Some of the samples."""
        if not isinstance(rows, slice):
            raise InputError("Samples must be asked for by a slice", got=rows, hint="truth[:10]")
        return dataclasses.replace(
            self,
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            masks=self.masks[rows],
            parts={name: each[rows] for name, each in self.parts.items()},
        )

    def split(self) -> tuple["Truth", "Truth"]:
        """The samples to train on, four fifths, and the others; they share no digit or text."""
        cut = trained(len(self))
        return self[:cut], self[cut:]

    def fit(self, *, seed: int = 0, trainer: "Fit | None" = None) -> "Fitted":
        """Train the small model on four fifths of the samples; a model that is exact needs none.

        `trainer` is any `fit(model_factory, examples) -> model`.
        """
        learned, held = self.split()
        model = self.exact
        if model is None:
            model = learned._trained(seed, trainer)
        return Fitted(model=model, accuracy=accuracy(model, held), train=learned, test=held)

    def model(self, *, seed: int = 0) -> nn.Module:
        """The model alone: exact, or trained."""
        return self.fit(seed=seed).model if self.exact is None else self.exact

    def texts(self) -> list[str]:
        """The samples as texts, where they are token ids."""
        if not self.words:
            raise InputError("Samples must be token ids to be texts", found=self.name)
        return [" ".join(self.words[token] for token in row) for row in self.inputs.tolist()]

    def _trained(self, seed: int, trainer: "Fit | None") -> nn.Module:
        from pellucid.evaluate.retrain.data import Examples
        from pellucid.evaluate.retrain.trainer import Trainer

        if self.network is None:
            raise InputError("Data must have a network to be learned", found=self.name)
        fit = Trainer(seed=seed, **self.training) if trainer is None else trainer
        given = (self.inputs, self.labels) if self.lessons is None else self.lessons(self)
        model: nn.Module = fit(self.network, Examples(*given))
        return model

    def __repr__(self) -> str:
        lines = [
            f"Truth {self.name}: {len(self)} samples, {len(self.classes)} classes",
            f"  inputs  {list(self.inputs.shape)}, masks {list(self.masks.shape)}",
            f"  law     {self.law}",
        ]
        names = [*self.parts, *self.facts]
        return "\n".join([*lines, *([f"  also    {', '.join(names)}"] if names else [])])


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A model of known data: its accuracy on samples that it has not seen, and these."""

    model: nn.Module
    accuracy: float
    train: Truth = field(repr=False)
    test: Truth = field(repr=False)


def trained(count: int) -> int:
    """How many of so many samples are trained on."""
    return round(TRAINED * count)


def accuracy(model: nn.Module, truth: Truth) -> float:
    """The share of samples whose highest scores are those of their classes (one, or several)."""
    present = truth.parts.get("present")
    if present is None:
        present = nn.functional.one_hot(truth.labels, len(truth.classes)).bool()
    with torch.no_grad():
        scores = model(truth.inputs)
    lowest = scores.masked_fill(~present, float("inf")).amin(1)
    others = scores.masked_fill(present, -float("inf")).amax(1)
    return float((lowest > others).double().mean())
