"""The parts of dreams beside what papers say: terms, parameterizations, objectives, pictures."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid import Target
from pellucid.errors import InputError, ModelError, TargetError, UnknownNameError
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.parameterization import Decorrelated, Fourier, Pixel, Pyramid
from pellucid.inspect.dreaming.recipe import RECIPES, recipe_of
from pellucid.inspect.dreaming.terms import (
    L2,
    TERMS,
    Blur,
    ClipContribution,
    ClipNorm,
    Decay,
    Jitter,
    Range,
    Rotate,
    Scale,
    Term,
    TotalVariation,
    terms_of,
)
from pellucid.plot.dreams import dreams, paths
from pellucid.seeding import seeded

IMAGE = Layout(shape=(3, 8, 10))
SIGNAL = Layout(shape=(2, 12))
TOKENS = Layout(shape=(12, 2), channel_axis=2)
TABLE = Layout(shape=(7,))


def some(layout, seed=0, dreams=2):
    return torch.randn(dreams, *layout.shape, generator=seeded(seed), dtype=torch.float64)


# Terms


def test_total_variation_is_the_sum_over_pairs():
    x = some(IMAGE)
    slow = torch.zeros(2, dtype=torch.float64)
    for row in range(8):
        for column in range(10):
            if row < 7:
                slow += (x[:, :, row, column] - x[:, :, row + 1, column]).abs().pow(1.5).sum(1)
            if column < 9:
                slow += (x[:, :, row, column] - x[:, :, row, column + 1]).abs().pow(1.5).sum(1)
    assert torch.allclose(TotalVariation(weight=0.3, power=1.5).cost(x, IMAGE), 0.3 * slow)


@pytest.mark.parametrize("make", [Blur(every=1), Jitter(share=0.2), Scale(), TotalVariation()])
def test_embeddings_are_signals_with_their_channels_last(make):
    x = some(SIGNAL)
    found, turned = (_applied(make, each, layout) for each, layout in
                     ((x, SIGNAL), (x.movedim(1, 2), TOKENS)))  # fmt: skip
    assert torch.allclose(turned.movedim(2, 1) if turned.ndim == 3 else turned, found)


def _applied(term, x, layout):
    term.check(layout)
    if hasattr(term, "moved"):
        return term.moved(x, layout, seeded(3))
    return term.cost(x, layout) if hasattr(term, "cost") else term.corrected(x, x, 1, layout)


def test_decay_and_range():
    x = some(IMAGE)
    assert torch.allclose(Decay(rate=0.25).corrected(x, x, 1, IMAGE), 0.75 * x)
    low = torch.tensor([-1.0, 0, 0.5]).reshape(3, 1, 1)
    found = Range(low=low, high=1.0).corrected(x, x, 1, IMAGE)
    assert torch.equal(found, x.maximum(low.double()).clamp(max=1))


def test_blur_is_a_gaussian_every_so_many_steps():
    term = Blur(width=0.8, every=3)
    x = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    x[0, 0, 7, 7] = 1
    layout = Layout(shape=(1, 15, 15))
    assert torch.equal(term.corrected(x, x, 2, layout), x)
    found = term.corrected(x, x, 6, layout)[0, 0]
    distance = (torch.arange(15.0, dtype=torch.float64) - 7).square()
    line = torch.exp(-distance / (2 * 0.8**2)) * (distance <= 9)
    line /= line.sum()
    assert torch.allclose(found, line[:, None] * line, atol=1e-9)


@pytest.mark.parametrize("layout", [IMAGE, SIGNAL, TABLE], ids=["image", "signal", "table"])
def test_clips_empty_the_smallest(layout):
    x, slope = some(layout), some(layout, seed=1)
    for term, amounts in (
        (ClipNorm(share=0.4), x.square()),
        (ClipContribution(share=0.4), x * slope),
    ):
        sums = amounts.sum(1) if layout.positions else amounts
        found = term.corrected(x, slope, 1, layout)
        for row in range(2):
            order = sums[row].abs().flatten().argsort()
            empty = order[: round(0.4 * len(order))]
            wanted = x[row].reshape(-1, sums[row].numel()).clone()
            wanted[:, empty] = 0
            assert torch.equal(found[row].flatten(), wanted.flatten())


def test_jitter_rolls_within_its_reach():
    x, shifts = torch.zeros(1, 1, 20, 10), set()
    x[0, 0, 0, 0] = 1
    for seed in range(60):
        moved = Jitter(share=0.1).moved(x, Layout(shape=(1, 20, 10)), seeded(seed))
        shifts.add(tuple(moved[0, 0].nonzero()[0].tolist()))
    assert {row for row, _ in shifts} == {0, 1, 2, 18, 19}
    assert {column for _, column in shifts} == {0, 1, 9}


def test_a_quarter_turn_and_half_the_size(monkeypatch):
    from pellucid.inspect.dreaming.terms import warp

    monkeypatch.setattr(warp, "_between", lambda draw: 1.0)
    x = some(Layout(shape=(3, 8, 8)))
    turned = Rotate(degrees=90).moved(x, Layout(shape=(3, 8, 8)), seeded(0))
    assert any(torch.allclose(turned, x.rot90(k, (2, 3)), atol=1e-9) for k in (1, 3))
    monkeypatch.setattr(warp, "_between", lambda draw: 1.0)
    flat = torch.linspace(-1, 1, 9, dtype=torch.float64).expand(1, 1, 9)
    found = Scale(share=0.5).moved(flat, Layout(shape=(1, 9)), seeded(0))
    assert torch.allclose(found, flat / 1.5, atol=1e-9)  # enlarged: slopes are less


def test_a_turned_oblong_keeps_its_proportions(monkeypatch):
    from pellucid.inspect.dreaming.terms import warp

    monkeypatch.setattr(warp, "_between", lambda draw: 1.0)
    layout = Layout(shape=(1, 21, 41))
    y, x = torch.meshgrid(torch.arange(21.0) - 10, torch.arange(41.0) - 20, indexing="ij")
    ring = torch.exp(-((((x**2 + y**2).sqrt() - 5) / 2) ** 2))[None, None].double()
    found = Rotate(degrees=40).moved(ring, layout, seeded(0))
    inside = x**2 + y**2 < 9**2  # further out what is reflected at the border comes in
    assert (found - ring)[0, 0][inside].abs().max() < 0.08  # what is round stays so


@pytest.mark.parametrize(
    ("term", "layout"),
    [
        (TotalVariation(), TABLE),
        (Blur(), TABLE),
        (Jitter(), TABLE),
        (Scale(), TABLE),
        (Rotate(), SIGNAL),
    ],
)
def test_terms_that_need_positions_say_so(term, layout):
    with pytest.raises(InputError, match="must be used on dreams that have"):
        term.check(layout)


def test_terms_by_name():
    assert {type(each) for each in terms_of(list(TERMS.all()))} == set(TERMS.all().values())
    assert all(issubclass(each, Term) for each in TERMS.all().values())
    with pytest.raises(UnknownNameError, match="Did you mean 'jitter'"):
        terms_of(["jiter"])
    with pytest.raises(InputError, match="must be a name, or made of its class"):
        terms_of([Jitter])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: L2(weight=-1), "`weight` must be a weight"),
        (lambda: TotalVariation(power=0.5), "`power` must be at least 1"),
        (lambda: Blur(every=0), "`every` must be a whole number"),
        (lambda: Decay(rate=2), "`rate` must be a share"),
        (lambda: ClipNorm(share=2), "`share` must be a share"),
        (lambda: Range(low=1.0, high=0.0), "`low` must be less than `high`"),
        (lambda: L2(center=torch.ones(4)).check(IMAGE), "`center` must be a number, or a tensor"),
        (lambda: Decorrelated(correlations=[[1, 2], [2, 1]]), "positive definite"),
        (lambda: Decorrelated().check(SIGNAL), "must be of the 2 of the dream"),
        (lambda: Layout(shape=(3, 4), channel_axis=3), "`channel_axis` must be an axis"),
    ],
)
def test_options_are_checked(make, text):
    with pytest.raises(InputError, match=text):
        make()


# Parameterizations


@pytest.mark.parametrize("layout", [IMAGE, SIGNAL, TOKENS, Layout(shape=(2, 5, 6, 7))])
@pytest.mark.parametrize("way", [Pixel(), Fourier(), Fourier(power=0), Pyramid(levels=3)])
def test_numbers_stand_for_any_dream(way, layout):
    x = some(layout)
    numbers = way.numbers(x, layout)
    assert len(numbers) == 2
    assert torch.allclose(way.dream(numbers, layout), x)


def test_waves_are_amplified_as_photographs_have_them():
    layout = Layout(shape=(1, 16, 16))
    size = torch.randn(400, 1, 16, 9, 2, generator=seeded(0), dtype=torch.float64)
    power = torch.fft.rfft2(Fourier().dream(size, layout)).abs().square().mean((0, 1))
    low, high = power[0, 1], power[0, 4]
    assert math.isclose(low / high, 16, rel_tol=0.3)  # amplitude 1 / f, power 1 / f^2
    white = Fourier(power=0).dream(size, layout)
    shaped = Fourier().dream(size, layout)
    assert math.isclose(shaped.std(), white.std(), rel_tol=0.1)


def test_a_pyramid_reaches_wide_with_one_number():
    layout = Layout(shape=(1, 16, 16))
    numbers = torch.zeros(1, 256 + 64 + 16, dtype=torch.float64)
    numbers[0, 256 + 64 + 5] = 1  # of the coarsest level
    assert (Pyramid(levels=3).dream(numbers, layout) > 0).sum() > 30


def test_channels_are_correlated_as_asked():
    data = some(IMAGE, dreams=50)
    data[:, 1] += 2 * data[:, 0]
    way = Decorrelated.of(data, inner=Pixel())
    white = torch.randn(200, *IMAGE.shape, generator=seeded(1), dtype=torch.float64)
    made = way.dream(white, IMAGE)
    wanted = torch.corrcoef(data.movedim(1, 0).flatten(1))
    assert torch.allclose(torch.corrcoef(made.movedim(1, 0).flatten(1)), wanted, atol=0.03)
    assert torch.allclose(way.dream(way.numbers(made, IMAGE), IMAGE), made)


@pytest.mark.parametrize("name", RECIPES.all())
@pytest.mark.parametrize("layout", [IMAGE, SIGNAL, TOKENS])
def test_recipes_fit_all_that_has_positions(name, layout):
    found = recipe_of(name, layout)
    for term in found.terms:
        term.check(layout)
    found.parameterization.check(layout)


# Objectives


def test_objectives_are_written_as_they_are():
    unit, channel = Target.unit("a.b", (1, 2, 3)), Target.channel("a", (3, 1))
    names = ["cat", "dog", "cow"]
    objective = 2 * pl.inspect.Objective.of(2) - pl.inspect.Objective.of(unit)
    assert objective.words(names) == "2 cow - a.b unit (1,2,3)"
    assert pl.inspect.Objective.of(channel).words() == "a channel 3 - 1"
    assert pl.inspect.Objective.of((0, 1)).words(names) == "cat - dog"
    assert objective.named("mine").words() == "mine"
    layer = pl.inspect.Objective.layer("a")
    assert (layer.words(), repr(layer)) == ("layer a", "layer a")
    assert (0.5 * layer - 1).words(names) == "0.5 layer a - dog"
    assert repr(-layer - 1) == "-layer a - Target.index(1)"


def test_probabilities_are_written_with_the_names_of_their_classes():
    both, names = pl.inspect.Objective.of(1) - 2 * pl.inspect.Objective.of(0), ["cat", "dog"]
    assert both.on("score") == both
    assert both.on("probability").words(names) == "probability of dog - 2 probability of cat"
    assert both.on("log_probability").words() == "log p of class 1 - 2 log p of class 0"
    assert repr(both.on("log_probability")) == "log p of class 1 - 2 log p of class 0"
    assert pl.inspect.Objective.of(Target.log_odds(1)).words() == "Target.log_odds(1)"


@pytest.mark.parametrize("weight", [math.nan, "2", pl.inspect.Objective.of(1), None])
def test_an_objective_is_multiplied_by_numbers(weight):
    with pytest.raises(InputError, match="`weight` must be a number, by which an objective"):
        pl.inspect.Objective.of(1) * weight


def test_names_that_are_too_few():
    with pytest.raises(InputError, match="`names` must have a name for every class, class 2 too"):
        pl.inspect.Objective.of((2, 0)).words(["cat", "dog"])


@pytest.mark.parametrize(
    "given", [None, [], [None], Target.unit("a"), Target.channel("a"), [[1, 2]], "name"]
)
def test_a_target_that_does_not_say_what_to_dream_of(given):
    with pytest.raises(TargetError):
        pl.inspect.dream(nn.Linear(2, 2), given, shape=2)


# Bad input


def small():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))


def reshaped(shape):
    return nn.Sequential(nn.Linear(5, int(np.prod(shape))), nn.Unflatten(1, shape))


DATA = torch.rand(2, 3, 8, 8)
CODED = {"shape": (3, 8, 8), "code": 5}


@pytest.mark.parametrize(
    ("targets", "options", "error", "text"),
    [
        (Target.unit("convv", 1), {}, UnknownNameError, "The layer of a unit must be one"),
        (Target.unit("0", 9), {}, TargetError, "A channel of the layer must be from 0 to 1"),
        (Target.unit("0", (0, 9, 9)), {}, TargetError, "A unit must be one of the layer's"),
        (9, {}, TargetError, "A target must be a class of the output, from 0 to 3"),
        (0, {"shape": None}, InputError, "The shape of a dream must be known"),
        (0, {"shape": (0, 3)}, InputError, "`shape` must be that of one dream"),
        (0, {"like": torch.zeros(1, 3, 8, 8)}, InputError, "`shape` or `like`"),
        (0, {"shape": (3, 2, 2)}, ModelError, "The model must run on the inputs"),
        (0, {"terms": ["jiter"]}, UnknownNameError, "Did you mean 'jitter'"),
        (0, {"recipe": "yosinsky"}, UnknownNameError, "Did you mean 'yosinski'"),
        (0, {"climb": "adams"}, UnknownNameError, "Did you mean 'adam'"),
        (0, {"parameterization": "fourrier"}, UnknownNameError, "Did you mean 'fourier'"),
        (0, {"start": "nois"}, UnknownNameError, "Did you mean 'noise'"),
        (0, {"start": "mean"}, InputError, "A start at the mean of data must have some"),
        (0, {"start": "class_mean", "data": DATA}, InputError, "must know the class of each"),
        (3, {"start": "class_mean", "data": DATA, "labels": [0, 1]}, InputError, "none of class 3"),
        (0, {"start": "class_mean", "data": DATA, "labels": [0]}, InputError, "`labels` must be"),
        (
            Target.channel("0", 1),
            {"start": "class_mean", "data": DATA, "labels": [0, 1]},
            InputError,
            "must be used with targets that are classes",
        ),
        (0, {"start": "mean", "data": DATA[:, :1]}, InputError, "must have samples of shape"),
        (0, {"code": 5}, InputError, "`code` must be given with a `generator`"),
        (
            0,
            {"generator": reshaped((3, 8, 8)), "start": "mean", "data": DATA, **CODED},
            InputError,
            "`start` in code space must be",
        ),
        (0, {"start": torch.zeros(2, 3, 8, 8)}, InputError, "`start` must be finite"),
        (0, {"on": "odds"}, UnknownNameError, "`on` of a dream"),
        ((0, 1), {"on": "probability"}, TargetError, "must be used with targets that are classes"),
        (0, {"expert": 3}, InputError, "`expert` must be a callable"),
        (0, {"expert": lambda x: x.sum()}, InputError, "The expert must return one number"),
        (0, {"seed": [1, 2]}, InputError, "`seed` must be one, or one for each of the 1 dreams"),
        (0, {"steps": 0}, InputError, "`steps` must be a whole number, at least 1"),
        (0, {"rate": -1}, InputError, "`rate` must be a positive number"),
        (0, {"batch_size": 0}, InputError, '`batch_size` must be "auto" or a positive whole'),
        (
            3,
            {"start": "class_mean", "data": DATA, "labels": ["a", "b"]},
            InputError,
            "`labels` must be the number of a class for each sample.*numpy.unique",
        ),
        (
            0,
            {"generator": lambda z: torch.zeros(len(z), 3, 8, 8), **CODED},
            ModelError,
            "What is dreamed must depend on the numbers it is made of.*model or generator",
        ),
        (
            0,
            {"expert": lambda x: x.flatten(1).sum(1) * math.nan},
            ModelError,
            "What expert and terms say must stay finite; got nan in dream 0 at step 1",
        ),
        (0, {"generator": reshaped((3, 4, 4)), **CODED}, InputError, "of shape \\[3, 8, 8\\]"),
        (0, {"generator": reshaped((192,)), **CODED}, InputError, "Reshape them"),
        (0, {"generator": lambda z: z.sum(), **CODED}, InputError, "one input for each of the 1"),
        (0, {"generator": nn.Linear(7, 2), **CODED}, InputError, "`generator` must run on codes"),
        (0, {"generator": lambda z: z}, InputError, "The shape of a code must be known"),
        (
            0,
            {"generator": reshaped((3, 8, 8)), "terms": ["decay"], **CODED},
            InputError,
            "must be left out in code space",
        ),
        (
            0,
            {"generator": reshaped((3, 8, 8)), "parameterization": "pixel", **CODED},
            InputError,
            "`parameterization` or `generator`",
        ),
    ],
)
def test_bad_input(targets, options, error, text):
    net = small()
    net(torch.zeros(1, 3, 8, 8))
    with pytest.raises(error, match=text):
        pl.inspect.dream(net, targets, **{"shape": (3, 8, 8), "steps": 1, **options})


def test_an_image_smaller_than_the_receptive_field():
    net = nn.Sequential(nn.Conv2d(3, 2, 7, padding=3), nn.Conv2d(2, 2, 7, padding=3))
    with pytest.raises(InputError, match=r"receptive field of .* \[13, 13\].*shape=\(3, 13, 13\)"):
        pl.inspect.dream(net, Target.unit("1", 0), shape=(3, 9, 9), steps=1)
    with pytest.raises(InputError, match=r"receptive field of .* \[13, 13\].*shape=\(3, 13, 13\)"):
        pl.inspect.dream(net, Target.unit("1", 0), shape=(3, 5, 5), steps=1)
    assert pl.inspect.dream(net, Target.unit("1", 0), shape=(3, 13, 13), steps=1).notes == ()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.over = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x):
        return self.over(x)[0][:, -1]


def test_a_unit_of_a_recurrent_layer_sees_what_comes_before_it_in_any_input():
    found = pl.inspect.dream(
        Recurrent(), Target.unit("over", (2, 3)), shape=(6, 4), channel_axis=2, steps=2
    )
    assert found.fields == ((slice(0, 3),),)
    assert found.notes == ()


def test_token_ids_are_no_dream():
    with pytest.raises(InputError, match="Token ids have no slope"):
        pl.inspect.dream(nn.Embedding(4, 2), 0, like=torch.zeros(1, 3, dtype=torch.long))


def test_an_objective_that_autograd_cannot_follow():
    with pytest.raises(ModelError, match="must depend on the input through torch operations"):
        pl.inspect.dream(lambda x: x.detach(), 0, shape=3)


def test_a_climb_that_leaves_all_numbers():
    with pytest.raises(ModelError, match="must stay finite.*Lower `rate`"):
        pl.inspect.dream(
            lambda x: x.exp().exp(), 0, shape=2, climb="gradient", rate=9.0, steps=9, terms=[]
        )
    with pytest.raises(ModelError, match="must stay finite; got inf in dream 0 at step 2"):
        pl.inspect.dream(lambda x: x.exp(), 0, shape=2, rate=900.0, steps=1, terms=[])


def test_a_start_may_be_an_array():
    start = np.full((1, 3), 0.5, dtype=np.float32)
    found = pl.inspect.dream(nn.Linear(3, 2), 0, start=start, rate=1e-12, steps=1)
    assert torch.allclose(found.inputs, torch.full((1, 3), 0.5))


# Pictures


def test_many_channels_have_numbers_that_can_be_read_and_long_names_are_cut():
    found = pl.inspect.dream(nn.Flatten(), 0, shape=(16, 384), channel_axis=2, steps=1)
    ax = found.plot(names=["a name " * 20] * 6144).axes[0]
    assert len(ax.get_yticks()) <= 12
    assert ax.get_title().split("\n")[0].endswith("…")


def test_pictures_of_images_signals_and_tables():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    found = pl.inspect.dream(net, [0, Target.unit("0", 1)], shape=(3, 8, 8), steps=2)
    first, second = dreams(found, names=["a", "b", "c"]).axes
    assert first.get_title().startswith("a\n")
    assert first.images[0].get_array().shape == (8, 8, 3)
    assert second.images[0].get_array().shape == (3, 3, 3)
    assert dreams(found, whole=True).axes[1].images[0].get_array().shape == (8, 8, 3)
    made = dreams(found, pictures=lambda x: np.full((*x.shape[2:], 3), 0.5)).axes[0]
    assert (made.images[0].get_array() == 128).all()
    assert len(paths(found).lines) == 2
    for shape, axis in (((2, 9), 1), ((9, 2), 2)):
        signal = pl.inspect.dream(nn.Flatten(), [0, 3], shape=shape, channel_axis=axis, steps=2)
        assert signal.plot().axes[0].images[0].get_array().shape == (2, 9, 3)
    table = pl.inspect.dream(nn.Linear(5, 2), [0, 1], shape=5, steps=2)
    assert len(table.plot(dark=True).axes[0].patches) == 5
    assert "2 dreams of [5]: Target.index(0)" in repr(table)
