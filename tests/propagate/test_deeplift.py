"""DeepLIFT is what its paper writes down, and completes on whatever program."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import IncompleteError, IncompleteWarning, InputError, ModelError
from pellucid.propagate.deeplift import integral, multipliers
from pellucid.propagate.deeplift.activation import Activation
from pellucid.propagate.deeplift.parts import Parts
from tests import zoo
from tests.counting import Counting
from tests.propagate.textbook_deeplift import deeplift as textbook
from tests.zoo.network import normal, rows, seeded

RULES = ["rescale", "reveal_cancel", "paper"]


def explain(model: Callable, x: Tensor, **options: object) -> pl.Explanation:
    options = {"target": 0, "on_incomplete": "raise"} | options
    return pl.explain(model, x, "deeplift", **options)


def off(found: pl.Explanation) -> float:
    """By how much the values miss what they should sum to, as a part of the largest of those."""
    whole = found.completeness
    return float(whole.residual.abs().max() / whole.expected.abs().max())


# -- the paper, neuron by neuron


NETS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "dense": (
        lambda: nn.Sequential(
            nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)
        ),
        (5,),
    ),
    "smooth": (
        lambda: nn.Sequential(
            nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 6, bias=False), nn.SiLU(), nn.Linear(6, 3)
        ),
        (5,),
    ),
    "convolutional": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(),
            nn.Linear(5, 3),
        ),
        (2, 6, 6),
    ),
    "pools that overlap": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 4, 2),
            nn.Sigmoid(), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(4, 5), nn.ELU(),
            nn.Linear(5, 3),
        ),
        (2, 6, 6),
    ),
    "a pool before its rectifier": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
            nn.Linear(27, 3),
        ),
        (2, 6, 6),
    ),
}  # fmt: skip


def rules_of(net: nn.Sequential, rule: str) -> list[str]:
    """What passes each activation: in the paper, RevealCancel behind dense layers."""
    found, last = [], None
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            last = layer
        elif not isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.Flatten):
            behind = "rescale" if isinstance(last, nn.Conv2d) else "reveal_cancel"
            found.append(behind if rule == "paper" else rule)
    return found


def compared(name: str, rule: str, seed: int) -> tuple[Tensor, Tensor]:
    """The values of two samples, from zero or another reference, and those of the textbook."""
    build, shape = NETS[name]
    net = seeded(build(), seed)
    x, x0 = normal(2, *shape, seed=seed + 10), normal(1, *shape, seed=seed + 20) * (seed > 0)
    found = explain(net, x, target=1, rule=rule, baseline=x0).values
    # The textbook runs layers out of place.
    plain = [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in net]
    parts = [textbook(plain, x[i : i + 1], x0, 1, rules_of(net, rule)) for i in range(2)]
    return found, torch.cat(parts).detach()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETS)
def test_it_is_the_textbook_s(name, rule, seed):
    found, expected = compared(name, rule, seed)
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert expected.abs().sum() > 0


def plain_gradient(self: Activation, signal: Tensor, pairs: object, reference: Tensor) -> Tensor:
    return self.derivative(signal)


def only_first_order(self: Activation, signal: Tensor, pairs: object, size: Tensor) -> tuple:
    """RevealCancel with one of its two orders alone."""
    way = pairs.difference(self.x)
    start, up = pairs.start(self.x), (size + way) / 2
    step = self.function(start + up)
    above = signal * (step - self.function(start)) / up
    below = signal * (self.y.tensor - step) / (way - up)
    return (above + below) / 2, (above - below) / 2


# What is broken -> where, how, and the network and rule that show it.
MUTANTS = {
    "the gradient of an activation": (
        Activation, "rescale", plain_gradient, "dense", "rescale"
    ),
    "one order of two": (Activation, "reveal", only_first_order, "dense", "reveal_cancel"),
    "a maximum all to the winner at the input": (
        multipliers, "to_winners",
        lambda op, partner, signal: multipliers.adjoint(op, [signal, None]),
        "convolutional", "rescale",
    ),
    "parts that ignore the sign of a weight": (
        Parts, "_summed", lambda self, op: self.pairs.difference(op.output).abs(), "dense",
        "reveal_cancel",
    ),
    "rescale behind dense layers": (
        Parts, "after_convolution", lambda self, value: True, "dense", "paper",
    ),
    "reveal behind convolutions": (
        Parts, "after_convolution", lambda self, value: False, "convolutional", "paper",
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", MUTANTS)
def test_the_textbook_notices(broken, monkeypatch):
    home, attribute, wrong, network, rule = MUTANTS[broken]
    monkeypatch.setattr(home, attribute, wrong)
    try:
        found, expected = compared(network, rule, 1)
    except IncompleteError:
        return
    with pytest.raises(AssertionError):
        assert_close(found, expected, rtol=1e-9, atol=1e-12)


# -- the paper's examples


def test_saturation():
    """Section 2.1: both inputs saturate 1 - relu(1 - i1 - i2), and share it; no gradient does."""
    model = lambda x: 1 - (1 - x[:, :1] - x[:, 1:]).relu()  # noqa: E731
    x = rows([1.0, 1.0])
    for rule in RULES:
        assert_close(explain(model, x, rule=rule).values, rows([0.5, 0.5]))
    assert pl.explain(model, x, "gradient_x_input", target=0).values.abs().max() == 0


def test_thresholds():
    """Section 2.2: relu(x - 10) passes 10 without a jump, where gradient x input has one of 10."""
    model = lambda x: (x - 10).relu()  # noqa: E731
    found = explain(model, rows([9.99], [10.0], [10.01])).values
    assert_close(found, rows([0.0], [0.0], [0.01]))


def test_the_least_of_two():
    """Section 3.4: of i1 - relu(i1 - i2), Rescale gives all to one, RevealCancel half to each."""
    model = lambda x: x[:, :1] - (x[:, :1] - x[:, 1:]).relu()  # noqa: E731
    x = rows([3.0, 1.0], [1.0, 4.0])
    assert_close(explain(model, x).values, rows([0.0, 1.0], [1.0, 0.0]))
    half = rows([0.5, 0.5], [0.5, 0.5])
    assert_close(explain(model, x, rule="reveal_cancel").values, half)
    assert_close(explain(model, x, rule="paper").values, half)
    weights = zoo.network.dense(rows([1.0, -1.0]))
    written = lambda x: x[:, :1] - F.relu(weights(x))  # noqa: E731
    assert_close(explain(written, x, rule="reveal_cancel").values, half)


def test_two_thresholds():
    """Section 3.5: o = relu(i1) relu-gated by i2 keeps both signs apart where they cancel."""
    model = lambda x: (x[:, :1] + x[:, 1:]).relu()  # noqa: E731
    x = rows([2.0, -2.0], [3.0, -1.0])
    assert explain(model, x[:1]).values.abs().max() == 0
    found = explain(model, x, rule="reveal_cancel").values
    # D y+ = (relu(2) + relu(0) - relu(-2)) / 2 = 1, and D y- = -1; then 2.5 and -0.5.
    assert_close(found, rows([1.0, -1.0], [2.5, -0.5]))


# -- completeness


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", [name for name in zoo.NETWORKS if name != "training"])
def test_it_completes_on_every_network(name, rule):
    for dtype, most in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        net = zoo.load(name, dtype)
        found = explain(net.model, net.inputs, target=net.target, rule=rule)
        size = sum(v.abs().sum() for _, v in pl.structure.leaves(found.values))
        assert off(found) < most * max(1, float(size / found.completeness.expected.abs().max()))


class Steps(nn.Module):
    """A stack that ends in the mean of its positions."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers(x)
        h = h[0] if isinstance(h, tuple) else h
        return h.reshape(len(h), -1, h.shape[-1]).mean(1)


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.body = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x).sigmoid() * self.body(x).tanh()


