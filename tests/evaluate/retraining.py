"""Small data with a known answer, methods that know it, and trainers that count or fail."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pellucid.case import Case
from pellucid.evaluate import Examples, Trainer
from pellucid.method import Attribution, Method
from tests.zoo import network

FEATURES = 6
FIT = Trainer(epochs=12, learning_rate=0.1, batch_size=32)


@dataclass(frozen=True, kw_only=True)
class Fixed(Method):
    """The same values for every sample."""

    name: ClassVar[str] = "fixed"
    values: tuple[float, ...]

    def attribute(self, case: Case) -> Attribution:
        row = torch.tensor(self.values)
        return Attribution(values=[row.expand_as(case.inputs.leaves[0]).clone()])


@dataclass(frozen=True, kw_only=True)
class OfTarget(Method):
    """One where the number of the column is that of the explained class."""

    name: ClassVar[str] = "of_target"

    def attribute(self, case: Case) -> Attribution:
        leaf = case.inputs.leaves[0]
        classes = torch.tensor(case.outcome.target.classes).expand(len(leaf))
        return Attribution(values=[nn.functional.one_hot(classes, leaf.shape[1]).to(leaf)])


@dataclass(frozen=True, kw_only=True)
class Broken(Method):
    """Fails."""

    name: ClassVar[str] = "broken"

    def attribute(self, case: Case) -> Attribution:
        raise RuntimeError("no map today")


@dataclass(frozen=True, kw_only=True)
class Notes:
    """Trains, and writes a line into a file before and after; fails if `fails` says so."""

    log: Path
    inner: Trainer = FIT
    seed: int = 0
    fails: Callable[[int], Exception | None] = field(default=lambda number: None)

    def __call__(self, factory: Callable[[], Any], data: Examples) -> Any:
        number = len(self.lines("start"))
        with self.log.open("a") as file:
            file.write("start\n")
        error = self.fails(number)
        if error is not None:
            raise error
        model = replace(self.inner, seed=self.seed)(factory, data)
        with self.log.open("a") as file:
            file.write("end\n")
        return model

    def lines(self, kind: str) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return [line for line in text.splitlines() if line == kind]


def table(rows: int = 240, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Columns of noise, of which the sign of the first is the class."""
    x = network.normal(rows, FEATURES, seed=seed).float()
    return x, (x[:, 0] > 0).long()


def split(rows: int = 240) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Two thirds to train and a third to test on."""
    x, y = table(rows)
    cut = 2 * rows // 3
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def linear() -> nn.Module:
    """Scores of two classes."""
    return nn.Linear(FEATURES, 2)


def images(rows: int = 90) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Pictures of two channels, bright at the left or at the right."""
    means = torch.tensor([1.0, 3.0]).reshape(2, 1, 1)
    x = 0.7 * network.normal(rows, 2, 4, 4, seed=5).float() + means
    y = torch.arange(rows) % 2
    x[y == 0, :, :, :2] += 0.3
    x[y == 1, :, :, 2:] += 0.3
    cut = 2 * rows // 3
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def picture_model() -> nn.Module:
    """Scores of two classes of pictures."""
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 2))
