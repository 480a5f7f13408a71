"""The examples, patches and classes of a data set that a layer answers most."""

import gc
import itertools
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid import inside
from pellucid.errors import InputError
from pellucid.inspect import top_search
from pellucid.run.samples import Samples
from tests.propagate.test_concepts import EPSILON, PLAIN, through
from tests.zoo.network import Lambda, normal, seeded

# The examples of a data set

DATA = normal(11, 2, 4, 4, seed=4)


def batches(size: int = 3) -> Iterator[Tensor]:
    yield from DATA.split(size)


def activations() -> Tensor:
    with torch.no_grad():
        return PLAIN.second(PLAIN.first(DATA).relu()).flatten(2).amax(2)


def relevances() -> Tensor:
    return pl.LRP(**EPSILON, at="second")(PLAIN, DATA, target=1).values.flatten(2).sum(2)


@pytest.mark.parametrize("size", [1, 3, 11])
@pytest.mark.parametrize("by", ["relevance", "activation"])
def test_the_examples_are_those_of_a_full_sort(by, size):
    table = relevances() if by == "relevance" else activations()
    found = pl.top_examples(
        PLAIN, batches(size), "second", [3, 0], by=by, k=4, method=pl.LRP(**EPSILON), target=1
    )
    assert [each.channel for each in found] == [3, 0]
    for each in found:
        amounts = table[:, each.channel].tolist()
        order = sorted(range(11), key=lambda i: -amounts[i])[:4]
        assert each.index.tolist() == order
        assert_close(each.amounts, table[order, each.channel])
        assert torch.equal(each.explanation.inputs, DATA[order])
        assert each.seen == 11
        assert list(each.to_frame().columns) == ["rank", "index", by]
        assert f"of channel {each.channel} of `second` by {by}, of 11 samples" in repr(each)


def test_the_maps_are_those_of_the_channel():
    (found,) = pl.top_examples(
        PLAIN, batches(), "second", 3, k=2, method=pl.LRP(**EPSILON), target=1
    )
    expected = through({"second": 3}, x=DATA[found.index])
    assert_close(found.explanation.values, expected.values)
    assert_close(found.explanation.values.sum((1, 2, 3)), found.amounts, rtol=1e-4, atol=1e-6)
    for name in ("lrp", "guided_backprop"):
        (found,) = pl.top_examples(PLAIN, batches(), "second", 3, by="activation", k=2, method=name)
        expected = pl.explain(PLAIN, DATA[found.index], name, target=pl.Target.unit("second", 3))
        assert_close(found.explanation.values, expected.values)
        assert_close(found.explanation.score, found.amounts)


@pytest.mark.parametrize("by", ["relevance", "activation"])
def test_channels_are_counted_from_the_last_too(by):
    found = pl.top_examples(PLAIN, batches(), "second", [-1, 1], by=by, k=2, target=1)
    expected = pl.top_examples(PLAIN, batches(), "second", [3, 1], by=by, k=2, target=1)
    assert [each.channel for each in found] == [3, 1]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.index, other.index)
        assert_close(one.explanation.values, other.explanation.values)


def test_conditions_that_are_given_stay():
    method = pl.LRP(**EPSILON, through={"third": [1]})
    (found,) = pl.top_examples(PLAIN, batches(), "second", 3, k=2, method=method, target=1)
    table = through({"third": [1]}, x=DATA, at="second").values.flatten(2).sum(2)[:, 3]
    assert found.index.tolist() == table.argsort(descending=True)[:2].tolist()
    expected = through({"third": [1], "second": 3}, x=DATA[found.index])
    assert_close(found.explanation.values, expected.values)


def test_the_first_of_equals_wins_and_few_samples_are_enough():
    same = DATA[:1].expand(5, -1, -1, -1)
    (found,) = pl.top_examples(PLAIN, [*same.split(2)], "second", 1, by="activation", k=3)
    assert found.index.tolist() == [0, 1, 2]
    (found,) = pl.top_examples(PLAIN, [same], "second", 1, by="activation", k=9)
    assert len(found) == 5


