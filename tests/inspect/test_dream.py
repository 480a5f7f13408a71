"""Dreams beside closed forms and slow ascents by the book, one dream at a time."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid as pl
from pellucid import Target
from pellucid.errors import InputError
from pellucid.inspect.dreaming import ascent
from pellucid.inspect.dreaming.ascent import ascend
from pellucid.inspect.dreaming.terms import L2, Jitter, Motion, Range, TotalVariation
from pellucid.seeding import seeded
from tests.counting import Counting, Limited
from tests.test_untouched import Breaks, Watched, prepared

pytestmark = pytest.mark.filterwarnings("ignore::pellucid.errors.TrainingModeWarning")
Objective = pl.inspect.Objective
PLAIN = {"climb": "gradient", "parameterization": "pixel"}


def linear(seed=0, features=6, classes=3):
    torch.manual_seed(seed)
    return nn.Linear(features, classes).double()


def convolutional(seed=0):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3), nn.Softplus()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(5 * 4, 4)).double().eval()


SHAPE = (3, 10, 10)
MANY = [
    0,
    (2, 3),
    Target.unit("3", 2),
    Target.unit("3", (1, 0, 1)),
    Target.channel("0", 3),
    Target.channel("0", 1),
    Objective.layer("3"),
    Objective.of(1) - 0.5 * Objective.of(Target.channel("3", 2)),
    Target.probability(2),
    lambda output: output[:, 1] * 2,
    1,
]


# Laws


@pytest.mark.parametrize(
    ("climb", "steps", "rate", "near"), [("gradient", 30, 0.5, 1e-9), ("adam", 150, 0.1, 1e-2)]
)
@pytest.mark.parametrize("center", [0.0, torch.linspace(-1, 1, 6, dtype=torch.float64)])
def test_a_linear_score_with_a_cost_of_length_has_its_optimum(climb, steps, rate, near, center):
    net, weight = linear(), 0.8
    terms = [L2(weight=weight, center=center)]
    found = pl.inspect.dream(
        net, [0, 1, 2], shape=6, terms=terms, climb=climb, steps=steps, rate=rate
    )
    assert torch.allclose(found.inputs, center + net.weight / (2 * weight), atol=near)


def test_an_expert_draws_a_linear_score_to_where_its_data_are():
    net, spread = linear(), 0.5
    mean = torch.arange(6, dtype=torch.float64)
    expert = torch.distributions.Independent(
        torch.distributions.Normal(mean, torch.tensor(spread, dtype=torch.float64)), 1
    )
    found = pl.inspect.dream(
        net, [0, 1, 2], shape=6, terms=[], expert=expert, expert_weight=2.0, steps=80, rate=0.1,
        climb="gradient",
    )  # fmt: skip
    assert torch.allclose(found.inputs, mean + net.weight * spread**2 / 2)


def test_in_code_space_the_prior_bounds_the_code():
    net, generator = linear(), linear(seed=1, features=2, classes=6)
    found = pl.inspect.dream(
        net,
        [0, 2],
        generator=generator,
        code=2,
        prior_weight=0.5,
        steps=60,
        rate=0.5,
        climb="gradient",
    )
    codes = net.weight[[0, 2]] @ generator.weight  # of w (A z + b) - z^2 / 2
    assert torch.allclose(found.codes, codes)
    assert torch.allclose(found.inputs, generator(codes))
    assert found.inputs.requires_grad is False


def small_steps(net):
    terms = [L2(weight=0.01), TotalVariation(weight=0.01)]
    found = pl.inspect.dream(
        net, [0, 1, Target.channel("0", 2), (2, 1)], shape=SHAPE, start="noise", terms=terms,
        steps=25, rate=0.01, **PLAIN,
    )  # fmt: skip
    assert found.path.shape == (4, 26)
    return found.path.diff(dim=1)


def test_small_plain_steps_never_lower_the_objective():
    assert (small_steps(convolutional()) >= 0).all()


def test_a_step_downhill_is_seen(monkeypatch):
    monkeypatch.setattr(ascent, "_direction", lambda climb, point, moments, step: -point.slope)
    assert (small_steps(convolutional()) < 0).any()


@pytest.mark.parametrize("recipe", ["plain", "yosinski", "fourier"])
def test_a_dream_is_the_same_among_others(recipe):
    net, options = convolutional(), {"recipe": recipe, "steps": 4, "start": "noise"}
    seeds = [n % 3 for n in range(len(MANY))]
    together = pl.inspect.dream(
        net, MANY, like=torch.zeros(1, *SHAPE).double(), seed=seeds, **options
    )
    cut = pl.inspect.dream(
        net, MANY, like=torch.zeros(1, *SHAPE).double(), seed=seeds, batch_size=4, **options
    )
    assert torch.allclose(together.inputs, cut.inputs, atol=1e-9)
    for row in range(0, len(MANY), 3):
        alone = pl.inspect.dream(net, MANY[row], shape=SHAPE, seed=seeds[row], **options)
        assert torch.allclose(alone.inputs[0], together.inputs[row], atol=1e-9)
        assert torch.allclose(alone.score[0], together.score[row])


def nearness_to_what_stays(**options):
    """How near waves come to one that moves little, beside fine noise that moves with all of it."""
    steady = torch.cos(torch.arange(32) * math.tau / 32).expand(1, 32, 32)
    fine = torch.randn(1, 32, 32, generator=seeded(0))
    net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 1, bias=False))
    net[1].weight.data = (steady + fine).reshape(1, -1)
    found = pl.inspect.dream(
        net, [0] * 4, shape=(1, 32, 32), recipe="fourier", steps=48, seed=range(4), **options
    )
    return torch.cosine_similarity(found.inputs.flatten(1), steady.reshape(1, -1))


def test_moved_waves_are_those_whose_slope_stays():
    assert (nearness_to_what_stays() > 0.99).all()


def test_steps_that_are_as_long_for_every_wave_are_seen():
    assert (nearness_to_what_stays(climb="adam", rate=0.05) < 0.5).all()


@pytest.mark.parametrize("climb", ["normalized", "adam"])
def test_the_dream_of_a_unit_does_not_depend_on_what_is_around_it(climb):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 5), nn.Softplus(), nn.Conv2d(3, 2, 3))
    unit, options = Target.unit("2", 1), {"climb": climb, "rate": 0.1, "steps": 5, "terms": []}
    small, large = (pl.inspect.dream(net, unit, shape=(1, n, n), **options) for n in (7, 21))
    assert large.patches[0].shape == (1, 7, 7)
    assert torch.allclose(small.patches[0], large.patches[0], atol=1e-5)


class Drifts(Motion):
    """Moves every dream by its place in the batch, as none may."""

    def moved(self, x, layout, draw):
        return x + torch.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1))


def test_a_motion_that_knows_the_batch_is_seen():
    net = convolutional()
    together = pl.inspect.dream(net, [0, 1], shape=SHAPE, terms=[Drifts()], steps=3)
    alone = pl.inspect.dream(net, 1, shape=SHAPE, terms=[Drifts()], steps=3)
    assert not torch.allclose(together.inputs[1], alone.inputs[0])


# The book


def score_of(net, given, x):
    """The score of one target, by running layer after layer."""
    seen = {}
    for number, layer in enumerate(net):
        x = layer(x)
        seen[str(number)] = x
    return given(seen, x)


SLOW = [
    lambda seen, out: out[0, 0],
    lambda seen, out: out[0, 2] - out[0, 3],
    lambda seen, out: seen["3"][0, 2, 1, 1],
    lambda seen, out: seen["3"][0, 1, 0, 1],
    lambda seen, out: seen["0"][0, 3].sum(),
    lambda seen, out: seen["0"][0, 1].sum(),
    lambda seen, out: seen["3"].square().mean(),
    lambda seen, out: out[0, 1] - 0.5 * seen["3"][0, 2].sum(),
    lambda seen, out: out.softmax(1)[0, 2],
    lambda seen, out: 2 * out[0, 1],
    lambda seen, out: out[0, 1],
]


def by_the_book(net, given, climb, steps, rate, weight):
    """Ascent of one dream, from zero; Adam as its paper writes it."""
    x = torch.zeros(1, *SHAPE, dtype=torch.float64)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    for step in range(1, steps + 1):
        x.requires_grad_()
        score = score_of(net, given, x)
        (seen,) = torch.autograd.grad(score, x, retain_graph=True)
        slope = seen - 2 * weight * x.detach()
        falling = rate * (steps - step + 1) / steps
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        way = {
            "gradient": rate * slope,
            "normalized": falling * slope / slope[seen != 0].square().mean().sqrt(),
            "adam": falling
            * (first / (1 - 0.9**step))
            / ((second / (1 - 0.999**step)).sqrt() + 1e-8),
        }[climb]
        x = (x + way).detach()
    return x[0], score_of(net, given, x).detach()


@pytest.mark.parametrize("climb", ["gradient", "normalized", "adam"])
def test_many_targets_at_once_are_those_of_the_book(climb):
    net = convolutional()
    found = pl.inspect.dream(
        net, MANY, shape=SHAPE, terms=[L2(weight=0.02)], climb=climb, steps=5, rate=0.1
    )
    for row, given in enumerate(SLOW):
        x, score = by_the_book(net, given, climb, 5, 0.1, 0.02)
        assert torch.allclose(found.inputs[row], x, atol=1e-9), MANY[row]
        assert torch.allclose(found.score[row], score.to(found.score)), MANY[row]


def test_steps_are_as_long_where_terms_alone_have_a_slope():
    found = pl.inspect.dream(
        lambda x: 0 * x[:, :1].relu(), 0, start=torch.full((1, 4), 8.0), noise=0,
        terms=[L2(weight=3)], climb="normalized", steps=1, rate=0.5,
    )  # fmt: skip
    assert torch.allclose(found.inputs, torch.full((1, 4), 7.5))


@pytest.mark.parametrize("on", ["score", "probability", "log_probability"])
def test_on_what_of_a_class(on):
    net = linear()
    soft = nn.Sequential(net, nn.Softmax(1))
    found = pl.inspect.dream(soft, [0, 2], shape=6, on=on, steps=3)
    scores = net(found.inputs)
    wanted = {
        "score": scores,
        "probability": scores.softmax(1),
        "log_probability": scores.log_softmax(1),
    }[on]
    assert torch.allclose(found.score, wanted[[0, 1], [0, 2]])
    assert any("softmax" in note for note in found.notes) == (on == "score")


def headed(first, units):
    torch.manual_seed(0)
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(units, 3))


@pytest.mark.parametrize(
    ("net", "shape", "axis"),
    [
        (headed(nn.Conv2d(1, 4, 3), 144), (1, 8, 8), 1),
        (headed(nn.Conv2d(4, 4, 3), 144), (4, 8, 8), 1),
        (headed(nn.Conv1d(2, 4, 3), 56), (2, 16), 1),
        (headed(nn.Linear(6, 4), 20), (5, 6), 2),
        (headed(nn.Linear(9, 8), 8), (9,), 1),
    ],
    ids=["gray", "four channels", "signal", "embeddings", "table"],
)  # fmt: skip
def test_dreams_beat_random_inputs_of_their_length(net, shape, axis):
    found = pl.inspect.dream(net, [0, 1, 2], shape=shape, channel_axis=axis, steps=64)
    draw = torch.randn(1000, *shape, generator=torch.Generator().manual_seed(0))
    sizes = draw.flatten(1).norm(dim=1).reshape(-1, *[1] * len(shape))
    with torch.no_grad():
        for k in range(3):
            best = net(draw / sizes * found.inputs[k].norm())[:, k].max()
            assert found.score[k] > best
    assert found.rose.all()


# Contracts


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(training):
    net = prepared(Breaks(10**6)).train(training)
    like = torch.zeros(1, 1, 8, 8)
    options = {"like": like, "steps": 2, "terms": ["jitter", "l2"], "start": "noise"}
    with Watched(net, like):
        pl.inspect.dream(net, [0, 1, Target.unit("first.0", 1)], **options)


@pytest.mark.parametrize("after", [0, 2])
def test_the_model_is_left_as_it_was_when_it_fails(after):
    net, like = prepared(Breaks(after)), torch.zeros(1, 1, 8, 8)
    with Watched(net, like), pytest.raises(Breaks.HalfwayError):
        pl.inspect.dream(net, [0, Target.channel("first.0", 1)], like=like, steps=5)


def test_the_generator_is_left_as_it_was():
    generator = prepared(
        nn.Sequential(nn.Linear(2, 36), nn.Unflatten(1, (1, 6, 6)), nn.BatchNorm2d(1))
    )
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    generator.train()
    with Watched(generator, ()):
        pl.inspect.dream(net, [0, 1], generator=generator, code=2, steps=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_type_follows_the_input(dtype):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(32, 2)).to(dtype)
    for given in ({"like": torch.zeros(1, 3, 6, 6, dtype=dtype)}, {"shape": (3, 6, 6)}):
        for recipe in ("plain", "fourier"):
            found = pl.inspect.dream(net, [0, 1], recipe=recipe, steps=3, **given)
            assert found.inputs.dtype == dtype
            assert found.score.isfinite().all()


def test_one_pass_a_step_for_all_dreams():
    net = Counting(linear())
    found = pl.inspect.dream(net, [0, 1, 2], shape=6, steps=7)
    assert net.calls == [3] * 8
    assert (found.evaluations.forward, found.evaluations.backward) == (24, 21)


@pytest.mark.parametrize(("mode", "more"), [("zeros", []), ("circular", [1])])
def test_runs_that_find_units_and_their_fields_are_counted(mode, more):
    first = nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode)
    net = Counting(nn.Sequential(first, nn.Flatten(), nn.Linear(72, 2)))
    units = [Target.unit("model.0", 1), Target.unit("model.0", (0, 0, 0)), 0]
    found = pl.inspect.dream(net, units, shape=(1, 6, 6), steps=2)
    # Which units; what they see; what of twice as much, where windows do not tell it; and a step.
    assert net.calls[:4] == [2, 1, *more, 3, 3][:4]
    assert found.evaluations == (sum(net.calls), 6, len(net.calls))


def test_batches_are_halved_when_memory_runs_out():
    net = Limited(linear(), 2, torch.OutOfMemoryError("CUDA out of memory."))
    found = pl.inspect.dream(net, [0, 1, 2, 0, 1], shape=6, steps=3)
    assert torch.equal(found.inputs[:2], found.inputs[3:])


def test_runs_of_several_seeds():
    net, options = convolutional(), {"shape": SHAPE, "start": "noise", "steps": 3}
    found = pl.inspect.dream(net, [0, 0, 0], seed=[3, 4, 3], terms=[Jitter()], **options)
    assert torch.allclose(found.inputs[0], found.inputs[2])
    assert not torch.allclose(found.inputs[0], found.inputs[1])
    assert found.to_frame()["seed"].tolist() == [3, 4, 3]


@pytest.mark.parametrize("recipe", ["plain", "fourier"])
def test_starts(recipe):
    net, data = convolutional(), torch.rand(7, *SHAPE, dtype=torch.float64)
    still = {"recipe": recipe, "steps": 1, "rate": 1e-12, "terms": []}
    mean = pl.inspect.dream(net, [0, 1], start="mean", data=data, **still)
    assert torch.allclose(mean.inputs, data.mean(0).expand(2, *SHAPE), atol=1e-6)
    labels = torch.tensor([1, 0, 0, 1, 2, 0, 1])
    loader = DataLoader(TensorDataset(data, labels), batch_size=3)
    for given in ({"data": data, "labels": labels}, {"data": loader}, {"data": (data, labels)}):
        own = pl.inspect.dream(net, [2, 0], start="class_mean", **given, **still)
        wanted = torch.stack([data[labels == k].mean(0) for k in (2, 0)])
        assert torch.allclose(own.inputs, wanted, atol=1e-6)
    each = pl.inspect.dream(net, [0, 1], start=data[:2], **still)
    assert torch.allclose(each.inputs, data[:2], atol=1e-6)
    noise = pl.inspect.dream(net, [0, 1], like=data, start="noise", noise=2.0, **still)
    assert 1.5 < noise.inputs.std() < 2.5


# Units


def test_the_dream_of_a_unit_is_shown_at_its_receptive_field():
    net = convolutional()
    found = pl.inspect.dream(net, [Target.unit("3", 2), 0], shape=SHAPE, terms=[], steps=3)
    assert repr(found.targets[0]) == "Target.unit('3', (2, 1, 1))"
    (rows, columns), none = found.fields
    assert (rows, columns, none) == (slice(2, 10), slice(2, 10), None)
    assert found.patches[0].shape == (3, 8, 8)
    outside = found.inputs[0].clone()
    outside[:, rows, columns] = 0
    assert (outside == 0).all()
    assert (found.patches[0] != 0).all()


class Tokens(nn.Module):
    """A convolution over tokens, whose features come last."""

    def __init__(self):
        super().__init__()
        self.over = nn.Conv1d(4, 6, 3)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.over(x.transpose(1, 2)).relu().mean(2))


@pytest.mark.parametrize("unit", [Target.unit("over", 1, axis=1), Target.unit("over", (1, 3))])
def test_a_unit_among_embeddings_has_a_field_of_tokens(unit):
    found = pl.inspect.dream(Tokens(), unit, shape=(9, 4), channel_axis=2, start="noise", steps=1)
    assert found.fields == ((slice(3, 6),),)
    assert torch.equal(found.patches[0], found.inputs[0, 3:6])
    unit = Target.unit("over", 1, axis=1)
    with pytest.raises(InputError, match=r"receptive field of .*, \[3\].*shape=\(3, 4\) holds it"):
        pl.inspect.dream(Padded(), unit, shape=(2, 4), channel_axis=2, steps=1)


class Padded(Tokens):
    def forward(self, x):
        return super().forward(nn.functional.pad(x, (0, 0, 1, 1)))


def test_a_unit_of_a_signal_needs_no_axis_where_it_has_all_indices():
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Conv1d(3, 4, 3, stride=2))
    found = pl.inspect.dream(net, Target.unit("2", (1, 3)), shape=(2, 20), steps=1)
    assert found.fields == ((slice(6, 11),),)


@pytest.mark.parametrize(("row", "cut"), [(0, True), (1, True), (2, False), (5, False), (6, True)])
def test_a_unit_at_the_border_is_noted(row, cut):
    net = nn.Conv2d(1, 1, 5, padding=2)
    unit = Target.unit("0", (0, row, 3))
    found = pl.inspect.dream(nn.Sequential(net), unit, like=torch.zeros(1, 1, 8, 7), steps=1)
    assert any("reaches over the border" in note for note in found.notes) == cut


class Counted(nn.Module):
    """A net in two parts, of which the second is counted; the first may run again in between."""

    def __init__(self, times=1):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.times = nn.Conv2d(1, 2, 3, padding=1), times
        self.second = Counting(nn.Sequential(nn.Flatten(), nn.Linear(2 * 36, 3)))

    def forward(self, x):
        for _ in range(self.times):
            x = self.first(x)[:, :1].tanh()
        return self.second(x.expand(-1, 2, -1, -1))


EARLY = [Target.unit("first", 1), Target.channel("first", 0), Objective.layer("first")]


@pytest.mark.parametrize(("times", "before", "steps"), [(1, 2, 1), (2, 3, 6)])
def test_a_run_ends_where_all_that_is_asked_for_has_run(times, before, steps):
    net, options = Counted(times), {"shape": (1, 6, 6), "start": "noise", "steps": 5}
    early = pl.inspect.dream(net, EARLY, **options)
    assert len(net.second.calls) == before + steps  # to find the unit and its field, and to climb
    whole = pl.inspect.dream(net, [*EARLY, 0], **options)
    assert len(net.second.calls) == 2 * before + steps + 6
    assert torch.allclose(early.inputs, whole.inputs[:3])
    assert torch.allclose(early.score, whole.score[:3])


class Forgets(Counted):
    """Leaves something of itself changed where its run ends early."""

    def __init__(self):
        super().__init__()
        self.busy = False

    def forward(self, x):
        x = 2 * x if self.busy else x
        self.busy = True
        found = super().forward(x)
        self.busy = False
        return found


def test_a_run_that_ends_early_leaves_nothing_for_the_next():
    net, options = Forgets(), {"shape": (1, 6, 6), "start": "noise", "steps": 5}
    early = pl.inspect.dream(net, EARLY, **options)
    assert net.busy is False
    assert torch.allclose(early.inputs, pl.inspect.dream(net, [*EARLY, 0], **options).inputs[:3])


def test_a_field_over_the_border_is_noted():
    net = nn.Sequential(nn.Conv2d(1, 2, 9, padding=4), nn.Conv2d(2, 2, 9, padding=4))
    like = torch.zeros(1, 1, 12, 12)
    found = pl.inspect.dream(net, Target.unit("1", 1), like=like, steps=2)
    assert "reaches over the border" in found.notes[0]


def test_a_dead_unit_is_noted():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    nn.init.constant_(net[0].bias, -1.0)
    found = pl.inspect.dream(
        net, [Target.unit("1", 0), Target.unit("0", 0)], shape=(1, 8, 8), steps=4
    )
    assert len(found.notes) == 1
    assert "1 unit (0,3,3)" in found.notes[0]
    assert 'start="noise"' in found.notes[0]
    assert found.rose.tolist() == [False, True]


def test_a_dream_that_did_not_rise_is_noted():
    net = linear()
    found = pl.inspect.dream(net, 0, start=net.weight.detach()[:1], terms=[L2(weight=9.0)], steps=3)
    assert "Not above the score at the start: class 0" in found.notes[0]


# Parts of the engine that dreams do not show


def test_corrections_go_through_any_parameterization():
    net = convolutional()
    found = pl.inspect.dream(
        net, [0, 1], shape=SHAPE, recipe="fourier", terms=[Range(low=-0.1, high=0.1)], steps=8
    )
    assert found.inputs.abs().max() <= 0.1 + 1e-9
    assert found.rose.all()


def test_a_path_says_all_that_is_climbed():
    def expert(x: Tensor) -> Tensor:
        return -x.square().flatten(1).sum(1)

    net = linear()
    found = ascend(
        lambda x: net(x)[:, 0], torch.ones(1, 6).double(), expert=expert, expert_weight=0.5,
        terms=[L2(weight=0.25)], prior_weight=0.125, climb="gradient", steps=1, rate=0.1,
    )  # fmt: skip
    start = net(torch.ones(1, 6).double())[0, 0].detach()
    assert torch.allclose(found.scores[0, 0], start)
    assert math.isclose(found.path[0, 0], start - 6 * (0.5 + 0.25 + 0.125))
    assert torch.allclose(found.inputs, 1 + 0.1 * (net.weight[:1] - 2 * (0.5 + 0.25 + 0.125)))


# A real model


@pytest.mark.slow
def test_dreams_of_a_real_model_are_what_it_says_they_are():
    entry = pl.zoo.load("efficientnet_lite0")
    wanted = [entry.index("goldfish"), entry.index("daisy")] * 3
    seeds = [0, 0, 1, 1, 2, 2]
    for size in (64, 96):
        found = pl.inspect.dream(
            entry.model, wanted, shape=(3, size, size), recipe="fourier", steps=48, seed=seeds
        )
        with torch.no_grad():
            sure = entry.model(found.inputs).softmax(1)
        assert (sure[range(6), wanted] > 0.99).all()
        assert found.notes == ()