RELU = nn.ReLU()
# Where captum 0.9 does not complete, or says nothing of it.
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "a rectifier right before a pool": (
        lambda: Steps(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 6)
        ),
        (2, 6, 6),
    ),
    "pools that overlap": (
        lambda: Steps(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 1), nn.Conv2d(4, 3, 1)),
        (2, 6, 6),
    ),
    "a function for a rectifier": (
        lambda: Steps(nn.Linear(6, 6), Function(F.relu), nn.Linear(6, 6)),
        (6,),
    ),
    "GELU": (lambda: Steps(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6)), (6,)),
    "SiLU": (lambda: Steps(nn.Linear(6, 6), nn.SiLU(), nn.Linear(6, 6)), (6,)),
    "gates": (lambda: Steps(Gated(), nn.Linear(6, 6)), (6,)),
    "layer norm": (lambda: Steps(nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6)), (6,)),
    "attention": (lambda: Steps(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)), (4, 6)),
    "LSTM": (lambda: Steps(nn.LSTM(6, 5, batch_first=True)), (4, 6)),
    "GRU": (lambda: Steps(nn.GRU(6, 5, batch_first=True)), (4, 6)),
    "a rectifier used twice": (
        lambda: Steps(*[nn.Linear(6, 6), RELU] * 2, nn.Linear(6, 2)),
        (6,),
    ),
    "softmax": (lambda: Steps(nn.Linear(6, 6), nn.Softmax(1), nn.Linear(6, 2)), (6,)),
    "group norm": (lambda: Steps(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Mish()), (2, 6, 6)),
    "RMS norm": (lambda: Steps(nn.Linear(6, 6), nn.RMSNorm(6), nn.Hardswish()), (6,)),
}  # fmt: skip


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("shift", [0.0, 0.4])
@pytest.mark.parametrize("name", CASES)
def test_it_completes_where_others_do_not(name, shift, rule):
    build, shape = CASES[name]
    x = normal(3, *shape, seed=4)
    found = explain(seeded(build(), 2).eval(), x, rule=rule, baseline=shift)
    assert off(found) < 1e-6
    assert found.values.abs().sum() > 0


