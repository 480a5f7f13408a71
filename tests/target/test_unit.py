"""A unit or a channel of a layer as what is explained: by every method, on any program."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, TargetError, UnknownNameError
from pellucid.target import unit
from tests.zoo.network import Lambda, normal, seeded

X = normal(3, 2, 8, 8, seed=9)


class Net(nn.Module):
    """Two convolutions, the rectifiers after them in place, and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = seeded(nn.Conv2d(2, 4, 3, padding=1))
        self.second = seeded(nn.Conv2d(4, 5, 3, padding=1), 1)
        self.third = seeded(nn.Linear(80, 6), 2)
        self.last = seeded(nn.Linear(6, 3), 3)
        self.idle = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu_(self.third(F.relu_(self.below(x)).flatten(1))))

    def below(self, x: Tensor) -> Tensor:
        """What the second convolution returns."""
        return self.second(F.max_pool2d(F.relu_(self.first(x)), 2))


NET = Net().eval()
with torch.no_grad():
    MAPS = NET.below(X)  # (sample, channel, height, width)


def largest(maps: Tensor) -> list[tuple[int, ...]]:
    """The indices of the largest element of each sample, by looking at every one."""
    found = []
    for one in maps:
        places = [(c, y, x) for c in range(5) for y in range(4) for x in range(4)]
        found.append(max(places, key=lambda place: float(one[place])))
    return found


def only(channel: int) -> Tensor:
    """The maps, with nothing to be found outside of one channel."""
    return MAPS.masked_fill((torch.arange(5) != channel).reshape(1, 5, 1, 1), -torch.inf)


TARGETS = {
    "the strongest": (pl.Target.unit("second"), largest(MAPS)),
    "the strongest of a channel": (pl.Target.unit("second", 2), largest(only(2))),
    "counted from the last": (pl.Target.unit("second", -2), largest(only(3))),
    "one": (pl.Target.unit("second", (1, 2, 3)), [(1, 2, 3)] * 3),
}


@pytest.mark.parametrize("name", TARGETS)
def test_which_unit_it_is(name):
    target, places = TARGETS[name]
    found = pl.explain(NET, X, "saliency", target=target)
    expected = torch.stack([one[place] for one, place in zip(MAPS, places, strict=True)])
    assert_close(found.score, expected)
    x = X.clone().requires_grad_()
    maps = NET.below(x)
    score = sum(one[place] for one, place in zip(maps, places, strict=True))
    assert_close(found.values, torch.autograd.grad(score, x)[0])
    assert_close(found.output, NET(X).detach())
    listed = str(places[0]) if len(set(places)) == 1 else f"[{', '.join(map(str, places))}]"
    assert repr(found.target) == f"Target.unit('second', {listed})"
    assert any(listed in note for note in found.notes)
    assert repr(found[1].target) == f"Target.unit('second', {places[1]})"
    assert any(
        f"of `second`, {places[1]}." in note or "the unit" in note for note in found[1].notes
    )


