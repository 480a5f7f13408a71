"""Paths around the maps, maps that lie mirrored, maps that are shared, and what is no map."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.cam.frame import Frame
from pellucid.errors import InputError, ModelError, UnknownNameError
from tests.cam import textbook
from tests.zoo.network import normal, seeded

CONV = seeded(nn.Conv2d(2, 4, 3, padding=1))
OTHER = seeded(nn.Conv2d(2, 4, 3, padding=1), 3)
HEAD = seeded(nn.Linear(4, 3), 1)
X = normal(2, 2, 8, 6, seed=4)
RAW = {"relu": False, "upsample": False, "target": 1}
CAMS = ["gradcam", "gradcam_plus_plus", "layercam", "scorecam", "guided_gradcam"]


class Net(nn.Module):
    """Two convolutions, a head, and a way to put them together."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.conv, self.other, self.head, self.way = CONV, OTHER, HEAD, forward

    def one(self, x: Tensor, conv: nn.Module | None = None) -> Tensor:
        """The classes of one branch."""
        return self.head((conv or self.conv)(x).relu().mean((2, 3)))

    def forward(self, *x: Tensor) -> Tensor:
        return self.way(self, *x)


# Paths around

AROUND = {
    "both ways round": lambda net, x: net.one(x) + net.one(x.flip(-1)),
    "an ensemble": lambda net, x: net.one(x) + net.one(x, net.other),
    "a pyramid": lambda net, x: net.one(x) + net.one(F.avg_pool2d(x, 2)),
    "the input itself": lambda net, x: net.one(x) + x.mean((1, 2, 3))[:, None],
}


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("layer", [None, "conv"])
def test_cam_refuses_maps_that_only_a_part_of_the_input_passes(name, layer):
    with pytest.raises(
        ModelError,
        match=r"^CAM must find maps that all of the input passes on its way to the score; got "
        r"those of `.*`, and a path around them through `(addmm|mean|unsqueeze)`.*\. Use "
        r'"gradcam", and name the part to look at by `layer=`\.$',
    ):
        pl.explain(Net(AROUND[name]), X, "cam", layer=layer, **RAW)


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("method", CAMS)
def test_the_others_say_that_there_are_other_paths(name, method):
    notes = pl.explain(Net(AROUND[name]), X, method, target=1).notes
    assert any(str(note).startswith("Other paths from the input go around `") for note in notes)


def test_no_path_goes_around_where_all_of_the_input_passes():
    for way in (
        lambda net, x: net.one(x),
        lambda net, x: net.one(x + net.other(x)[:, :2]),  # around the first, not the last
    ):
        found = pl.explain(Net(way), X, "cam", **RAW)
        assert not any("around" in str(note) for note in found.notes)
        assert found.completeness.relative.abs().max() < 1e-8
    cut = Net(lambda net, x: net.one(x) + x.mean((1, 2, 3))[:, None].detach())
    assert not any("around" in str(n) for n in pl.explain(cut, X, "gradcam", **RAW).notes)


# Mirrored


def expected_of(x: Tensor) -> Tensor:
    features = nn.Sequential(CONV, nn.ReLU())
    return textbook.cam(features, HEAD.weight, x, 1)


@pytest.mark.parametrize("axes", [(-1,), (2,), (2, 3), (1, 3), (1,)])
def test_mirrored_maps_are_turned_back(axes):
    """Channels may be flipped too, blue for red: that mirrors no map."""
    found = pl.explain(Net(lambda net, x: net.one(x.flip(axes))), X, "cam", **RAW)
    places = [axis for axis in axes if axis != 1]
    expected = expected_of(X.flip(axes))
    assert_close(found.values[:, 0], expected.unsqueeze(1).flip(places)[:, 0])
    if places:
        assert not torch.allclose(found.values[:, 0], expected)


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("upsample", [True, False])
def test_a_model_that_mirrors_its_input_gets_the_map_of_the_mirrored_input_mirrored(
    method, upsample
):
    options = {"target": 1, "relu": False, "upsample": upsample}
    found = pl.explain(Net(lambda net, x: net.one(x.flip(3))), X, method, **options)
    plain = pl.explain(Net(lambda net, x: net.one(x)), X.flip(3), method, **options)
    assert plain.values.abs().max() > 0
    assert_close(found.values, plain.values.flip(3))
    assert not any("does" in str(note) for note in found.notes)


def test_of_two_branches_the_one_that_is_not_mirrored_is_looked_at():
    half = expected_of(X) / 2
    for way in (
        lambda net, x: (net.one(x) + net.one(x.flip(-1))) / 2,
        lambda net, x: (net.one(x.flip(-1)) + net.one(x)) / 2,
    ):
        assert_close(pl.explain(Net(way), X, "gradcam", **RAW).values[:, 0], half)


