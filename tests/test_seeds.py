"""Seeds: any whole number draws, the same each time, wherever something is drawn; and no other."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import InputError
from pellucid.method import named
from pellucid.seeding import seeded
from pellucid.structure import Inputs
from tests.test_laws import CHEAP
from tests.zoo import network

FAR = (-1, 7, -(2**63) - 1, 2**63, 2**64, 2**64 + 1, -(10**30), np.int64(5), torch.tensor(6))
BAD = (None, 1.5, "a", True, 1j)
IMAGES = network.normal(2, 1, 16, 16, seed=1).double()
ROWS = network.normal(40, 6, seed=3).double()
NET = nn.Sequential(
    nn.Flatten(),
    network.seeded(nn.Linear(256, 9)),
    nn.Tanh(),
    network.seeded(nn.Linear(9, 2), 1),
).double()
ROW_NET = nn.Sequential(network.seeded(nn.Linear(6, 9)), nn.Tanh(), nn.Linear(9, 2)).double()

# Where the cheapest draws nothing.
OWN = {
    "partition_shapley": {"samples": 20},
    "meaningful_perturbation": {"jitter": 0.2},
    "extremal_perturbation": {"jitter": 0.2},
}


def explained(name):
    """How a method asks about images, too many players to be asked about exactly."""
    method = named(name, **CHEAP.get(name, {}), **OWN.get(name, {}))

    def draw(seed) -> Tensor:
        drawing = dataclasses.replace(method, seed=seed)
        return drawing(NET, IMAGES, target=0, on_incomplete="ignore").values

    return draw


def _patterns(seed) -> Tensor:
    found = pl.fit_patterns(ROW_NET, [ROWS], quality=False, seed=seed)
    return pl.PatternNet(patterns=found)(ROW_NET, ROWS[:2], target=0).values


# What draws from a seed, and tensors that come of it.
DRAWING = {
    name: explained(name)
    for name, kind in pl.methods().items()
    if "seed" in {field.name for field in dataclasses.fields(kind)}
} | {
    "lime on columns": lambda seed: (
        pl.LIME(data=ROWS, samples=50, runs=2, seed=seed)(ROW_NET, ROWS[:2], target=0).values
    ),
    "Baseline.noise": lambda seed: pl.Baseline.noise(seed=seed).single(Inputs.of(IMAGES)).leaves[0],
    "Baseline.uniform": lambda seed: (
        pl.Baseline.uniform(seed=seed).single(Inputs.of(IMAGES)).leaves[0]
    ),
    "Baseline.samples": lambda seed: pl.Baseline.samples(ROWS, 5, seed=seed).tensors[0],
    "Baseline.kmeans": lambda seed: pl.Baseline.kmeans(ROWS, 9, seed=seed).tensors[0],
    "fit_patterns": _patterns,
}


@pytest.mark.parametrize("name", DRAWING)
def test_any_whole_number_is_a_seed(name):
    usual = DRAWING[name](0)
    found = [DRAWING[name](seed) for seed in FAR]
    assert all(each.shape == usual.shape and each.isfinite().all() for each in found)
    again = DRAWING[name](FAR[4])
    torch.rand(3)
    assert torch.equal(found[4], again)


# What comes of any seed may be the same: the best centers, patterns of all of few neurons.
SETTLED = {"Baseline.kmeans", "fit_patterns"}


@pytest.mark.parametrize("name", sorted({*DRAWING} - SETTLED))
def test_another_seed_is_another_draw(name):
    usual = DRAWING[name](0)
    assert any(not torch.equal(DRAWING[name](seed), usual) for seed in FAR[:2])


@pytest.mark.parametrize("seed", BAD, ids=str)
@pytest.mark.parametrize("name", DRAWING)
def test_nothing_else_is_a_seed(name, seed):
    with pytest.raises(InputError, match="^`seed` must be a whole number; got "):
        DRAWING[name](seed)


def test_draws_of_one_seed_are_apart():
    draws = [torch.rand(4, generator=seeded(3, *numbers)) for numbers in ((), (0,), (1,), (0, 1))]
    for place, one in enumerate(draws):
        assert not any(torch.equal(one, other) for other in draws[:place])
