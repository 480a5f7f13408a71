"""The same network, written seven ways, gets the same answer from every method."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.method import named
from tests.fitted import Ready
from tests.zoo.network import normal, seeded


class Written(nn.Module):
    """Two convolutions and two dense layers, with a rectifier after each but the last."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first = seeded(nn.Conv2d(2, 4, 3, padding=1))
        self.second = seeded(nn.Conv2d(4, 4, 3), 1)
        self.third = seeded(nn.Linear(16, 6), 2)
        self.last = seeded(nn.Linear(6, 3), 3)
        self.relus = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU()])
        self.in_place = nn.ModuleList([nn.ReLU(inplace=True) for _ in range(3)])
        self.relu = nn.ReLU()
        self.rectify = getattr(self, how)

    def forward(self, x: Tensor) -> Tensor:
        h = self.rectify(self.first(x), 0)
        h = F.max_pool2d(self.rectify(self.second(h), 1), 2)
        return self.last(self.rectify(self.third(h.flatten(1)), 2))

    def modules_each(self, h: Tensor, i: int) -> Tensor:
        return self.relus[i](h)

    def functional(self, h: Tensor, i: int) -> Tensor:
        return (F.relu, torch.relu, F.relu)[i](h)

    def tensor_methods(self, h: Tensor, i: int) -> Tensor:
        return (Tensor.relu, lambda h: h.clamp(min=0), lambda h: h.clamp_min(0))[i](h)

    def built_in_forward(self, h: Tensor, i: int) -> Tensor:
        return nn.ReLU()(h)

    def reused(self, h: Tensor, i: int) -> Tensor:
        return self.relu(h)

    def in_place_module(self, h: Tensor, i: int) -> Tensor:
        return self.in_place[i](h)

    def in_place_functional(self, h: Tensor, i: int) -> Tensor:
        F.relu_(h) if i else h.relu_()
        return h


