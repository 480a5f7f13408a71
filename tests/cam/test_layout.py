"""How activations are read as grids: from shapes, from the tape, and where the user must choose."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.cam.frame import Frame, frames
from pellucid.cam.layout import Layout, Wish, choose
from pellucid.errors import InputError, UnknownNameError
from tests.cam import planted
from tests.zoo.network import normal, seeded

ROWS = 2


def recognize(shape, *size, wish=None, known=None):
    """What is made of a shape for inputs of one channel and some size."""
    ways = frames(torch.Size([ROWS, 3, *size]))
    found = choose(torch.Size(shape), ROWS, ways, known or {}, wish or Wish())
    return None if found is None else found[0]


def read(layout):
    """The axes, grid and start of a layout."""
    return (layout.batch, layout.channel, layout.positions, layout.grid, layout.start)


IMAGE = {
    "channels first": ([2, 64, 7, 7], (0, 1, (2, 3), (7, 7), 0)),
    "channels last": ([2, 7, 7, 64], (0, 3, (1, 2), (7, 7), 0)),
    "tokens": ([2, 49, 64], (0, 2, (1,), (7, 7), 0)),
    "with a class token": ([2, 197, 64], (0, 2, (1,), (14, 14), 1)),
    "with two": ([2, 198, 64], (0, 2, (1,), (14, 14), 2)),
    "with registers": ([2, 201, 64], (0, 2, (1,), (14, 14), 5)),
    "tokens before the batch": ([197, 2, 64], (1, 2, (0,), (14, 14), 1)),
}


@pytest.mark.parametrize("name", IMAGE)
def test_of_a_square_image(name):
    shape, expected = IMAGE[name]
    assert read(recognize(shape, 224, 224)) == expected


@pytest.mark.parametrize(
    ("shape", "size", "grid", "start"),
    [
        ([2, 24, 16], (32, 48), (4, 6), 0),
        ([2, 25, 16], (32, 48), (4, 6), 1),
        ([2, 16, 4, 6], (32, 48), (4, 6), 0),
        ([2, 4, 6, 16], (32, 48), (4, 6), 0),
        ([2, 13, 10, 64], (100, 75), (13, 10), 0),  # rounded up
        ([2, 108, 64], (100, 75), (12, 9), 0),  # rounded down
        ([2, 131, 64], (100, 75), (13, 10), 1),
        ([2, 24, 16], (8, 8, 12), (2, 2, 3), None),
        ([2, 13, 16], (8, 8, 12), (2, 2, 3), 1),
        ([2, 16, 2, 2, 3], (8, 8, 12), (2, 2, 3), 0),
        ([2, 2, 2, 3, 16], (8, 8, 12), (2, 2, 3), 0),
        ([2, 12, 100], (48,), (12,), 0),
        ([2, 13, 100], (48,), (12,), 1),
        ([2, 100, 12], (48,), (12,), 0),
    ],
)
def test_of_other_shapes(shape, size, grid, start):
    if start is None:  # 24 is no grid of this volume: none is better than a wrong one
        assert recognize(shape, *size) is None
        return
    found = recognize(shape, *size)
    assert found.grid == grid
    assert found.start == start


@pytest.mark.parametrize("shape", [[2, 10], [3, 49, 64], [2, 5, 31, 64], [2, 1, 64], [2, 64, 1, 1]])
def test_what_is_no_grid(shape):
    assert recognize(shape, 224, 224) is None


AMBIGUOUS = {
    "channels first or last": (
        ([2, 8, 8, 8], (32, 32)),
        r'2 that fit: layout="channels_first", grid=\(8, 8\).*; layout="channels_last", gr',
        Wish(layout="channels_last"),
        (0, 3, (1, 2), (8, 8), 0),
    ),
    "two grids": (
        ([2, 8, 16], (20, 30)),
        r'2 that fit: layout="tokens", grid=\(2, .\) .*; layout="tokens", grid=\(2, ',
        Wish(grid=(2, 4)),
        (0, 2, (1,), (2, 4), 0),
    ),
    "time or features": (
        ([2, 16, 32], (64,)),
        r'layout="tokens", grid=\(16,\) \(16\); layout="channels_first", grid=\(32,\) \(32\)',
        Wish(layout="tokens"),
        (0, 2, (1,), (16,), 0),
    ),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_layout_lists_the_candidates(name):
    (shape, size), listed, wish, expected = AMBIGUOUS[name]
    with pytest.raises(
        InputError,
        match=r"^The layout of an activation of shape \[.*\] must be clear; got .*"
        rf"{listed}.*\. Choose one by these options\.$",
    ):
        recognize(shape, *size)
    assert read(recognize(shape, *size, wish=wish)) == expected


def test_as_many_samples_as_tokens():
    """The batch is first, as it is for any other number of samples."""
    found = choose(torch.Size([4, 4, 16]), 4, frames(torch.Size([4, 3, 8, 8])), {}, Wish())
    assert read(found[0]) == (0, 2, (1,), (2, 2), 0)


def test_what_is_known_of_other_values_decides():
    known = Layout(channel=2, positions=(1,), grid=(3, 3), start=0)
    assert recognize([2, 12, 16], 32, 32, known={known: 12}).grid == (3, 3)
    assert recognize([2, 10, 16], 32, 32, known={known: 9}).start == 1


def test_maps_are_read_from_every_layout():
    maps = normal(2, 5, 3, 4)
    flat = maps.flatten(2)
    extra = torch.zeros(2, 2, 5).double()
    grid = (3, 4)
    for layout, tensor in [
        (Layout(channel=1, positions=(2, 3), grid=grid), maps),
        (Layout(channel=3, positions=(1, 2), grid=grid), maps.permute(0, 2, 3, 1)),
        (Layout(channel=2, positions=(1,), grid=grid), flat.mT),
        (Layout(channel=1, positions=(2,), grid=grid), flat),
        (
            Layout(channel=2, positions=(1,), grid=grid, start=2),
            torch.cat([extra, flat.mT], 1),
        ),
        (Layout(channel=2, positions=(1,), grid=grid), torch.cat([flat.mT, extra], 1)),
        (Layout(batch=1, channel=2, positions=(0,), grid=grid), flat.mT.transpose(0, 1)),
    ]:
        assert torch.equal(layout.maps(tensor), maps)


# From the tape


def size_of(model: nn.Module, x: Tensor, **options: object) -> tuple[int, ...]:
    found = pl.explain(model, x, "gradcam", target=0, upsample=False, relu=False, **options)
    return tuple(found.values.shape)


def test_a_square_of_channels_is_no_matter_where_the_tape_tells():
    """Eight channels of eight by eight: the convolution says which axis is which."""
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU(), nn.Flatten(), nn.Linear(512, 2))
    x = torch.randn(2, 3, 32, 32)
    assert size_of(model, x) == (2, 1, 8, 8)
    wished = pl.explain(model, x, "gradcam", target=0, layer="1", layout="channels_last")
    assert not torch.equal(wished.values, pl.explain(model, x, "gradcam", target=0).values)


class Moved(nn.Module):
    """Channels last in, another order of axes inside, channels first never seen from outside."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.order = order
        self.conv = nn.Conv2d(1, 4, (2, 4), (2, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x.permute(self.order)).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((2, 1, 8, 12), (0, 1, 2, 3)),
        ((2, 8, 12, 1), (0, 3, 1, 2)),
        ((2, 8, 1, 12), (0, 2, 1, 3)),
        ((2, 12, 8, 1), (0, 3, 2, 1)),
        ((2, 1, 12, 8), (0, 1, 3, 2)),
    ],
)
def test_the_axes_of_the_input_are_those_the_convolution_reads(shape, order):
    """Whatever the order in which an input has its axes, the map lies the same way."""
    torch.manual_seed(0)
    model = Moved(order)
    plain = Moved((0, 1, 2, 3))
    plain.load_state_dict(model.state_dict())
    x = torch.randn(shape)
    back = [order.index(axis) for axis in range(4)]
    for name in ("gradcam", "scorecam", "guided_gradcam"):
        found = pl.explain(model, x, name, target=0).values
        expected = pl.explain(plain, x.permute(order), name, target=0).values
        assert found.shape == x.shape
        assert_close(found, expected.permute(back))


