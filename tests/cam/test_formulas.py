"""Each CAM against its formula, written out slowly."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from tests.cam import textbook
from tests.counting import Counting
from tests.zoo.network import normal, seeded

FEATURES = seeded(
    nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU())
)
POOLED = seeded(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)), 1)
DENSE = seeded(nn.Sequential(nn.Flatten(), nn.Linear(120, 6), nn.Tanh(), nn.Linear(6, 3)), 1)
X = normal(2, 2, 8, 6, seed=4)
CLASSES = [0, 1, 2]


def small(name, head=DENSE, k=0, **options):
    options = {"relu": False, "upsample": False} | options
    found = pl.explain(nn.Sequential(FEATURES, head), X, name, target=k, **options)
    return found.values[:, 0]


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("name", ["gradcam_plus_plus", "layercam"])
def test_weighted_by_gradients(name, k):
    expected = getattr(textbook, name)(FEATURES, DENSE, X, k)
    assert_close(small(name, k=k), expected)
    assert expected.abs().max() > 1e-3
    assert_close(small(name, k=k, relu=True), expected.clamp(min=0))


@pytest.mark.parametrize("k", CLASSES)
def test_cam(k):
    assert_close(small("cam", POOLED, k), textbook.cam(FEATURES, POOLED[2].weight, X, k))
    rectified = small("cam", POOLED, k, relu=True)
    assert_close(rectified, textbook.cam(FEATURES, POOLED[2].weight, X, k).clamp(min=0))


@pytest.mark.parametrize("k", CLASSES)
def test_scorecam(k):
    model = nn.Sequential(FEATURES, DENSE)
    assert_close(small("scorecam", k=k), textbook.scorecam(FEATURES, model, X, k))


@pytest.mark.parametrize("name", ["gradcam_plus_plus", "layercam"])
def test_a_gradient_that_is_zero_gives_zero(name):
    head = seeded(nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(5, 3)), 1)
    expected = getattr(textbook, name)(FEATURES, head, X, 1)
    assert_close(small(name, head, 1), expected)


def test_maps_with_negative_values_have_no_pole():
    """2 + g sum A is zero here, which cannot be for maps that are rectified."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(2, 1)).double()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    x = torch.tensor([[[[-2.0, -2.0]]]]).double()
    found = pl.explain(model, x, "gradcam_plus_plus", relu=False)
    assert_close(found.values, torch.full((1, 1, 1, 2), -1.0).double())


def test_guided_gradcam_is_the_product():
    model = nn.Sequential(FEATURES, DENSE)
    guided = pl.explain(model, X, "guided_backprop", target=1).values
    coarse = pl.explain(model, X, "gradcam", target=1).values
    found = pl.explain(model, X, "guided_gradcam", target=1)
    assert found.values.shape == X.shape
    assert_close(found.values, coarse * guided)
    assert found.values.abs().max() > 0
    blocks = pl.explain(model, X, "guided_gradcam", target=1, upsample=False).values
    small = pl.explain(model, X, "gradcam", target=1, upsample=False).values
    assert_close(blocks, guided * nn.functional.interpolate(small, size=(8, 6)))


# What Score-CAM spends


@pytest.mark.parametrize("batch_size", ["auto", 1, 3, 64])
def test_scorecam_counts_its_passes_and_holds_one_batch(batch_size):
    model = Counting(nn.Sequential(FEATURES, DENSE))
    found = pl.explain(model, X, "scorecam", target=1, batch_size=batch_size)
    assert found.evaluations.forward == sum(model.calls) == 2 * (5 + 1)
    assert found.evaluations.backward == 0
    assert found.evaluations.calls == len(model.calls)
    if batch_size != "auto":
        assert max(model.calls) <= batch_size
        rows = min(batch_size, 2)
        assert max(model.calls) == max(rows, min(batch_size, 5 * rows))
    expected = textbook.scorecam(FEATURES, nn.Sequential(FEATURES, DENSE), X, 1)
    unsized = pl.explain(model, X, "scorecam", target=1, batch_size=batch_size, upsample=False)
    assert_close(unsized.values[:, 0], expected.clamp(min=0))


def test_scorecam_of_the_channels_that_vary_most():
    maps = FEATURES(X)
    chosen = maps.flatten(2).std(2).argsort(1, descending=True)[:, :2]

    def two(x):
        full = FEATURES(x)
        return full[:1, chosen[0].sort().values]

    one = pl.explain(
        nn.Sequential(FEATURES, DENSE), X[:1], "scorecam", target=1, channels=2, upsample=False
    )
    expected = textbook.scorecam(two, nn.Sequential(FEATURES, DENSE), X[:1], 1)
    assert_close(one.values[:, 0], expected.clamp(min=0))
    assert one.evaluations.forward == 3


@pytest.mark.parametrize("channels", [0, -1, 1.5, True])
def test_scorecam_of_a_number_of_channels_that_is_none(channels):
    with pytest.raises(pl.errors.InputError, match=r"^`channels` must be a positive whole number"):
        pl.ScoreCAM(channels=channels)


# Maps that are dead


class Dead(nn.Module):
    """The last convolution is never active, for the first sample or for all."""

    def __init__(self, *, every: bool) -> None:
        super().__init__()
        self.conv, self.every = seeded(nn.Conv2d(2, 5, 3)), every

    def forward(self, x):
        alive = torch.ones(len(x), 1, 1, 1).to(x)
        if not self.every:
            alive = (x.amax((1, 2, 3), keepdim=True) > 0).to(x)
        return POOLED((self.conv(x) * alive - (1 - alive) - 100 * self.every).relu())


@pytest.mark.parametrize(
    "name", ["cam", "gradcam", "gradcam_plus_plus", "layercam", "scorecam", "guided_gradcam"]
)
@pytest.mark.parametrize("every", [True, False])
def test_dead_maps_are_zero_and_said_to_be(name, every):
    x = X.abs()
    x[0] = -1
    found = pl.explain(Dead(every=every), x, name, target=1)
    assert found.values.isfinite().all()
    assert torch.equal(found.values[0], torch.zeros_like(found.values[0]))
    assert any("zero everywhere" in note for note in found.notes)
    alone = pl.explain(Dead(every=every), x[1:], name, target=1)
    assert_close(alone.values, found.values[1:])
    if not every and name in ("cam", "layercam", "scorecam"):
        assert alone.values.abs().max() > 0