# -- the same function, written differently


def written_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


WRITTEN: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "rectifier": [
        F.relu, torch.relu, lambda x: x.clamp(min=0), lambda x: x.clamp_min(0),
        lambda x: torch.maximum(x, torch.zeros_like(x)), lambda x: x * (x > 0),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)), lambda x: (x + x.abs()) / 2,
        lambda x: x.masked_fill(x < 0, 0.0), lambda x: F.relu_(x.clone()),
        lambda x: F.threshold(x, 0.0, 0.0), nn.ReLU(inplace=True),
    ],
    "silu": [F.silu, lambda x: x * torch.sigmoid(x), lambda x: x / (1 + torch.exp(-x))],
    "gelu": [F.gelu, written_gelu],
    "relu6": [F.relu6, lambda x: x.clamp(0, 6), nn.Hardtanh(0.0, 6.0)],
    "softplus": [F.softplus, lambda x: torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)],
}  # fmt: skip


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("name", WRITTEN)
def test_an_activation_may_be_written_in_any_way(name, rule):
    first, last = seeded(nn.Linear(5, 8)), seeded(nn.Linear(8, 2), 1)
    x, x0 = normal(4, 5, seed=2) * 3, normal(1, 5, seed=3)
    ways = WRITTEN[name]
    found = [explain(lambda x, f=f: last(f(first(x))), x, rule=rule, baseline=x0) for f in ways]
    for other in found[1:]:
        assert_close(other.values, found[0].values, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_a_sum_may_be_written_in_any_way(rule):
    layer, last = seeded(nn.Linear(6, 8)), seeded(nn.Linear(8, 2), 1)
    w, b = layer.weight, layer.bias

    def in_place(x: Tensor) -> Tensor:
        h = torch.empty(len(x), 8, dtype=x.dtype)
        h[:, :3] = x @ w[:3].T
        h[:, 3:] = x @ w[3:].T
        h += b
        return h

    ways = [
        layer,
        lambda x: x @ w.T + b,
        lambda x: b - (-x) @ w.T,
        lambda x: x[:, :2] @ w[:, :2].T + x[:, 2:] @ w[:, 2:].T + b,
        lambda x: (2 * x @ w.T + 2 * b) / 2,
        lambda x: torch.cat([x @ w[:3].T, x @ w[3:].T], 1) + b,
        lambda x: torch.einsum("ni,oi->no", x, w) + b,
        lambda x: F.conv1d(x.unsqueeze(2), w.unsqueeze(2), b).squeeze(2),
        in_place,
    ]
    x, x0 = normal(4, 6, seed=2), normal(1, 6, seed=3)
    found = [explain(lambda x, f=f: last(f(x).relu()), x, rule=rule, baseline=x0) for f in ways]
    for other in found[1:]:
        assert_close(other.values, found[0].values, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_a_norm_of_fixed_statistics_is_part_of_the_sum(rule):
    net, folded = zoo.load("batch_norm"), zoo.load("batch_norm").twin
    found = explain(net.model, net.inputs, rule=rule)
    assert_close(found.values, explain(folded, net.inputs, rule=rule).values, rtol=1e-8, atol=1e-11)


# -- maxima


def test_a_maximum_by_hand():
    x, x0 = rows([3.0, 1.0, 2.0], [0.0, 1.0, 5.0], [1.0, 1.0, 1.0]), rows([2.0, 4.0, 0.0])
    found = explain(lambda x: x.amax(1, keepdim=True), x, baseline=x0).values
    # From 4, of the second: to 3 the second falls, to 5 the third rises, to 1 the second falls.
    assert_close(found, rows([0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [0.0, -3.0, 0.0]))


POOLS: list[Callable[[Tensor], Tensor]] = [
    lambda x: F.max_pool2d(x, 2),
    lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    lambda x: F.adaptive_max_pool2d(x, (2, 3)),
    lambda x: x.unflatten(3, (3, 2)).unflatten(2, (2, 2)).amax((3, 5)),
    lambda x: x.unflatten(3, (3, 2)).unflatten(2, (2, 2)).amax((3, -1), keepdim=True).squeeze(3),
    lambda x: F.max_pool3d(x, (1, 2, 2)),
    lambda x: -F.max_pool2d(x.neg().neg(), 2).neg(),
    lambda x: -(-x.unflatten(3, (3, 2)).unflatten(2, (2, 2))).amin((3, 5)),
    lambda x: F.unfold(x.flatten(0, 1).unsqueeze(1), 2, stride=2).max(1).values,
    lambda x: torch.maximum(
        torch.maximum(x[..., ::2, ::2], x[..., ::2, 1::2]),
        torch.maximum(x[..., 1::2, ::2], x[..., 1::2, 1::2]),
    ),
]


@pytest.mark.parametrize("way", range(1, len(POOLS)))
def test_a_maximum_may_be_written_in_any_way(way):
    x, x0 = normal(3, 2, 4, 6, seed=1), normal(1, 2, 4, 6, seed=2)
    weight = normal(12, seed=3)
    model = lambda pool: lambda x: (pool(x).reshape(3, 12) * weight).sum(1, keepdim=True)  # noqa: E731
    first, other = (explain(model(POOLS[i]), x, baseline=x0).values for i in (0, way))
    if way == len(POOLS) - 1:  # maxima of maxima may go from one winner to another on the way
        assert off(explain(model(POOLS[way]), x, baseline=x0)) < 1e-9
        return
    assert_close(other, first, rtol=1e-9, atol=1e-12)
    assert first.abs().sum() > 0


# -- what couples elements


def by_quadrature(f: Callable[[Tensor], Tensor], x: Tensor, x0: Tensor) -> Tensor:
    """Integrated gradients of one smooth operation, at the nodes of Gauss and Legendre."""
    total = torch.zeros_like(x)
    for node, weight in zip(*np.polynomial.legendre.leggauss(60), strict=True):
        point = (x0 + (node + 1) / 2 * (x - x0)).requires_grad_()
        total += weight / 2 * torch.autograd.grad(f(point).sum(), point)[0]
    return (x - x0) * total


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.softmax(1)[:, :2],
        lambda x: x.log_softmax(1)[:, 1:],
        lambda x: F.layer_norm(x, (5,))[:, 1:3],
        lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
        lambda x: x[:, :2] / x[:, 2:4],
        lambda x: x.prod(1, keepdim=True),
        lambda x: torch.atan2(x[:, :1], x[:, 1:2]),
        lambda x: x[:, :2] @ x[0, :4].reshape(2, 2),
    ],
)
def test_one_operation_is_integrated(function):
    x, x0 = normal(1, 5, seed=3, shift=3), normal(1, 5, seed=4, shift=3)
    scores = lambda x: function(x).sum(1, keepdim=True)  # noqa: E731
    found = explain(scores, x, baseline=x0).values
    assert_close(found, by_quadrature(scores, x, x0), rtol=1e-6, atol=1e-6)


def centered(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


NORMS: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "layer norm": [
        lambda x: F.layer_norm(x, (6,)),
        lambda x: (d := centered(x)) * torch.rsqrt(d.pow(2).mean(1, keepdim=True) + 1e-5),
        lambda x: centered(x) / torch.sqrt(x.var(1, correction=0, keepdim=True) + 1e-5),
    ],
    "RMS norm": [
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),
        lambda x: x / ((x * x).mean(-1, keepdim=True) + 1e-5).sqrt(),
        lambda x: F.rms_norm(x, (6,), eps=1e-5),
    ],
    "unit length": [
        lambda x: F.normalize(x),
        lambda x: x / x.norm(dim=1, keepdim=True),
        lambda x: x / x.square().sum(1, keepdim=True).sqrt(),
    ],
}


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("name", NORMS)
def test_a_norm_may_be_written_in_any_way(name, shift):
    """From zero too, where its factor is huge, and the path through it cancels that around it."""
    if name == "unit length" and shift == 0:
        shift = -0.2  # it has no value at zero
    last, x = seeded(nn.Linear(6, 2)), normal(3, 6, seed=5)
    x0 = normal(1, 6, seed=6) * 0.1 + shift if shift else torch.zeros(1, 6).double()
    found = [explain(lambda x, f=f: last(f(x)), x, baseline=x0) for f in NORMS[name]]
    for other in found:
        assert off(other) < 1e-7
        assert_close(other.values, found[0].values, rtol=1e-5, atol=1e-7)