SUMS = MAPS.sum((2, 3))
CHANNELS = {
    "one": (pl.Target.channel("second", 3), SUMS[:, 3]),
    "the strongest": (pl.Target.channel("second"), SUMS.amax(1)),
    "one a sample": (pl.Target.channel("second", [3, 0, 4]), SUMS[[0, 1, 2], [3, 0, 4]]),
    "a contrast": (pl.Target.channel("second", (3, 1)), SUMS[:, 3] - SUMS[:, 1]),
    "a margin": (
        pl.Target.channel("second", pl.Target.margin(3)),
        SUMS[:, 3] - SUMS[:, [0, 1, 2, 4]].amax(1),
    ),
    "a probability": (
        pl.Target.channel("second", pl.Target.probability(3)),
        SUMS[:, 3].exp() / SUMS.exp().sum(1),
    ),
    "log-odds": (
        pl.Target.channel("second", pl.Target.log_odds(3)),
        SUMS[:, 3] - SUMS[:, [0, 1, 2, 4]].exp().sum(1).log(),
    ),
}
STRONGEST = ", ".join(str(int(channel)) for channel in SUMS.argmax(1))
# What is explained, in words and as it is written.
SAID = {
    "one": ("the sum of channel 3 of `second`", "3"),
    "the strongest": (
        f"the sum of a channel of `second` in each sample, [{STRONGEST}]",
        f"[{STRONGEST}]",
    ),
    "one a sample": ("the sum of a channel of `second` in each sample, [3, 0, 4]", "[3, 0, 4]"),
    "a contrast": ("the sum of channel 3 of `second` less that of channel 1", "(3, 1)"),
    "a margin": (
        "the sum of channel 3 of `second` less the largest of the others",
        "Target.margin(3)",
    ),
    "a probability": (
        "the softmax probability of channel 3 among the sums of the channels of `second`",
        "Target.probability(3)",
    ),
    "log-odds": (
        "the log-odds of channel 3 among the sums of the channels of `second`",
        "Target.log_odds(3)",
    ),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_are_summed(name):
    target, expected = CHANNELS[name]
    found = pl.explain(NET, X, "gradient_x_input", target=target)
    assert_close(found.score, expected)
    words, written = SAID[name]
    assert found.notes[-1] == f"The score is {words}."
    assert repr(found.target) == f"Target.channel('second', {written})"
    assert eval(repr(found.target), {"Target": pl.Target}) == found.target


UPPER = {
    "saliency": {},
    "gradient_x_input": {},
    "integrated_gradients": {"steps": 20, "on_incomplete": "ignore"},
    "smoothgrad": {"samples": 3},
    "lrp": {"rules": pl.rules.Epsilon()},
    "gradcam": {},
}


@pytest.mark.parametrize("name", UPPER)
def test_a_unit_is_explained_as_the_output_of_the_network_below_it(name):
    found = pl.explain(NET, X, name, target=pl.Target.unit("second", (1, 2, 3)), **UPPER[name])
    expected = pl.explain(
        Lambda(lambda net, x: net.below(x), net=NET),
        X,
        name,
        target=pl.Target.region(1, (2, 3)),
        **UPPER[name],
    )
    assert_close(found.score, expected.score)
    # The mean over a region of one cell has a stabilizer of its own.
    assert_close(found.values, expected.values, rtol=1e-5, atol=1e-6)
    assert found.values.abs().sum() > 0


def test_the_unit_stays_the_same_on_the_way_from_the_baseline():
    """At other inputs another unit is the strongest; it is not the one that is explained."""
    found = pl.explain(
        NET, X, "integrated_gradients", target=pl.Target.unit("second"), tolerance=0.01
    )
    places = largest(MAPS)
    with torch.no_grad():
        start = NET.below(torch.zeros_like(X))
    difference = [MAPS[i][p] - start[i][p] for i, p in enumerate(places)]
    assert_close(found.values.sum((1, 2, 3)), torch.stack(difference), rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("name", ["saliency", "lrp", "deconvnet"])
@pytest.mark.parametrize("target", [pl.Target.unit("second"), pl.Target.channel("second")])
def test_neither_batches_nor_company_matter(name, target):
    whole = pl.explain(NET, X, name, target=target)
    parts = pl.explain(NET, X, name, target=target, batch_size=2)
    assert_close(parts.values, whole.values)
    assert parts.target == whole.target
    assert parts.notes == whole.notes
    alone = pl.explain(NET, X[1:2], name, target=target)
    assert_close(whole[1].values, alone.values)
    assert whole[1].target == alone.target
    assert whole[1].notes == alone.notes
    together = pl.compare(NET, X, ["saliency", name, "lrp"], target=target)[1]
    assert_close(together.values, whole.values)


def test_of_a_layer_that_runs_twice_it_is_the_last_run():
    net = Lambda(lambda layer, x: layer(layer(x).tanh()), layer=seeded(nn.Linear(4, 4)))
    x = normal(2, 4)
    for name in ("saliency", "lrp"):
        found = pl.explain(net, x, name, target=pl.Target.unit("layers.layer", (2,)))
        assert_close(found.score, net(x)[:, 2].detach())


def test_of_a_function_around_a_module():
    found = pl.explain(lambda x: NET(x).mean(1), X, "lrp", target=pl.Target.unit("second", 2))
    expected = pl.explain(NET, X, "lrp", target=pl.Target.unit("second", 2))
    assert_close(found.values, expected.values)


def test_of_a_layer_that_returns_several_tensors_it_is_the_first():
    net = Lambda(lambda layer, x: layer(x)[0][:, -1], layer=seeded(nn.GRU(3, 4, batch_first=True)))
    x = normal(2, 5, 3)
    found = pl.explain(net, x, "saliency", target=pl.Target.unit("layers.layer", (4, 1)))
    assert_close(found.score, net(x)[:, 1].detach())
    assert_close(found.values, pl.explain(net, x, "saliency", target=1).values)


def test_of_tokens_the_axis_of_the_features_is_said():
    net = Lambda(
        lambda table, first, last, x: last(first(table(x)).relu().mean(1)),
        table=seeded(nn.Embedding(7, 3)), first=seeded(nn.Linear(3, 4), 1),
        last=seeded(nn.Linear(4, 2), 2),
    )  # fmt: skip
    ids = torch.tensor([[1, 4, 6, 2], [3, 3, 0, 5]])
    with torch.no_grad():
        there = net.layers["first"](net.layers["table"](ids))
    found = pl.explain(
        net, ids, "gradient_x_input", target=pl.Target.unit("layers.first", 2, axis=2)
    )
    assert_close(found.score, there[:, :, 2].amax(1))
    places = [(int(token), 2) for token in there[:, :, 2].argmax(1)]
    assert repr(found.target) == f"Target.unit('layers.first', [{places[0]}, {places[1]}])"
    assert (found.values != 0).sum() == 2  # the token alone, in each sample
    found = pl.explain(net, ids, "lrp", target=pl.Target.channel("layers.first", 2, axis=-1))
    assert_close(found.score, there[:, :, 2].sum(1))


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "smoothgrad", "taylor"])
def test_units_of_attention_are_there_also_where_no_gradient_is_asked_for(name):
    """A fast kernel, which torch takes in evaluation without gradients, passes layers by."""
    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
    net = Lambda(lambda body, x: body(x).mean(1), body=nn.TransformerEncoder(seeded(layer), 1))
    net.eval()
    seen: list[Tensor] = []
    inner = net.layers["body"].layers[0].linear1
    handle = inner.register_forward_hook(lambda module, args, output: seen.append(output))
    x = normal(2, 3, 4)
    net(x.requires_grad_())
    handle.remove()
    target = pl.Target.unit("layers.body.layers.0.linear1", (1, 2))
    found = pl.explain(net, x.detach(), name, target=target, on_incomplete="ignore")
    assert_close(found.score, seen[0][:, 1, 2].detach())
    assert found.values.abs().sum() > 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_layer_that_is_a_softmax_is_not_undone():
    net = nn.Sequential(seeded(nn.Linear(4, 3)), nn.Softmax(1))
    x = normal(2, 4)
    found = pl.explain(net, x, "saliency", target=pl.Target.unit("1", (0,)))
    assert_close(found.score, net(x)[:, 0].detach())
    assert_close(pl.record(net, x).layer("1").tensor, net(x).detach())


