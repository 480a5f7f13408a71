"""Four ways to dream of classes; and that a density and a generator bring dreams to real data."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid as pl
from pellucid.bootstrap import mean_interval
from pellucid.errors import InputError, UnknownNameError
from pellucid.evaluate.retrain import Examples, Trainer
from pellucid.inspect.distances import nearest
from pellucid.inspect.dreaming.fourway import WAYS
from pellucid.inspect.dreaming.terms import L2
from pellucid.seeding import seeded

INPUTS = torch.rand(40, 1, 4, 4, generator=seeded(0))
LABELS = torch.arange(40) % 2
INPUTS[LABELS == 1, :, :2] += 1
MEANS = torch.stack([INPUTS[k == LABELS].mean(0) for k in (0, 1)])


def net():
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2)
    return nn.Sequential(*layers).requires_grad_(requires_grad=False)


MODEL = net()


@pytest.fixture(scope="module")
def parts():
    return {
        "density": pl.inspect.fit_density(INPUTS, components=2, rank=3),
        "generator": pl.inspect.fit_generator(INPUTS, LABELS, code=2, width=16, epochs=3),
    }


@pytest.fixture(scope="module")
def compared(parts):
    return pl.inspect.compare_dreams(MODEL, INPUTS, LABELS, **parts, steps=6)


def test_each_way_is_the_dream_that_is_promised(parts, compared):
    same = {"like": INPUTS, "steps": 6}
    plain = {"terms": [L2(weight=1 / 16)]}
    wanted = {
        "plain from mean": plain | {"start": INPUTS.mean(0, keepdim=True)},
        "plain": plain | {"start": MEANS},
        "density": {"start": MEANS, "expert": parts["density"], "terms": (), "rate": 0.02},
        "generator": {
            "start": parts["generator"].codes_of([0, 1]), "generator": parts["generator"],
            "prior_weight": 0.1,
        },
    }  # fmt: skip
    assert tuple(compared.ways) == WAYS == tuple(wanted)
    for way, options in wanted.items():
        alone = pl.inspect.dream(MODEL, [0, 1], **same | options)
        torch.testing.assert_close(compared.ways[way].inputs, alone.inputs)


def test_the_table_has_the_quality_of_each_dream(compared):
    assert list(compared.quality["run"]) == [way for way in WAYS for _ in range(2)]
    for way, dreams in compared.ways.items():
        rows = compared.quality[compared.quality["run"] == way]
        wanted = pl.inspect.quality(dreams, MODEL, INPUTS, LABELS)
        for name in rows.columns.drop("run"):
            assert rows[name].tolist() == wanted[name].tolist()
        means = compared.to_frame().loc[way]
        assert means["distance"] == pytest.approx(rows["distance"].mean())
    assert "  generator: score" in repr(compared)
    assert repr(compared).startswith("Dreams of 2 classes, means:")


def test_scores_are_told_where_probabilities_are_climbed(parts):
    found = pl.inspect.compare_dreams(
        MODEL, INPUTS, LABELS, [1], **parts, steps=2, on="log_probability"
    )
    inputs = found.ways["plain"].inputs
    row = found.quality[found.quality["run"] == "plain"].iloc[0]
    assert row["score"] == pytest.approx(float(MODEL(inputs)[0, 1]), rel=1e-5)
    assert float(found.ways["plain"].score[0]) == pytest.approx(
        float(MODEL(inputs).log_softmax(1)[0, 1]), rel=1e-4
    )


def test_options_are_for_all_ways(parts):
    found = pl.inspect.compare_dreams(
        MODEL, INPUTS, LABELS, [0], **parts, steps=2, terms=[L2(weight=9.0)], rate=0.5
    )
    alone = pl.inspect.dream(
        MODEL, 0, like=INPUTS, start=MEANS[:1], expert=parts["density"], steps=2,
        terms=[L2(weight=9.0)], rate=0.5,
    )  # fmt: skip
    torch.testing.assert_close(found.ways["density"].inputs, alone.inputs)


def test_batches_with_their_labels_are_data_as_well(parts, compared):
    loader = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=7)
    for data in (loader, TensorDataset(INPUTS, LABELS), (INPUTS, LABELS)):
        found = pl.inspect.compare_dreams(MODEL, data, **parts, steps=6)
        assert found.quality.equals(compared.quality)
        judged = pl.inspect.quality(found.ways["plain"], MODEL, data)
        wanted = pl.inspect.quality(found.ways["plain"], MODEL, INPUTS, LABELS)
        assert judged.equals(wanted)
    made = pl.inspect.fit_generator(loader, code=2, epochs=1)
    assert made.classes.tolist() == [0, 1]
    same = pl.inspect.fit_density(INPUTS, components=2, rank=3)
    assert pl.inspect.fit_density(loader, components=2, rank=3).held_out == same.held_out


def test_data_are_shown_to_the_model_in_the_type_of_its_weights(parts, compared):
    found = pl.inspect.compare_dreams(MODEL, INPUTS.double().numpy(), LABELS, **parts, steps=6)
    torch.testing.assert_close(found.ways["plain"].inputs, compared.ways["plain"].inputs)
    own = found.quality["real_score"].to_numpy()
    np.testing.assert_allclose(own, compared.quality["real_score"], atol=1e-6)
    wide = net().double()
    dreams = pl.inspect.dream(wide, 0, generator=parts["generator"], steps=1)
    assert dreams.inputs.dtype == torch.float64


def test_functions_of_the_user_are_density_and_generator():
    calls = []

    def generator(codes):
        calls.append(len(codes))
        return (codes @ torch.ones(3, 16)).sigmoid().reshape(-1, 1, 4, 4)

    normal = torch.distributions.Independent(torch.distributions.Normal(MEANS[0], 1), 3)
    found = pl.inspect.compare_dreams(
        MODEL, INPUTS, LABELS, [1, 0], normal, generator, codes=torch.zeros(1, 3), steps=2
    )
    assert found.classes == (1, 0)
    assert calls
    assert found.ways["generator"].codes.shape == (2, 3)


@pytest.mark.parametrize("dark", [False, True])
def test_the_figure(compared, dark):
    figure = compared.plot(names=["zero", "$one$"], dark=dark)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 10  # the means and four ways, of two classes
    assert [ax.get_title() for ax in figure.axes[:2]] == ["zero", "$one$"]
    left = [text.get_text().split("\n")[0] for text in figure.texts[1:]]
    assert left == ["mean of", "plain,", "plain,", "with a density,", "in code space,"]
    figure.canvas.draw()


def test_long_names_and_parameterizations(parts):
    found = pl.inspect.compare_dreams(
        MODEL, INPUTS, LABELS, **parts, steps=1, parameterization="fourier"
    )
    title = found.plot(names=["a name of many letters"] * 2).axes[0].get_title()
    assert title == "a name of many …"


def test_pictures_are_in_the_range_of_the_data(compared):
    shown = np.asarray(compared.plot().axes[0].images[0].get_array())
    low, high = float(INPUTS.min()), float(INPUTS.max())
    wanted = ((MEANS[0, 0].numpy() - low) / (high - low) * 255).round()
    np.testing.assert_allclose(shown[..., 0], wanted, atol=1)


def test_signals_and_tables_are_compared():
    for x in (torch.rand(30, 2, 12, generator=seeded(1)), torch.rand(30, 5, generator=seeded(1))):
        labels = torch.arange(30) % 2
        model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2))
        generator = pl.inspect.fit_generator(x, labels, code=1, width=4, epochs=1)
        density = pl.inspect.fit_density(x, components=1, rank=2)
        found = pl.inspect.compare_dreams(model, x, labels, None, density, generator, steps=1)
        found.plot().canvas.draw()


def test_what_cannot_be_compared(parts):
    compare = pl.inspect.compare_dreams
    with pytest.raises(UnknownNameError, match="A class of which `labels` has samples.*'7'"):
        compare(MODEL, INPUTS, LABELS, [7], **parts)
    with pytest.raises(InputError, match="two real samples at least of each class.*one of class 1"):
        compare(MODEL, INPUTS, (torch.arange(40) == 7).long(), **parts)
    with pytest.raises(InputError, match="`classes` must be a whole number; got 0.5"):
        compare(MODEL, INPUTS, LABELS, [0.5], **parts)
    with pytest.raises(InputError, match="`labels` must be the number of a class for each of the"):
        compare(MODEL, INPUTS, ["a"] * 40, **parts)
    with pytest.raises(UnknownNameError, match="An option of all ways to dream.*'start'"):
        compare(MODEL, INPUTS, LABELS, **parts, start="noise")
    with pytest.raises(InputError, match="`classes` must name at least one class"):
        compare(MODEL, INPUTS, LABELS, [], **parts)
    with pytest.raises(InputError, match="`codes` must be given with a generator of your own"):
        compare(MODEL, INPUTS, LABELS, generator=torch.sigmoid, density=parts["density"])
    with pytest.raises(InputError, match="`density` must be a Density, its kind, or a callable"):
        compare(MODEL, INPUTS, LABELS, **parts | {"density": 3})
    with pytest.raises(UnknownNameError, match="`kind` of a density must be one that exists"):
        compare(MODEL, INPUTS, LABELS, **parts | {"density": "kde"})
    other = SimpleNamespace(code=2)
    with pytest.raises(InputError, match="`codes` must be given with a generator"):
        compare(MODEL, INPUTS, LABELS, **parts | {"generator": other})


def test_a_generator_of_another_shape(parts):
    wide = pl.inspect.fit_generator(torch.rand(20, 1, 5, 5), code=2, width=4, epochs=1)
    with pytest.raises(InputError, match=r"`generator` must return inputs of shape \[1, 4, 4\]"):
        pl.inspect.compare_dreams(
            MODEL, INPUTS, LABELS, **parts | {"generator": wide}, codes=torch.zeros(1, 2), steps=1
        )


# What is published, on real digits: knowing the data brings dreams to them.

CLASSES = range(10)
SEEDS = range(2)


def reader():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    """Digits, and for each seed a net that reads them with densities and a generator of them."""
    found = load_digits()
    x = torch.from_numpy(found.images).float().reshape(-1, 1, 8, 8) / 16
    y = torch.from_numpy(found.target)
    fitted = [
        {
            "model": Trainer(epochs=15, seed=seed)(reader, Examples(x, y)),
            "mixture": pl.inspect.fit_density(x, rank=30, seed=seed),
            "rbm": pl.inspect.fit_density(x, "rbm", hidden=64, epochs=30, seed=seed),
            "generator": pl.inspect.fit_generator(
                x, y, code=10, width=128, epochs=100, seed=seed
            ),
        }
        for seed in SEEDS
    ]  # fmt: skip
    return x, y, fitted


def away(inputs, x, y):
    """The distance of each dream to the nearest real digit of its class, (class,)."""
    flat = inputs.flatten(1)
    pairs = [nearest(flat[k : k + 1], x[y == k].flatten(1), 1)[0][0, 0] for k in CLASSES]
    return torch.stack(pairs)


def climb(model, x, goals, **options):
    """Dreams of all classes up to a score of each, by small steps of the gradient."""
    found = pl.inspect.dream(
        lambda inputs: model(inputs).minimum(goals), CLASSES, like=x[:1],
        **{"steps": 200, "climb": "gradient", "rate": 0.015} | options,
    )  # fmt: skip
    with torch.no_grad():
        return found.inputs, model(found.inputs)[CLASSES, CLASSES]


def nearer(way, x, y, fitted):
    """How much nearer to real digits a way comes than plain ascent at the same score, (dream,)."""
    gains = []
    for each in fitted:
        model, means = each["model"], torch.stack([x[y == k].mean(0) for k in CLASSES])
        goals = torch.stack([model(x[y == k])[:, k].detach().quantile(0.9) for k in CLASSES])
        inputs, reached = climb(model, x, goals, **way(each, means))
        for start in (means, x.mean(0, keepdim=True)):
            plain, scores = climb(model, x, reached, start=start)
            equal = (scores - reached).abs() < 0.1 * reached.abs()
            gains.append((away(plain, x, y) - away(inputs, x, y))[equal])
    found = torch.cat(gains)
    assert len(found) > 15 * len(SEEDS)  # of twenty; some means have a higher score already
    return mean_interval(found.numpy())


def with_density(name):
    return lambda each, means: {
        "start": means, "expert": each[name], "expert_weight": 0.05, "terms": ()
    }  # fmt: skip


def in_code_space(each, means):
    return {
        "start": each["generator"].codes_of(CLASSES), "generator": each["generator"],
        "prior_weight": 0.001, "rate": 0.02,
    }  # fmt: skip


WAYS_TO_DATA = {
    "mixture": with_density("mixture"), "rbm": with_density("rbm"), "generator": in_code_space,
}  # fmt: skip


def check_nearer(way, x, y, fitted):
    low, _ = nearer(way, x, y, fitted)
    assert low > 0.05  # of about one, the distance of a digit to the nearest other


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS_TO_DATA)
def test_knowing_the_data_brings_dreams_nearer_to_them_at_equal_score(digits, name):
    check_nearer(WAYS_TO_DATA[name], *digits)


@pytest.mark.slow
def test_knowing_other_data_does_not(digits):
    x, y, fitted = digits
    negative = [each | {"mixture": pl.inspect.fit_density(1 - x, rank=30)} for each in fitted]
    with pytest.raises(AssertionError):
        check_nearer(with_density("mixture"), x, y, negative[:1])


@pytest.mark.slow
def test_the_classifier_is_sure_of_what_is_generated(digits):
    x, y, fitted = digits
    for each in fitted:
        found = pl.inspect.compare_dreams(
            each["model"], x, y, density=each["mixture"], generator=each["generator"]
        )
        made = each["generator"]
        sure = pl.inspect.dream(
            each["model"], CLASSES, generator=made, start=made.codes_of(CLASSES),
            on="log_probability", prior_weight=0.001,
        )  # fmt: skip
        assert sure.score.exp().min() >= 0.99
        distance = found.to_frame()["distance"]
        for way in ("density", "generator"):
            assert distance[way] < 0.5 * min(distance["plain"], distance["plain from mean"])