def test_an_input_without_channels():
    net = planted.load("conv1d")

    def model(x: Tensor) -> Tensor:
        return net.model(x.unsqueeze(1))

    for name in ("gradcam", "scorecam", "guided_gradcam"):
        found = pl.explain(model, net.inputs[:, 0], name, target=0)
        assert found.values.shape == (6, 40)
        assert_close(found.values, pl.explain(net.model, net.inputs, name).values[:, 0])


def test_a_spectrogram_that_is_turned_inside_the_model():
    model = planted.convolutional(2)
    x = torch.randn(2, 16, 40)
    found = pl.explain(lambda x: model(x.unsqueeze(1).transpose(2, 3)), x, "gradcam", relu=False)
    expected = pl.explain(model, x.transpose(1, 2).unsqueeze(1), "gradcam", relu=False)
    assert_close(found.values, expected.values[:, 0].transpose(1, 2))


def test_frames_turn_maps():
    maps = normal(2, 1, 3, 4)
    assert torch.equal(Frame(1, (2, 3), (3, 4)).turn(maps), maps)
    assert torch.equal(Frame(3, (1, 2), (3, 4)).turn(maps), maps.permute(0, 2, 3, 1))
    assert torch.equal(Frame(1, (3, 2), (3, 4)).turn(maps), maps.transpose(2, 3))
    assert torch.equal(Frame(None, (2, 1), (3, 4)).turn(maps), maps[:, 0].transpose(1, 2))


