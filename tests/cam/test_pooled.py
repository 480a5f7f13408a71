"""CAM: what it sums to, the heads it takes however they are written, and those it refuses."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.case import Case
from pellucid.errors import ModelError
from pellucid.method import Attribution, Method
from tests.zoo.network import normal, seeded

FEATURES = seeded(
    nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU())
)
LINEAR = seeded(nn.Linear(5, 3), 1)
W, B = LINEAR.weight.detach(), LINEAR.bias.detach()
CONV = seeded(nn.Conv2d(5, 3, 1), 1)
CONV.weight.data.copy_(W[:, :, None, None])
CONV.bias.data.copy_(B)
X = normal(2, 2, 8, 6, seed=4)
RAW = {"relu": False, "upsample": False}

# One head, written in as many ways as people write it.
HEADS = {
    "modules": lambda a: LINEAR(nn.Flatten()(nn.AdaptiveAvgPool2d(1)(a))),
    "mean of axes": lambda a: LINEAR(a.mean((2, 3))),
    "mean of mean": lambda a: LINEAR(a.mean(3).mean(2)),
    "mean of flat": lambda a: LINEAR(a.flatten(2).mean(2)),
    "sum over count": lambda a: LINEAR(a.sum((2, 3)) / (a.shape[2] * a.shape[3])),
    "average pooling": lambda a: LINEAR(nn.functional.avg_pool2d(a, (6, 4)).flatten(1)),
    "convolution last": lambda a: CONV(a.mean((2, 3), keepdim=True)).flatten(1),
    "convolution first": lambda a: CONV(a).mean((2, 3)),
    "product": lambda a: a.mean((2, 3)) @ W.t() + B,
    "einsum": lambda a: torch.einsum("nchw,kc->nk", a, W) / 24 + B,
    "channels last": lambda a: LINEAR(a.permute(0, 2, 3, 1).mean((1, 2))),
    "tokens": lambda a: LINEAR(a.flatten(2).transpose(1, 2)).mean(1),
    "one class at a time": lambda a: torch.stack(
        [a.mean((2, 3)) @ w + b for w, b in zip(W, B, strict=True)], 1
    ),
    "a mask that is fixed": lambda a: LINEAR((a * torch.ones_like(a)).mean((2, 3))),
    "two linear maps": lambda a: 2 * LINEAR(a.mean((2, 3))) - LINEAR(a.mean((2, 3))),
}


def sums(method: Method, model: nn.Module, k: object = 1, bias: Tensor | None = None) -> None:
    """The law: the map of each sample sums to its score less the bias."""
    found = method(model, X, target=k)
    expected = found.score - (B[1] if bias is None else bias)
    assert_close(found.values.flatten(1).sum(1), expected, rtol=1e-5, atol=1e-8)
    assert found.completeness is not None
    assert_close(found.completeness.expected, expected, check_dtype=False)
    assert found.completeness.relative.abs().max() < 1e-5


class Net(nn.Module):
    """Features that are rectified, and a head that is a function."""

    def __init__(self, head) -> None:
        super().__init__()
        self.features, self.head = FEATURES, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@pytest.mark.parametrize("head", HEADS)
def test_it_sums_to_the_score_less_its_bias(head):
    sums(pl.CAM(layer="features", **RAW), Net(HEADS[head]))


@pytest.mark.parametrize("head", HEADS)
def test_the_maps_are_found_in_front_of_the_pooling(head):
    """Where the linear map comes first, its results are the maps, with the bias in them."""
    inside = head in ("convolution first", "tokens")
    sums(pl.CAM(**RAW), Net(HEADS[head]), bias=torch.tensor(0.0) if inside else None)


@pytest.mark.parametrize("head", HEADS)
def test_gradcam_is_cam_on_a_pooled_head(head):
    cam = pl.explain(Net(HEADS[head]), X, "cam", target=2, **RAW).values
    grad = pl.explain(Net(HEADS[head]), X, "gradcam", target=2, **RAW).values
    assert cam.abs().max() > 1e-3
    assert_close(grad, cam)


def test_layercam_is_cam_where_weights_are_positive():
    linear = seeded(nn.Linear(5, 3), 1)
    linear.weight.data.abs_()
    model = Net(lambda a: linear(a.mean((2, 3))))
    cam = pl.explain(model, X, "cam", target=2, **RAW).values
    assert_close(pl.explain(model, X, "layercam", target=2, **RAW).values, cam)


@dataclass(frozen=True, kw_only=True)
class Broken(Method):
    """CAM with a fault."""

    laws: ClassVar[frozenset[str]] = frozenset()
    fault: str

    def attribute(self, case: Case) -> Attribution:
        """What CAM says, changed."""
        found = pl.CAM(**RAW).attribute(case)
        values = found.values[0]
        change = {
            "without the mean": lambda: values * values[0, 0].numel(),
            "rectified": values.relu,
            "one position lost": lambda: values.index_fill(2, torch.tensor(0), 0.0),
            "bias shared out": lambda: values + 0.3 / values[0, 0].numel(),
        }[self.fault]
        return replace(found, values=[change()])


@pytest.mark.parametrize(
    "fault", ["without the mean", "rectified", "one position lost", "bias shared out"]
)
def test_the_sum_notices(fault):
    with pytest.raises(AssertionError):
        sums(Broken(fault=fault), Net(HEADS["modules"]))


def test_contrasts_and_linear_targets():
    model = Net(HEADS["modules"])
    sums(pl.CAM(**RAW), model, (2, 0), B[2] - B[0])
    sums(pl.CAM(**RAW), model, [2, 0], torch.stack([B[2], B[0]]))
    sums(pl.CAM(**RAW), model, lambda output: 2 * output[:, 0] - 3, 2 * B[0] - 3)
    both = pl.explain(model, X, "cam", target=(2, 0), **RAW).values
    one, other = (pl.explain(model, X, "cam", target=k, **RAW).values for k in (2, 0))
    assert_close(both, one - other)


def test_a_softmax_at_the_end_is_left_out():
    model = nn.Sequential(Net(HEADS["modules"]), nn.Softmax(1))
    sums(pl.CAM(**RAW), model)
    with pytest.raises(ModelError, match="got `_softmax`.*, which is not linear in the maps"):
        pl.explain(model, X, "cam", target=pl.Target.probability(1))


def test_single_precision_and_other_sizes():
    model = nn.Sequential(FEATURES, nn.AdaptiveAvgPool2d(1), nn.Flatten(), LINEAR)
    model = deepcopy(model).float()
    for size in ((8, 6), (3, 4), (40, 31)):
        found = pl.explain(model, normal(2, 2, *size).float(), "cam", target=1, **RAW)
        total = found.values.flatten(1).sum(1)
        assert_close(total, found.score - B[1].float(), rtol=1e-5, atol=1e-5)


def test_the_sum_is_claimed_only_where_it_holds():
    model = Net(HEADS["modules"])
    assert pl.explain(model, X, "cam", relu=True, upsample=False).completeness is None
    assert pl.explain(model, X, "cam").completeness is None


def test_what_reaches_the_score_past_the_maps_counts_as_bias():
    side = seeded(nn.Linear(3, 3), 5)

    def model(image: Tensor, table: Tensor) -> Tensor:
        return HEADS["modules"](FEATURES(image)) + side(table)

    table = normal(2, 3, seed=6)
    found = pl.explain(model, (X, table), "cam", target=1, **RAW)
    expected = found.score - B[1] - side(table)[:, 1].detach()
    assert_close(found.values[0].flatten(1).sum(1), expected)
    assert not found.values[1].any()
    assert found.completeness.relative.abs().max() < 1e-8


def test_maps_behind_a_maximum_that_is_pooled():
    """The maximum belongs to the features: the maps are those after it."""
    model = Net(lambda a: LINEAR(nn.functional.max_pool2d(a, 2).mean((2, 3))))
    sums(pl.CAM(**RAW), model)
    assert pl.explain(model, X, "cam", **RAW).values.shape == (2, 1, 3, 2)
    assert pl.explain(model, X, "gradcam", **RAW).values.shape == (2, 1, 6, 4)


REFUSED = {
    "a hidden layer": (lambda a: LINEAR(a.mean((2, 3)).relu()), "`relu`.*, which is not linear"),
    "a maximum": (lambda a: LINEAR(a.amax((2, 3))), "`amax`.*, which is not linear"),
    "max pooling": (
        lambda a: LINEAR(nn.functional.adaptive_max_pool2d(a, 1).flatten(1)),
        "`adaptive_max_pool2d`.*, which is not linear",
    ),
    "attention": (
        lambda a: LINEAR((a * a.softmax(2)).sum((2, 3))),
        "`_softmax`.*, which is not linear",
    ),
    "a product of two": (
        lambda a: LINEAR(a.mean((2, 3)) * a.mean((2, 3))),
        "`mul`.*, which is not linear",
    ),
    "a mask": (
        lambda a: LINEAR(torch.where(a > 0.5, a, 0 * a).mean((2, 3))),
        "`where`.*, which is not linear",
    ),
    "a divisor": (lambda a: LINEAR(1 / (1 + a.mean((2, 3)))), "`reciprocal`.*, which is not lin"),
    "weights of positions": (
        lambda a: LINEAR((a * torch.arange(24.0).reshape(6, 4)).mean((2, 3))),
        "`mean`.*, after which positions count differently",
    ),
    "a part of the grid": (
        lambda a: LINEAR(a[:, :, 1:, 1:].mean((2, 3))),
        "`slice`.*, after which positions count differently",
    ),
}  # fmt: skip


@pytest.mark.parametrize("head", REFUSED)
def test_a_head_that_is_none_is_refused_by_name(head):
    model, why = REFUSED[head]
    with pytest.raises(
        ModelError,
        match=rf"^CAM must find a mean over all positions and one linear map between .* and the "
        rf"score; got {why}.*\. Use Grad-CAM, which takes any head\.$",
    ):
        pl.explain(Net(model), X, "cam", layer="features" if head != "a mask" else None)


def test_a_layer_inside_the_features_names_what_is_in_between():
    with pytest.raises(ModelError, match="between `features.0` and the score; got `relu` in `fea"):
        pl.explain(Net(HEADS["modules"]), X, "cam", layer="features.0")


def test_flattening_instead_of_pooling_is_refused():
    model = Net(nn.Sequential(nn.Flatten(), seeded(nn.Linear(120, 3))))
    with pytest.raises(
        ModelError, match="got `view` in `head.0`, after which positions count diff"
    ):
        pl.explain(model, X, "cam")
