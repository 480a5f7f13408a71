"""Activations of any operation, statistics of all of them, and what depth does to them."""

import copy
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.inspect import layer_table, results
from pellucid.inspect.activations import edges_of
from tests.zoo.network import Lambda, normal, seeded

activations, layers = pl.inspect.activations, pl.inspect.layers


class Net(nn.Module):
    """A function that bends, one that writes in place, and a unit that is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = seeded(nn.Conv2d(1, 4, 3)), seeded(nn.Conv2d(4, 3, 3), 1)
        self.last = seeded(nn.Linear(3, 2), 2)
        nn.init.zeros_(self.first.weight[2])
        nn.init.constant_(self.first.bias[2], -1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(F.relu_(self.first(x)))
        return self.last(F.elu(x).mean((2, 3)))


NET, X = Net().requires_grad_(False).eval(), normal(5, 1, 9, 9)
H = NET.first(X).relu()
E = F.elu(NET.second(H))


def test_every_activation_function_is_there():
    found = activations(NET, X)
    assert list(found) == ["relu:0", "elu:0"]
    assert_close(found["relu:0"].values, H)
    assert_close(found["elu:0"].values, E)
    assert found["relu:0"].dead.tolist() == [False, False, True, False]
    assert found["relu:0"].zeros == float((H == 0).double().mean())
    sizes = H.flatten(2).amax(2)
    blank = (sizes <= 0.01 * sizes.amax(1, keepdim=True)).double().mean(1)
    assert_close(found["relu:0"].blank, blank)
    assert "relu:0 (relu): 4 x 7 x 7" in repr(found)


def test_any_operation_can_be_named():
    found = activations(NET, X, ["second", "mean:0", "first", 0])
    assert list(found) == ["first", "second", "mean:0"]
    assert_close(found["first"].values, NET.first(X))  # before it is overwritten
    assert_close(found["mean:0"].values, E.mean((2, 3)))
    assert found["mean:0"].pictures().shape == (3, 1, 1)
    linear = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert list(activations(linear, torch.ones(1, 3))) == ["0", "1"]


def test_pictures_run_from_black_to_white():
    found = activations(NET, X)["relu:0"]
    own, shared = (found.pictures(1, scale=each) for each in ("own", "shared"))
    assert own[2].abs().max() == shared[2].abs().max() == 0  # the dead unit is black
    assert_close(own[[0, 1, 3]].flatten(1).amax(1), torch.ones(3).double())
    assert_close(shared, H[1] / H[1].max())


def test_pictures_of_volumes_are_slices_side_by_side():
    volume = activations(nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU()), torch.rand(1, 1, 4, 5, 6))
    found, shown = volume["1"].values[0], volume["1"].pictures()
    assert shown.shape == (2, 4, 3 * 5)
    low, high = (found.flatten(1).aminmax(dim=1)[i].view(2, 1, 1) for i in (0, 1))
    assert_close(shown[:, :, 5:10].float(), (found[:, 1] - low) / (high - low))


def test_units_of_three_axes_are_where_they_are():
    signal = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU())
    assert activations(signal, torch.rand(2, 1, 9))["1"].values.shape == (2, 4, 7)
    tokens = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 4), nn.ReLU())
    ids = torch.randint(0, 9, (2, 5), generator=torch.Generator().manual_seed(0))
    assert activations(tokens, ids)["2"].values.shape == (2, 4, 5)
    assert activations(tokens, ids, axis=1)["2"].values.shape == (2, 5, 4)
    assert [row.units for row in layers(tokens, ids).rows if row.operation == "relu"] == [4]


SAME = ["parameters", "mean", "deviation", "zeros", "units", "dead", "norm"]


class Tokens(nn.Module):
    """Patches of an image as tokens, with dense layers on them and attention."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cut, self.mix = nn.Conv2d(2, 4, 4, 4), nn.Linear(4, 6, bias=bias)
        self.look = nn.MultiheadAttention(6, 2, batch_first=True)
        self.last = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mix(self.cut(x).flatten(2).transpose(1, 2)) + torch.ones(6)
        return self.last(self.look(h, h, h)[0]).mean(1)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_layers_on_tokens_are_there(bias):
    net, x = Tokens(bias).double().eval(), normal(3, 2, 8, 12)
    mixed = net.mix(net.cut(x).flatten(2).transpose(1, 2)).detach()
    found = activations(net, x)  # it has no activation function
    assert {"cut", "mix", "last"} <= set(found)
    assert found["mix"].operation == "mm"
    assert_close(found["mix"].values, mixed.transpose(1, 2))
    whole = layers(net, x).to_frame()
    for size in (1, 2):  # of 3 samples one is left over
        assert_frames(layers(net, x, batch_size=size).to_frame()[SAME], whole[SAME])
    rows = {row.name: row for row in layers(net, x).rows}
    assert (rows["mix"].shape, rows["mix"].units) == ((6, 6), 6)
    assert rows["mix"].mean == pytest.approx(float(mixed.double().mean()))
    assert rows["last"].shape == (6, 5)
    parameters = sum(row.parameters for row in rows.values())
    assert parameters == sum(each.numel() for each in net.parameters())