def test_it_comes_back_from_a_file_and_is_shown(tmp_path):
    target = pl.Target.unit("second", 2)
    found = pl.explain(NET, X, "lrp", target=target)
    again = pl.load(found.save(tmp_path / "found.safetensors"))
    assert again == found
    assert again.target == found.target
    html = found[0]._repr_html_()
    assert "strongest unit in channel 2 of" in html
    channel = pl.explain(NET, X, "lrp", target=pl.Target.channel("second", 2))
    assert "the sum of channel 2 of" in channel[0]._repr_html_()


def hooks() -> int:
    return len(torch_module._global_forward_hooks) + len(torch_module._global_forward_pre_hooks)


def test_nothing_stays_behind():
    before = hooks()
    pl.explain(NET, X, "saliency", target=pl.Target.unit("second"))

    def broken(x: Tensor) -> Tensor:
        NET(x)
        raise ValueError("no")

    with pytest.raises(pl.errors.ModelError, match="ValueError: no"):
        pl.explain(broken, X, "saliency", target=pl.Target.unit("second"))
    assert hooks() == before


WRONG = {
    "no such layer": (
        lambda: pl.Target.unit("secnd"),
        UnknownNameError,
        r"The layer of a unit must be one that exists; got 'secnd'. Did you mean 'second'\?",
    ),
    "an empty path": (
        lambda: pl.Target.unit(""),
        TargetError,
        "`layer` must be the path of a layer, a string that is not empty; got ''",
    ),
    "no path": (lambda: pl.Target.unit(None), TargetError, "a string that is not empty; got None"),
    "a number": (lambda: pl.Target.channel(3), TargetError, "`layer` must be the path .* got 3"),
    "a layer that does not run": (
        lambda: pl.Target.unit("idle"),
        InputError,
        "The layer `idle` must run, and return a tensor, to have units; got a layer that returned",
    ),
    "a channel too many": (
        lambda: pl.Target.unit("second", 5),
        TargetError,
        "A channel of the layer must be from 0 to 4; got 5",
    ),
    "a place too far": (
        lambda: pl.Target.unit("second", (1, 2, 4)),
        TargetError,
        r"A unit must be one of the layer's, of shape \[5, 4, 4\]; got \(1, 2, 4\)",
    ),
    "an index too few": (
        lambda: pl.Target.unit("second", (1, 2)),
        TargetError,
        r"an index on each of the axes after the samples, which are \[5, 4, 4\] here; got \(1, 2\)",
    ),
    "no number": (
        lambda: pl.Target.unit("second", "strongest"),
        TargetError,
        "A unit must be a channel, or the indices .* got 'strongest'",
    ),
    "a list": (
        lambda: pl.Target.unit("second", [1, 2, 3]),
        TargetError,
        r"A unit must be a channel, or the indices .* got \[1, 2, 3\]",
    ),
    "no whole number": (lambda: pl.Target.unit("second", True), TargetError, "got True"),
    "a sum too many": (
        lambda: pl.Target.channel("second", 7),
        TargetError,
        "A target must be a channel of the layer, from 0 to 4; got 7",
    ),
    "a sum by a function": (
        lambda: pl.Target.channel("second", lambda y: y),
        TargetError,
        "A token, region or box must be of a class",
    ),
    "an axis too many": (
        lambda: pl.Target.channel("second", 1, axis=4),
        InputError,
        "`axis` must be an axis after that of the samples, from 1 to 3; got 4",
    ),
    "the axis of the samples": (
        lambda: pl.Target.unit("second", 1, axis=0),
        InputError,
        "`axis` must be an axis after that of the samples",
    ),
    "no axis": (
        lambda: pl.Target.unit("second", 1, axis="channel"),
        InputError,
        "`axis` must be a whole number, or None; got 'channel'",
    ),
    "too few sums": (
        lambda: pl.Target.channel("second", [1, 2]),
        TargetError,
        "A list of targets must name one class for each of the 3 samples",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name):
    make, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        pl.explain(NET, X, "saliency", target=make())


def test_of_three_axes_nobody_knows_the_channels():
    net = Lambda(lambda layer, x: layer(x).mean((1, 2)), layer=nn.Conv1d(2, 3, 2).double())
    with pytest.raises(InputError, match="`axis` must say which of three axes"):
        pl.explain(net, normal(2, 2, 5), "saliency", target=pl.Target.unit("layers.layer", 1))
    found = pl.explain(
        net, normal(2, 2, 5), "saliency", target=pl.Target.unit("layers.layer", 1, axis=1)
    )
    assert found.values.abs().sum() > 0


def test_a_layer_without_the_samples_is_said():
    net = Lambda(lambda layer, x: layer(x.mean((0, 2, 3))) + x.mean((1, 2, 3)).unsqueeze(1),
                 layer=seeded(nn.Linear(2, 2)))  # fmt: skip
    with pytest.raises(TargetError, match="must return a floating-point tensor with the 3 samples"):
        pl.explain(net, X, "saliency", target=pl.Target.unit("layers.layer"))


# What could be wrong, and what would notice.
def test_a_copy_is_needed_where_the_model_writes_over_its_layer(monkeypatch):
    """Without it, what the rectifier in place has made of the layer would be explained."""
    target = pl.Target.unit("second", (1, 0, 0))
    negative = [i for i in range(3) if MAPS[i, 1, 0, 0] < 0]
    found = pl.explain(NET, X, "saliency", target=target).score
    assert negative
    assert (found[negative] < 0).all()
    monkeypatch.setattr(Tensor, "clone", lambda self, **options: self)
    with torch.no_grad():
        broken = pl.inside.Inside(NET, "second")(X)["layer"][:, 1, 0, 0]
    assert not torch.allclose(broken, found)


MUTANTS = {
    "a mean is no sum": (
        "channel_sums",
        lambda values, axis=None: values.mean((2, 3)),
        lambda: test_channels_are_summed("one"),
    ),
    "another axis": (
        "channel_axis",
        lambda shape, axis=None: len(shape) - 1,
        lambda: test_which_unit_it_is("the strongest of a channel"),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_noticed(mutant, monkeypatch):
    name, broken, check = MUTANTS[mutant]
    check()
    monkeypatch.setattr(unit, name, broken)
    with pytest.raises(AssertionError):
        check()


def test_the_unit_is_chosen_once(monkeypatch):
    """A unit that is chosen anew at each point does not add up to what is explained."""
    target = pl.Target.unit("second")
    monkeypatch.setattr(pl.Target, "select", lambda self, rows: target)
    with pytest.raises(pl.errors.IncompleteWarning, match="must sum to f"):
        test_the_unit_stays_the_same_on_the_way_from_the_baseline()
