"""Integrated gradients and interior gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from tests import textbook, zoo
from tests.counting import Counting
from tests.zoo.network import normal, rows, seeded

SMOOTH = seeded(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)))
X = normal(3, 4, seed=2)


def integrate(model: object, x: Tensor, **options: object) -> pl.Explanation:
    return pl.explain(model, x, "integrated_gradients", target=0, **options)


def test_many_steps_are_a_fine_riemann_sum():
    expected = textbook.integrated_gradients(SMOOTH, X, torch.zeros_like(X))
    assert_close(integrate(SMOOTH, X, steps=300).values, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_fixed_steps_are_the_midpoint_rule(steps):
    baseline = normal(1, 4, seed=8)
    expected = textbook.midpoint_sum(SMOOTH, X, baseline.expand_as(X), steps)
    found = integrate(SMOOTH, X, steps=steps, baseline=baseline)
    assert_close(found.values, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_fixed_steps_cost_what_they_say(steps):
    model = Counting(SMOOTH)
    found = integrate(model, X, steps=steps)
    assert found.evaluations.backward == steps * len(X)
    # A pass at each input and one at the baseline of all say what the values should sum to.
    assert found.evaluations.forward == (steps + 1) * len(X) + 1 == sum(model.calls)


@pytest.mark.parametrize("tolerance", [0.1, 0.01])
@pytest.mark.parametrize("name", ["perceptron", "convolutional_biased", "batch_norm", "quadratic"])
def test_as_many_steps_as_the_tolerance_needs(name, tolerance):
    net = zoo.load(name)
    found = pl.explain(net.model, net.inputs, "integrated_gradients", target=0, tolerance=tolerance)
    assert (found.completeness.relative <= tolerance).all()
    assert_close(found.values.flatten(1).sum(1), found.completeness.explained)


def test_a_smaller_tolerance_costs_more_and_reuses_its_nodes():
    seen: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        if x.requires_grad:  # a point whose gradient is asked for, not one that is only scored
            seen.extend(x.detach())
        return 10 * torch.tanh(20 * x - 10).sum(1, keepdim=True)

    x = rows([0.9, 0.8], [1.0, 0.1])
    loose = integrate(model, x, tolerance=0.3).evaluations.forward
    seen.clear()
    found = integrate(model, x, tolerance=1e-4)
    assert found.evaluations.forward > loose
    points = torch.stack(seen)
    assert len(points) == len(points.unique(dim=0)) == found.evaluations.backward


def test_samples_that_are_easy_stop_early():
    model = Counting(lambda x: torch.tanh(20 * x - 10).sum(1, keepdim=True))
    easy, hard = rows([0.01, 0.01]), rows([0.9, 0.8])
    both = integrate(model, torch.cat([easy, hard]), tolerance=1e-3).evaluations.backward
    alone = [integrate(model, x, tolerance=1e-3).evaluations.backward for x in (easy, hard)]
    assert alone[0] < alone[1]
    assert both == sum(alone)


def test_an_integral_that_does_not_converge_is_announced():
    def model(x: Tensor) -> Tensor:
        return torch.where(x > 0.7013, 1.0, 0.0).sum(1, keepdim=True) + 0 * x.sum(1, keepdim=True)

    x = rows([1.0, 1.0])
    message = r"must sum to f\(x\) - f\(baseline\) within 0\.01 of it; 1 of 1 samples did not"
    with pytest.warns(pl.errors.IncompleteWarning, match=message):
        found = integrate(model, x)
    assert found.completeness.relative.item() == 1
    with pytest.raises(pl.errors.IncompleteError, match=message):
        integrate(model, x, on_incomplete="raise")


def test_the_baseline_matters():
    found = integrate(SMOOTH, X, baseline=X[:1])
    assert_close(found.values[0], torch.zeros(4).double())
    assert found.completeness.expected[0] == 0
    assert found.completeness.relative[0] == 0
    expected = SMOOTH(X).squeeze(1) - SMOOTH(X[:1]).squeeze(1)
    assert_close(found.completeness.expected, expected.detach())


def test_a_background_is_averaged_over():
    background = normal(3, 4, seed=5)
    found = integrate(SMOOTH, X, baseline=background, steps=20)
    single = [integrate(SMOOTH, X, baseline=row, steps=20) for row in background]
    assert_close(found.values, torch.stack([each.values for each in single]).mean(0))
    expected = torch.stack([each.completeness.expected for each in single]).mean(0)
    assert_close(found.completeness.expected, expected)


def test_a_baseline_per_sample_follows_the_batches():
    baseline = pl.Baseline.per_sample(normal(3, 4, seed=5))
    whole = integrate(SMOOTH, X, baseline=baseline, steps=10)
    cut = integrate(SMOOTH, X, baseline=baseline, steps=10, batch_size=2)
    assert_close(cut.values, whole.values)


def test_several_inputs_share_one_sum():
    net = zoo.load("two_inputs")
    found = pl.explain(net.model, net.inputs, "integrated_gradients", target=1)
    total = sum(v.sum(1) for v in found.values)
    zero = net.model(*[torch.zeros_like(x) for x in net.inputs])[:, 1]
    assert_close(total, (net.model(*net.inputs)[:, 1] - zero).detach(), rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_an_interior_gradient_is_a_gradient_on_the_way(alpha):
    net = zoo.load("convolutional_biased")
    found = pl.explain(net.model, net.inputs, "interior_gradient", target=1, alpha=alpha)
    expected = pl.explain(net.model, alpha * net.inputs, "saliency", target=1)
    assert_close(found.values, expected.values)
    assert found.completeness is None


def test_several_interior_gradients_are_averaged():
    alphas = (0.1, 0.4, 0.9)
    found = pl.explain(SMOOTH, X, "interior_gradient", target=0, alpha=alphas).values
    single = [pl.explain(SMOOTH, X, "interior_gradient", target=0, alpha=a).values for a in alphas]
    assert_close(found, torch.stack(single).mean(0))
    again = pl.explain(SMOOTH, X, "interior_gradient", target=0, alpha=list(alphas))
    assert_close(again.values, found)


def test_the_class_is_that_predicted_at_the_input_also_at_the_baseline():
    net = zoo.load("perceptron")
    found = pl.explain(net.model, net.inputs, "integrated_gradients", baseline=net.inputs[:1])
    k = net.model(net.inputs).argmax(1)
    here = net.model(net.inputs).gather(1, k[:, None]).squeeze(1)
    there = net.model(net.inputs[:1].expand(4, -1)).gather(1, k[:, None]).squeeze(1)
    assert_close(found.completeness.expected, (here - there).detach())
