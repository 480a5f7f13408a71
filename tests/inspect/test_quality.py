"""What dreams are worth, beside the same by loops over samples, frequencies and pairs."""

import itertools
import math

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.errors import InputError, TargetError, UnknownNameError
from pellucid.inspect.dreaming import quality as module
from pellucid.inspect.dreaming.dreams import Dreams
from pellucid.inspect.dreaming.objective import Objective
from pellucid.inspect.dreaming.spectrum import slope, spectra
from pellucid.seeding import seeded

INPUTS = torch.rand(30, 2, 5, 6, generator=seeded(0), dtype=torch.float64)
LABELS = torch.arange(30) % 3


def net():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(2, 3, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(36, 3)
    return torch.nn.Sequential(*layers).double().requires_grad_(requires_grad=False)


MODEL = net()


def dreamed(targets=(0, 0, 2), seed=(0, 1, 2), **options):
    chosen = {"like": INPUTS, "start": "noise", "steps": 3, "seed": list(seed)} | options
    return pl.inspect.dream(MODEL, list(targets), **chosen)


def slow_spectrum(image):
    """10 log10 of the shares of power at radii 1 and 2, of (2, 5, 6), frequency by frequency."""
    array = image.numpy() - image.numpy().mean((1, 2), keepdims=True)
    rows, columns = (np.arange(n) for n in array.shape[1:])
    for axis, places in ((1, rows), (2, columns)):
        window = 0.5 - 0.5 * np.cos(2 * math.pi * places / len(places))
        array = array * np.expand_dims(window, tuple({0, 1, 2} - {axis}))
    power = {1: [], 2: []}
    for m, n in itertools.product(range(-2, 3), range(-3, 3)):
        radius = round(math.hypot(m, n * 5 / 6))
        if radius in power:
            turns = m * rows[:, None] / 5 + n * columns / 6
            wave = (array * np.exp(-2j * math.pi * turns)).sum((1, 2))
            power[radius].append((abs(wave) ** 2).mean())
    rings = [np.mean(power[1]), np.mean(power[2])]
    return torch.tensor([10 * math.log10(each / sum(rings)) for each in rings])


def test_a_spectrum_is_the_power_by_radius():
    wanted = torch.stack([slow_spectrum(image) for image in INPUTS[:3]]).double()
    torch.testing.assert_close(spectra(INPUTS[:3]), wanted, rtol=1e-5, atol=1e-5)


def test_a_spectrum_does_not_see_contrast_or_light():
    torch.testing.assert_close(spectra(INPUTS), spectra(7 * INPUTS + 3))


def test_a_spectrum_of_a_signal_and_of_nothing():
    assert spectra(torch.rand(2, 3, 32)).shape == (2, 16)
    assert spectra(torch.zeros(1, 1, 8, 8)).isfinite().all()


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_slope_is_that_of_the_waves(power):
    steps = torch.fft.fftfreq(64, dtype=torch.float64)
    radius = torch.cartesian_prod(steps, steps).norm(dim=1).reshape(64, 64)
    noise = torch.randn(20, 1, 64, 64, generator=seeded(0), dtype=torch.float64)
    waves = torch.fft.fft2(noise) / radius.clamp(min=1 / 64) ** (power / 2)
    found = slope(spectra(torch.fft.ifft2(waves).real).mean(0, keepdim=True))
    assert abs(float(found) - power) < 0.2  # the window mixes neighbouring waves


def slow_row(x, k, group):
    """A row of the table for one dream of class k, among a group of dreams of this class."""
    own = [i for i in range(30) if LABELS[i] == k]
    far = lambda a, b: float((a - b).square().sum().sqrt())  # noqa: E731
    pairs = list(itertools.combinations(own, 2))
    beside = [min(far(INPUTS[i], INPUTS[j]) for j in own if j != i) for i in own]
    spectrum = torch.stack([slow_spectrum(INPUTS[i]) for i in own])
    typical = spectrum.mean(0)
    off = lambda s: float((s - typical).square().mean().sqrt())  # noqa: E731
    scores = [float(MODEL(INPUTS[i][None])[0, k]) for i in own]
    alike = [far(a, b) for a, b in itertools.combinations(group, 2)]
    real = np.mean([far(INPUTS[i], INPUTS[j]) for i, j in pairs])
    return {
        "score": float(MODEL(x[None])[0, k]),
        "real_score": float(np.quantile(scores, 0.999)),
        "probability": float(MODEL(x[None])[0].softmax(0)[k]),
        "distance": min(far(x, INPUTS[i]) for i in own),
        # torch takes the lower of two middle values
        "real_distance": sorted(beside)[(len(own) - 1) // 2],
        "spectrum": off(slow_spectrum(x)),
        "real_spectrum": sorted(off(s) for s in spectrum)[(len(own) - 1) // 2],
        "diversity": np.mean(alike) / real if alike else math.nan,
    }


def check(dreams):
    found = pl.inspect.quality(dreams, MODEL, INPUTS, LABELS)
    assert list(found.columns) == list(module.COLUMNS)
    assert list(found["target"]) == ["class 0", "class 0", "class 2"]
    for row, k in enumerate((0, 0, 2)):
        group = dreams.inputs[:2] if k == 0 else dreams.inputs[2:]
        for name, wanted in slow_row(dreams.inputs[row], k, group).items():
            np.testing.assert_allclose(found[name][row], wanted, rtol=1e-4, err_msg=name)


def test_the_table_is_that_of_loops():
    check(dreamed())


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("nearest", lambda a, b, k: tuple(t[:, :1].expand(-1, k) for t in NEAREST(a, b, 1))),
        ("spectra", lambda x: spectra(x.flip(1)[:, :1])),
        ("_mean_distance", lambda flat: 1.0),
        ("_rows_of", lambda objective, real, classes: torch.ones(30, dtype=torch.bool)),
    ],
)
def test_the_loops_notice_a_broken_table(monkeypatch, name, broken):
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        check(dreamed())


NEAREST = module.nearest


def test_several_runs_are_one_table():
    runs = [dreamed((1, 2), (seed, seed)) for seed in range(3)]
    found = pl.inspect.quality(runs, MODEL, INPUTS, LABELS)
    assert list(found["run"]) == [0, 0, 1, 1, 2, 2]
    one = found[found["target"] == "class 1"]["diversity"]
    assert one.nunique() == 1
    assert one.iloc[0] > 0
    alike = pl.inspect.quality([runs[0]] * 2, MODEL, INPUTS, LABELS)
    np.testing.assert_allclose(alike["diversity"], 0, atol=1e-6)


def test_data_are_better_than_noise():
    dreams = dreamed((1,), (0,))
    real = Dreams(**{**vars(dreams), "inputs": INPUTS[1:2], "targets": dreams.targets})
    noise = Dreams(**{**vars(dreams), "inputs": 9 * torch.rand_like(INPUTS[1:2])})
    both = pl.inspect.quality([real, noise], MODEL, INPUTS, LABELS)
    assert both["distance"][0] < 1e-6
    assert both["distance"][1] > both["real_distance"][1]


def test_units_channels_and_sums_are_judged_beside_all_data():
    unit = pl.Target.unit("0", (1, 2, 2))
    targets = [unit, pl.Target.channel("1", 2), Objective.of(0) - 0.5 * Objective.of(unit)]
    dreams = dreamed(targets)
    found = pl.inspect.quality(dreams, MODEL, INPUTS, LABELS)
    torch.testing.assert_close(torch.tensor(found["score"].tolist()), dreams.score.float())
    wanted = MODEL[0](INPUTS)[:, 1, 2, 2].quantile(0.999)
    assert found["real_score"][0] == pytest.approx(float(wanted))
    assert found["probability"].isna().all()


def test_units_are_judged_by_what_they_see():
    unit = pl.Target.unit("0", (1, 2, 2))
    dreams = dreamed([unit], (0,))
    (rows, columns), cut = dreams.fields[0], lambda x: x[..., 2:5, 2:5]
    assert (rows, columns) == (slice(2, 5), slice(2, 5))
    found = pl.inspect.quality(dreams, MODEL, INPUTS)
    away = (cut(dreams.inputs) - cut(INPUTS)).flatten(1).norm(dim=1)
    assert found["distance"][0] == pytest.approx(float(away.min()))
    assert found["spectrum"].isna().all()  # three positions have none to speak of


def test_embeddings_have_the_spectrum_of_their_tokens():
    x = torch.randn(20, 12, 4, generator=seeded(0), dtype=torch.float64)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)).double()
    dreams = pl.inspect.dream(model, [0, 1], like=x, channel_axis=2, start="noise", steps=2)
    found = pl.inspect.quality(dreams, model, x)
    typical = spectra(x.movedim(2, 1)).mean(0)
    wanted = (spectra(dreams.inputs.movedim(2, 1)) - typical).square().mean(1).sqrt()
    assert found["spectrum"].tolist() == pytest.approx(wanted.tolist())