def test_a_layer_norm_that_jumps_at_its_reference():
    """At zero a layer norm goes from nothing to all within a step of the root of its epsilon."""
    x = normal(2, 6, seed=3)
    found = explain(lambda x: F.layer_norm(x, (6,)), x, target=2)
    assert off(found) < 1e-7


def test_a_product_is_shared_by_halves():
    x, x0 = rows([3.0, 5.0]), rows([1.0, 2.0])
    found = explain(lambda x: x[:, :1] * x[:, 1:], x, baseline=x0).values
    assert_close(found, rows([2 * 3.5, 3 * 2.0]))


def test_the_nodes_are_those_of_gauss_and_kronrod():
    """Exact for polynomials up to degree 22, and 13 with the points of Gauss alone."""
    for degree in range(23):
        exact = 0.0 if degree % 2 else 2 / (degree + 1)
        assert abs(sum(w * x**degree for x, w, _ in integral.NODES) - exact) < 1e-14
        if degree < 14:
            assert abs(sum(w * x**degree for x, _, w in integral.NODES) - exact) < 1e-14


def test_too_few_parts_are_noticed(monkeypatch):
    monkeypatch.setattr(integral, "MOST_PARTS", 0)
    with pytest.raises(IncompleteError, match="DeepLIFT must sum to"):
        explain(lambda x: F.layer_norm(x, (6,)), normal(2, 6, seed=3), target=2)