def test_as_many_samples_as_tokens(monkeypatch):
    """What is (token, sample, feature) within attention is none of (sample, token, feature)."""
    net, x = Tokens(bias=True).double().eval(), normal(8, 2, 8, 12)
    whole = layers(net, x).to_frame()
    for size in (6, 4):  # there are 6 tokens
        assert_frames(layers(net, x, batch_size=size).to_frame(), whole)
    assert [*activations(net, x[:6])] == [*activations(net, x)]
    # A mutant: nobody looks which axis is that of the samples.
    monkeypatch.setattr(results, "_computed", lambda tape, names: object())
    with pytest.raises(ModelError, match="must run the same operations"):
        layers(net, x, batch_size=6)


@pytest.mark.parametrize("ask", [activations, layers])
def test_where_samples_stay_first_the_model_runs_once(ask):
    rows = []

    def counted(x: Tensor) -> Tensor:
        rows.append(len(x))
        return NET(x)

    ask(counted, X[[0, 1]])  # as many as units of the last layer
    assert rows == [2]


MOVED: dict[str, Callable[[Tensor], Tensor]] = {
    "stacked": lambda x: torch.stack(x.unbind(1)).relu().mean(0),
    "turned": lambda x: x.transpose(0, 1).relu().mean(0),
}


@pytest.mark.parametrize("name", MOVED)
def test_where_samples_move_a_second_run_tells_where_they_are(name):
    x = normal(4, 4, 5)  # as many tokens as samples
    assert [*activations(lambda x: MOVED[name](x).tanh(), x)] == ["tanh:0"]


def test_a_model_of_so_many_samples_alone_has_activations():
    fixed = lambda x: (x.transpose(0, 1) + torch.ones(4, 4, 1)).mean(0).tanh()  # noqa: E731
    assert [*activations(fixed, normal(4, 4, 5))] == ["tanh:0"]


def test_a_function_is_not_called_like_what_passes_it_on():
    class Passing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout()

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(F.relu(x)).sum(1, keepdim=True)

    assert list(activations(Passing().eval(), torch.ones(2, 3))) == ["relu:0"]


def test_dense_layers_with_the_channels_last():
    net = Lambda(lambda net, x: F.gelu(net(x)).mean((1, 2)), net=seeded(nn.Linear(3, 7)))
    found = activations(net, normal(2, 4, 5, 3))["gelu:0"]
    assert found.values.shape == (2, 7, 4, 5)


