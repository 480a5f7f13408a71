"""Filters are the weights; patterns are the gradient of a linear model."""

import importlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.passes import passes
from tests.zoo.network import Lambda, normal, seeded

filters = pl.inspect.filters
ROOM = importlib.import_module("pellucid.inspect.filters")
FIRST, SECOND = seeded(nn.Conv2d(3, 4, 3)), seeded(nn.Conv2d(4, 5, 3, stride=2, dilation=2), 1)
NORM = nn.BatchNorm2d(4).double().eval()
NORM.running_var.copy_(torch.tensor([0.5, 2, 1, 4]))
X = normal(1, 3, 15, 15)


def gradient_of(net: nn.Module, unit: tuple) -> torch.Tensor:
    x = X.clone().requires_grad_()
    (found,) = torch.autograd.grad(net(x)[(0, *unit)], x)
    return found[0]


def cut(pattern: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The smallest part that has everything, of a known shape."""
    rows, columns = (pattern != 0).any(0).nonzero().T
    top, left = int(rows.min()), int(columns.min())
    return pattern[:, top : top + shape[0], left : left + shape[1]]


def test_patterns_of_a_linear_model_are_its_gradient():
    linear = nn.Sequential(FIRST, NORM, nn.AvgPool2d(2), SECOND)
    found = filters(linear, "3", X)
    middle = tuple(n // 2 for n in linear(X).shape[2:])
    for row in range(5):
        expected = gradient_of(linear, (row, *middle))
        assert_close(found.patterns[row], cut(expected, found.patterns.shape[2:]))
    assert torch.equal(found.weights, SECOND.weight)


def test_bends_count_as_the_identity_and_the_largest_as_the_mean():
    bent = nn.Sequential(FIRST, nn.ReLU(), nn.MaxPool2d(2), nn.GELU(), SECOND)
    straight = nn.Sequential(FIRST, nn.AvgPool2d(2), SECOND)
    assert_close(filters(bent, "4", X).patterns, filters(straight, "2", X).patterns)
    assert_close(filters(bent, "0", X).patterns, FIRST.weight.detach())


def test_a_wrong_pattern_is_found(monkeypatch):
    """A mutant: a rectifier that is off passes nothing."""
    step = ROOM.linear
    monkeypatch.setattr(
        ROOM, "linear",
        lambda op, s: ROOM.derivative(op, s, lambda v: v.tensor) if op.name == "relu" else
        step(op, s),
    )  # fmt: skip
    with pytest.raises(AssertionError):
        test_bends_count_as_the_identity_and_the_largest_as_the_mean()


def test_functions_dense_layers_and_signals_have_them():
    weight = normal(2, 3, 3, 3, seed=3)
    found = filters(lambda x: F.conv2d(x, weight), inputs=X)
    assert found.layer == "convolution:0"
    assert torch.equal(found.weights, weight)
    dense = nn.Sequential(nn.Flatten(), seeded(nn.Linear(3 * 15 * 15, 2)))
    found = filters(dense, "1", X)
    assert found.weights is None
    assert_close(found.patterns, dense[1].weight.detach().reshape(2, 3, 15, 15))
    signal = nn.Sequential(nn.Conv1d(1, 4, 5))
    assert filters(signal).pictures().shape == (4, 1, 5, 1)


def test_some_filters_are_those_among_all():
    net = nn.Sequential(FIRST, nn.ReLU(), SECOND)
    whole, some = filters(net, "2", X), filters(net, "2", X, channels=[3, -5])
    assert (some.numbers, len(some)) == ((3, 0), 2)
    assert torch.equal(some.weights, whole.weights[[3, 0]])
    assert_close(some.patterns, whole.patterns[[3, 0]])
    assert torch.equal(some.channels(3), whole.channels(3))
    assert torch.equal(filters(net, "2", channels=3).channels(3), whole.channels(3))
    assert [ax.get_title() or ax.get_xlabel() for ax in some.plot().axes]
    with pytest.raises(InputError, match=r"A filter of `2` must be one of \[3, 0\]; got 1"):
        some.channels(1)


def test_patterns_of_tokens_series_and_second_inputs():
    net = nn.Sequential(nn.Embedding(9, 4), Lambda(lambda x: x.mT), nn.Conv1d(4, 6, 3)).double()
    ids = torch.arange(7)[None]
    found = filters(net, "2", ids)
    assert found.patterns.shape == (6, 7, 4)  # (filter, token, feature)
    assert_close(found.patterns[:, 2:5], net[2].weight.detach().mT)
    assert float(found.patterns[:, :2].abs().sum() + found.patterns[:, 5:].abs().sum()) == 0
    steps = seeded(nn.Linear(3, 5))
    both = Lambda(lambda net, a, b: net(b) + 0 * a, net=steps)
    found = filters(both, "layers.net", (normal(1, 4, 5), normal(1, 4, 3)))
    assert len(found) == 5
    assert_close(found.patterns[:, 2], steps.weight.detach())  # of the step in the middle


def test_transposed_filters_come_first():
    layer = seeded(nn.ConvTranspose2d(4, 6, 3, groups=2))
    found = filters(nn.Sequential(layer)).weights
    assert found.shape == (6, 2, 3, 3)
    assert torch.equal(found[4, 1], layer.weight[3, 1])


def test_pictures_are_gray_at_zero():
    net = nn.Sequential(FIRST, SECOND)
    own, shared = (filters(net).pictures(scale=each) for each in ("own", "shared"))
    assert own.shape == (4, 3, 3, 3)
    assert_close((own - 0.5).abs().flatten(1).amax(1), torch.full((4,), 0.5).double())
    most = float(FIRST.weight.detach().abs().max())
    assert_close(shared, (0.5 + FIRST.weight.detach() / (2 * most)).movedim(1, -1))
    assert filters(net, "1").channels(2).shape == (4, 3, 3, 1)
    assert_close(filters(net).norms, FIRST.weight.detach().flatten(1).norm(dim=1))
    assert "4 Filters of `0`: weights 3 x 3 x 3" in repr(filters(net))
    assert len(filters(net, "1").plot(count=8, columns=4).axes) == 8
    assert len(filters(net, "1", X).plot(2).axes) == 4


def test_types_and_the_model_stay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3)).bfloat16()
    found = filters(net, "2", torch.ones(1, 1, 7, 7, dtype=torch.bfloat16))
    assert found.patterns.dtype == torch.bfloat16
    found.weights.zero_()
    assert float(net[2].weight.detach().abs().sum()) > 0
    assert len(list(passes(net, torch.ones(1, 1, 7, 7, dtype=torch.bfloat16)))) == 1


NET = nn.Sequential(FIRST, SECOND)
NONE = {
    "layer": (lambda: filters(NET, "2"), UnknownNameError, "A convolution must be one"),
    "model": (
        lambda: filters(nn.Linear(2, 2)),
        InputError,
        "The model must have a conv",
    ),
    "of none": (
        lambda: filters(nn.ReLU(), inputs=X),
        InputError,
        "The model must have a",
    ),
    "patterns": (
        lambda: filters(NET).pictures("patterns"),
        InputError,
        "There must be patterns",
    ),
    "colors": (
        lambda: filters(NET, "1").pictures(),
        InputError,
        "for colors; got 4 channels",
    ),
    "filter": (lambda: filters(NET).channels(4), InputError, "A filter of `0` must be from 0 to 3"),
    "channels": (
        lambda: filters(NET, channels=[0, 4]),
        InputError,
        r"`channels` must be one or more filters of `0`, from 0 to 3; got \[0, 4\]",
    ),
    "scale": (
        lambda: filters(NET).pictures(scale="al"),
        UnknownNameError,
        "A scale of filters",
    ),
}


@pytest.mark.parametrize("name", NONE)
def test_what_has_no_filters(name):
    ask, error, message = NONE[name]
    with pytest.raises(error, match=message):
        ask()


def test_weights_that_are_not_there_yet_and_those_made_without_autograd():
    with pytest.raises(InputError, match="The weights of `0` must be there to be shown; got a lay"):
        filters(nn.Sequential(nn.LazyConv2d(3, 3)))
    with torch.inference_mode():
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Conv2d(3, 2, 1))
    found = filters(net, "2", torch.zeros(1, 2, 5, 5))
    with torch.no_grad():
        expected = torch.einsum("oc,cihw->oihw", net[2].weight.flatten(1), net[0].weight)
    assert_close(found.patterns, expected)