def test_only_the_best_are_held():
    """A pass over many batches holds the inputs of k examples, and no batch."""
    held: list[weakref.ref] = []
    gc.freeze()  # so that only what is made here is looked through

    def stream() -> Iterator[Tensor]:
        for part in DATA.split(1):
            gc.collect()
            assert sum(each() is not None for each in held) <= 2  # this one and the last
            batch = part.clone()
            held.append(weakref.ref(batch))
            yield batch
            del batch

    (found,) = pl.top_examples(PLAIN, stream(), "second", 1, by="activation", k=2)
    gc.unfreeze()
    assert found.seen == 11
    assert found.explanation.inputs.untyped_storage().nbytes() == 2 * DATA[0].numel() * 8


def test_inputs_of_several_tensors():
    net = Lambda(lambda net, a, b: net(a + b), net=PLAIN)
    pairs = [{"a": part, "b": part.flip(0)} for part in batches()]
    (found,) = pl.top_examples(net, pairs, "layers.net.second", 2, k=2, target=1)
    assert set(found.explanation.inputs) == {"a", "b"}
    assert found.explanation.values["a"].shape == (2, 2, 4, 4)


NONE = {
    "no batches": ({"data": []}, "`data` must hold at least one batch of inputs; got none"),
    "a way to measure": (
        {"by": "gradient"},
        "`by` of top examples must be one that exists; got 'gradient'",
    ),
    "too few": ({"k": 0}, "`k` must be a whole number, at least 1"),
    "a channel too many": (
        {"channels": 4},
        "A channel of the layer must be from 0 to 3; got 4",
    ),
    "no channels": ({"channels": []}, "`channels` must be one or more channels of the layer"),
    "a channel too far back": (
        {"channels": -5},
        "A channel of the layer must be from 0 to 3; got -5",
    ),
    "a half channel": ({"channels": 1.5}, "`channels` must be one or more .*; got 1.5"),
    "an operation": (
        {"layer": "relu:0", "by": "activation"},
        "`layer` must be the path of a module for examples by activation; got 'relu:0'. An",
    ),
    "pairs": (
        {"data": [(DATA, torch.zeros(11))]},
        r"Each batch must be what the model takes \(.*forward\(\) takes 2 positional .*"
        r"got \(float64\[11, 2, 4, 4\] on cpu, .*\. Of a loader of pairs, pass \(x for x, _ in",
    ),
    "a text": ({"channels": "all"}, "`channels` must be one or more channels of the layer"),
    "another method": (
        {"method": "saliency"},
        "`method` must be LRP for examples by relevance, which passes single channels; got Sal",
    ),
    "a class a sample": (
        {"target": [1, 2, 0]},
        "`target` must be one for all samples of a data set, or None",
    ),
    "no layer": ({"layer": "secnd"}, "Did you mean 'second'"),
    "sizes": (
        {"data": [DATA[:1], DATA[:1, :, :3]], "by": "activation"},
        "The inputs of all batches must have one shape",
    ),
}


@pytest.mark.parametrize("name", NONE)
def test_examples_that_cannot_be(name):
    changed, message = NONE[name]
    options = {"data": batches(), "layer": "second", "channels": 1, "k": 2} | changed
    net = PLAIN
    if name == "sizes":
        net = Lambda(lambda net, x: net.second(net.first(x)).mean((2, 3)), net=PLAIN)
        options["layer"] = "layers.net.second"
    with pytest.raises(InputError, match=message):
        pl.top_examples(net, **options)


# Drawn


def test_examples_are_drawn():
    found = pl.top_examples(PLAIN, batches(), "second", [3, 0], k=2, target=1)
    figure = pl.plot.examples(found)
    assert len(figure.axes) == 8
    shown, below = figure.axes[1], figure.axes[0]
    assert shown.get_title() == f"channel 3: {float(found[0].amounts[0]):.3g}"
    assert shown.get_position().y0 > below.get_position().y1
    assert shown.get_position().height == pytest.approx(below.get_position().height)
    last = figure.axes[-2].get_position()
    assert 0 < last.y0 < last.y1 < below.get_position().y0
    seen = []
    one = pl.plot.examples(
        found[0], overlay=0.8, pictures=lambda x: seen.append(x.shape) or torch.zeros(4, 4, 3)
    )
    assert (len(one.axes), seen) == (2, [(1, 2, 4, 4)] * 2)
    with pytest.raises(InputError, match="`found` must be what pellucid.top_examples returns"):
        pl.plot.examples([])


# Patches, units, classes and runs that go on