class Series(nn.Module):
    """A transformer on (batch, time, feature), each step a token."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x)).mean(1))


@pytest.mark.parametrize(("steps", "features"), [(20, 3), (20, 20), (7, 50)])
def test_a_series_with_its_features_last(steps, features):
    x, model = normal(2, steps, features).float(), Series(features).eval()
    small = pl.explain(model, x, "cam", target=0, relu=False, upsample=False)
    assert small.values.shape == (2, steps, 1)
    full = pl.explain(model, x, "gradcam", target=0, relu=False)
    assert full.values.shape == (2, steps, 1)
    assert pl.explain(model, x, "guided_gradcam").values.shape == x.shape


def test_a_series_that_might_be_one_of_features():
    """Sixteen features inside, and 64 outside: four times as many steps as well."""
    x, model = normal(2, 20, 64).float(), Series(64).eval()
    with pytest.raises(InputError, match=r'layout="tokens", grid=\(20,\)'):
        pl.explain(model, x, "gradcam")
    assert pl.explain(model, x, "gradcam", layout="tokens").values.shape == (2, 20, 1)
    assert pl.explain(model, x, "gradcam", grid=(20,)).values.shape == (2, 20, 1)


class Recurrent(nn.Module):
    """A convolution, then an LSTM of which the last step is read, or the mean."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(1, 8, 4, stride=2), last
        self.lstm, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.lstm(self.conv(x).relu().transpose(1, 2))[0]
        return self.head(steps[:, -1] if self.last else steps.mean(1))


@pytest.mark.parametrize("last", [True, False])
def test_the_last_step_of_a_recurrence_is_no_map(last):
    """Of steps of which only the last is read there would be one position."""
    model = Recurrent(last=last)
    options = {"target": 0, "relu": False, "upsample": False}
    found = pl.explain(model, normal(2, 1, 40).float(), "layercam", **options)
    assert found.values.shape == (2, 1, 19)
    assert (found.values != 0).sum() > 19


# Inputs and layers


class Joined(nn.Module):
    """Two images with features of their own, and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = planted.convolutional(2)[:4], planted.convolutional(1)[:4]
        self.shared = nn.Conv2d(1, 4, 3)
        self.head = seeded(nn.Linear(4 + 4 + 3, 2)).float()

    def forward(self, image: Tensor, signal: Tensor, table: Tensor) -> Tensor:
        parts = [self.left(image).mean((2, 3)), self.right(signal).mean(2), table]
        return self.head(torch.cat(parts, 1))


@pytest.mark.parametrize("name", ["cam", "gradcam", "scorecam", "guided_gradcam"])
def test_each_input_has_its_own_maps(name):
    inputs = (torch.rand(2, 1, 8, 12), torch.rand(2, 1, 40), torch.rand(2, 3))
    found = pl.explain(Joined(), inputs, name, target=1, relu=False)
    assert [tuple(v.shape) for v in found.values] == [(2, 1, 8, 12), (2, 1, 40), (2, 3)]
    assert found.values[0].any()
    assert found.values[1].any()
    assert not found.values[2].any()
    assert {"The maps are those of `left.3`, 4 x 6.", "The maps are those of `right.3`, 20."} <= {
        *found.notes
    }


def test_a_named_layer_is_of_the_inputs_it_reads():
    inputs = (torch.rand(2, 1, 8, 12), torch.rand(2, 1, 40), torch.rand(2, 3))
    found = pl.explain(Joined(), inputs, "gradcam", target=1, relu=False, layer="right.1")
    assert not found.values[0].any()
    assert found.values[1].any()


class Siamese(nn.Module):
    """One tower for two images."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = planted.convolutional(2)[:4]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.tower(a) * self.tower(b)).mean((1, 2, 3)).unsqueeze(1)


