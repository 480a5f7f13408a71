"""The peak of every CAM lies in the planted patch, in every layout and number of dimensions."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from tests.cam import planted

CAMS = ["cam", "gradcam", "gradcam_plus_plus", "layercam", "scorecam", "guided_gradcam"]
POOLED = {"conv1d", "conv2d", "conv3d", "swin"}  # the head is a mean and one linear layer


def hits(values: Tensor, places: list[tuple[slice, ...]]) -> list[bool]:
    """Whether the peak of each sample lies in its patch."""
    found = []
    for one, place in zip(values[:, 0], places, strict=True):
        peak = torch.unravel_index(one.argmax(), one.shape)
        found.append(all(s.start <= int(i) < s.stop for s, i in zip(place, peak, strict=True)))
    return found


def explain(net: planted.Planted, name: str, **options: object) -> pl.Explanation:
    # Guided back-propagation has signs of its own, so its map is kept positive.
    return pl.explain(net.model, net.inputs, name, target=0, relu="guided" in name, **options)


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("network", planted.NETS)
def test_the_peak_is_in_the_patch(network, name):
    net = planted.load(network)
    if name == "cam" and network not in POOLED:
        with pytest.raises(pl.errors.ModelError, match=r"^CAM must find a mean .*Use Grad-CAM"):
            explain(net, name)
        return
    found = explain(net, name)
    assert found.values.shape == net.inputs.shape
    assert all(hits(found.values, net.places))


@pytest.mark.parametrize("network", planted.NETS)
def test_a_peak_elsewhere_is_noticed(network):
    net = planted.load(network)
    values = explain(net, "gradcam").values
    assert not all(hits(values.roll(planted.STRIDE, -1), net.places))
    assert not any(hits(-values, net.places))


@pytest.mark.parametrize("network", planted.NETS)
def test_the_class_token_takes_no_part(network):
    """The grid is that of the patches, wherever other tokens stand."""
    net = planted.load(network)
    small = explain(net, "gradcam", upsample=False)
    size = tuple(net.inputs.shape[2:])
    stride = size[0] // small.values.shape[2]
    assert tuple(small.values.shape[2:]) == tuple(n // stride for n in size)


@pytest.mark.parametrize("network", ["vit", "swin", "sequence first", "conv3d"])
def test_batches_and_company_change_nothing(network):
    net = planted.load(network)
    whole = explain(net, "gradcam").values
    assert_close(explain(net, "gradcam", batch_size=1).values, whole, rtol=1e-4, atol=1e-4)
    found = pl.compare(net.model, net.inputs, [pl.GradCAM(relu=False), "lrp", "layercam"], target=0,
                       on_incomplete="ignore") if network == "conv3d" else pl.compare(
        net.model, net.inputs, [pl.GradCAM(relu=False), "saliency", "layercam"], target=0
    )  # fmt: skip
    assert_close(found[0].values, whole)
    assert found[0].evaluations.forward == len(net.inputs)


def test_the_last_layer_at_which_patches_count():
    """Behind the last attention only the class token is read: the patches' gradient is zero."""
    net = planted.load("vit")
    found = explain(net, "gradcam")
    assert found.notes == ("The maps are those of `blocks.1`, 4 x 6.",)
    assert_close(found.values, explain(net, "gradcam", layer="blocks.1").values)
    late = explain(net, "gradcam", layer="blocks.3")
    assert not late.values.any()
    assert "The score reads no position of `blocks.3`; its map is zero." in late.notes


def test_the_search_counts_the_gradient_it_computes_once():
    net = planted.load("vit")
    assert explain(net, "gradcam").evaluations.backward == len(net.inputs)
    assert explain(net, "gradcam", layer="blocks.1").evaluations.backward == len(net.inputs)
    assert explain(net, "scorecam").evaluations.backward == len(net.inputs)
    assert explain(net, "scorecam", layer="blocks.1").evaluations.backward == 0
