"""Grad-CAM against its formula, and how it finds its layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from tests import textbook, zoo
from tests.zoo.network import normal, seeded

FEATURES = seeded(
    nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU())
)
HEAD = seeded(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)), 1)
NET = nn.Sequential(FEATURES, HEAD)
X = normal(2, 2, 8, 6, seed=4)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_the_formula(k):
    found = pl.explain(NET, X, "gradcam", target=k, layer="0", upsample=False)
    assert_close(found.values, textbook.gradcam(FEATURES, HEAD, X, k))


def test_the_layer_is_found_by_itself():
    found = pl.explain(NET, X, "gradcam", target=1)
    named = pl.explain(NET, X, "gradcam", target=1, layer="0.3")
    assert_close(found.values, named.values)
    assert any("4" in note and "6" in note for note in found.notes)


def test_the_map_is_interpolated_to_the_input():
    small = pl.explain(NET, X, "gradcam", target=0, upsample=False).values
    assert small.shape == (2, 1, 6, 4)
    large = pl.explain(NET, X, "gradcam", target=0).values
    expected = F.interpolate(small, size=(8, 6), mode="bilinear", align_corners=False)
    assert_close(large, expected)


def test_without_the_relu_there_are_negative_values():
    signed = pl.explain(NET, X, "gradcam", target=0, relu=False, upsample=False).values
    assert (signed < 0).any()
    assert_close(pl.explain(NET, X, "gradcam", target=0, upsample=False).values, signed.relu())


def test_an_activation_in_place_is_seen_after_and_the_layer_before():
    net = nn.Sequential(
        FEATURES[0], nn.ReLU(inplace=True), FEATURES[2], nn.ReLU(inplace=True), *HEAD
    )
    plain = nn.Sequential(FEATURES[0], nn.ReLU(), FEATURES[2], nn.ReLU(), *HEAD)
    for layer in ("0", "1", "2", "3"):
        found = pl.explain(net, X, "gradcam", target=0, layer=layer, relu=False)
        expected = pl.explain(plain, X, "gradcam", target=0, layer=layer, relu=False)
        assert_close(found.values, expected.values)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_any_number_of_dimensions(dimensions):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    last = nn.Linear(3 * 3**dimensions, 2)
    net = seeded(nn.Sequential(conv(1, 3, 3), nn.ReLU(), nn.Flatten(), last))
    x = normal(2, 1, *(5,) * dimensions, seed=1)
    assert pl.explain(net, x, "gradcam").values.shape == x.shape


def test_a_side_branch_that_the_score_does_not_read_is_not_the_layer():
    def model(x: Tensor) -> dict[str, Tensor]:
        h = FEATURES(x)
        return {"logits": HEAD(h), "side": (h * 2).relu()}

    found = pl.explain(model, X, "gradcam", target=("logits", 1))
    expected = pl.explain(NET, X, "gradcam", target=1)
    assert_close(found.values, expected.values)


def test_one_forward_pass():
    found = pl.explain(NET, X, "gradcam", target=0)
    assert found.evaluations.forward == 2
    assert found.evaluations.calls == 1


def test_a_layer_that_is_used_twice_is_that_of_its_last_call():
    conv, relu = seeded(nn.Conv2d(2, 2, 3, padding=1)), nn.ReLU()
    head = nn.Sequential(nn.Flatten(), seeded(nn.Linear(96, 3), 2))
    twice = nn.Sequential(conv, relu, conv, relu, head)
    apart = nn.Sequential(conv, nn.ReLU(), nn.Sequential(conv), nn.ReLU(), head)
    found = pl.explain(twice, X, "gradcam", target=0, layer="1", relu=False)
    expected = pl.explain(apart, X, "gradcam", target=0, layer="3", relu=False)
    assert_close(found.values, expected.values)


def test_a_layer_without_a_grid():
    net = zoo.load("reused")
    with pytest.raises(
        pl.errors.InputError,
        match=r"^The layer `layers.layer` must return maps of a grid of positions; got \[3, 4\]\.",
    ):
        pl.explain(net.model, net.inputs, "gradcam", layer="layers.layer")
    with pytest.raises(pl.errors.InputError, match=r"got \[2, 3\]\. Layers that do: .*0\.3, 0\.$"):
        pl.explain(NET, X, "gradcam", layer="1.2")


def test_an_unknown_layer_gets_the_nearest_name():
    with pytest.raises(pl.errors.UnknownNameError, match=r"got '0\.9'\. Did you mean '0\.\d'\?"):
        pl.explain(NET, X, "gradcam", layer="0.9")


def test_the_peak_lies_where_the_evidence_is():
    """A detector of bright patches looks at the patch."""
    conv = nn.Conv2d(1, 2, 3, padding=1, bias=False).double()
    nn.init.constant_(conv.weight[:1], 1.0)
    nn.init.constant_(conv.weight[1:], -1.0)
    net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.zeros(1, 1, 9, 12).double()
    x[0, 0, 6:8, 2:4] = 1
    peak = pl.explain(net, x, "gradcam", target=0).values[0, 0].argmax().item()
    assert divmod(peak, 12)[0] in (6, 7)
    assert divmod(peak, 12)[1] in (2, 3)