def brute(table: Tensor, k: int, per_image: int) -> list[tuple[float, int, tuple[int, ...]]]:
    """The k largest (amount, sample, place) of (sample, *place), so many a sample, by loops."""
    every = [
        (float(table[(row, *place)]), -row, tuple(-i for i in place))
        for row in range(len(table))
        for place in itertools.product(*map(range, table.shape[1:]))
    ]
    found: list[tuple[float, int, tuple[int, ...]]] = []
    for amount, row, place in sorted(every, reverse=True):
        if sum(each[1] == -row for each in found) < per_image and len(found) < k:
            found.append((amount, -row, tuple(-i for i in place)))
    return found


def maps_of(by: str) -> Tensor:
    """What is measured at the second layer, position by position."""
    if by == "relevance":
        return pl.LRP(**EPSILON, at="second")(PLAIN, DATA, target=1).values
    with torch.no_grad():
        return PLAIN.second(PLAIN.first(DATA).relu())


@pytest.mark.parametrize("per_image", [1, 2, None])
@pytest.mark.parametrize("by", ["relevance", "activation"])
def test_patches_are_those_of_brute_force(by, per_image):
    options = {"by": by, "k": 5, "patches": True, "per_image": per_image, "target": 1}
    method = pl.LRP(**EPSILON) if by == "relevance" else "deconvnet"
    found = pl.top_examples(PLAIN, DATA, "second", [2, 0], method=method, batch_size=4, **options)
    for each in found:
        expected = brute(maps_of(by)[:, each.channel], 5, per_image or 16)
        assert_close(each.amounts, torch.tensor([a for a, _, _ in expected]).double())
        assert each.index.tolist() == [row for _, row, _ in expected]
        assert [tuple(place) for place in each.place.tolist()] == [p for _, _, p in expected]
        for place, box, patch, drawn in zip(
            each.place.tolist(), each.box.tolist(), each.patches, each.reconstructions, strict=True
        ):
            field = pl.inspect.receptive_field(PLAIN, DATA, "second", place)
            assert field.box == tuple(map(tuple, box))
            assert patch.shape == drawn.shape == (2, *field.size)
        assert torch.equal(each.patches[0], field_of(each))
    assert "start_0" in found[0].to_frame()


def field_of(found: object) -> Tensor:
    (top, bottom), (left, right) = found.box[0].tolist()
    return DATA[int(found.index[0]), :, top:bottom, left:right]


def test_a_wrong_search_is_found(monkeypatch):
    """Mutants: of equals the last wins; the first batch alone counts."""
    look = top_search.Best.look
    monkeypatch.setattr(top_search.Best, "look", lambda self, maps, start: start == 0 and look(
        self, maps, start
    ))  # fmt: skip
    with pytest.raises(AssertionError):
        test_patches_are_those_of_brute_force("activation", 1)


def test_reconstructions_start_from_the_unit():
    (found,) = pl.top_examples(PLAIN, DATA, "second", 3, by="activation", k=3, patches=True)
    for row in range(3):
        unit = pl.Target.unit("second", (3, *found.place[row].tolist()))
        x = DATA[found.index[row : row + 1]]
        expected = pl.explain(PLAIN, x, "deconvnet", target=unit)
        assert_close(found.explanation.values[row : row + 1], expected.values)
        box = found.box[row].tolist()
        assert_close(
            found.reconstructions[row],
            expected.values[0][(slice(None), *(slice(*each) for each in box))],
        )


@pytest.mark.parametrize("by", ["relevance", "activation"])
def test_a_unit_is_looked_at_alone(by):
    method = pl.LRP(**EPSILON) if by == "relevance" else None
    found, other = pl.top_examples(
        PLAIN, DATA, "second", [(3, 1, 2), 0], by=by, k=4, method=method, target=1
    )
    amounts = maps_of(by)[:, 3, 1, 2]
    order = amounts.argsort(descending=True)[:4]
    assert found.index.tolist() == order.tolist()
    assert_close(found.amounts, amounts[order])
    assert found.place.tolist() == [[1, 2]] * 4
    table = activations() if by == "activation" else relevances()
    assert_close(other.amounts, table[:, 0].sort(descending=True).values[:4])


def test_classes_are_looked_at_by_their_scores():
    net = nn.Sequential(nn.Flatten(), seeded(nn.Linear(32, 3)), nn.Softmax(1))
    with torch.no_grad():
        scores = net[:2](DATA)
    found = pl.top_examples(net, DATA, classes=[2, 0], k=3, batch_size=2)
    for each in found:
        assert (each.layer, each.by) == (None, "score")
        order = scores[:, each.channel].argsort(descending=True)[:3]
        assert each.index.tolist() == order.tolist()
        assert_close(each.explanation.score, scores[order, each.channel])
    assert "of class 2 by score, of 11 samples" in repr(found[0])
    assert len(pl.top_examples(PLAIN, DATA, "second", by="activation", k=1, method=None)) == 4