# -- programs that go another way


def test_another_way_for_the_baseline_is_refused():
    layers = seeded(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))

    def branching(x: Tensor) -> Tensor:
        return layers[0](x).relu() + x if x.sum() > 0 else layers[1](x).tanh() + x

    with pytest.raises(ModelError, match=r"same way .* got `relu` in .* `tanh` in .* baseline"):
        explain(branching, rows([1.0, 1.0, 1.0]), baseline=rows([-1.0, -1.0, -1.0]))
    assert off(explain(branching, rows([1.0, 1.0, 1.0]), baseline=0.5)) < 1e-9


def test_another_shape_for_the_baseline_is_refused():
    with pytest.raises(ModelError, match=r"same way .* of \[\[\d\]\]"):
        explain(lambda x: x[x > 0].square().sum().reshape(1, 1), rows([1.0, -1.0]), baseline=1.0)


def test_another_length_is_refused():
    def growing(x: Tensor) -> Tensor:
        for _ in range(int(x.sum())):
            x = x.sin()
        return x

    with pytest.raises(
        ModelError, match=r"got `sin` in .* for the inputs, and .* in `<target>` for"
    ):
        explain(growing, rows([3.0]), baseline=1.0)


def test_a_choice_that_no_signal_follows_is_announced():
    """Weights that depend on the winner are other weights for the baseline."""
    table = normal(3, 3, seed=1)
    model = lambda x: (x * table[x.argmax(1)]).sum(1, keepdim=True)  # noqa: E731
    with pytest.warns(IncompleteWarning, match="2 of 2 samples did not. The model goes another"):
        explain(model, rows([1.0, 2.0, 3.0], [0.0, 5.0, 1.0]), on_incomplete="warn")


