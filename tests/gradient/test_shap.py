"""Expected gradients: unbiased, with honest error bars, in bounded memory."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import IncompleteError, IncompleteWarning, InputError
from tests import autograd, zoo
from tests.counting import Counting
from tests.zoo.network import normal, rows, seeded

SMOOTH = seeded(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)))
X = normal(3, 4, seed=2)
BACKGROUND = normal(7, 4, seed=5)


def shap(model: object, x: object, **options: object) -> pl.Explanation:
    options = {"target": 0, "on_incomplete": "raise"} | options
    return pl.explain(model, x, "gradient_shap", **options)


def exact(model: nn.Module, x: Tensor, background: Tensor, steps: int = 100) -> Tensor:
    """The mean of integrated gradients from every baseline, as a plain midpoint sum."""
    total = torch.zeros_like(x)
    for x0 in background:
        for a in (torch.arange(steps) + 0.5) / steps:
            total += (x - x0) * autograd.gradient(model, x0 + a * (x - x0), 0)
    return total / steps / len(background)


def test_in_expectation_it_is_integrated_gradients_over_the_background():
    found = shap(SMOOTH, X, baseline=BACKGROUND, samples=1500)
    off = (found.values - exact(SMOOTH, X, BACKGROUND)) / found.error
    assert off.abs().max() < 4
    assert found.error.min() > 0


def test_the_standard_error_is_what_it_says():
    truth = exact(SMOOTH, X, BACKGROUND)
    options = {"baseline": BACKGROUND, "samples": 25, "on_incomplete": "ignore"}
    found = [shap(SMOOTH, X, seed=seed, **options) for seed in range(120)]
    values = torch.stack([each.values for each in found])
    errors = torch.stack([each.error for each in found])
    ratio = values.std(0) / errors.mean(0)
    assert ratio.min() > 0.8
    assert ratio.max() < 1.25
    inside = ((values - truth).abs() < 1.96 * errors).double().mean()
    assert 0.9 < inside < 0.98


def test_what_the_values_should_sum_to():
    found = shap(SMOOTH, X, baseline=BACKGROUND, samples=3000)
    expected = (SMOOTH(X) - SMOOTH(BACKGROUND).mean())[:, 0].detach()
    assert_close(found.completeness.expected, expected)
    assert found.completeness.relative.max() < 0.1
    few = shap(SMOOTH, X, baseline=BACKGROUND, samples=30)
    assert found.completeness.residual.abs().sum() < few.completeness.residual.abs().sum()


def test_on_a_line_from_one_baseline_it_is_exact():
    net = zoo.load("affine")
    found = shap(net.model, net.inputs, baseline=0.5, samples=3)
    assert_close(found.values, net.gradient * (net.inputs - 0.5))
    assert_close(found.error, torch.zeros_like(net.inputs), rtol=0, atol=1e-7)
    assert_close(found.completeness.residual, torch.zeros(2).double(), rtol=0, atol=1e-9)


def drawn(x: Tensor, background: Tensor | float, **options: object) -> Tensor:
    """The points that the model is asked about for its gradient, shape (draw, sample, feature)."""
    seen: list[Tensor] = []

    def model(points: Tensor) -> Tensor:
        if points.requires_grad:
            seen.append(points.detach())
        return points.sum(1, keepdim=True)

    options = {"baseline": background, "batch_size": len(x), "on_incomplete": "ignore"} | options
    shap(model, x, **options)
    return torch.stack(seen)


def test_the_points_lie_on_lines_from_every_baseline():
    background = rows([0.0, 0.0], [10.0, 0.0], [0.0, 10.0])
    x = rows([1.0, 1.0])
    points = drawn(x, background, samples=600)[:, 0]
    ways = x - background
    alphas = ((points[:, None] - background) * ways).sum(2) / (ways**2).sum(1)
    off = (background + alphas[..., None] * ways - points[:, None]).norm(dim=2)
    nearest = off.argmin(1)
    assert off.amin(1).max() < 1e-9
    assert (nearest.bincount() / 600 - 1 / 3).abs().max() < 0.08
    alpha = alphas.gather(1, nearest[:, None])[:, 0]
    assert 0 < alpha.min() < 0.02
    assert 0.98 < alpha.max() < 1
    assert abs(float(alpha.mean()) - 0.5) < 0.04


def test_noise_is_a_fraction_of_the_range_around_the_input():
    x = torch.stack([torch.linspace(0, 1, 50), torch.linspace(-10, 30, 50)]).double()
    points = drawn(x, 0.0, samples=150, noise=0.2)
    plain = drawn(x, 0.0, samples=150)
    alpha = plain[:, :, -1:] / x[:, -1:]
    ends = (points - plain) / alpha
    late = alpha[:, 0, 0] > 0.3
    assert_close(ends[late].std((0, 2)), torch.tensor([0.2, 8.0]).double(), rtol=0.05, atol=0)
    assert not torch.equal(points, drawn(x, 0.0, samples=150, noise=0.2, seed=1))


def test_noise_moves_the_way_too():
    """The sum is that from baseline to noisy input: on a line, each draw is exact for its point."""
    x = rows([1.0, 3.0])
    found = shap(lambda x: x.sum(1, keepdim=True), x, samples=1500, noise=0.1)
    assert found.error.min() > 0
    assert ((found.values - x) / found.error).abs().max() < 4


def test_a_sample_s_draws_do_not_depend_on_its_company():
    whole = shap(SMOOTH, X, baseline=BACKGROUND, samples=20, noise=0.1)
    for size in (1, 2, 60):
        cut = shap(SMOOTH, X, baseline=BACKGROUND, samples=20, noise=0.1, batch_size=size)
        assert_close(cut.values, whole.values)
        assert_close(cut.error, whole.error)
    alone = shap(SMOOTH, X[1:2], baseline=BACKGROUND, samples=20, noise=0.1)
    assert_close(alone.values, whole.values[1:2])


def test_cost_and_memory():
    model = Counting(SMOOTH)
    found = shap(model, X, baseline=BACKGROUND, samples=40, batch_size=6)
    assert found.evaluations.backward == 3 * 40
    assert found.evaluations.forward == sum(model.calls) == 3 * (40 + 1) + 7
    assert max(model.calls) <= 6
    few = Counting(SMOOTH)
    shap(few, X, baseline=BACKGROUND, samples=10, batch_size=6)
    assert model.most_alive <= 1.2 * few.most_alive


def test_what_draws_never_hit_is_announced():
    """A step that a few draws miss: the error bars are zero, and the sum is not."""

    def model(x: Tensor) -> Tensor:
        return (1e4 * (x - 0.9999)).relu().sum(1, keepdim=True)

    with pytest.warns(IncompleteWarning, match=r"1 of 1 samples are more than 6 standard errors"):
        found = shap(model, rows([1.0]), samples=10, on_incomplete="warn")
    assert_close(found.completeness.relative, torch.ones(1).double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_roundings_are_no_more_than_chance(dtype, monkeypatch):
    """On a line from one baseline all draws are alike, and what is off is rounding alone."""
    line, x = seeded(nn.Linear(5, 3)).to(dtype), normal(20, 5, seed=7).to(dtype)
    found = shap(line, x, target=1)
    assert found.notes == ()
    assert found.completeness.residual.abs().max() > 0
    monkeypatch.setattr("pellucid.gradient.shap.ROUNDINGS", 0)
    with pytest.raises(IncompleteError, match="standard errors off"):
        shap(line, x, target=1)


def test_one_draw_has_no_error_to_tell():
    found = shap(SMOOTH, X, samples=1)
    assert found.error.isinf().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "`samples` must be a whole number, at least 1; got 0"),
        ({"noise": -1.0}, "`noise` must be a fraction of the range of the input; got -1.0"),
        ({"baseline": "black"}, "`baseline` must be a number, a tensor or a Baseline; got 'black'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        pl.GradientSHAP(**options)
