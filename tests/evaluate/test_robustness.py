"""How far maps move, against draws made by hand, closed forms, and shifted models."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate import measure
from pellucid.evaluate.robustness import (
    AverageSensitivity,
    LocalLipschitz,
    MaxSensitivity,
    ShiftSensitivity,
)
from pellucid.seeding import seeded as generator_of
from tests.counting import Counting
from tests.zoo.network import normal, seeded


def quadratic(matrix):
    """x A x for each sample, as one score."""
    return lambda x: (x @ matrix * x).sum(1, keepdim=True)


def network() -> nn.Module:
    return seeded(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))).eval()


def neighbors(x, radius, draws, seed):
    """All neighbors of one sample."""
    found = []
    for draw in range(draws):
        drawn = 2 * torch.rand(x.shape, generator=generator_of(seed, draw)) - 1
        found.append(x + radius * (x.max() - x.min()) * drawn.to(x))
    return found


def follows_neighbors(metric, summary):
    model, x = network(), normal(4, 6)
    own = pl.explain(model, x, "saliency", target=2)
    expected = []
    for row in range(4):
        changes = []
        for other in neighbors(x[row], metric.radius, metric.samples, metric.seed):
            there = pl.explain(model, other[None], "saliency", target=2).values[0]
            apart = float((there - own.values[row]).norm())
            apart /= float((other - x[row]).norm()) if metric.name == "local_lipschitz" else 1
            changes.append(apart)
        size = float(own.values[row].norm()) if metric.relative else 1
        expected.append(summary(changes) / size)
    assert_close(metric(model, own).values, torch.tensor(expected, dtype=torch.float64))


def mean(numbers):
    return sum(numbers) / len(numbers)


METRICS = {MaxSensitivity: max, AverageSensitivity: mean, LocalLipschitz: max}


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("metric", METRICS)
def test_they_are_those_of_neighbors_made_by_hand(metric, relative):
    follows_neighbors(metric(relative=relative, samples=4, radius=0.1, seed=3), METRICS[metric])


@dataclass(frozen=True, kw_only=True)
class LastNeighbor(MaxSensitivity):
    """Keeps the last draw, not the largest."""

    def summary(self, changes):
        return changes[:, -1]


@dataclass(frozen=True, kw_only=True)
class WithoutSteps(LocalLipschitz):
    """Forgets to divide by the step."""

    def change(self, apart, step):
        return apart


@pytest.mark.parametrize(
    ("broken", "summary"),
    [(LastNeighbor(samples=4), max), (WithoutSteps(samples=4), max), (MaxSensitivity(), mean)],
)
def test_a_broken_metric_is_seen(broken, summary):
    with pytest.raises(AssertionError):
        follows_neighbors(broken, summary)


def test_the_gradient_of_a_linear_model_does_not_move():
    model = seeded(nn.Linear(6, 2))
    own = pl.explain(model, normal(4, 6), "saliency", target=0)
    for metric in METRICS:
        assert float(metric()(model, own).values.max()) < 1e-9
    assert float(MaxSensitivity()(model, pl.explain(model, normal(4, 6), "gradient_x_input",
                                                    target=0)).values.min()) > 1e-3  # fmt: skip


def test_the_lipschitz_constant_of_a_quadratic_form():
    """The gradient is (A + A') x: nowhere steeper than the norm of A + A', and near it."""
    matrix = normal(5, 5, seed=3)
    model, both = quadratic(matrix), matrix + matrix.T
    own = pl.explain(model, normal(3, 5), "saliency", target=0)
    found = LocalLipschitz(relative=False, samples=300)(model, own).values
    bound = float(torch.linalg.matrix_norm(both, 2))
    assert bool((found <= bound * (1 + 1e-9)).all())
    assert bool((found >= 0.8 * bound).all())
    assert_close(found, found[:1].expand(3))  # the same draws, and a gradient that is linear
    scaled = LocalLipschitz(relative=False, samples=300, radius=0.5)(model, own).values
    assert_close(scaled, found, rtol=1e-6, atol=1e-6)


def test_all_neighbors_are_full_batches():
    counting = Counting(network())
    x = normal(4, 6)
    own = pl.explain(counting, x, "occlusion", target=0)
    counting.calls.clear()
    MaxSensitivity(samples=6)(counting, own, batch_size=12)
    alone = own.evaluations.forward
    assert sum(counting.calls) == 4 + 6 * alone
    assert set(counting.calls[1:]) == {12}


def test_neighbors_are_shared_by_rivals():
    model, x = network(), normal(4, 6)
    rivals = pl.compare(model, x, ["lrp", "gradient_x_input", "smoothgrad"], target=1)
    for metric in METRICS:
        together = measure(model, rivals, metric(samples=3))
        for one, rival in zip(together, rivals, strict=True):
            assert_close(metric(samples=3)(model, rival).values, one.values)


def test_methods_that_read_the_tape_and_the_gradient_share_the_runs_of_neighbors():
    counting = Counting(network())
    rivals = pl.compare(counting, normal(4, 6), ["lrp", "saliency", "gradient_x_input"], target=1)
    counting.calls.clear()
    measure(counting, rivals, MaxSensitivity(samples=3))
    assert sum(counting.calls) == 4 + 3 * 4  # the score here, and one run of every neighbor


class Recurrent(nn.Module):
    """Reads a sequence whose samples are on its second axis, and what all samples start from."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][-1]) + bias


class BatchFirst(nn.Module):
    """The same, with the samples first."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.model(x.movedim(1, 0), bias)


@pytest.mark.parametrize(
    "name", ["max_sensitivity", "shift_sensitivity", "model_randomization", "class_sensitivity"]
)
def test_samples_may_be_on_any_axis_and_inputs_may_be_several(name):
    model, x, bias = seeded(Recurrent()).eval(), normal(4, 5, 3), normal(4, 3, seed=1)
    first = BatchFirst(model).eval()
    own = pl.explain(first, (x, bias), "gradient_x_input", target=1)
    turned = pl.explain(
        model, (x.movedim(0, 1), bias), "gradient_x_input", target=1, batch_axis=(1, 0)
    )
    one, other = measure(first, own, name)[0], measure(model, turned, name)[0]
    assert_close(one.values, other.values, rtol=1e-6, atol=1e-9)
    assert bool((one.values != 0).all())


@pytest.mark.parametrize("name", ["max_sensitivity", "shift_sensitivity"])
def test_a_map_of_zeros_is_said(name):
    model = seeded(nn.Linear(4, 2))
    x = torch.stack([torch.zeros(4), torch.ones(4)]).double()
    found = measure(model, pl.explain(model, x, "gradient_x_input", target=0), name)[0]
    assert found.values.isfinite().tolist() == [False, True]
    assert "Maps of 1 of 2 samples are zero everywhere." in found.notes


def test_what_cannot_be_moved():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    ids = torch.tensor([[1, 2, 3]])
    own = pl.explain(model, ids, pl.Occlusion(baseline=pl.Baseline.token(0)), target=0)
    with pytest.raises(
        InputError, match="Methods must explain embeddings for token ids to be moved"
    ):
        MaxSensitivity()(model, own)
    texts = pl.explain(
        lambda given: torch.tensor([[float(len(t)), 1.0] for t in given]),
        ["one two", "three"],
        "occlusion",
        target=0,
    )
    with pytest.raises(InputError, match="Inputs must be numbers of one unit .* got texts"):
        MaxSensitivity()(lambda given: torch.tensor([[float(len(t)), 1.0] for t in given]), texts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "`samples` must be a whole number, at least 1"),
        ({"radius": 0.0}, "`radius` must be a fraction of the range of the input, above 0"),
        ({"seed": 0.5}, "`seed` must be a whole number"),
    ],
)
def test_bad_options(options, words):
    for metric in METRICS:
        with pytest.raises(InputError, match=words):
            metric(**options)


# ------------------------------------------------------------------------------ shifts


def images() -> dict[str, tuple[nn.Module, Tensor]]:
    tail = nn.ReLU(), nn.Flatten()
    return {
        "dense": (seeded(nn.Sequential(nn.Flatten(), nn.Linear(18, 5), nn.ReLU(),
                                       nn.Linear(5, 2))), normal(3, 2, 3, 3)),
        "no bias": (seeded(nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(),
                                         nn.Linear(5, 2))), normal(3, 6)),
        "convolution": (seeded(nn.Sequential(nn.Conv2d(2, 3, 3), *tail, nn.Linear(48, 2))),
                        normal(3, 2, 6, 6)),
        "padded": (seeded(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), *tail,
                                        nn.Linear(108, 2))), normal(3, 2, 6, 6)),
        "series": (seeded(nn.Sequential(nn.Conv1d(2, 3, 3, stride=2, padding=1), *tail,
                                        nn.Linear(12, 2))), normal(3, 2, 8)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["dense", "no bias", "convolution", "padded", "series"])
def test_the_gradient_does_not_see_a_shift_and_gradient_x_input_does(kind):
    model, x = images()[kind]
    rivals = pl.compare(model, x, ["saliency", "gradient_x_input"], target=1)
    still, moved = measure(model, rivals, ShiftSensitivity(shift=0.7))
    assert float(still.values.max()) < 1e-9
    assert still.notes == ()
    gradient = rivals[0].values
    expected = 0.7 * gradient.flatten(1).norm(dim=1) / rivals[1].values.flatten(1).norm(dim=1)
    assert_close(moved.values, expected)


@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_a_bias_takes_the_shift_back(kind):
    """Layer-wise relevance on a model whose bias is changed by hand."""
    model, x = images()[kind]
    import copy

    made = copy.deepcopy(model)
    first = made[1] if kind == "dense" else made[0]
    with torch.no_grad():
        first.bias -= 0.7 * first.weight.flatten(1).sum(1)
    method = pl.LRP(rules=pl.rules.Epsilon())
    own, there = (pl.explain(m, x + s, method, target=0) for m, s in ((model, 0.0), (made, 0.7)))
    assert_close(own.score, there.score)
    apart = (there.values - own.values).flatten(1).norm(dim=1)
    found = ShiftSensitivity(shift=0.7)(model, own).values
    assert_close(found, apart / own.values.flatten(1).norm(dim=1))
    with pytest.raises(AssertionError):  # another shift, another number
        assert_close(ShiftSensitivity(shift=0.3)(model, own).values, found)


class Twice(nn.Module):
    """Reads its input in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(x * torch.tanh(self.one(x)))


def test_where_no_layer_alone_reads_the_input_it_is_subtracted():
    model, x = seeded(Twice()).eval(), normal(3, 4)
    rivals = pl.compare(model, x, ["saliency", "gradient_x_input"], target=1)
    still, moved = measure(model, rivals, ShiftSensitivity())
    assert float(still.values.max()) < 1e-9
    assert float(moved.values.min()) > 1e-3
    assert "no layer alone reads its input" in still.notes[0]
    called = measure(lambda x: model(x), rivals, ShiftSensitivity())
    assert_close(called[1].values, moved.values)


def test_embeddings_of_ids_are_shifted():
    model = seeded(nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))).eval()
    ids = torch.tensor([[1, 2, 3], [4, 4, 8]])
    own = pl.explain(model, ids, "gradient_x_input", target=0)
    slopes = pl.explain(model, ids, "saliency", target=0).values
    found = ShiftSensitivity(shift=0.5)(model, own).values
    assert_close(found, 0.5 * slopes.norm(dim=1) / own.values.norm(dim=1))


@pytest.mark.parametrize("shift", [0.0, "far", torch.nan])
def test_bad_shifts(shift):
    with pytest.raises(InputError, match="`shift` must be a number other than 0"):
        ShiftSensitivity(shift=shift)
