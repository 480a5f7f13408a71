"""SmoothGrad: averages over noise, with honest error bars."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from tests import zoo
from tests.counting import Counting
from tests.zoo.network import normal, rows, seeded

SMOOTH = seeded(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)))
X = normal(3, 4, seed=2)


def smooth(model: object, x: Tensor, **options: object) -> pl.Explanation:
    return pl.explain(model, x, "smoothgrad", target=0, **options)


def test_of_a_quadratic_form_it_is_the_gradient_in_expectation():
    net = zoo.load("quadratic")
    found = smooth(net.model, net.inputs, samples=400, noise=0.3)
    off = (found.values - net.gradient) / found.error
    assert off.abs().max() < 4
    assert found.error.min() > 0


def test_the_standard_error_is_what_it_says():
    """Over many seeds, the spread of the values is the error that each of them states."""
    net = zoo.load("quadratic")
    found = [smooth(net.model, net.inputs, samples=25, seed=seed) for seed in range(120)]
    values = torch.stack([each.values for each in found])
    errors = torch.stack([each.error for each in found])
    ratio = values.std(0) / errors.mean(0)
    assert ratio.min() > 0.8
    assert ratio.max() < 1.25
    inside = ((values - net.gradient).abs() < 1.96 * errors).double().mean()
    assert 0.9 < inside < 0.98


def test_the_error_falls_with_the_root_of_the_samples():
    few, many = smooth(SMOOTH, X, samples=50).error, smooth(SMOOTH, X, samples=3200).error
    assert 6 < float((few / many).mean()) < 10.5


def test_one_sample_has_no_error_to_tell():
    assert smooth(SMOOTH, X, samples=1).error.isinf().all()


def test_without_noise_it_is_the_method_itself():
    found = smooth(SMOOTH, X, samples=3, noise=0.0)
    assert_close(found.values, pl.explain(SMOOTH, X, "saliency", target=0).values)
    assert_close(found.error, torch.zeros_like(X))


def drawn(x: Tensor, **options: object) -> Tensor:
    """All noisy points that a model is asked about, shape (sample, draw, feature)."""
    seen: list[Tensor] = []

    def model(points: Tensor) -> Tensor:
        seen.append(points.detach())
        return points.sum(1, keepdim=True)

    pl.explain(model, x, "smoothgrad", target=0, batch_size=len(x), **options)
    points = torch.cat(seen)
    noisy = [p for p in points if not any(torch.equal(p, row) for row in x)]
    return torch.stack(noisy).reshape(-1, len(x), x.shape[1]).transpose(0, 1)


def test_the_noise_is_a_fraction_of_the_range_of_each_sample():
    x = torch.stack([torch.linspace(0, 1, 50), torch.linspace(-10, 30, 50)]).double()
    points = drawn(x, samples=200, noise=0.2)
    spread = (points - x[:, None]).flatten(1).std(1)
    assert_close(spread, torch.tensor([0.2, 8.0]).double(), rtol=0.03, atol=0)


def test_every_draw_is_another_and_so_is_every_seed():
    x = rows([0.0, 1.0, 2.0])
    points = drawn(x, samples=20, noise=0.2)[0]
    assert len(points.unique(dim=0)) == 20
    assert not torch.equal(points, drawn(x, samples=20, noise=0.2, seed=1)[0])


def moments(samples: int) -> Tensor:
    """The gradients at the noisy points, shape (draw, sample, feature)."""
    collected: list[Tensor] = []

    class Collect(pl.Saliency):
        def attribute(self, case: object) -> object:
            found = super().attribute(case)
            collected.append(found.values[0])
            return found

    smooth(SMOOTH, X, samples=samples, method=Collect(), batch_size=len(X))
    return torch.stack(collected)


def test_squares_and_variances():
    gradients = moments(30)
    assert_close(smooth(SMOOTH, X, samples=30).values, gradients.mean(0))
    squared = smooth(SMOOTH, X, samples=30, reduce="squared")
    assert_close(squared.values, gradients.square().mean(0))
    variance = smooth(SMOOTH, X, samples=30, reduce="variance")
    assert_close(variance.values, gradients.var(0), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("reduce", ["squared", "variance"])
def test_the_errors_of_squares_and_variances(reduce):
    found = [smooth(SMOOTH, X, samples=100, reduce=reduce, seed=seed) for seed in range(50)]
    spread = torch.stack([each.values for each in found]).std(0)
    stated = torch.stack([each.error for each in found]).mean(0)
    ratio = spread / stated
    assert ratio.min() > 0.6
    assert ratio.max() < 1.6


@pytest.mark.parametrize("inner", ["gradient_x_input", "lrp", pl.Saliency(reduce="absolute")])
def test_any_method_can_be_smoothed(inner):
    found = smooth(SMOOTH, X, samples=5, noise=0.0, method=inner)
    expected = pl.explain(SMOOTH, X, inner, target=0)
    assert_close(found.values, expected.values)


@pytest.mark.parametrize("batch", [3, 7, 100])
@pytest.mark.parametrize("count", [1, 3])
def test_notes_of_the_smoothed_method_count_noisy_copies(count, batch):
    found = smooth(SMOOTH, X[:count], samples=20, method="lrp", batch_size=batch)
    (note,) = (note for note in found.notes if "is kept in" in note)
    assert f" of {20 * count} noisy copies: biases kept" in note
    assert "samples" not in note
    whole = smooth(SMOOTH, X[:count], samples=20, method="lrp", batch_size=100)
    if count == 1:
        assert whole.notes == found.notes, "such as they are of all batches in one"


def test_leaks_of_the_smoothed_method_count_noisy_copies():
    class Leaking(pl.LRP):
        name = "lrp"

        def judge(self, ledger, dtype):
            text = f"sum is wrong in sample 2, the worst of {ledger.samples}, is missing."
            return (), text

        def attribute(self, case):
            found = super().attribute(case)
            return dataclasses.replace(found, leak=self.judge(found.ledger, None)[1])

    with pytest.warns(pl.errors.IncompleteWarning, match="in noisy copy 2, the worst of 20,"):
        smooth(SMOOTH, X[:1], samples=20, method=Leaking(), batch_size=7)


def test_a_map_method_can_be_smoothed():
    net = zoo.load("convolutional")
    found = pl.explain(net.model, net.inputs, "smoothgrad", samples=4, method=pl.GradCAM())
    assert found.values.shape == (2, 1, 8, 8)
    assert found.error.shape == found.values.shape


def test_the_predicted_class_is_that_of_the_input_not_of_the_noise():
    def model(x: Tensor) -> Tensor:
        return torch.stack([x.sum(1), -x.sum(1)], 1)

    found = pl.explain(model, rows([0.01, 0.02, 1.0, -1.0]), "smoothgrad", samples=20, noise=2.0)
    assert_close(found.values, torch.ones(1, 4).double())


def test_cost_is_samples_and_one_pass_at_the_input():
    model = Counting(SMOOTH)
    found = smooth(model, X, samples=10)
    assert found.evaluations.backward == 30
    assert found.evaluations.forward == sum(model.calls) == 33
