"""Guided back-propagation and deconvnet: against autograd with another backward at rectifiers."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate import regions
from pellucid.propagate.forms import Form
from pellucid.propagate.rectified import DECONVNET, project
from tests import zoo
from tests.zoo.network import normal, seeded

METHODS = ["guided_backprop", "deconvnet"]
X = normal(3, 2, 8, 8, seed=9)

# A lecture's example: what goes into a rectifier, and the gradient that comes back to it.
FORWARD = torch.tensor([[1.0, -1, 5], [2, -5, -7], [-3, 2, 4]])
BACKWARD = torch.tensor([[-2.0, 3, -1], [6, -3, 1], [2, -1, 3]])
ANSWERS = {
    "saliency": [[-2.0, 0, -1], [6, 0, 0], [0, -1, 3]],
    "deconvnet": [[0.0, 3, 0], [6, 0, 1], [2, 0, 3]],
    "guided_backprop": [[0.0, 0, 0], [6, 0, 0], [0, 0, 3]],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_matrices_of_the_lecture(name):
    def model(x: Tensor) -> Tensor:
        return (x.relu() * BACKWARD).sum((1, 2)).unsqueeze(1)

    found = pl.explain(model, FORWARD.unsqueeze(0), name, target=0)
    assert torch.equal(found.values[0], torch.tensor(ANSWERS[name]))


# Autograd with another backward


class GuidedReLU(torch.autograd.Function):
    """A rectifier that lets positive gradients of active units pass."""

    @staticmethod
    def forward(ctx, x):
        y = x.clamp(min=0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        (y,) = ctx.saved_tensors
        return gradient * (gradient > 0) * (y > 0)


class DeconvReLU(torch.autograd.Function):
    """A rectifier that rectifies the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0)