def test_functions_of_one_name_are_told_apart():
    targets = [lambda out, k=k: out[:, k] for k in (0, 1)]
    dreams = dreamed(targets, (0, 0))
    found = pl.inspect.quality(dreams, MODEL, INPUTS)
    torch.testing.assert_close(torch.tensor(found["score"].tolist()), dreams.score.float())


def test_scores_before_a_softmax():
    model = torch.nn.Sequential(MODEL, torch.nn.Softmax(1))
    dreams = pl.inspect.dream(model, [1], like=INPUTS, steps=2)
    found = pl.inspect.quality(dreams, model, INPUTS, LABELS)
    assert found["score"][0] == pytest.approx(float(MODEL(dreams.inputs)[0, 1]))
    assert found["probability"][0] == pytest.approx(float(model(dreams.inputs)[0, 1]))


def test_tables_have_no_spectrum():
    x = torch.rand(20, 4, generator=seeded(0))
    model = torch.nn.Linear(4, 2)
    dreams = pl.inspect.dream(model, [0], like=x, steps=2)
    found = pl.inspect.quality(dreams, model, x)
    assert found[["spectrum", "slope", "real_spectrum", "diversity"]].isna().all(axis=None)
    assert found["distance"][0] > 0


def test_nothing_is_left_on_the_model():
    state, weights = torch.get_rng_state(), [p.clone() for p in MODEL.parameters()]
    pl.inspect.quality(dreamed(), MODEL, INPUTS, LABELS)
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(MODEL.parameters(), weights, strict=True)
    assert all(torch.equal(p, q) and p.grad is None for p, q in pairs)


