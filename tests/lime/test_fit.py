"""Weighted least squares and the choice of features, against slow versions written apart."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pellucid.lime.fit import Moments, least_squares, select
from pellucid.lime.trees import grow
from tests.lime import textbook


def drawn(seed, samples=3, draws=40, features=6, shared=False):
    """Features, scores and weights at random, correlated as features are."""
    rng = np.random.default_rng(seed)
    first = 1 if shared else samples
    z = rng.normal(size=(first, draws, features)) @ rng.normal(size=(features, features))
    y = 100 + rng.normal(size=(samples, draws)) + (z @ rng.normal(size=features))
    return z, y, rng.random((first, draws)) ** 4


def moments(z, y, w):
    return Moments.of(torch.tensor(z), torch.tensor(y), torch.tensor(w))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 1.7])
def test_least_squares_is_that_of_the_textbook(ridge, shared):
    z, y, w = drawn(0, shared=shared)
    found = least_squares(moments(z, y, w), ridge)
    for row in range(3):
        each = row % len(z)
        weights, intercept, fidelity = textbook.least_squares(z[each], y[row], w[each], ridge)
        assert_close(found.weights[row], torch.tensor(weights), rtol=1e-9, atol=1e-9)
        assert_close(found.intercept[row].item(), intercept, rtol=1e-9, atol=1e-9)
        assert_close(found.fidelity[row].item(), fidelity, rtol=1e-9, atol=1e-9)
        assert found.unique[row]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6), shared=st.booleans())
def test_forward_selection_is_that_of_the_textbook(seed, k, shared):
    z, y, w = drawn(seed, shared=shared)
    found = select(moments(z, y, w), k, "forward", 0.0, torch.ones(3, 6))
    for row in range(3):
        each = row % len(z)
        wanted = textbook.forward_selection(z[each], y[row], w[each], k)
        assert set(found[row].nonzero().squeeze(1).tolist()) == wanted


@pytest.mark.parametrize("how", ["forward", "lasso", "weights"])
def test_planted_features_are_chosen(how):
    rng = np.random.default_rng(1)
    z = (rng.random((2, 400, 30)) < 0.5).astype(float)
    truth = np.zeros((2, 30))
    truth[0, [2, 7, 11]], truth[1, [0, 29, 5]] = [1.0, -2.0, 3.0], [4.0, 1.0, -1.0]
    y = np.einsum("sdf,sf->sd", z, truth) + 0.3 * rng.normal(size=(2, 400))
    found = select(moments(z, y, np.ones((2, 400))), 3, how, 0.0, torch.ones(2, 30))
    assert_close(found, torch.tensor(truth != 0))


def test_lasso_does_not_depend_on_units():
    z, y, w = drawn(5)
    scale = np.array([1e-3, 1, 10, 5, 1e4, 2])
    first = select(moments(z, y, w), 3, "lasso", 0.0, torch.ones(3, 6))
    assert_close(select(moments(z * scale, y, w), 3, "lasso", 0.0, torch.ones(3, 6)), first)
    assert first.sum(1).tolist() == [3, 3, 3]


def test_what_is_constant_or_a_copy_gets_the_shortest_weights():
    z, y, w = drawn(2)
    z[:, :, 1], z[:, :, 4] = z[:, :, 0], 7.0
    found = least_squares(moments(z, y, w), 0.0)
    assert_close(found.weights[:, 0], found.weights[:, 1], rtol=1e-6, atol=1e-9)
    assert found.weights[:, 4].tolist() == [0, 0, 0]
    assert found.unique.tolist() == [False] * 3
    chosen = select(moments(z, y, w), 6, "forward", 0.0, torch.ones(3, 6))
    assert chosen.sum(1).tolist() == [4, 4, 4]


def test_scores_that_do_not_vary_are_explained_by_nothing():
    z, y, w = drawn(3)
    found = least_squares(moments(z, 0 * y + 3, w), 0.0)
    assert_close(found.weights, torch.zeros(3, 6, dtype=torch.float64), rtol=0, atol=1e-12)
    assert found.fidelity.tolist() == pytest.approx([1, 1, 1])


def test_all_coalitions_and_the_shapley_kernel_give_shapley_values():
    def model(x):
        return x[0] * x[1] + math.sin(x[2] + x[3]) * x[4]

    x, zero = np.array([1.0, -2.0, 0.5, 3.0, 1.5]), np.zeros(5)
    z = textbook.coalitions(5)
    sizes = z.sum(1).astype(int)
    # The ends hold exactly: as if their weights were infinite.
    w = [4 / (math.comb(5, s) * s * (5 - s)) if 0 < s < 5 else 1e7 for s in sizes]
    y = np.array([model(np.where(row, x, zero)) for row in z])
    found = least_squares(moments(z[None], y[None], np.array([w])), 0.0)
    assert_close(
        found.weights[0], torch.tensor(textbook.shapley(model, x, zero)), rtol=1e-5, atol=1e-5
    )


def test_a_tree_gives_what_its_splits_add():
    z = torch.tensor(textbook.coalitions(3))[None]
    y = 4 * z[..., 0] * z[..., 1] + 1.0
    found = grow(z, y, torch.ones(1, 8).double(), torch.ones(1, 3).double(), depth=2)
    # The root is 2; with the first player it is 3, with the second as well it is 5.
    assert_close(found.intercept, torch.tensor([2.0]).double())
    assert sorted(found.contributions[0].tolist()) == pytest.approx([0, 1, 2])
    assert found.contributions[0, 2] == 0
    assert found.fidelity.tolist() == pytest.approx([1])


def test_a_tree_is_fitted_by_the_weights():
    z = torch.tensor([[[0.0], [0.0], [1.0]]]).double()
    y = torch.tensor([[0.0, 3.0, 9.0]]).double()
    found = grow(z, y, torch.tensor([[2.0, 1.0, 1.0]]).double(), torch.ones(1, 1).double(), depth=1)
    assert found.intercept.tolist() == pytest.approx([3])
    assert found.contributions.tolist() == [pytest.approx([6])]
    spread, left = (2 * 9 + 0 + 36) / 4, (2 * 1 + 4) / 4
    assert found.fidelity.tolist() == pytest.approx([1 - left / spread])