class Blocks(nn.Module):
    """The same residual block twice, the addition written in four ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.stem = seeded(nn.Conv2d(2, 4, 3, padding=1))
        self.norm = seeded(nn.BatchNorm2d(4), 1)
        self.block = seeded(nn.Conv2d(4, 4, 3, padding=1, bias=False), 2)
        self.head = seeded(nn.Linear(4, 3), 3)
        self.join = getattr(self, how)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.stem(x)).relu()
        for _ in range(2):
            h = self.join(self.block(h), h).relu()
        return self.head(F.adaptive_avg_pool2d(h, 1).flatten(1))

    def operator(self, out: Tensor, identity: Tensor) -> Tensor:
        return out + identity

    def function(self, out: Tensor, identity: Tensor) -> Tensor:
        return torch.add(identity, out)

    def augmented(self, out: Tensor, identity: Tensor) -> Tensor:
        out += identity
        return out

    def through_a_view(self, out: Tensor, identity: Tensor) -> Tensor:
        out[:, :2] += identity[:, :2]
        out.narrow(1, 2, 2).add_(identity.narrow(1, 2, 2))
        return out


WAYS = [
    "functional",
    "tensor_methods",
    "built_in_forward",
    "reused",
    "in_place_module",
    "in_place_functional",
]
JOINS = ["function", "augmented", "through_a_view"]
X = normal(3, 2, 6, 6, seed=9)
METHODS = {name: named(name) for name in pl.methods()} | {
    "lrp-epsilon": pl.LRP(composite="epsilon"),
    "lrp-plus-flat": pl.LRP(composite="epsilon-plus-flat"),
    "lrp-zplus": pl.LRP(rules=pl.rules.ZPlus()),
    "lrp-gamma": pl.LRP(rules=pl.rules.Gamma()),
    "lrp-alpha2": pl.LRP(rules=pl.rules.AlphaBeta()),
    "lrp-box": pl.LRP(rules=pl.rules.ZBox()),
    "deep_taylor-box": pl.DeepTaylor(low=-9, high=9),
    "deeplift-reveal": pl.DeepLIFT(rule="reveal_cancel", baseline=0.3),
    "deeplift-paper": pl.DeepLIFT(rule="paper"),
    "deep_shap-several": pl.DeepSHAP(baseline=normal(3, 2, 6, 6, seed=5)),
    "smoothgrad-lrp": pl.SmoothGrad(samples=4, method=pl.LRP()),
}
METHODS["smoothgrad"] = pl.SmoothGrad(samples=4)
METHODS["gradient_shap"] = pl.GradientSHAP(samples=8)
METHODS["rise"] = pl.RISE(samples=8)
METHODS["exact_shapley"] = pl.ExactShapley(features=pl.Features.patches(3))
METHODS["meaningful_perturbation"] = pl.MeaningfulPerturbation(steps=6)
METHODS["extremal_perturbation"] = pl.ExtremalPerturbation(steps=6)
# Some of its scores have no root that a search could find.
METHODS["taylor"] = pl.SimpleTaylor(root=torch.zeros(2, 6, 6))
METHODS["integrated_gradients"] = pl.IntegratedGradients(steps=16)
METHODS |= {name: Ready(name) for name in ("patternnet", "pattern_attribution")}
# It refuses a head that does not pool.
CAM = {"cam": METHODS.pop("cam")}


@cache
def usual(name: str) -> pl.Explanation:
    """What a method says of the network as most people write it."""
    return METHODS[name](Written("modules_each").eval(), X, target=1)


@cache
def usual_join(name: str) -> pl.Explanation:
    """The same of the blocks."""
    return (METHODS | CAM)[name](Blocks("operator").eval(), X, target=1)


def in_turn(ways: list[str], names: dict[str, object]) -> list[object]:
    """Every method with every third way, and every way with many methods; the others are slow."""
    return [
        pytest.param(way, name, marks=() if (i + j) % 3 == 0 else pytest.mark.slow)
        for i, way in enumerate(ways)
        for j, name in enumerate(names)
    ]


@pytest.mark.parametrize(("way", "name"), in_turn(WAYS, METHODS))
def test_a_rectifier_is_a_rectifier(way, name):
    expected = usual(name)
    found = METHODS[name](Written(way).eval(), X, target=1)
    assert_close(found.score, expected.score, rtol=0, atol=0)
    assert_close(found.values, expected.values, rtol=1e-5, atol=1e-9)
    assert expected.values.abs().sum() > 0


@pytest.mark.parametrize(("join", "name"), in_turn(JOINS, METHODS | CAM))
def test_an_addition_is_an_addition(join, name):
    expected = usual_join(name)
    found = (METHODS | CAM)[name](Blocks(join).eval(), X, target=1)
    assert_close(found.values, expected.values, rtol=1e-5, atol=1e-9)
    assert expected.values.abs().sum() > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_function_is_a_module(name):
    """A plain callable has no layers, and gets the answer of the module it calls."""
    model, expected = Written("modules_each").eval(), usual(name)
    found = METHODS[name](lambda x: model(x), X, target=1)
    assert_close(found.values, expected.values, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("where", [torch.no_grad, torch.inference_mode])
def test_nothing_changes_inside_no_grad_or_inference_mode(where, name):
    model, expected = Written("modules_each").eval(), usual(name)
    with where():
        x = X.clone()
        found = METHODS[name](model, x, target=1)
    assert_close(found.values, expected.values, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_frozen_weights_change_nothing(name):
    expected = usual(name)
    model = Written("modules_each").eval().requires_grad_(False)
    assert_close(METHODS[name](model, X, target=1).values, expected.values, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_a_layout_in_memory_changes_nothing(name):
    model, expected = Written("modules_each").eval(), usual(name)
    for x in (X.contiguous(memory_format=torch.channels_last), X.mT.contiguous().mT):
        assert_close(
            METHODS[name](model, x, target=1).values, expected.values, rtol=1e-5, atol=1e-9
        )