def test_maps_that_are_mirrored_twice_lie_as_the_input():
    conv = seeded(nn.Conv2d(4, 4, 1), 5)

    def way(net, x):
        return net.head(conv(CONV(x.flip(3)).relu().flip(3)).relu().mean((2, 3)))

    found = pl.explain(Net(way), X, "gradcam", **RAW)
    features = nn.Sequential(CONV, nn.ReLU())
    maps = conv(features(X.flip(3)).flip(3)).relu()
    assert_close(found.values[:, 0], torch.einsum("nkhw,k->nhw", maps, HEAD.weight[1]) / 48)
    assert not any("Between" in str(note) for note in found.notes)


def test_channels_last_are_mirrored_on_their_own_axes():
    net = Net(lambda net, x: net.one(x.flip(1).permute(0, 3, 1, 2)))
    found = pl.explain(net, X.permute(0, 2, 3, 1), "cam", **RAW)
    assert_close(found.values[..., 0], expected_of(X.flip(2)).flip(1))


@pytest.mark.parametrize(
    ("way", "name"),
    [
        (lambda net, x: net.one(x.roll(2, 3)), "roll"),
        (lambda net, x: net.head((CONV(x) + CONV(x.flip(3))).relu().mean((2, 3))), "flip"),
    ],
)
def test_maps_that_are_moved_otherwise_say_so(way, name):
    notes = pl.explain(Net(way), X, "gradcam", **RAW).notes
    assert any(
        str(n).startswith("Between the input and `") and f"`{name}`" in str(n) for n in notes
    )


def test_what_is_rolled_and_rolled_back_is_not_moved():
    for way in (
        lambda net, x: net.one(x.roll((1, -2), (2, 3)).roll((-1, 2), (2, 3))),
        lambda net, x: net.one(x + x.roll(1, 3).sin().roll(-1, 3)),
    ):
        found = pl.explain(Net(way), X, "gradcam", **RAW)
        assert not any("Between" in str(note) for note in found.notes)


def test_frames_mirror_maps():
    maps = normal(2, 1, 3, 4)
    assert torch.equal(Frame(1, (2, 3), (3, 4), (3,)).turn(maps), maps.flip(3))
    assert torch.equal(Frame(3, (1, 2), (3, 4), (1,)).turn(maps), maps.flip(2).permute(0, 2, 3, 1))
    assert torch.equal(Frame(None, (1, 2), (3, 4), (2,)).turn(maps), maps[:, 0].flip(2))


# Several inputs


def test_inputs_that_are_joined_before_the_maps_share_them():
    conv = seeded(nn.Conv2d(3, 4, 3), 2)

    def model(image: Tensor, depth: Tensor) -> Tensor:
        return HEAD(conv(torch.cat([image, depth], 1)).relu().mean((2, 3)))

    for name in ("cam", "gradcam"):
        found = pl.explain(model, (X, X[:, :1]), name, **RAW)
        assert_close(found.values[0], found.values[1])
        assert any("are of several inputs together" in str(note) for note in found.notes)
        assert found.completeness is None


def test_one_tower_for_two_inputs_sums_over_both():
    found = pl.explain(
        Net(lambda net, a, b: net.one(a) + net.one(b)), (X, X.flip(0) * 2), "cam", **RAW
    )
    total = sum(v.flatten(1).sum(1) for v in found.values)
    assert_close(total, found.score - 2 * HEAD.bias[1].detach())
    assert found.completeness.relative.abs().max() < 1e-8
    assert not any("together" in str(note) for note in found.notes)


# The law is checked, whatever is shown


@pytest.mark.parametrize(
    "norm",
    [
        lambda a: F.batch_norm(a, None, None, training=True),
        seeded(nn.BatchNorm1d(4, track_running_stats=False)).eval(),
        seeded(nn.BatchNorm1d(4)).train(),
    ],
)
@pytest.mark.filterwarnings("ignore::pellucid.errors.TrainingModeWarning")
def test_statistics_of_the_batch_are_not_linear(norm):
    with pytest.raises(ModelError, match=r"got `native_batch_norm`, which is not linear in the ma"):
        pl.explain(lambda x: HEAD(norm(CONV(x).relu().mean((2, 3)))), X, "cam", target=1)


@pytest.mark.parametrize("upsample", [True, False])
def test_maps_that_do_not_add_up_say_so(monkeypatch, upsample):
    """Here because an operation of the head is taken for linear."""
    monkeypatch.setattr("pellucid.cam.pooled._is_affine", lambda operation: True)
    model = Net(lambda net, x: net.head(CONV(x).relu().mean((2, 3)).square()))
    options = {"target": 1, "upsample": upsample}
    with pytest.raises(
        ModelError, match="of CAM must sum to the score less its bias; those of 2 of 2 samp"
    ):
        pl.explain(model, X, "cam", on_incomplete="raise", **options)
    honest = pl.explain(Net(lambda net, x: net.one(x)), X, "cam", on_incomplete="raise", **options)
    assert (honest.completeness is None) == upsample


