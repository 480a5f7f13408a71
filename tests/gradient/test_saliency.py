"""Saliency and gradient x input."""

import pytest
import torch
from torch.testing import assert_close

import pellucid as pl
from tests import autograd, textbook, zoo
from tests.zoo.network import normal, seeded

SMOOTH = seeded(torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)))
X = normal(3, 4, seed=2)


def test_saliency_is_the_derivative():
    expected = textbook.derivative(lambda x: SMOOTH(x).detach(), X)
    assert_close(pl.explain(SMOOTH, X, "saliency").values, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("reduce", "function"),
    [("signed", lambda g: g), ("absolute", torch.abs), ("squared", torch.square)],
)
def test_reductions(reduce, function):
    gradient = autograd.gradient(SMOOTH, X)
    found = pl.explain(SMOOTH, X, "saliency", reduce=reduce)
    assert_close(found.values, function(gradient))
    assert found.completeness is None


def test_gradient_times_input():
    found = pl.explain(SMOOTH, X, "gradient_x_input")
    assert_close(found.values, autograd.gradient(SMOOTH, X) * X)


@pytest.mark.parametrize("name", ["perceptron", "residual", "convolutional", "residual_image"])
def test_without_biases_a_relu_network_is_gradient_times_input(name):
    net = zoo.load(name)
    found = pl.explain(net.model, net.inputs, "gradient_x_input", target=0)
    assert_close(found.values.flatten(1).sum(1), found.score)


def test_one_forward_and_one_backward_pass():
    found = pl.explain(SMOOTH, X, "saliency")
    assert tuple(found.evaluations) == (3, 3, 1)