class PowerError(RuntimeError):
    """What ends a run in the middle."""


@pytest.mark.parametrize("by", ["relevance", "activation"])
def test_a_run_that_was_stopped_goes_on(by, tmp_path):
    options = {"by": by, "k": 4, "patches": True, "batch_size": 2, "target": 1}
    options["method"] = pl.LRP(**EPSILON) if by == "relevance" else "deconvnet"
    read: list[int] = []

    def samples(end: int) -> Samples:
        def rows(start: int, stop: int) -> Tensor:
            if stop > end:
                raise PowerError
            read.append(start)
            return DATA[start:stop]

        return Samples(rows=11, read=rows, mark="DATA")

    ask = ("second", [1, 2])
    with pytest.raises(PowerError):
        pl.top_examples(PLAIN, samples(7), *ask, folder=tmp_path / "run", **options)
    assert max(read) == 4
    read.clear()
    found = pl.top_examples(PLAIN, samples(11), *ask, folder=tmp_path / "run", **options)
    assert min(read[:4]) == 6  # what was looked at is not looked at again
    again = pl.top_examples(PLAIN, samples(11), *ask, folder=tmp_path / "run", **options)
    whole = pl.top_examples(PLAIN, DATA, *ask, **options)
    for one in (found, again):
        for each, other in zip(one, whole, strict=True):
            assert torch.equal(each.index, other.index)
            assert_close(each.amounts, other.amounts)
            assert_close(each.explanation.values, other.explanation.values)
            assert each.seen == 11
    with pytest.raises(InputError, match="`folder` must hold a run of the same settings: 'ask'"):
        pl.top_examples(PLAIN, samples(11), "third", 1, folder=tmp_path / "run", **options)


def test_samples_that_several_channels_show_are_held_once():
    found = pl.top_examples(PLAIN, DATA, "second", by="activation", k=3, method=None)
    assert len({id(each.held) for each in found}) == 1
    (held,) = found[0].held.leaves
    assert len(held) == len({int(i) for each in found for i in each.index})
    assert all(torch.equal(each.inputs, DATA[each.index]) for each in found)
    assert found[0].held.tree is not DATA