# Maps that are returned


class Segmenter(nn.Module):
    """Maps of features, one map a class, and what is done with it last."""

    def __init__(self, last) -> None:
        super().__init__()
        self.body, self.out = seeded(nn.Conv2d(2, 4, 3, stride=2)), seeded(nn.Conv2d(4, 3, 1), 1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.out(self.body(x).relu()))


LAST = {
    "nothing": lambda a: a,
    "larger": lambda a: F.interpolate(a, scale_factor=2, mode="bilinear"),
    "nearest": lambda a: F.interpolate(a, scale_factor=2),
    "softmax": lambda a: F.interpolate(a, scale_factor=2, mode="bilinear").softmax(1),
    "sigmoid": lambda a: a.sigmoid(),
    "cut": lambda a: F.pad(a, (1, 1, 1, 1))[:, :, 1:-1, 1:-1],
    "moved": lambda a: a.permute(0, 2, 3, 1).flatten(1, 2),
    "added": lambda a: a + a.flip(3),
}


@pytest.mark.parametrize("last", LAST)
def test_the_maps_of_classes_that_are_returned_are_not_looked_at(last):
    net = Segmenter(LAST[last])
    found = pl.explain(
        net,
        X,
        "gradcam",
        target=lambda y: y.flatten(1)[:, :3].sum(1),
        **{k: v for k, v in RAW.items() if k != "target"},
    )
    maps = net.body(X).relu()
    score = net.last(net.out(maps)).flatten(1)[:, :3].sum()
    gradient = torch.autograd.grad(score, maps)[0]
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1)
    assert_close(found.values[:, 0], expected)


# Costs, options and messages


class Reader(nn.Module):
    """A class token, attention, and layers in which patches no longer count."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 8).double())
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True) for _ in range(3)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens[:, 0])


def test_the_search_walks_back_once_and_counts_it():
    net = seeded(Reader()).eval()
    found = pl.explain(net, X, "gradcam", **RAW)
    assert found.evaluations.backward == 2
    kept = []
    hook = net.layers[2].register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    net(X)[:, 1].sum()
    hook.remove()
    score = net.head(net.layers[2](kept[0])[:, 0])[:, 1].sum()
    gradient = torch.autograd.grad(score, kept[0])[0][:, 1:]
    expected = (gradient.mean(1, keepdim=True) * kept[0][:, 1:]).sum(2).reshape(2, 4, 3)
    assert_close(found.values[:, 0], expected)


def test_the_grid_is_settled():
    assert pl.GradCAM(grid=[8, 8]) == pl.GradCAM(grid=(8, 8))
    assert hash(pl.ScoreCAM(grid=[8, 8])) == hash(pl.ScoreCAM(grid=(8, 8)))
    assert pl.CAM(grid=7).grid == pl.CAM(grid=torch.Size([7])).grid == (7,)
    with pytest.raises(InputError, match=r"^`grid` must be one to three positive whole numbers; g"):
        pl.LayerCAM(grid="88")


@pytest.mark.parametrize("method", [pl.CAM, pl.GradCAM, pl.ScoreCAM, pl.GuidedGradCAM])
def test_options_of_another_type(method):
    for layer in (["3"], 3):
        with pytest.raises(
            InputError, match=r"^`layer` must be the path of a layer, a string; got "
        ):
            method(layer=layer)
    with pytest.raises(InputError, match=r"got Conv2d\(.*\. Find its path: \[path for path, m in "):
        method(layer=CONV)
    for option in ("relu", "upsample"):
        with pytest.raises(InputError, match=rf"^`{option}` must be True or False; got 'no'\.$"):
            method(**{option: "no"})
    with pytest.raises(UnknownNameError, match=r"got \['tokens'\]\. Did you mean 'tokens'\?$"):
        method(layout=["tokens"])


def test_a_grid_of_its_steps_comes_before_one_of_its_features_and_a_class_token():
    embed, head = seeded(nn.Linear(6, 16)), seeded(nn.Linear(16, 3), 1)
    layer = seeded(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), 2).eval()
    found = pl.explain(lambda x: head(layer(embed(x)).mean(1)), normal(2, 7, 6), "cam", **RAW)
    assert found.values.shape == (2, 7, 1)
    assert found.completeness.relative.abs().max() < 1e-8


@pytest.mark.parametrize("method", ["gradcam", "cam"])
def test_maps_of_the_frames_of_a_film(method):
    def frames(net, x):
        return net.one(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)

    film = normal(2, 5, 2, 8, 6)
    message = (
        r"got maps of shape \[10, 4, 8, 6\], with 5 for each of 2 samples\. Maps of parts of a"
    )
    for layer in (None, "conv"):
        with pytest.raises(InputError, match=message):
            pl.explain(Net(frames), film, method, layer=layer)
