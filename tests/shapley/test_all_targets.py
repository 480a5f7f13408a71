"""Several targets at once: every coalition is run once, and all its outputs are read."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid import sharing
from tests.counting import Counting
from tests.zoo.network import normal

CLASSES, PLAYERS, REFERENCES, ROWS = 4, 6, 5, 2


def network(*, softmax: bool = False) -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(PLAYERS, 9), torch.nn.Tanh(), torch.nn.Linear(9, CLASSES)]
    return torch.nn.Sequential(*layers, *([torch.nn.Softmax(1)] if softmax else [])).double()


def opaque(model: Counting):
    """A callable that no recording sees into."""
    return lambda x: torch.from_numpy(model(x).detach().numpy())


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    return normal(ROWS, PLAYERS), normal(REFERENCES, PLAYERS, seed=1)


@pytest.mark.parametrize("wrap", [lambda model: model, opaque], ids=["module", "callable"])
def test_all_classes_cost_the_runs_of_one(data, wrap):
    x, background = data
    model = Counting(network())
    method = pl.ExactShapley(baseline=background)
    found = pl.compare(wrap(model), x, [method], targets=list(range(CLASSES)))
    mixed = (2**PLAYERS - 1) * REFERENCES * ROWS
    assert sum(model.calls) == ROWS + mixed
    assert [each.evaluations.forward for each in found] == [ROWS + mixed, 0, 0, 0]
    for k, each in enumerate(found):
        alone = method(wrap(model), x, target=k)
        assert torch.equal(each.players, alone.players)
        assert torch.equal(each.values, alone.values)
        assert torch.equal(each.score, alone.score)
        assert each.completeness.relative.max() < 1e-12


@pytest.mark.parametrize(
    "method",
    [
        pl.KernelSHAP(samples=40, seed=3),
        pl.ShapleySampling(samples=6),
        pl.PartitionShapley(),
        pl.LIME(samples=50, baseline=0.0),
        pl.Occlusion(window=1),
    ],
    ids=lambda method: method.name,
)
def test_whatever_asks_for_the_same_coalitions_shares_them(data, method):
    model = Counting(network())
    found = pl.compare(model, data[0], [method], targets=[0, (1, 2), pl.Target.probability(3)])
    shared = sum(model.calls)
    model.calls.clear()
    alone = [method(model, data[0], target=t) for t in (0, (1, 2), pl.Target.probability(3))]
    assert 3 * shared == sum(model.calls)
    for one, other in zip(found, alone, strict=True):
        assert_close(one.values, other.values, rtol=0, atol=0)
        assert one.notes == other.notes


def test_a_tolerance_may_ask_for_other_coalitions_of_each_target(data):
    method = pl.KernelSHAP(tolerance=0.05, samples=62)
    found = pl.compare(network(), data[0], [method], targets=[0, 1, 2])
    for k, each in enumerate(found):
        assert_close(each.values, method(network(), data[0], target=k).values, rtol=0, atol=0)


def test_methods_and_samples_in_batches_do_not_get_mixed_up(data):
    x, background = normal(5, PLAYERS), data[1]
    methods = [
        pl.ExactShapley(baseline=background),
        pl.ExactShapley(baseline=background + 1),
        pl.ExactShapley(features=torch.tensor([[0, 0, 1, 1, 2, 2]])),
        pl.ExactShapley(features=torch.tensor([[0, 1, 0, 1, 2, 2]])),
    ]
    found = pl.compare(network(), x, methods, targets=[None, [0, 1, 2, 3, 0]], batch_size=2)
    alone = [m(network(), x, target=t) for t in (None, [0, 1, 2, 3, 0]) for m in methods]
    for one, other in zip(found, alone, strict=True):
        assert_close(one.players, other.players, rtol=0, atol=1e-12)
        assert one.target == other.target


def test_a_softmax_is_noted_for_those_targets_that_it_is_left_out_of(data):
    targets = [1, lambda output: output[:, 1]]
    found = pl.compare(network(softmax=True), data[0], ["exact_shapley"], targets=targets)
    alone = [pl.explain(network(softmax=True), data[0], "exact_shapley", target=t) for t in targets]
    assert [each.notes for each in found] == [each.notes for each in alone]
    assert "softmax" in found[0].notes[0]
    assert not found[1].notes
    for one, other in zip(found, alone, strict=True):
        assert_close(one.values, other.values, rtol=0, atol=0)


def test_few_scores_are_kept_for_later(data, monkeypatch):
    """With room for one more target they are read two at a time."""
    monkeypatch.setattr(sharing, "READ", ROWS * 2**PLAYERS)
    model = Counting(network())
    found = pl.compare(model, data[0], ["exact_shapley"], targets=list(range(CLASSES)))
    assert sum(model.calls) == ROWS + 2 * ROWS * (2**PLAYERS - 1)
    for k, each in enumerate(found):
        alone = pl.explain(network(), data[0], "exact_shapley", target=k)
        assert_close(each.values, alone.values, rtol=0, atol=0)


def test_all_classes_of_a_forest_on_a_data_frame():
    rows = normal(120, 3).numpy()
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    forest = RandomForestClassifier(5, random_state=0).fit(frame, (rows[:, 0] * 2).round() % 3)
    asked: list[int] = []

    def predict(given: pd.DataFrame):
        asked.append(len(given))
        return forest.predict_proba(given)

    method = pl.ExactShapley(baseline=frame[:10])
    found = pl.compare(predict, frame[50:52], [method], targets=[0, 1, 2])
    assert sum(asked) == 2 + 2 * 7 * 10
    assert_close(sum(each.players for each in found), torch.zeros(2, 3).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("others", [[], [pl.Saliency()]], ids=["alone", "beside a gradient"])
def test_a_function_that_writes_to_the_output_writes_to_no_other_target(data, others):
    def greedy(output: Tensor) -> Tensor:
        found = output[:, 0] * output[:, 1]
        output.zero_()
        return found

    def view(output: Tensor) -> Tensor:
        return output.mul_(3)[:, 2]

    targets, x = [greedy, view, 1, None, (1, 2)], data[0]
    methods = [pl.ExactShapley(baseline=data[1]), *others]
    found = pl.compare(network(), x, methods, targets=targets)
    alone = [m(network(), x, target=t) for t in targets for m in methods]
    for one, other in zip(found, alone, strict=True):
        assert_close(one.values, other.values, rtol=0, atol=1e-12)
        assert_close(one.score, other.score, rtol=0, atol=0)


def test_backgrounds_of_almost_the_same_weights_are_told_apart(data):
    centers = pl.Baseline.kmeans(data[1], 2)
    weights = [(0.50001, 0.49999), (0.50004, 0.49996)]
    methods = [pl.ExactShapley(baseline=replace(centers, weights=each)) for each in weights]
    found = pl.compare(network(), data[0], methods, targets=[0, 1])
    alone = [m(network(), data[0], target=t) for t in (0, 1) for m in methods]
    assert not torch.equal(found[2].values, found[3].values)
    for one, other in zip(found, alone, strict=True):
        assert_close(one.values, other.values, rtol=0, atol=0)
