"""Simple Taylor decomposition: exact where it must be, and honest where it cannot be."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import IncompleteWarning, InputError, UnknownNameError
from tests import autograd, zoo
from tests.counting import Counting
from tests.zoo.network import dense, normal, rows, seeded

SMOOTH = seeded(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))
X = normal(5, 4, seed=2)


def taylor(model: object, x: object, **options: object) -> pl.Explanation:
    options = {"target": 0, "on_incomplete": "raise"} | options
    return pl.explain(model, x, "taylor", **options)


def root_of(found: pl.Explanation) -> Tensor:
    return found.baseline.tensors[0]


@pytest.mark.parametrize("root", ["boundary", "zero"])
def test_on_an_affine_score_the_root_is_the_foot_of_the_perpendicular(root):
    """R = w^2 f(x) / |w|^2, whatever the bias."""
    weight, x = rows([2, -1, 0.5]), rows([1, 2, 3], [-1, 0.5, 4])
    model = dense(weight, [3.0])
    found = taylor(model, x, root=root)
    score = model(x).detach()
    assert_close(found.values, weight**2 * score / (weight**2).sum(), rtol=1e-5, atol=1e-7)
    assert_close(root_of(found), x - weight * score / (weight**2).sum(), rtol=1e-5, atol=1e-7)
    assert_close(found.completeness.expected, score.squeeze(1), rtol=1e-5, atol=0)
    assert_close(found.completeness.explained, score.squeeze(1), rtol=1e-5, atol=0)


def test_on_affine_classes_the_boundary_is_where_two_of_them_score_alike():
    model, x = dense(normal(3, 4), [0.3, -0.2, 0.5]), X
    found = taylor(model, x, target=None)
    scores = model(x).detach()
    first, second = scores.topk(2).indices.T
    weight = (model.weight[first] - model.weight[second]).detach()
    margin = (scores.amax(1) - scores.topk(2).values[:, 1]).unsqueeze(1)
    expected = x - weight * margin / (weight**2).sum(1, keepdim=True)
    at_root = model(expected)
    alone = (at_root >= at_root.amax(1, keepdim=True) - 1e-9).sum(1) == 2  # no third class is first
    assert alone.any()
    assert_close(root_of(found)[alone], expected[alone], rtol=1e-5, atol=1e-7)
    assert_close(found.values, model.weight[first].detach() * (x - root_of(found)))


def test_the_boundary_is_where_the_decision_changes():
    found = taylor(SMOOTH, X, target=None)
    scores = SMOOTH(root_of(found)).detach()
    top = scores.topk(2).values
    assert_close(top[:, 0], top[:, 1], rtol=0, atol=1e-4)
    chosen = torch.tensor(found.target.classes)
    assert_close(scores.gather(1, chosen[:, None])[:, 0], top[:, 0], rtol=0, atol=1e-4)


def test_a_zero_is_a_zero():
    found = taylor(SMOOTH, X, root="zero")
    there = SMOOTH(root_of(found))[:, 0].detach()
    assert (there.abs() < 1e-4 * found.score.abs()).all()
    assert_close(found.completeness.expected, found.score - there)


@pytest.mark.parametrize(
    "target",
    [
        (0, 1),
        pl.Target.log_odds(1),
        lambda output: output[:, 0] - 0.1,
    ],
    ids=["contrast", "log-odds", "callable"],
)
def test_other_targets(target):
    found = taylor(SMOOTH, X, target=target, on_incomplete="ignore")
    gradient = autograd.gradient(SMOOTH, root_of(found), target)
    assert_close(found.values, (X - root_of(found)) * gradient)
    assert not any("none was found for 5" in note for note in found.notes)


def test_the_values_are_the_gradient_at_the_root_times_the_way():
    for root in ("boundary", "zero", X[:1] / 2):
        found = taylor(SMOOTH, X, root=root)
        there = root_of(found) if isinstance(root, str) else root
        gradient = autograd.gradient(SMOOTH, there.expand_as(X), 0)
        assert_close(found.values, (X - there) * gradient)
        expected = (SMOOTH(X) - SMOOTH(there.expand_as(X)))[:, 0].detach()
        assert_close(found.completeness.expected, expected)


def test_the_root_is_near():
    """No longer than ten times the shortest way to the boundary along many directions."""
    found = taylor(SMOOTH, X, root="zero")
    directions = normal(5, 400, 4, seed=7)
    directions /= directions.norm(dim=2, keepdim=True)
    lengths = torch.linspace(0, 5, 200, dtype=torch.float64)
    points = X[:, None, None] + directions[:, :, None] * lengths[:, None]
    crossed = SMOOTH(points)[..., 0].detach() * found.score[:, None, None] <= 0
    nearest = torch.where(crossed, lengths, torch.inf).amin((1, 2))
    assert ((X - root_of(found)).norm(dim=1) < 3 * nearest + 0.05).all()


def test_given_roots():
    one = taylor(SMOOTH, X, root=torch.zeros(4, dtype=torch.float64))
    assert_close(one.values, taylor(SMOOTH, X, root=torch.zeros(1, 4).double()).values)
    each = taylor(SMOOTH, X, root=X / 3, batch_size=2)
    for i in range(5):
        alone = taylor(SMOOTH, X[i : i + 1], root=X[i : i + 1] / 3)
        assert_close(each.values[i : i + 1], alone.values)
    names = {"x": X}
    found = taylor(lambda x: SMOOTH(x), names, root={"x": X / 3})
    assert_close(found.values["x"], each.values)


def test_a_score_that_bends_is_not_explained_in_silence():
    """f = x^2 - 1: at the root 1, the tangent misses (x - 1)^2 of x^2 - 1."""
    x = rows([3.0])
    found = taylor(lambda x: x**2 - 1, x)
    assert_close(root_of(found), rows([1.0]), rtol=0, atol=1e-4)
    assert_close(found.values, rows([4.0]), rtol=1e-3, atol=0)
    assert_close(found.completeness.expected, torch.tensor([8.0]).double(), rtol=1e-4, atol=0)
    assert any("1 of 1 samples have terms of higher order" in note for note in found.notes)
    assert not taylor(dense(rows([1, 2])), rows([1, 1])).notes


def test_behind_a_rectifier_the_gradient_is_that_of_the_input_s_side():
    x = rows([3.0, 1.0])
    found = taylor(lambda x: (x.sum(1, keepdim=True) - 1).relu(), x)
    assert_close(found.values, rows([1.5, 1.5]), rtol=1e-2, atol=0)


@pytest.mark.parametrize("root", ["boundary", "zero"])
def test_a_score_without_a_root_is_announced(root):
    x = rows([1.0, 2.0], [0.5, -1.0])
    with pytest.warns(IncompleteWarning, match=r"none was found for 2 of 2 samples in 7 steps"):
        found = taylor(
            lambda x: (x**2).sum(1) + 1, x, root=root, steps=7, on_incomplete="warn", target=None
        )
    assert found.values.isfinite().all()
    assert found.evaluations.backward <= 2 * 8
    with pytest.raises(pl.errors.IncompleteError, match="must start from a root"):
        taylor(lambda x: (x**2).sum(1) + 1, x, root=root, target=None)


def test_a_flat_score_has_no_root_and_zeros():
    x = rows([1.0, 2.0])
    found = taylor(lambda x: (-x).relu().sum(1) + 1, x, on_incomplete="ignore")
    assert_close(found.values, torch.zeros_like(x))
    assert_close(root_of(found), x)
    assert any("none was found for 1 of 1" in note for note in found.notes)


def test_a_sample_on_the_root_is_its_own():
    x = rows([1.0, -1.0])
    found = taylor(lambda x: x.sum(1, keepdim=True), x)
    assert_close(root_of(found), x)
    assert_close(found.values, torch.zeros_like(x))


def test_the_search_is_bounded_and_counted():
    model = Counting(SMOOTH)
    found = taylor(model, X, steps=4, on_incomplete="ignore")
    assert found.evaluations.forward == sum(model.calls)
    assert found.evaluations.backward <= 5 * (4 + 1)
    assert found.evaluations.forward <= 5 * (4 + 24 + 3)


def test_one_sample_of_a_batch_keeps_its_root():
    found = taylor(SMOOTH, X)
    assert_close(root_of(found[3]), root_of(found)[3:4])
    assert found[3].baseline.kind == "per_sample"


def test_an_image_and_several_inputs():
    net = zoo.load("convolutional")
    found = taylor(net.model, net.inputs)
    assert found.values.shape == net.inputs.shape
    assert_close(found.completeness.explained, found.completeness.expected, rtol=1e-6, atol=0)
    net = zoo.load("two_inputs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = taylor(net.model, net.inputs, on_incomplete="warn")
    assert [v.shape for v in found.values] == [v.shape for v in net.inputs]


def test_wrong_options():
    with pytest.raises(UnknownNameError, match=r"`root` of taylor .*'edge'.*boundary, zero"):
        pl.SimpleTaylor(root="edge")
    with pytest.raises(InputError, match="`steps` must be a whole number, at least 1; got 0"):
        pl.SimpleTaylor(steps=0)
    with pytest.raises(InputError, match=r"`root` must be one point for each sample.*\[3, 4\]"):
        taylor(SMOOTH, X, root=X[:3])


@pytest.mark.parametrize("root", [None, "edge", True, [1, "a"], torch.tensor([float("nan")])])
def test_what_is_no_root(root):
    with pytest.raises(InputError, match="`root`"):
        pl.SimpleTaylor(root=root)


@pytest.mark.parametrize("root", [X[:3], torch.zeros(1, 3), (X, X)])
def test_a_root_is_checked_before_the_model_runs(root):
    def model(x: Tensor) -> Tensor:
        raise AssertionError

    with pytest.raises(InputError, match="`root` must be one point for each sample, or one for al"):
        pl.explain(model, X, "taylor", root=root)
    with pytest.raises(InputError, match="`root` must be one point"):
        pl.explain(model, X, "smoothgrad", method=pl.SimpleTaylor(root=root))
