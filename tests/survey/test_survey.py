"""A survey shows what its parts find, of channels that nobody picked, and goes on when stopped."""

import copy
import importlib
import re

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect import activations, layers
from pellucid.survey import classes, survey, units

home = importlib.import_module("pellucid.survey.survey")
LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
OPTIONS = {"units": 3, "k": 2, "steps": 4, "method": "gradient_x_input", "labels": LABELS}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)
        self.second = nn.Conv2d(4, 6, 3, stride=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().double().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(10, 2, 11, 11, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture(scope="module")
def found(net, images):
    return survey(net, images, **OPTIONS)


def parts(view):
    """All tensors of a survey, in order."""
    for layer in view.layers:
        for unit in layer.units:
            yield from (unit.amounts, unit.index, unit.dream, unit.filter)
            yield from (*unit.patches, *unit.reconstructions)
    for each in view.classes:
        yield from (torch.tensor([*each.prototypes, -1, *each.criticisms]), each.heatmap)


def alike(a, b):
    return all(torch.allclose(x, y, atol=1e-10) for x, y in zip(parts(a), parts(b), strict=True))


def test_layers_are_the_convolutions_and_channels_are_spread(found):
    assert [each.layer for each in found.layers] == ["first", "second"]
    assert [[unit.number for unit in each.units] for each in found.layers] == [[0, 2, 3], [0, 2, 5]]
    assert found.layers[0].channels == 4
    assert ("Receptive field", "3 x 3 pixels") in found.layers[0].facts
    assert ("Output of one sample", "6 x 4 x 4") in found.layers[1].facts


def test_patches_are_those_of_brute_force(net, images, found):
    """The k samples with the largest activations, each cut where the strongest unit looks."""
    maps = conv2d(images, net.first.weight, net.first.bias)
    for unit in found.layers[0].units:
        own = maps[:, unit.number].flatten(1)
        best = own.amax(1).topk(2)
        assert unit.index.tolist() == best.indices.tolist()
        torch.testing.assert_close(unit.amounts, best.values, rtol=0, atol=1e-10)
        for row, patch in zip(best.indices.tolist(), unit.patches, strict=True):
            y, x = divmod(int(own[row].argmax()), maps.shape[-1])
            torch.testing.assert_close(patch, images[row, :, y : y + 3, x : x + 3])


def test_reconstructions_of_the_first_layer_are_its_filters(net, found):
    """One unit starts from its activation, and what goes down is that times its weights."""
    unit = found.layers[0].units[1]
    for amount, drawn in zip(unit.amounts, unit.reconstructions, strict=True):
        torch.testing.assert_close(drawn, amount.clamp(min=0) * net.first.weight[2].detach())
    torch.testing.assert_close(unit.filter, net.first.weight[2].detach())


def test_dreams_have_the_size_of_what_a_unit_sees_and_values_of_images(images, found):
    low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))
    for layer, side in zip(found.layers, (3, 5), strict=True):
        for unit in layer.units:
            assert unit.dream.shape == (2, side, side)
            assert bool((unit.dream >= low[:, None, None] - 1e-6).all())
            assert bool((unit.dream <= high[:, None, None] + 1e-6).all())


def test_prototypes_are_of_their_class_and_maps_are_means(net, images, found):
    assert [(each.number, each.samples) for each in found.classes] == [(0, 4), (1, 3), (2, 3)]
    for each in found.classes:
        rows = [row for row, label in enumerate(LABELS) if label == each.number]
        assert len(each.prototypes) == 3
        assert set(each.prototypes) | set(each.criticisms) <= set(rows)
        assert not set(each.prototypes) & set(each.criticisms)
        x = images[rows].requires_grad_()
        (slope,) = torch.autograd.grad(net(x)[:, each.number].sum(), x)
        maps = (slope * x).detach().sum(1)
        mean = (maps / maps.abs().sum((1, 2), keepdim=True)).mean(0)
        torch.testing.assert_close(each.heatmap.double(), mean, rtol=0, atol=1e-6)


def test_without_labels_predictions_tell_classes_apart(net, images):
    predicted = net(images).argmax(1)
    given = survey(net, images, ["second"], **(OPTIONS | {"labels": None, "units": 1}))
    assert {each.number: each.samples for each in given.classes} == {
        int(k): int((predicted == k).sum()) for k in predicted.unique()
    }
    assert given.by == "predictions"


def test_answers_do_not_depend_on_the_size_of_batches(net, images, found):
    assert alike(found, survey(net, images, batch_size=3, **OPTIONS))