class Late(nn.Module):
    """It writes over what a layer returned, but not in the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.ran = seeded(nn.Conv2d(2, 3, 3)), []

    def forward(self, x: Tensor) -> Tensor:
        self.ran.append(len(x))
        h = self.first(x)
        if float(x.sum()) != float(DATA[:4].sum()):
            h.mul_(-1)
        return h.flatten(1)


def test_what_a_layer_returned_is_lent_or_copied(monkeypatch):
    """A mutant: nobody looks whether it was written over."""
    net = Late().eval()
    expected = net.first(DATA).detach().flatten(2).amax(2)[:, 1].sort(descending=True).values[:4]

    def found() -> Tensor:
        (channel,) = pl.top_examples(
            net, DATA, "first", 1, by="activation", k=4, method=None, batch_size=4
        )
        return channel.amounts

    net.ran.clear()
    assert_close(found(), expected)
    assert net.ran == [4, 4, 4, 3]  # one batch once more, with copies from then on
    monkeypatch.setattr(inside.Loans, "check", lambda self, _: setattr(self, "trusted", True))
    assert not torch.allclose(found(), expected)


def test_classes_of_a_model_that_returns_more():
    net = Lambda(lambda net, x: {"loss": x.mean(), "logits": net(x).flatten(1)}, net=PLAIN)
    options = {"classes": [1, 0], "k": 3, "batch_size": 4}
    found = pl.top_examples(net, DATA, target=("logits",), **options)
    expected = pl.top_examples(PLAIN, DATA, **options)
    for one, other in zip(found, expected, strict=True):
        assert_close(one.amounts, other.amounts)
        assert_close(one.explanation.values, other.explanation.values)


@pytest.mark.parametrize("by", ["relevance", "activation"])
def test_samples_on_another_axis_or_after_what_all_share(by):
    options = {"by": by, "k": 3, "patches": True, "target": 1}
    options["method"] = pl.LRP(**EPSILON) if by == "relevance" else "deconvnet"
    (expected,) = pl.top_examples(PLAIN, DATA, "second", 2, **options)
    second = Lambda(lambda net, x: net(x.transpose(0, 1)), net=PLAIN)
    shared = Lambda(lambda net, zero, x: net(x + zero.sum()), net=PLAIN)
    for net, data, axis in (
        (second, DATA.transpose(0, 1), 1),
        (shared, (torch.zeros(2, 2).double(), DATA), (None, 0)),
    ):
        (found,) = pl.top_examples(net, data, "layers.net.second", 2, batch_axis=axis, **options)
        assert torch.equal(found.box, expected.box)
        assert_close(found.patches, expected.patches)
        assert_close(found.reconstructions, expected.reconstructions)


def test_patches_of_a_series_are_steps():
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.read = nn.LSTM(2, 3, batch_first=True).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.read(x)[0].mean(1)

    x = normal(5, 6, 2)
    (found,) = pl.top_examples(
        Steps(), x, "read", 1, by="activation", k=3, patches=True, axis=2, method=None
    )
    for row, place, patch in zip(found.index, found.place[:, 0], found.patches, strict=True):
        assert torch.equal(patch, x[row, : place + 1])


def test_each_sample_runs_forward_once():
    """At most 1.1 times the passes over the data: here exactly those, and none backward."""
    rows: list[int] = []
    net = nn.Sequential(seeded(nn.Conv2d(2, 4, 3)), nn.ReLU(), nn.Flatten()).requires_grad_(False)

    def counted(x: Tensor) -> Tensor:
        rows.append(len(x))
        return net(x)

    pl.top_examples(counted, DATA, "1", by="activation", method=None, batch_size=4)
    assert rows == [4, 4, 3]
    pl.top_examples(counted, DATA, "1", by="activation", method=None, patches=True, batch_size=4)
    assert rows[3:] == [4, 4, 3, 1]  # and one sample for what its units see


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_nothing_is_left_on_the_model(dtype):
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).to(dtype).eval()
    state = {key: each.clone() for key, each in net.state_dict().items()}
    options = {"by": "activation", "k": 2, "patches": True}
    found = pl.top_examples(net, DATA.to(dtype), "2", **options)
    assert found[0].explanation.values.dtype == found[0].inputs.dtype == dtype
    with pytest.raises(InputError):
        pl.top_examples(net, DATA.to(dtype), "2", 7, **options)
    assert all(torch.equal(state[key], each) for key, each in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not any(each._forward_hooks for each in net.modules())


NEITHER = {
    "both": ({"layer": "second", "classes": 1}, "Top examples must be of channels of a layer, or"),
    "neither": ({}, "Top examples must be of a `layer`, or of `classes`; got neither"),
    "patches of classes": ({"classes": 1, "patches": True}, "Patches must be of units of a layer"),
    "unit": (
        {"layer": "second", "channels": (1, 9, 0), "by": "activation"},
        r"A unit of the layer must be a channel, or \(channel, \*place\) with a place among \[",
    ),
    "stream": (
        {"layer": "second", "folder": "runs", "data": [DATA]},
        "With a `folder`, `data` must be tensors or Samples, which are read again; got batches",
    ),
    "no method": (
        {"layer": "second", "method": None},
        "`method` must be LRP for examples by relevance.*; got None",
    ),
    "a callable": (
        {"classes": 1, "target": lambda output: output.sum(1)},
        "`target` must lead to the scores of classes, or be None, to look for `classes`",
    ),
    "no class": ({"classes": 99}, "A class must be from 0 to 2; got 99"),
}


@pytest.mark.parametrize("name", NEITHER)
def test_what_cannot_be_looked_for(name):
    changed, message = NEITHER[name]
    with pytest.raises(InputError, match=message):
        pl.top_examples(PLAIN, **({"data": DATA} | changed))


def test_patches_are_drawn():
    found = pl.top_examples(PLAIN, DATA, "second", [0, 1], by="activation", k=3, patches=True)
    assert len(found[0].plot().axes) == 6
    assert len(pl.plot.patches(found, reconstructions=False).axes) == 6
    with pytest.raises(InputError, match="`found` must be top examples of images with patches"):
        pl.plot.patches(pl.top_examples(PLAIN, DATA, "second", 0, k=2, target=1))
