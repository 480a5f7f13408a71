"""The check that every program of this folder passes can fail."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.tape.adjoints import ROWS, Row
from tests.architectures.functions import X
from tests.architectures.networks import NETWORKS
from tests.architectures.program import check, net, program
from tests.architectures.tools import layers

# A row of the table, what goes wrong in it, and a network that reads it.
BROKEN: dict[str, tuple[str, Callable[[list[Any]], list[Any]], str]] = {
    "a factor": ("convolution", lambda found: [found[0] * 1.001, *found[1:]], "VGG"),
    "a signal that is lost": ("cat", lambda found: [None, *found[1:]], "DenseNet"),
    "an order": ("cat", lambda found: [found[0], *found[:0:-1]], "inception"),
    "a rectifier": ("relu", lambda found: [found[0] + 1e-4], "ResNet"),
    "a transposed map": ("view", lambda found: [found[0].flip(-1)], "one dimension"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_adjoint_is_noticed(name, monkeypatch):
    operation, breaks, network = BROKEN[name]
    right = ROWS[operation]

    def wrong(op: Any, signal: Tensor) -> list[Any]:
        return breaks(right.adjoint(op, signal))

    check(NETWORKS[network](), "check")
    monkeypatch.setitem(ROWS, operation, Row(right.kind, wrong))
    with pytest.raises(AssertionError):
        check(NETWORKS[network](), "check")


class Forgetful(nn.Module):
    """Counts its runs where nobody can put the count back, and answers with it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.runs = nn.Linear(5, 4), [0]

    def forward(self, x: Tensor) -> Tensor:
        self.runs[0] += 1
        return self.layer(x) * self.runs[0]


class Leaving(nn.Module):
    """Leaves a hook on its own layer in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.layer.register_forward_hook(lambda *_: None)
        return self.layer(x)


@pytest.mark.parametrize(
    "build",
    [
        Forgetful,
        Leaving,
        lambda: net(lambda f, x: f(x) * 0, layers()),
        lambda: net(lambda x: 1 * X),
    ],
    ids=["another output", "a trace", "no gradient", "no path"],
)
def test_a_poor_program_is_noticed(build):
    with pytest.raises(AssertionError):
        check(program(build(), X), "check")


def test_random_numbers_are_the_same_in_every_run():
    """Otherwise a program that draws could not be compared at all."""
    check(program(net(lambda x: x * torch.rand(5).double()), X), "check")