def guided_activation(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """An activation whose gradient passes where it and what comes back are positive."""

    class Activation(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return function(x)

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                y = function(x)
                (derivative,) = torch.autograd.grad(y.sum(), x)
            return gradient * derivative * (y > 0) * (gradient > 0)

    return Activation.apply


REFERENCE = {"guided_backprop": GuidedReLU.apply, "deconvnet": DeconvReLU.apply}


class Net(nn.Module):
    """Convolution, pooling, convolution, two dense layers, and a rectifier after the first three.

    `joined` adds a branch around the second convolution.
    """

    def __init__(self, rectify: Callable[[Tensor], Tensor], joined: bool = False) -> None:
        super().__init__()
        self.first = seeded(nn.Conv2d(2, 4, 3, padding=1))
        self.second = seeded(nn.Conv2d(4, 4, 3, padding=1), 1)
        self.third = seeded(nn.Linear(64, 6), 2)
        self.last = seeded(nn.Linear(6, 3), 3)
        self.rectify = rectify
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(self.rectify(self.first(x)), 2)
        h = self.rectify(self.second(h) + (h if self.joined else 0))
        return self.last(self.rectify(self.third(h.flatten(1))))


def reference(name: str, joined: bool = False) -> Tensor:
    x = X.clone().requires_grad_()
    return torch.autograd.grad(Net(REFERENCE[name], joined)(x)[:, 1].sum(), x)[0]


def zeros(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=like.dtype)


def put(h: Tensor) -> Tensor:
    h = h * 1
    h[h < 0] = 0
    return h


def put_where(h: Tensor) -> Tensor:
    h = h.clone()
    h[torch.where(h < 0)] = 0
    return h


def put_nonzero(h: Tensor) -> Tensor:
    h = h.clone()
    h[(h < 0).nonzero(as_tuple=True)] = 0
    return h


def masked_in_place(h: Tensor) -> Tensor:
    h = h * 1
    h *= h > 0
    return h


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "functional": F.relu,
    "torch": torch.relu,
    "method": Tensor.relu,
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "in place, functional": F.relu_,
    "clamp": lambda h: h.clamp(min=0),
    "clamp_min": lambda h: h.clamp_min(0),
    "clamp_": lambda h: h.clamp_(min=0),
    "clip": lambda h: torch.clip(h, 0, None),
    "clamp by a tensor": lambda h: h.clamp(min=zeros(h)),
    "hardtanh": lambda h: F.hardtanh(h, 0.0, 1e9),
    "ReLU6": lambda h: F.relu6(h * 1e-6) * 1e6,
    "clamped twice": lambda h: h.clamp(min=0).clamp(max=1e9),
    "clamped twice, the other way": lambda h: h.clamp(max=1e9).clamp(min=0),
    "threshold": lambda h: F.threshold(h, 0, 0),
    "leaky without a leak": lambda h: F.leaky_relu(h, 0.0),
    "maximum": lambda h: torch.maximum(h, torch.zeros(1, dtype=h.dtype)),
    "maximum, the other way": lambda h: torch.max(zeros(h), h),
    "fmax": lambda h: torch.fmax(h, zeros(h)),
    "stack, amax": lambda h: torch.stack([h, zeros(h)]).amax(0),
    "stack, max": lambda h: torch.stack([zeros(h), h], -1).max(-1).values,
    "stack, max, kept": lambda h: torch.stack([zeros(h), h], 1).amax(1, keepdim=True).squeeze(1),
    "mask": lambda h: h * (h > 0),
    "mask, the other way": lambda h: torch.lt(zeros(h), h) * h,
    "mask of floats": lambda h: h * (h > 0).to(h.dtype),
    "mask, detached": lambda h: h * (h.detach() > 0),
    "mask, inverted": lambda h: h * ~(h <= 0),
    "mask in place": masked_in_place,
    "where": lambda h: torch.where(h > 0, h, 0.0),
    "where not": lambda h: torch.where(h <= 0, zeros(h), h),
    "masked_fill": lambda h: h.masked_fill(h < 0, 0),
    "index": put,
    "index by where": put_where,
    "index by nonzero": put_nonzero,
    "mask of masks": lambda h: h * ((h > 0) & (h > 0)),
    "mask of a difference": lambda h: h * (1 - (h <= 0).to(h.dtype)),
    "mask by heaviside": lambda h: h * torch.heaviside(h, zeros(h)),
    "mask by sign": lambda h: h * (h.sign() + 1) / 2,
    "mask, nearly zero": lambda h: h * (h > 1e-12),
    "mask of another shape": lambda h: torch.where((h.flatten(1) > 0).view_as(h), h, 0.0),
    "mask in an einsum": lambda h: torch.einsum(
        "i,i->i", h.flatten(), (h > 0).double().flatten()
    ).view_as(h),
    "addcmul": lambda h: torch.addcmul(zeros(h), h, (h > 0).to(h.dtype)),
    "masked_scatter": lambda h: h.masked_scatter(h < 0, torch.zeros_like(h)),
    "cat, amax": lambda h: torch.cat([h[None], zeros(h)[None]]).amax(0),
    "prelu": lambda h: F.prelu(h, torch.zeros(1, dtype=h.dtype)),
    "elu": lambda h: F.elu(h, 0.0),
    "rrelu": lambda h: F.rrelu(h, 0.0, 0.0),
    "absolute value": lambda h: (h + h.abs()) / 2,
    "negative minimum": lambda h: -torch.minimum(-h, zeros(h)),
    "negative clamp": lambda h: -torch.clamp(-h, max=0),
    "less its negative part": lambda h: h - h.clamp(max=0),
    "clamp by two tensors": lambda h: h.clamp(min=zeros(h), max=1e3 + zeros(h)),
    "TorchScript": lambda h: torch.jit.trace(F.relu, torch.ones(2))(h),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_write_a_rectifier(way, name):
    found = pl.explain(Net(WAYS[way]), X, name, target=1)
    assert_close(found.values, reference(name), rtol=1e-6, atol=1e-12)
    assert found.values.abs().sum() > 0
    assert not any("is not known as a rectifier" in note for note in found.notes)


@pytest.mark.parametrize("name", METHODS)
def test_a_rectifier_that_is_shrunk_is_a_shifted_one(name):
    found = pl.explain(Net(lambda h: F.softshrink(h.relu(), 0.1)), X, name, target=1)
    expected = pl.explain(Net(lambda h: F.relu(h - 0.1)), X, name, target=1)
    assert_close(found.values, expected.values, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_a_sum_of_exponentials_is_no_activation(name):
    """Of log-sum-exp over an axis each element depends on several, and the gradient passes."""
    weights = normal(3, 3, 8, 8, seed=2)
    model = lambda x: ((x.exp().sum(1, keepdim=True)).log() * weights[:, :1]).sum((2, 3))  # noqa: E731
    found = pl.explain(model, X, name, target=0).values
    assert_close(found, pl.explain(model, X, "saliency", target=0).values)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", ["functional", "in place", "where"])
def test_signals_of_branches_add_up_before_they_are_rectified(way, name):
    found = pl.explain(Net(WAYS[way], joined=True), X, name, target=1)
    assert_close(found.values, reference(name, joined=True), rtol=1e-6, atol=1e-12)


def test_the_three_differ():
    found = [pl.explain(Net(F.relu), X, name, target=1).values for name in [*METHODS, "saliency"]]
    for i in range(3):
        assert not torch.allclose(found[i], found[i - 1])


HIDDEN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "absolute value": (Tensor.abs, "abs"),
    "maxout": (lambda h: torch.maximum(h, h.flip(-1)), "maximum"),
    "mask of another": (lambda h: h * (h.flip(-1) > 0), "mul"),
    "masks of others": (lambda h: h * ((h.flip(-1) > 0) & (h.flip(-2) > 0)), "mul"),
    "choice by another": (lambda h: torch.where(h.flip(-1) > 0, h, 0.0), "where"),
    "shifted threshold": (lambda h: F.threshold(h, 0.1, 0.0), "threshold"),
    "shifted maximum": (lambda h: torch.maximum(h, 0.1 + zeros(h)), "maximum"),
    "of the elements in another order": (lambda h: (h.mT * (h.mT > 0)).mT, "mul"),
    "shifted mask": (lambda h: h * (h > 0.1), "mul"),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", HIDDEN)
def test_what_may_be_a_hidden_rectifier_is_said(way, name):
    function, operation = HIDDEN[way]
    found = pl.explain(Net(function), X, name, target=1)
    note = f"`{operation}` in `the model itself` is not known as a rectifier; the gradient passes"
    assert any(each.startswith(note) for each in found.notes)


@pytest.mark.parametrize("name", METHODS)
def test_a_guard_that_changes_nothing_is_not_mentioned(name):
    found = pl.explain(lambda x: F.normalize(x, eps=1e-9), normal(2, 3), name, target=0)
    assert found.notes == ()


@pytest.mark.parametrize("name", METHODS)
def test_a_mask_that_is_data_is_no_rectifier(name):
    """Masked attention and padding choose by what is given, not by the signal."""
    keep = torch.tensor([True, False, True])
    found = pl.explain(lambda x: (x * keep).masked_fill(~keep, 0), normal(2, 3), name, target=0)
    assert found.notes == ()


def test_a_clip_above_stops_guided_and_not_deconvnet():
    x = torch.tensor([[-1.0, 2.0, 7.0]])
    for model in (F.relu6, lambda x: x.clamp(0, 6), lambda x: x.clamp(min=0).clamp(max=6)):
        found = {
            name: pl.explain(model, x, name, target=lambda y: y.sum(1)).values for name in METHODS
        }
        assert_close(found["guided_backprop"], torch.tensor([[0.0, 1, 0]]))
        assert_close(found["deconvnet"], torch.ones(1, 3))


ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "silu by hand": lambda h: h * h.sigmoid(),
    "elu": F.elu,
    "leaky": lambda h: F.leaky_relu(h, 0.2),
    "hardswish": F.hardswish,
    "softplus": F.softplus,
    "mish": F.mish,
    "hardtanh": F.hardtanh,
    "hardtanh by clamp": lambda h: h.clamp(-1, 1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_other_activations(name):
    """Guided gates them, by what goes in and comes out; for deconvnet they are their adjoint."""
    against_autograd(ACTIVATIONS[name], ACTIVATIONS[name])


def against_autograd(written: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor]):
    x = X.clone().requires_grad_()
    score = Net(guided_activation(function))(x)[:, 1].sum()
    (expected,) = torch.autograd.grad(score, x)
    found = pl.explain(Net(written), X, "guided_backprop", target=1)
    assert_close(found.values, expected, rtol=1e-6, atol=1e-12)
    assert found.notes == ()
    found = pl.explain(Net(written), X, "deconvnet", target=1)
    (expected,) = torch.autograd.grad(Net(function)(x)[:, 1].sum(), x)
    assert_close(found.values, expected, rtol=1e-6, atol=1e-12)
    assert found.notes == ()


def gelu_new(h: Tensor) -> Tensor:
    return 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))


def gelu_fast(h: Tensor) -> Tensor:
    return 0.5 * h * (1 + torch.tanh(h * 0.7978845608 * (1 + 0.044715 * h * h)))


BY_HAND = {
    "gelu": (lambda h: 0.5 * h * (1 + torch.erf(h / math.sqrt(2))), F.gelu),
    "gelu_new": (gelu_new, gelu_new),
    "gelu_fast": (gelu_fast, gelu_fast),
    "quick_gelu": (lambda h: h * (1.702 * h).sigmoid(), lambda h: h * (1.702 * h).sigmoid()),
    "silu": (lambda h: h / (1 + torch.exp(-h)), F.silu),
    "mish": (lambda h: h * torch.tanh(F.softplus(h)), F.mish),
    "hardswish": (lambda h: h * F.relu6(h + 3) / 6, F.hardswish),
    "hardsigmoid": (lambda h: h * F.hardsigmoid(h), lambda h: h * F.hardsigmoid(h)),
    "tanh by sigmoid": (lambda h: 2 * torch.sigmoid(2 * h) - 1, torch.tanh),
    "tanh by exp": (
        lambda h: (h.exp() - (-h).exp()) / (h.exp() + (-h).exp()),
        torch.tanh,
    ),
    "leaky by where": (lambda h: torch.where(h > 0, h, 0.1 * h), lambda h: F.leaky_relu(h, 0.1)),
    "leaky by maximum": (lambda h: torch.maximum(h, 0.1 * h), lambda h: F.leaky_relu(h, 0.1)),
    "elu": (lambda h: torch.where(h > 0, h, h.exp() - 1), F.elu),
    "softplus": (lambda h: torch.log1p(h.exp()), F.softplus),
    "softplus by log": (lambda h: (1 + h.exp()).log(), F.softplus),
    "softplus, steeper": (
        lambda h: torch.log1p((3 * h).exp()) / 3,
        lambda h: F.softplus(h, beta=3.0),
    ),
    "softplus, stable": (lambda h: h.clamp(min=0) + (-h.abs()).exp().log1p(), F.softplus),
    "hardsigmoid by relu6": (lambda h: F.relu6(h + 3) / 6, F.hardsigmoid),
    "hardsigmoid by clamp": (lambda h: (h + 3).clamp(0, 6) / 6, F.hardsigmoid),
    "hardsigmoid by clamp at one": (lambda h: (h / 6 + 0.5).clamp(0, 1), F.hardsigmoid),
    "clipped by tensors": (lambda h: h.clamp(zeros(h) - 1, zeros(h) + 1), F.hardtanh),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_activations_by_hand(name):
    """An activation is a function of one value, however many operations it is written as."""
    against_autograd(*BY_HAND[name])


AROUND = {
    "a connection around it": lambda act: lambda h: h + act(h),
    "two in a row": lambda act: lambda h: act(act(h)),
    "a product with another": lambda act: lambda h: act(h) * h.flip(-1),
    "its square": lambda act: lambda h: act(h).square(),
    "its mean": lambda act: lambda h: act(h) - act(h).mean(-1, keepdim=True),
    "with a minus": lambda act: lambda h: -act(h),
}
TWINS = {"relu": (F.relu, WAYS["mask"]), "silu": (F.silu, lambda h: h * h.sigmoid())}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("around", AROUND)
def test_what_is_around_an_activation_is_no_part_of_it(around, twin, name):
    expected, found = (
        pl.explain(Net(AROUND[around](act)), X, name, target=1).values for act in TWINS[twin]
    )
    assert_close(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_normalization_by_hand_is_no_activation(name):
    def norm(h: Tensor) -> Tensor:
        centred = h - h.mean(-1, keepdim=True)
        return centred / ((centred * centred).mean(-1, keepdim=True) + 1e-5).sqrt()

    expected = pl.explain(Net(lambda h: F.layer_norm(h, h.shape[-1:])), X, name, target=1)
    found = pl.explain(Net(norm), X, name, target=1)
    assert_close(found.values, expected.values, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_at_a_layer_inside_of_an_activation_by_hand(name):
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.gate = seeded(nn.Linear(4, 4)), nn.Sigmoid()

        def forward(self, x: Tensor) -> Tensor:
            h = self.dense(x)
            return h * self.gate(h)

    model, x = Gate(), normal(3, 4)
    h = model.dense(x)
    found = pl.explain(model, x, name, at="gate", target=1).values
    expected = torch.zeros_like(h)
    expected[:, 1] = h[:, 1] * ((h[:, 1] > 0) if name == "guided_backprop" else 1)
    assert_close(found, expected)


@pytest.mark.parametrize("way", ["absolute value", "mask by sign", "less its negative part"])
@pytest.mark.parametrize("name", METHODS)
def test_by_hand_in_half_precision(way, name):
    model = Net(WAYS[way]).to(torch.bfloat16)
    expected = pl.explain(Net(F.relu).to(torch.bfloat16), X.bfloat16(), name, target=1).values
    found = pl.explain(model, X.bfloat16(), name, target=1).values
    assert_close(found, expected, rtol=0.05, atol=0.05)


def test_regions_are_not_tried_where_activations_are_known(monkeypatch):
    monkeypatch.setattr(regions.Region, "__call__", lambda region, x: pytest.fail("tried"))
    monkeypatch.setattr(regions, "_users", lambda operations: pytest.fail("searched"))
    for rectify in (F.relu, F.relu6, lambda h: h.clamp(min=0)):
        pl.explain(Net(rectify), X, "deconvnet", target=1)


# What could be wrong in it, and a way to write a rectifier that notices.
MUTANTS = {
    "regions are not looked for": ("_region", lambda end: None, "mask"),
    "a region is only its end": (
        "_sources",
        lambda operation: {v for v in operation.slots if v.carries},
        "mask of masks",
    ),
    "positive points only": ("_probes", lambda x: iter([x.new_ones(x.shape)]), "positive part"),
    "a constant is a signal": ("_is_constant", lambda value: False, "zeros of another"),
    "the sign is forgotten": (
        "_clipped",
        lambda low, high, scale: Form("rectifier", scale=scale),
        "negative minimum",
    ),
    "the slope is forgotten": (
        "_clipped",
        lambda low, high, scale: Form("rectifier"),
        "absolute value",
    ),
}


def bent(h: Tensor) -> Tensor:
    """One as a rectifier at one, near zero and far out, and none."""
    return torch.where(h < 0, 0.0, torch.where((h > 1.5) & (h < 1e3), h * 0.5, h))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_of_the_search_are_noticed(mutant, monkeypatch):
    name, broken, way = MUTANTS[mutant]
    ways = WAYS | {
        "zeros of another": lambda h: torch.maximum(h, torch.zeros_like(h.flip(-1))),
        "positive part": bent,
    }
    answer = lambda: pl.explain(Net(ways[way]), 4 * X, "deconvnet", target=1).values  # noqa: E731
    before = answer()
    monkeypatch.setattr(regions, name, broken)
    assert not torch.allclose(answer(), before)


def unpool(signal: Tensor, switches: Tensor, size: tuple[int, ...]) -> Tensor:
    """Put each signal where the maximum of its window was; where windows overlap, add up."""
    found = torch.zeros(*signal.shape[:2], size[0] * size[1], dtype=signal.dtype)
    for s in range(signal.shape[0]):
        for c in range(signal.shape[1]):
            for place, value in zip(
                switches[s, c].flatten().tolist(), signal[s, c].flatten(), strict=True
            ):
                found[s, c, place] += value
    return found.reshape(*signal.shape[:2], *size)


@pytest.mark.parametrize("size", [2, (3, 2)])
def test_unpooling_by_switches_is_the_adjoint_of_max_pooling(size):
    weights = normal(3, 2, *F.max_pool2d(X, size).shape[2:], seed=1)
    found = pl.explain(
        lambda x: F.max_pool2d(x, size),
        X,
        "deconvnet",
        target=lambda y: (y * weights).sum((1, 2, 3)),
    )
    _, switches = F.max_pool2d(X, size, return_indices=True)
    assert_close(found.values, unpool(weights, switches, (8, 8)))
    assert_close(found.values, F.max_unpool2d(weights, switches, size, output_size=(8, 8)))


def test_a_map_is_projected_from_its_activations_with_all_others_zero():
    """Zeiler and Fergus: one map of a layer, back to the input, by transposed convolutions."""
    model = Net(F.relu)
    tape = pl.record(model, X)
    value = tape.layer("second")
    alone = torch.zeros_like(value.tensor)
    alone[:, 2] = value.tensor[:, 2].relu()
    (found,) = project(tape, {value: alone}, tape.entries, DECONVNET)[0].values()
    signal = F.conv_transpose2d(alone, model.second.weight, padding=1)
    _, switches = F.max_pool2d(F.relu(model.first(X)), 2, return_indices=True)
    signal = unpool(signal, switches, (8, 8)).clamp(min=0)
    assert_close(found, F.conv_transpose2d(signal, model.first.weight, padding=1))


# From inside the network


def alone(name: str, kept: Callable[[Tensor], Tensor]) -> Tensor:
    """What the second convolution returned, but for what is not kept, brought back to the input.

    By autograd with another backward, started with the activations themselves.
    """
    net, x = Net(REFERENCE[name]), X.clone().requires_grad_()
    maps = net.second(F.max_pool2d(net.rectify(net.first(x)), 2))
    return torch.autograd.grad(maps, x, kept(maps.detach()))[0]


def strongest(maps: Tensor) -> Tensor:
    """Zero, but for the largest element of each sample."""
    found = torch.zeros_like(maps)
    for one, kept in zip(maps, found, strict=True):
        place = max(torch.cartesian_prod(*map(torch.arange, one.shape)).tolist(),
                    key=lambda place: float(one[tuple(place)]))  # fmt: skip
        kept[tuple(place)] = one[tuple(place)]
    return found


def channel(maps: Tensor, which: int) -> Tensor:
    """Zero, but for one channel."""
    found = torch.zeros_like(maps)
    found[:, which] = maps[:, which]
    return found


def one_unit(maps: Tensor) -> Tensor:
    found = torch.zeros_like(maps)
    found[:, 1, 2, 3] = maps[:, 1, 2, 3]
    return found


STARTS = {
    "the strongest": (pl.Target.unit("second"), strongest),
    "of a channel": (pl.Target.unit("second", 2), lambda maps: strongest(channel(maps, 2))),
    "a unit": (pl.Target.unit("second", (1, 2, 3)), one_unit),
    "a map": (pl.Target.channel("second", 2), lambda maps: channel(maps, 2)),
    "a map less another": (
        pl.Target.channel("second", (2, 0)),
        lambda maps: channel(maps, 2) - channel(maps, 0),
    ),
}


@pytest.mark.parametrize("way", ["functional", "in place, functional", "where", "mask"])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", METHODS)
def test_units_and_maps_are_projected_from_their_activations(name, start, way):
    target, kept = STARTS[start]
    found = pl.explain(Net(WAYS[way]), X, name, target=target).values
    assert_close(found, alone(name, kept), rtol=1e-6, atol=1e-12)
    assert found.abs().sum() > 0


def test_a_projection_that_starts_from_one_is_another():
    """The mutant of all of the above, and the difference to the gradient's start."""
    target = pl.Target.channel("second", 2)
    for name in METHODS:
        found = pl.explain(Net(F.relu), X, name, target=target).values
        ones = alone(name, lambda maps: channel(torch.ones_like(maps), 2))
        assert not torch.allclose(found, ones)


@pytest.mark.parametrize("name", METHODS)
def test_a_unit_that_nothing_excites_is_projected_to_nothing(name):
    """An activation of zero is where a projection starts from."""
    net = nn.Sequential(seeded(nn.Linear(3, 2)), nn.ReLU(), seeded(nn.Linear(2, 2)))
    net[0].bias.data.fill_(-100.0)
    found = pl.explain(net.double(), normal(2, 3), name, target=pl.Target.unit("1"))
    assert not found.score.any()
    assert not found.values.any()


@pytest.mark.parametrize("name", METHODS)
def test_a_unit_may_be_looked_at_from_another_layer(name):
    found = pl.explain(Net(F.relu), X, name, target=pl.Target.unit("second", 2), at="first")
    assert found.at == "first"
    assert found.values.shape == (3, 4, 8, 8)
    assert found.values.abs().sum() > 0
    later = pl.explain(Net(F.relu), X, name, target=pl.Target.unit("second", 2), at="third")
    assert not later.values.any()
    assert any("The score does not depend on what `third` returned" in n for n in later.notes)


@pytest.mark.parametrize("name", METHODS)
def test_one_forward_and_one_backward_pass(name):
    found = pl.explain(Net(F.relu), X, name)
    assert tuple(found.evaluations) == (3, 3, 1)
    assert found.completeness is None


@pytest.mark.parametrize("name", METHODS)
def test_in_single_and_half_precision(name):
    expected = pl.explain(Net(F.relu6), X, name, target=1).values
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        found = pl.explain(Net(F.relu6).to(dtype), X.to(dtype), name, target=1).values
        assert found.dtype is dtype
        assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


def test_where_nothing_is_rectified_all_are_the_gradient():
    net = zoo.load("deep_linear")
    for name in METHODS:
        assert_close(pl.explain(net.model, net.inputs, name).values, net.gradient)
