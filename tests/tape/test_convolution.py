"""The transpose of a convolution, whichever way it is computed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from pellucid.tape.adjoints import FEW, convolution, transposed

aten = torch.ops.aten


def case(channels, kernel, step, padding, size):
    """An input, weights, a signal at the output, and the places of a convolution."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)
    weight = torch.randn(3, channels, *kernel, dtype=torch.float64, generator=generator)
    places = ([step, step], list(padding), [1, 1], False, [0, 0], 1)
    z = aten.convolution(x, weight, None, *places)
    signal = torch.randn(z.shape, dtype=torch.float64, generator=generator)
    return signal, x, weight, places


def by_torch(signal, x, weight, places):
    return aten.convolution_backward(signal, x, weight, None, *places, [True, False, False])[0]


@given(
    channels=st.integers(1, FEW),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    step=st.integers(2, 4),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    size=st.tuples(st.integers(7, 13), st.integers(7, 13)),
)
@settings(max_examples=60, deadline=None)
def test_phases_are_the_transpose(channels, kernel, step, padding, size):
    given_ = case(channels, kernel, step, padding, size)
    assert convolution._by_phases(given_[2], given_[3])
    assert_close(transposed(*given_), by_torch(*given_), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, FEW + 1])
def test_what_has_no_phases_or_many_channels_is_left_to_torch(channels):
    step = 1 if channels == 1 else 2
    given_ = case(channels, (3, 3), step, (1, 1), (9, 9))
    assert not convolution._by_phases(given_[2], given_[3])
    assert torch.equal(transposed(*given_), by_torch(*given_))


def test_phases_in_another_order_are_noticed(monkeypatch):
    given_ = case(3, (7, 7), 2, (3, 3), (12, 12))
    shuffle = convolution.pixel_shuffle
    monkeypatch.setattr(convolution, "pixel_shuffle", lambda x, step: shuffle(x.flip(1), step))
    assert not torch.allclose(transposed(*given_), by_torch(*given_))


def test_autograd_follows_it():
    signal, x, weight, places = case(2, (3, 3), 2, (1, 1), (7, 7))
    signal, weight = signal.requires_grad_(), weight.requires_grad_()
    found, expected = (
        torch.autograd.grad(way(signal, x, weight, places).square().sum(), (signal, weight))
        for way in (transposed, by_torch)
    )
    assert_close(found, expected)