def test_what_cannot_be_judged():
    dreams = dreamed()
    judge = pl.inspect.quality
    with pytest.raises(InputError, match=r"`data` must have the shape of the dreams, \[2, 5, 6\]"):
        judge(dreams, MODEL, torch.rand(5, 2, 6, 6))
    with pytest.raises(InputError, match="`labels` must be the number of a class for each of"):
        judge(dreams, MODEL, INPUTS, LABELS[:3])
    with pytest.raises(UnknownNameError, match="A class of which `labels` has samples.*'2'"):
        judge(dreams, MODEL, INPUTS[LABELS < 2], LABELS[LABELS < 2])
    with pytest.raises(InputError, match="`dreams` must be what pellucid.inspect.dream returns"):
        judge(INPUTS, MODEL, INPUTS)
    with pytest.raises(InputError, match="`dreams` must hold at least one dream"):
        judge([], MODEL, INPUTS)
    with pytest.raises(InputError, match="`quantile` must be between 0 and 1"):
        judge(dreams, MODEL, INPUTS, quantile=2)
    with pytest.raises(InputError, match="There must be two real samples at least"):
        judge(dreamed((0,), (0,)), MODEL, INPUTS[:4], torch.tensor([0, 1, 1, 1]))
    with pytest.raises(TargetError, match="A target must be a class of the output, from 0 to 1"):
        judge(dreams, lambda x: MODEL(x)[:, :2], INPUTS)