@pytest.mark.parametrize("layer", [None, "tower.3", "tower"])
def test_a_tower_that_runs_twice_is_looked_at_for_each_image(layer):
    net = planted.load("conv2d")
    a, b = net.inputs, net.inputs.flip(3)
    found = pl.explain(Siamese(), (a, b), "gradcam", layer="tower.3" if layer is None else layer)
    turned = pl.explain(Siamese(), (b, a), "gradcam", layer="tower.3")
    assert_close(found.values[0], turned.values[1])
    assert not torch.equal(found.values[0], found.values[1])


def test_suggested_layers_are_those_with_a_grid():
    assert pl.cam.suggest_layers(planted.convolutional(2), torch.rand(2, 1, 8, 12)) == [
        *("0", "1", "2", "3")
    ]
    net = planted.load("vit")
    layers = pl.cam.suggest_layers(net.model, net.inputs)
    assert layers[0] == "patches"
    assert {"blocks.0", "blocks.3.layers.1", "norm"} <= {*layers}
    assert "head" not in layers
    for layer in layers:
        assert pl.explain(net.model, net.inputs, "gradcam", layer=layer).values.isfinite().all()
    assert pl.cam.suggest_layers(nn.Linear(3, 2), torch.rand(2, 3)) == []


def test_the_maps_of_an_instance_norm_do_not_hang_on_the_batch():
    """To torch, its samples are channels of one sample: of one alone, nothing is folded."""
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.InstanceNorm2d(4), nn.Flatten(), nn.Linear(64, 2)
    net, x = seeded(nn.Sequential(*layers)).eval(), normal(3, 3, 6, 6, seed=3)
    whole = pl.explain(net, x, "gradcam", target=0)
    assert any("of `2`" in note for note in whole.notes)
    for i in range(3):
        alone = pl.explain(net, x[i : i + 1], "gradcam", target=0)
        assert_close(alone.values, whole.values[i : i + 1])


@pytest.mark.parametrize("name", ["cam", "gradcam", "layercam", "scorecam", "guided_gradcam"])
def test_a_layer_without_a_grid_gets_those_that_have_one(name):
    net = planted.load("swin")
    with pytest.raises(
        InputError,
        match=r"^The layer `head` must return maps of a grid of positions; got \[6, 1\]\. Layers "
        r"that do: .*second, norm\.$",
    ):
        pl.explain(net.model, net.inputs, name, layer="head")


def test_options_that_are_none():
    with pytest.raises(UnknownNameError, match=r"^`layout` of gradcam .*Did you mean 'tokens'"):
        pl.GradCAM(layout="token")
    for grid in [(0, 3), (1.5, 2), (), (1, 2, 3, 4)]:
        with pytest.raises(InputError, match=r"^`grid` must be one to three positive whole num"):
            pl.ScoreCAM(grid=grid)
    assert hash(pl.GradCAM(grid=(14, 14))) == hash(pl.GradCAM(grid=(14, 14)))


def test_a_grid_that_does_not_fit_is_refused():
    net = planted.load("vit")
    assert size_of(net.model, net.inputs, grid=(4, 6)) == (6, 1, 4, 6)
    assert size_of(net.model, net.inputs, layer="blocks.1", grid=(3, 8)) == (6, 1, 3, 8)
    with pytest.raises(
        InputError,
        match=r"^The layer `blocks\.1` must return maps of a grid of positions as \(9, 9\); got "
        r"\[6, 25, 16\]\. Layers that do: ",
    ):
        size_of(net.model, net.inputs, layer="blocks.1", grid=(9, 9))


def test_tokens_of_a_text_have_no_map():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(
        InputError,
        match=r"^A class activation map must have an input of floating-point numbers .*; got .*"
        r"int64\[2, 3\].*\. For tokens use integrated_gradients or lrp",
    ):
        pl.explain(model, torch.ones(2, 3, dtype=torch.long), "gradcam")


def test_an_image_with_a_text():
    tower, words = planted.convolutional(2), nn.Embedding(7, 1)

    def model(image: Tensor, text: Tensor) -> Tensor:
        return tower(image) + words(text).sum(1)

    x, text = torch.rand(2, 1, 8, 12), torch.ones(2, 3, dtype=torch.long)
    for name in ("cam", "gradcam", "scorecam", "guided_gradcam"):
        found = pl.explain(model, (x, text), name, target=0)
        assert_close(found.values[0], pl.explain(tower, x, name, target=0).values)
        assert not found.values[1].any()


def test_a_model_without_maps():
    for model, x in [(nn.Linear(3, 2), torch.rand(2, 3)), (nn.Flatten(), torch.rand(2, 1, 8, 8))]:
        with pytest.raises(
            InputError,
            match=r"^A CAM must find feature maps: .*; got a model without one.*Name a l",
        ):
            pl.explain(model, x, "gradcam", target=0)