def test_the_model_is_untouched_also_when_something_fails(net, images, monkeypatch):
    state = {name: each.clone() for name, each in net.state_dict().items()}
    random = torch.random.get_rng_state()

    def boom(*_, **__):
        raise RuntimeError("boom")

    monkeypatch.setattr(units, "filters", boom)
    with pytest.raises(RuntimeError, match="boom"):
        survey(net, images, **OPTIONS)
    assert all(torch.equal(each, state[name]) for name, each in net.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(each.grad is None and each.requires_grad for each in net.parameters())


def test_a_run_that_was_stopped_goes_on_and_says_the_same(
    net, images, found, tmp_path, monkeypatch
):
    asked = []
    whole = units.dream

    def twice(*given, **options):
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return whole(*given, **options)

    monkeypatch.setattr(units, "dream", twice)
    with pytest.raises(KeyboardInterrupt):
        survey(net, images, folder=tmp_path / "run", **OPTIONS)
    again = survey(net, images, folder=tmp_path / "run", **OPTIONS)
    assert len(asked) == 3  # the first layer's dreams were there, the second's were made again
    assert alike(found, again)
    monkeypatch.setattr(units, "dream", None)
    monkeypatch.setattr(units.TopOfLayers, "of", None)
    monkeypatch.setattr(classes, "represented", None)
    assert alike(found, survey(net, images, folder=tmp_path / "run", **OPTIONS))
    with pytest.raises(InputError, match="must hold a run of the same settings: 'options'"):
        survey(net, images, folder=tmp_path / "run", **(OPTIONS | {"steps": 5}))


def test_without_data_there_are_dreams_and_filters(net):
    bare = survey(net, like=torch.zeros(1, 2, 11, 11).double(), units=2, steps=2)
    assert bare.samples == 0
    assert bare.classes == []
    assert all(len(unit.patches) == 0 for each in bare.layers for unit in each.units)
    assert all(unit.dream is not None for each in bare.layers for unit in each.units)


def test_a_channel_that_is_silent_and_filters_that_are_too_large_are_told_of(
    net, images, monkeypatch
):
    quiet = copy.deepcopy(net)
    quiet.first.weight.data[2] *= 1e-9
    quiet.first.bias.data[2] = 0
    monkeypatch.setattr(units, "MOST_PATTERNS", 4 * 2 * 9)
    first, second = survey(quiet, images, **OPTIONS).layers
    said = [any("hardly answers" in note for note in unit.notes) for unit in first.units]
    assert said == [False, True, False]
    assert ("Filters", "not shown: too large") in second.facts
    assert all(unit.filter is None for unit in second.units)
    assert all(unit.filter is not None for unit in first.units)


def test_tokens_have_their_channels_on_the_last_axis(images):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut = nn.Conv2d(2, 5, 4, stride=4)
            self.mix = nn.Linear(5, 7)

        def forward(self, x):
            return self.mix(self.cut(x).flatten(2).transpose(1, 2)).mean(1)

    torch.manual_seed(0)
    net = Tokens().double().eval()
    made = survey(net, images, ["mix"], **OPTIONS)
    (layer,) = made.layers
    assert layer.channels == 7
    tokens = net.mix(net.cut(images).flatten(2).transpose(1, 2))
    best = tokens[..., layer.units[1].number].amax(1).topk(2)
    assert layer.units[1].index.tolist() == best.indices.tolist()
    assert layer.units[1].patches[0].shape == (2, 4, 4)


def test_what_is_looked_at_is_spread_over_the_samples(net, images, monkeypatch):
    """Samples of a class stand together, and the first of all say nothing of the last."""
    monkeypatch.setattr(home, "MOST_LOOKED_AT", 3)
    monkeypatch.setattr(home, "MOST_HELD", 2)
    seen = survey(net, images, **OPTIONS)
    assert seen.looked == 3
    assert seen.table.to_frame().equals(layers(net, images[[0, 4, 9]]).to_frame())
    torch.testing.assert_close(
        seen.depth["relu:1"].values, activations(net, images[[0, 9]])["relu:1"].values
    )


def test_maps_are_the_same_some_at_a_time(net, images, found, monkeypatch):
    monkeypatch.setattr(classes, "AT_ONCE", 2)
    monkeypatch.setattr(classes, "MOST_MAPS", 3)
    few = survey(net, images, **OPTIONS).classes
    monkeypatch.setattr(classes, "AT_ONCE", 1)
    again = survey(net, images, **OPTIONS).classes
    for one, other, whole in zip(few, again, found.classes, strict=True):
        torch.testing.assert_close(one.heatmap, other.heatmap)
        torch.testing.assert_close(one.example, whole.example)


def test_layers_of_a_transformer_are_not_its_first_alone(images):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut = nn.Conv2d(2, 4, 4, stride=4)
            self.mix = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.mix(self.cut(x).flatten(2).transpose(1, 2)).mean(1))

    seen = survey(Tokens().double().eval(), images, **OPTIONS).layers
    assert [each.layer for each in seen] == ["cut", "mix.self_attn", "mix.linear1", "mix.linear2"]
    assert [each.channels for each in seen] == [4, 4, 6, 4]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"layers": ["secnd"]}, UnknownNameError, "got 'secnd'. Did you mean 'second'?"),
        ({"data": None}, InputError, "`data`, or an image that is `like` them"),
        ({"data": torch.rand(4, 2)}, InputError, "images (sample, channel, height, width); got"),
        ({"labels": [0, 1]}, InputError, "one class by number for each of the 10 samples"),
        ({"labels": [0.5] * 10}, InputError, "one class by number for each of the 10 samples"),
        ({"units": 0}, InputError, "`units` must be a whole number"),
        ({"recipe": "fuorier"}, UnknownNameError, "Did you mean 'fourier'?"),
    ],
)
def test_what_is_asked_wrongly(net, images, given, error, said):
    with pytest.raises(error, match=re.escape(said)):
        survey(net, **({"data": images} | OPTIONS | given))