def test_a_baseline_without_a_score_is_refused():
    with pytest.raises(InputError, match="score at the baseline must be finite"):
        explain(lambda x: x.log(), rows([1.0, 2.0]))
    assert off(explain(lambda x: x.log(), rows([2.0, 2.0]), baseline=1.0)) < 1e-9


def test_masks_of_attention_are_nothing_on_both_sides():
    mask = torch.full((4, 4), -torch.inf).triu(1).double()

    def causal(x: Tensor) -> Tensor:
        return ((x @ x.mT + mask).softmax(-1) @ x).mean((1, 2)).unsqueeze(1)

    assert off(explain(causal, normal(2, 4, 3, seed=1), baseline=0.2)) < 1e-6


@pytest.mark.filterwarnings("ignore::pellucid.errors.TrainingModeWarning")
def test_dropout_drops_the_same_in_both_runs():
    net = seeded(nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Dropout(0.5), nn.Linear(30, 2)))
    assert off(explain(net.train(), normal(3, 4, seed=1))) < 1e-9


@pytest.mark.filterwarnings("ignore::pellucid.errors.TrainingModeWarning")
@pytest.mark.parametrize("name", ["deeplift", "deep_shap"])
def test_samples_that_share_statistics_add_up_together(name):
    net = zoo.load("training")
    found = pl.explain(net.model, net.inputs, name, target=0, on_incomplete="raise")
    whole = found.completeness
    assert_close(whole.explained.sum(), whole.expected.sum(), check_dtype=False)
    assert off(found) > 1e-3
    assert any("share the statistics of their batch" in note for note in found.notes)


# -- options, cost and places


def test_wrong_options():
    with pytest.raises(
        InputError, match=r"`rule` of deeplift must be one .*'reveal'.*reveal_cancel"
    ):
        pl.DeepLIFT(rule="reveal")
    with pytest.raises(InputError, match="`rule` of deep_shap must be one that exists"):
        pl.DeepSHAP(rule=3)
    with pytest.raises(InputError, match="`baseline` must be a number, a tensor"):
        pl.DeepLIFT(baseline="black")
    with pytest.raises(InputError, match="`at` must be the path of a layer"):
        pl.DeepLIFT(at=1.5)