def test_depth_finds_what_is_planted():
    """An operation that finds edges, and one that keeps the picture."""

    class Planted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            edge = torch.tensor([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]])
            across = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), edge).relu()
            whole = (x * 2 + 1).sigmoid()
            return across + whole

    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)).mul(8).round() / 8
    table = activations(Planted(), x, ["relu:0", "sigmoid:0"]).by_depth().set_index("name")
    assert table.loc["relu:0", "edges"] > 0.99 > 0.5 > table.loc["sigmoid:0", "edges"]
    assert table.loc["sigmoid:0", "picture"] > 0.9 > 0.5 > table.loc["relu:0", "picture"]
    assert 0.4 < table.loc["relu:0", "zeros"] < 0.6
    ramp = torch.linspace(0, 1, 6).expand(1, 1, 6, 6)
    assert edges_of(ramp)[0, :, 3, 3].argmax() == 0


@pytest.mark.slow
def test_edges_come_first_and_abstraction_and_sparsity_grow():
    """The three observations, of a trained network; without what it learned two of them are gone.

    Less and less of the picture can be read in both, for pooling alone does that.
    """
    entry = pl.zoo.load("efficientnet_lite0")
    photos = sorted((Path(__file__).parents[2] / "gallery" / "photos").glob("*.png"))
    inputs = torch.cat([entry.preprocess(path) for path in photos])

    def table(net: nn.Module) -> dict[str, list[float]]:
        found = activations(net, inputs).by_depth()
        kept = found[["depth", "edges", "picture", "zeros"]].to_dict("list")
        return kept | {"ranks": found.corr("spearman", numeric_only=True)["depth"]}

    learned = table(entry.model)
    blind = copy.deepcopy(entry.model)
    torch.manual_seed(0)
    for module in blind.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    nothing = table(blind)
    third = len(learned["depth"]) // 3
    first, last = slice(third), slice(-third, None)
    edges, random = learned["edges"], nothing["edges"]
    assert learned["edges"].index(max(edges)) < third / 2
    assert mean(edges[first]) > mean(edges[last]) + 0.05
    assert mean(edges[first]) > mean(random[first]) + 0.1
    assert max(learned["ranks"]["picture"], nothing["ranks"]["picture"]) < -0.6
    assert mean(learned["zeros"][last]) > mean(learned["zeros"][first]) + 0.2
    assert learned["ranks"]["zeros"] > 0.6 > 0 > nothing["ranks"]["zeros"]


def test_they_are_drawn():
    found = activations(NET, X)
    assert found.plot_depth().get_ylabel() == "share, or correlation"
    assert len(found.plot(row=1, count=3).axes) == 6
    assert len(activations(NET, X, ["mean:0"]).plot().axes) == 1
    signal = nn.Sequential(nn.Conv1d(1, 1, 1))
    (ax,) = activations(signal, torch.rand(1, 1, 40), "0").plot().axes
    assert ax.images[0].get_array().shape[:2] == (10, 40)  # a strip that can be seen


def test_long_names_leave_room_for_the_lines():
    long = nn.Sequential()
    long.add_module("a_stage_with_a_very_long_name" * 2, nn.ReLU())
    drawn, plain = (
        activations(net, X[:1]).plot_depth() for net in (long, nn.Sequential(nn.ReLU()))
    )
    assert drawn.figure.get_figheight() > plain.figure.get_figheight() + 2
    assert drawn.get_xlabel().endswith("1 sample")


# Statistics of layers