def test_a_model_without_layers_that_have_channels(images):
    with pytest.raises(InputError, match="no convolution and no dense layer"):
        survey(lambda x: x.flatten(1), images)


def backwards(found, name, whole=units._all_of):
    return whole(found, name)[::-1]


@pytest.mark.parametrize(
    ("home", "name", "mutant", "law"),
    [
        (units, "spread", lambda items, most: list(items)[:most], "channels"),
        (units, "_all_of", backwards, "patches"),
        (classes, "MOST_MAPS", 1, "maps"),
    ],
)
def test_mutants_die(net, images, monkeypatch, home, name, mutant, law):
    monkeypatch.setattr(home, name, mutant)
    wrong = survey(net, images, **OPTIONS)
    laws = {
        "channels": lambda: test_layers_are_the_convolutions_and_channels_are_spread(wrong),
        "patches": lambda: test_patches_are_those_of_brute_force(net, images, wrong),
        "maps": lambda: test_prototypes_are_of_their_class_and_maps_are_means(net, images, wrong),
    }
    with pytest.raises(AssertionError):
        laws[law]()


class Scored(nn.Module):
    """A network that answers in another way than by a table of scores."""

    def __init__(self, net, answer):
        super().__init__()
        self.net, self.answer = net, answer

    def forward(self, x):
        return self.answer(self.net(x))


HALVES = OPTIONS | {"labels": [0, 1] * 5, "units": 1}


@pytest.mark.parametrize(
    "answer",
    [
        lambda scores: scores[:, :1],
        lambda scores: scores[:, 0],
        lambda scores: scores[:, :1].sigmoid(),
        lambda scores: {"logits": scores[:, :1]},
    ],
    ids=["logit", "flat", "sigmoid", "logits"],
)
def test_one_score_speaks_for_the_second_class_and_against_the_first(net, images, answer):
    found = survey(Scored(net, answer).eval(), images, ["net.second"], **HALVES)
    assert [each.number for each in found.classes] == [0, 1]
    for each, sign in zip(found.classes, (-1, 1), strict=True):
        x = images[each.prototypes[:1]].requires_grad_()
        score = answer(net(x))
        score = score["logits"] if isinstance(score, dict) else score
        (slope,) = torch.autograd.grad(score.sum(), x)
        wanted = sign * (slope * x).detach().sum(1)[0]
        torch.testing.assert_close(each.example.double(), wanted, rtol=1e-5, atol=1e-8)


def test_scores_may_be_the_logits_of_a_dict(net, images):
    inside = Scored(net, lambda scores: {"other": -scores, "logits": scores}).eval()
    plain = survey(net, images, ["second"], **HALVES)
    assert alike(plain, survey(inside, images, ["net.second"], **HALVES))


@pytest.mark.parametrize(("labels", "classes"), [([0, 1] * 5, 2), (None, 0)])
def test_a_model_without_scores_has_no_maps_and_it_is_said(net, images, labels, classes):
    pair = Scored(net, lambda scores: (scores, scores)).eval()
    found = survey(pair, images, ["net.second"], **(HALVES | {"labels": labels}))
    assert [each.example for each in found.classes] == [None] * classes
    assert all(each.heatmap is None and len(each.prototypes) == 3 for each in found.classes)
    (note,) = (each for each in found.notes if "table of scores (sample, class)" in each)
    assert ("there are no labels" in note) == (labels is None)


@pytest.mark.parametrize("label", [3, -1])
def test_labels_are_classes_of_the_model(net, images, label, monkeypatch):
    monkeypatch.setattr(home, "_views", None)  # it is known before the work
    said = f"`labels` must be classes of the model by number, from 0 to 2; got {label}. Leave out"
    with pytest.raises(InputError, match=re.escape(said)):
        survey(net, images, **(OPTIONS | {"labels": [0] * 9 + [label]}))


def test_a_mean_map_says_of_how_many_samples_it_is(net, images, monkeypatch):
    monkeypatch.setattr(classes, "MOST_MAPS", 2)
    found = survey(net, images, ["second"], **OPTIONS)
    assert [(each.samples, each.maps) for each in found.classes] == [(4, 2), (3, 2), (3, 2)]