def test_two_runs_and_one_walk():
    model = Counting(zoo.load("convolutional_biased").model)
    found = explain(model, normal(3, 2, 8, 8, seed=1))
    assert found.evaluations.forward == sum(model.calls) == 6
    assert found.evaluations.backward == 3


def test_at_a_layer_it_completes_if_nothing_goes_around():
    net = seeded(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)), 1)
    x = normal(2, 2, 6, 6, seed=1)
    for rule in RULES:
        for at in ("0", "1", "2"):
            found = explain(net, x, at=at, rule=rule)
            assert found.at == at
            assert off(found) < 1e-9
    residual = zoo.load("residual")
    found = explain(residual.model, residual.inputs, at="layers.block")
    assert found.completeness is None


def test_it_works_on_tokens():
    net = zoo.load("tokens")
    zero = explain(net.model, net.inputs)
    assert zero.values.shape == net.inputs.shape
    assert off(zero) < 1e-9
    ids = explain(net.model, net.inputs, baseline=torch.full((4,), 3))
    assert off(ids) < 1e-9
    same = net.inputs == 3
    assert ids.values[same].abs().max() == 0


# -- many baselines


BACKGROUND = normal(5, 4, seed=8)
NET = seeded(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)))
X = normal(3, 4, seed=9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", ["auto", 1, 2, 4, 6, 100])
def test_deep_shap_is_the_mean_over_the_background(size, rule):
    found = pl.explain(
        NET, X, "deep_shap", target=1, baseline=BACKGROUND, rule=rule, batch_size=size
    )
    each = torch.stack([
        explain(NET, X, target=1, rule=rule, baseline=row.unsqueeze(0)).values for row in BACKGROUND
    ])  # fmt: skip
    assert_close(found.values, each.mean(0))
    assert_close(found.error, each.std(0) / 5**0.5)
    with torch.no_grad():
        whole = NET(X)[:, 1] - NET(BACKGROUND)[:, 1].mean()
    assert_close(found.completeness.expected, whole)
    assert off(found) < 1e-9


def test_deeplift_of_a_background_is_the_same_without_errors():
    found = explain(NET, X, baseline=BACKGROUND)
    shap = pl.explain(NET, X, "deep_shap", target=0, baseline=BACKGROUND)
    assert_close(found.values, shap.values, rtol=0, atol=0)
    assert found.error is None
    assert shap.error is not None


def test_deep_shap_of_one_row_has_no_errors():
    found = pl.explain(NET, X, "deep_shap", target=0, baseline=BACKGROUND[:1])
    assert found.error is None
    assert_close(found.values, explain(NET, X, baseline=BACKGROUND[:1]).values)


def test_deep_shap_keeps_the_class_that_is_predicted_at_the_input():
    found = pl.explain(NET, X, "deep_shap", baseline=BACKGROUND * 5)
    classes = NET(X).argmax(1)
    for i, k in enumerate(classes.tolist()):
        alone = pl.explain(NET, X[i : i + 1], "deep_shap", target=k, baseline=BACKGROUND * 5)
        assert_close(found.values[i : i + 1], alone.values)


def test_what_a_background_costs():
    """One run and one walk for each sample and row; batches of the same samples are run once."""
    model = Counting(NET)
    found = pl.explain(model, X, "deep_shap", target=1, baseline=BACKGROUND, batch_size=3)
    assert found.evaluations.backward == 15
    # Targets first, then the samples once, and the background for each of them.
    assert found.evaluations.forward == sum(model.calls) == 3 + 3 + 15
    assert max(model.calls) <= 3


def test_deep_shap_is_near_shapley_values_of_a_linear_model():
    net = zoo.load("affine")
    background = normal(6, 3, seed=2)
    found = pl.explain(net.model, net.inputs, "deep_shap", target=0, baseline=background)
    assert_close(found.values, net.gradient * (net.inputs - background.mean(0)))
