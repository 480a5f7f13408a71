"""Keras 3 models on the torch backend are explained as they are."""

import pytest
from torch.testing import assert_close

import pellucid as pl
from tests.architectures.keras3 import KERAS, keras, sequential, softmax
from tests.architectures.program import by_autograd, check


def test_the_backend_is_torch():
    assert keras().backend.backend() == "torch"


@pytest.mark.parametrize("name", KERAS)
def test_keras(name):
    check(KERAS[name](), f"keras: {name}")


def test_the_public_call():
    made = sequential()
    found = pl.explain(made.model, made.inputs, "saliency", target=1)
    assert_close(found.values, by_autograd(made)[0], rtol=1e-4, atol=1e-5)


def test_a_softmax_at_the_end_is_left_out():
    made = softmax()
    found = pl.explain(made.model, made.inputs, "saliency", target=1)
    assert any("softmax" in note for note in found.notes)
    weight = made.model.layers[-1].kernel.value
    expected = weight[:, 1].detach().reshape(1, 5, 3).expand(2, 5, 3)
    assert_close(found.values, expected, rtol=1e-4, atol=1e-5)