def test_the_table_is_that_of_hooks():
    table = layers(NET, X, batch_size=2)
    rows = {row.name: row for row in table.rows}
    assert [row.operation for row in table.rows] == [
        "convolution", "relu", "convolution", "elu", "mean", "addmm",
    ]  # fmt: skip
    assert (table.samples, table.parameters) == (5, sum(p.numel() for p in NET.parameters()))
    assert [row.parameters for row in table.rows] == [40, 0, 111, 0, 0, 8]
    row = rows["relu:0"]
    assert (row.shape, row.units, row.dead) == ((4, 7, 7), 4, 1)
    assert_close(
        torch.tensor([row.mean, row.deviation, row.zeros, row.norm, row.high]).double(),
        torch.stack([
            H.mean(), H.std(correction=0), (H == 0).double().mean(),
            H.flatten(1).norm(dim=1).mean(), H.max(),
        ]),
    )  # fmt: skip
    weights = torch.cat([p.flatten() for p in NET.first.parameters()])
    assert rows["first"].weight_norm == pytest.approx(float(weights.norm()))
    assert "LayerTable of 6 operations, 159 parameters, over 5 samples" in repr(table)
    assert len(table.to_frame()) == 6


def test_the_table_does_not_depend_on_the_batches():
    whole = layers(NET, X).to_frame()
    for data in (X.split(1), X.split(4)):
        assert_frames(layers(NET, list(data)).to_frame(), whole)


def assert_frames(one: object, other: object) -> None:
    import pandas as pd

    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


def test_a_wrong_table_is_found(monkeypatch):
    """A mutant: the last batch alone says which units are dead."""
    add = layer_table._Sums.add

    def forget(self: object, values: Tensor, axis: int) -> None:
        self.alive = None
        add(self, values, axis)

    monkeypatch.setattr(layer_table._Sums, "add", forget)
    quiet = torch.cat([X, torch.full((1, 1, 9, 9), -1e3).double()])
    table = layers(NET, quiet, batch_size=1).to_frame()
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        assert_frames(table, layers(NET, quiet).to_frame())


def test_nothing_is_left_on_the_model():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).bfloat16()
    state = {key: each.clone() for key, each in net.state_dict().items()}
    found = activations(net, torch.ones(1, 2, dtype=torch.bfloat16))
    layers(net, torch.ones(3, 2, dtype=torch.bfloat16))
    assert found["1"].values.dtype == torch.bfloat16
    assert all(torch.equal(state[key], each) for key, each in net.state_dict().items())
    assert not any(each._forward_hooks for each in net.modules())


class Wandering(nn.Module):
    """It runs another operation where a sample is negative, or one more."""

    def __init__(self, more: bool = False) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        if float(x.detach().sum()) > 0:
            return x.relu()
        return x.tanh().relu() if self.more else x.sigmoid()


NONE = {
    "at": (lambda: activations(NET, X, "frist"), UnknownNameError, "Did you mean 'first'"),
    "operation": (lambda: activations(NET, X, "rleu:0"), UnknownNameError, "Did you mean 'relu'"),
    "nothing": (lambda: activations(NET, X, []), InputError, "`at` must name at least one"),
    "name": (lambda: activations(NET, X)["relu"], UnknownNameError, "Did you mean 'relu:0'"),
    "axis": (lambda: activations(NET, X, axis=4), InputError, "`axis` must be an axis after that"),
    "scale": (
        lambda: activations(NET, X)["relu:0"].pictures(scale="sharde"),
        UnknownNameError,
        "A scale of activations must be one that exists; got 'sharde'. Did you mean 'shared'",
    ),
    "row": (
        lambda: activations(NET, X).plot(row=5),
        InputError,
        "`row` must be a sample from 0 to 4; got 5",
    ),
    "no bend": (
        lambda: activations(lambda x: x + 1, X),
        InputError,
        "The model must have an operation that bends or has weights",
    ),
    "other ways": (
        lambda: layers(Wandering(), torch.tensor([[1.0], [-1.0]]), batch_size=1),
        ModelError,
        "The model must run the same operations on every batch",
    ),
    "more on the way": (
        lambda: layers(Wandering(more=True), torch.tensor([[1.0], [-1.0]]), batch_size=1),
        ModelError,
        "The model must run the same operations on every batch",
    ),
}


@pytest.mark.parametrize("name", NONE)
def test_what_has_no_activations(name):
    ask, error, message = NONE[name]
    with pytest.raises(error, match=message):
        ask()
