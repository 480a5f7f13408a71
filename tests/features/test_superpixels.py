"""Superpixels are connected, cover the image, are about equal, and follow its edges."""

import sys
from types import ModuleType

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from scipy import ndimage

import pellucid as pl
from pellucid.errors import MissingExtraError
from pellucid.features import Features, Players
from pellucid.features.superpixels import cells, connected, superpixels
from pellucid.structure import Inputs


def scene(size: int = 96, *, seed: int = 0) -> torch.Tensor:
    """Color blobs with noise: (3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")[0]
    return smooth + 0.1 * torch.randn(3, size, size, generator=generator)


def assert_connected(labels: torch.Tensor) -> None:
    """Every region is one piece; they are numbered from 0 in reading order."""
    count = int(labels.max()) + 1
    for label in range(count):
        assert ndimage.label(labels.numpy() == label)[1] == 1, label
    firsts = [int((labels.flatten() == label).nonzero()[0]) for label in range(count)]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize("compactness", [0.05, 0.3, 2.0])
def test_regions_are_connected_and_of_about_equal_size(compactness):
    labels = superpixels(scene(), 49, compactness)
    assert_connected(labels)
    sizes = labels.flatten().bincount()
    usual = 96 * 96 / 49
    assert 30 <= len(sizes) <= 49
    assert sizes.min() >= usual / 4
    assert sizes.max() <= 9 * usual


def test_edges_are_followed():
    """A bright disk on a dark ground: no region has much of both."""
    y, x = torch.meshgrid(torch.arange(80), torch.arange(80), indexing="ij")
    disk = ((y - 37) ** 2 + (x - 42) ** 2 < 23**2).float()
    labels = superpixels(disk.expand(3, 80, 80), 36, 0.3)
    inside = torch.zeros(int(labels.max()) + 1).index_add_(0, labels.flatten(), disk.flatten())
    sizes = labels.flatten().bincount()
    wrong = torch.minimum(inside, sizes - inside).sum() / disk.numel()
    assert wrong < 0.02
    grid = Features.grid(6).players(Inputs.of(disk[None, None])).labels[0][0, 0]
    inside = torch.zeros(36).index_add_(0, grid.flatten(), disk.flatten())
    assert torch.minimum(inside, grid.flatten().bincount() - inside).sum() / disk.numel() > 0.05


def test_an_image_without_colors_has_a_grid():
    labels = superpixels(torch.full((3, 30, 30), 7.0), 9, 0.3)
    assert torch.equal(labels.flatten().bincount(), torch.full((9,), 100))


def test_colors_are_taken_by_their_range():
    image = scene()
    scaled = superpixels(image * 50 - 3, 49, 0.3)
    assert (superpixels(image, 49, 0.3) == scaled).float().mean() > 0.99


def test_regions_are_the_same_every_time_and_for_each_sample_by_itself():
    batch = torch.stack([scene(seed=1), scene(seed=2)])
    both = Features.superpixels().players(Inputs.of(batch))
    alone = Features.superpixels().players(Inputs.of(batch[1:]))
    again = Features.superpixels().players(Inputs.of(batch))
    assert torch.equal(both.labels[0][1:], alone.labels[0])
    assert torch.equal(both.labels[0], again.labels[0])


def test_a_volume_has_regions_too():
    labels = superpixels(torch.rand(1, 12, 12, 12), 27, 0.5)
    assert_connected(labels)
    assert labels.shape == (12, 12, 12)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_whatever_the_labels_what_comes_out_is_connected(height, width, count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(count, (height, width), generator=generator)
    found = connected(labels, least=2)
    assert_connected(found)
    assert found.max() <= labels.max()


def test_what_is_cut_off_goes_to_the_longest_border():
    labels = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]])
    assert connected(labels, least=0)[1, 4] == 1
    assert connected(labels, least=8).max() == 0


@pytest.mark.parametrize(
    ("shape", "count", "grid"),
    [((224, 224), 49, (7, 7)), ((100, 200), 50, (5, 10)), ((4, 4), 2, (1, 2)), ((1, 9), 9, (1, 9))],
)
def test_cells_are_square_and_as_many_as_asked(shape, count, grid):
    assert cells(torch.Size(shape), count) == grid


def test_regions_of_a_photo():
    photo = pl.zoo.photo.open_photo("gallery/photos/chelsea.png").resize((224, 224))
    pixels = torch.tensor(list(photo.get_flattened_data())).reshape(224, 224, 3).float()
    labels = superpixels(pixels.movedim(2, 0), 49, 0.3)
    assert_connected(labels)
    assert 40 <= int(labels.max()) + 1 <= 49


def test_scikit_image_is_asked_only_if_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    inputs = Inputs.of(scene(20)[None])
    with pytest.raises(MissingExtraError, match=r"Superpixels of scikit-image .*pellucid\[superp"):
        Features.superpixels(method="skimage").players(inputs)
    assert isinstance(Features.superpixels().players(inputs), Players)


def test_what_scikit_image_gives_is_taken(monkeypatch):
    asked = {}

    def slic(image, **options):
        asked.update(options, shape=image.shape, top=image.max())
        return (torch.arange(20)[:, None] // 10 * 2 + torch.arange(20) // 10).numpy()

    module = ModuleType("skimage.segmentation")
    module.slic = slic
    monkeypatch.setitem(sys.modules, "skimage.segmentation", module)
    monkeypatch.setitem(sys.modules, "skimage", ModuleType("skimage"))
    found = Features.superpixels(4, compactness=0.7, method="skimage").players(
        Inputs.of(255 * torch.rand(2, 3, 20, 20))
    )
    assert found.count == 4
    assert asked["n_segments"] == 4
    assert asked["compactness"] == 0.7
    assert asked["shape"] == (20, 20, 3)
    assert asked["top"] == 1
