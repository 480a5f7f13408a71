"""LIME on tables with data: columns drawn as those of the data are."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.features import Features
from pellucid.lime.table import Table
from pellucid.structure import Inputs
from tests.lime import textbook

RNG = np.random.default_rng(0)
# Two columns of numbers, one that is constant, and one of three categories.
DATA = torch.tensor(
    np.column_stack([
        RNG.normal(5, 2, 500), RNG.exponential(3, 500), np.full(500, 7.0),
        RNG.choice(3, 500, p=[0.6, 0.3, 0.1]),
    ])
)  # fmt: skip
X = torch.tensor([[4.0, 1.0, 7.0, 0.0], [9.0, 6.0, 7.0, 2.0]], dtype=torch.float64)
MEAN, DEVIATION = DATA.mean(0), DATA.std(0, correction=0)


def line(x):
    return (2 * x[:, 0] - 3 * x[:, 1] + 5 * (x[:, 3] == 0)).unsqueeze(1)


def bent(x):
    return (torch.sin(x[:, 0]) * x[:, 1] + (x[:, 3] == 2) * x[:, 0]).unsqueeze(1)


def space(method, x=X):
    players = Features.of(method.features).players(Inputs.of(x))
    return method.space(Inputs.of(x), players)


@pytest.mark.parametrize("around", ["sample", "mean"])
def test_a_linear_score_has_its_contributions(around):
    found = pl.LIME(data=DATA, categorical=[3], around=around, samples=200)(line, X[:1])
    slopes = torch.tensor([2.0, -3.0], dtype=torch.float64)
    assert_close(found.players[:, :2], slopes * (X[:1, :2] - MEAN[:2]))
    assert_close(found.evidence["weights"][:, :2], (slopes * DEVIATION[:2])[None])
    assert not found.players[:, 2].any()
    assert_close(found.players[0, 3].item(), 5.0)
    local = found.players.sum(1) + found.evidence["intercept"]
    assert_close(local, line(X)[:1, 0])


def test_the_draws_are_those_of_the_data():
    method = pl.LIME(data=DATA, categorical=[3], samples=20_000)
    drawn = space(method).points(torch.zeros(20_000, dtype=torch.long), torch.arange(20_000))
    assert_close(drawn[:, :2].mean(0), X[0, :2], rtol=0, atol=0.06)
    assert_close(drawn[:, :2].std(0), DEVIATION[:2], rtol=0.02, atol=0)
    assert (drawn[:, 2] == 7).all()
    shares = torch.bincount(drawn[:, 3].long()) / 20_000
    expected = torch.bincount(DATA[:, 3].long()) / 500
    assert_close(shares, expected, rtol=0, atol=0.015)
    correlation = torch.corrcoef(drawn[:, [0, 1, 3]].T) - torch.eye(3)
    assert correlation.abs().max() < 0.03


def test_around_the_mean_draws_are_those_of_all_samples():
    method = pl.LIME(data=DATA, categorical=[3], samples=50, around="mean")
    first, second = (
        space(method).points(torch.full((50,), row), torch.arange(50)) for row in (0, 1)
    )
    assert_close(first, second)


@pytest.mark.parametrize("width", [None, 0.4])
def test_it_is_the_textbook_on_its_draws(width):
    method = pl.LIME(data=DATA, categorical=[3], samples=300, width=width)
    found = method(bent, X)
    for row in range(2):
        drawn = space(method).points(torch.full((300,), row), torch.arange(300))
        points = torch.cat([X[row : row + 1], drawn])
        features = (points - MEAN) / DEVIATION
        features[:, 2], features[:, 3] = 0, (points[:, 3] == X[row, 3]).double()
        away = (points - X[row]) / DEVIATION
        away[:, 2], away[:, 3] = 0, (points[:, 3] != X[row, 3]).double()
        weights = torch.exp(-away.square().sum(1) / (2 * (width or 0.75 * 2) ** 2))
        expected, _, fidelity = textbook.least_squares(
            features.numpy(), bent(points)[:, 0].numpy(), weights.numpy()
        )
        own = (X[row] - MEAN) / DEVIATION
        own[2], own[3] = 0, 1
        assert_close(found.players[row], torch.tensor(expected) * own, rtol=1e-7, atol=1e-9)
        assert found.evidence["fidelity"][row].item() == pytest.approx(fidelity)


@pytest.mark.parametrize("bins", [4, 10])
def test_bins_are_quantiles(bins):
    method = pl.LIME(data=DATA, bins=bins, categorical=[3], samples=4000)
    near = space(method).near(torch.arange(2), 4000)
    assert set(near.features.unique().tolist()) == {0, 1}
    shares = near.features[:, 1:, :2].mean(1)
    assert_close(shares, torch.full((2, 2), 1 / bins).double(), rtol=0, atol=0.03)
    edges = np.quantile(DATA.numpy(), np.arange(1, bins) / bins, axis=0)
    points = space(method).points(torch.zeros(4000, dtype=torch.long), torch.arange(4000))
    for column in (0, 1):
        places = np.searchsorted(edges[:, column], points[:, column].numpy())
        own = np.searchsorted(edges[:, column], X[0, column].item())
        assert_close(near.features[0, 1:, column], torch.tensor(places == own).double())
    assert (near.features[:, :, 2] == 1).all()


def test_a_step_is_found_by_bins():
    low = DATA[:, 0].quantile(0.25)

    def step(x):
        return (10.0 * (x[:, 0] <= low)).unsqueeze(1)

    x = DATA[DATA[:, 0] < low][:1]
    found = pl.LIME(data=DATA, bins=4, samples=500, categorical=[3])(step, x)
    assert_close(found.players[0], torch.tensor([10.0, 0, 0, 0]).double(), rtol=0, atol=1e-9)
    assert found.evidence["fidelity"].item() == pytest.approx(1)


def test_columns_of_one_player_are_drawn_together():
    one_hot = torch.eye(3, dtype=torch.float64)[torch.tensor(RNG.choice(3, 200))]
    data = torch.cat([one_hot, torch.randn(200, 1).double()], 1)
    x = torch.tensor([[0.0, 1.0, 0.0, 0.5]], dtype=torch.float64)
    method = pl.LIME(data=data, features=torch.tensor([[0, 0, 0, 1]]), samples=200)
    drawn = space(method, x).points(torch.zeros(200, dtype=torch.long), torch.arange(200))
    assert (drawn[:, :3].sum(1) == 1).all()
    found = method(lambda x: (4 * x[:, 1] + x[:, 3]).unsqueeze(1), x)
    assert found.players.shape == (1, 2)
    assert_close(found.players[0, 0].item(), 4.0)


def test_columns_of_nobody_stay():
    method = pl.LIME(data=DATA, features=torch.tensor([[0, -1, 1, 2]]), samples=50)
    drawn = space(method).points(torch.ones(50, dtype=torch.long), torch.arange(50))
    assert (drawn[:, 1] == X[1, 1]).all()
    assert not method(line, X).values[:, 1].any()


def test_integers_are_categories():
    data = torch.randint(0, 4, (100, 3), generator=torch.Generator().manual_seed(0))
    found = pl.LIME(data=data, samples=300)(
        lambda x: (3.0 * (x[:, 1] == 2)).unsqueeze(1), torch.tensor([[1, 2, 3]])
    )
    assert_close(found.players, torch.tensor([[0.0, 3.0, 0.0]]).double(), rtol=0, atol=1e-9)


def test_rows_do_not_depend_on_each_other():
    method = pl.LIME(data=DATA, categorical=[3], samples=100)
    whole = method(bent, X)
    for size in (1, 7, 64):
        assert_close(method(bent, X, batch_size=size).players, whole.players)
    assert_close(method(bent, X[1:]).players, whole.players[1:])


def test_full_batches_are_run():
    found = pl.LIME(data=DATA, samples=100)(bent, X, batch_size=64)
    assert found.evaluations.forward == 2 + 200
    assert found.evaluations.calls == 1 + 4


def test_standard_errors_cover_what_many_draws_give():
    exact = pl.LIME(data=DATA, categorical=[3], samples=100_000, runs=0)(bent, X).players
    inside = []
    for seed in range(40):
        found = pl.LIME(data=DATA, categorical=[3], samples=300, seed=seed)(bent, X)
        inside.append(((found.players - exact).abs() <= 1.96 * found.player_error)[:, [0, 1, 3]])
    assert 0.87 <= torch.cat(inside).double().mean() <= 0.99


def test_one_row_of_data_is_a_constant_everywhere():
    found = pl.LIME(data=X[:1])(line, X[1:])
    assert not found.players.any()


def test_a_category_that_the_data_do_not_have_is_said():
    x = X.clone()
    x[0, 3] = 8
    found = pl.LIME(data=DATA, categorical=[3])(line, x)
    assert "1 of 2 samples have a category that is nowhere in the data." in str(found)


def test_missing_numbers_are_drawn_from_bins_only():
    data, x = DATA.numpy().copy(), X.numpy().copy()
    data[::5, 0], x[0, 0] = np.nan, np.nan

    def model(x):
        return np.where(np.isnan(x[:, :1]), 3.0, 0.0)

    with pytest.raises(InputError, match=r"must be finite where numbers are drawn .* With bins=4"):
        pl.LIME(data=data)(model, x)
    found = pl.LIME(data=data, bins=4)(model, x)
    # What is missing is no bin of large numbers.
    assert_close(found.players[0, 0].item(), 3.0)
    assert found.players[0, 1:].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("options", "x", "match"),
    [
        ({"data": DATA[:, :3]}, X, "`data` must be rows of the same 4 columns as the inputs; got"),
        ({"data": DATA[0]}, X, "`data` must be rows of the same 4 columns"),
        ({"data": DATA[:0]}, X, "`data` must be rows of the same 4 columns"),
        ({"data": DATA}, torch.rand(1, 3, 8, 8), "`data` must be given for one table"),
        (
            {"data": DATA, "categorical": [4]},
            X,
            "`categorical` must be columns, from 0 to 3; got 4",
        ),
        ({"data": "train.csv"}, X, "`data` must be rows of the same 4 columns .* got 'train.csv'"),
    ],
)
def test_data_that_do_not_fit_are_refused(options, x, match):
    with pytest.raises(InputError, match=match):
        pl.LIME(**options)(line, x)


def test_a_table_is_stored_with_its_data(tmp_path):
    found = pl.LIME(data=DATA, categorical=[3], samples=64)(bent, X)
    assert isinstance(space(found.method), Table)
    read = pl.load(found.save(tmp_path / "table.safetensors"))
    assert read == found
    assert_close(pl.sweep_width(read).values, pl.sweep_width(found).values)


def frame(rows, seed=0):
    """People: two columns of numbers, and two of categories."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "age": rng.normal(40, 10, rows), "sex": rng.choice(["female", "male"], rows),
        "city": rng.choice(["a", "b", "c"], rows), "rooms": rng.integers(1, 6, rows),
    })  # fmt: skip


def priced(people):
    """A score that looks at three of the columns of a data frame."""
    return (people.age / 10 + 3.0 * (people.sex == "male") - people.rooms).to_numpy()[:, None]


def test_data_frames_keep_their_names_and_categories(tmp_path):
    data = frame(300)
    found = pl.LIME(data=data, samples=400)(priced, data.iloc[:3])
    values = found.players
    assert_close(values[:, 0], torch.tensor((data.age[:3] - data.age.mean()).to_numpy() / 10))
    male = torch.tensor((data.sex[:3] == "male").to_numpy())
    assert_close(values[:, 1], torch.where(male, 3.0, -3.0).double())
    assert values[:, 2].abs().max() < 1e-9
    assert_close(values[:, 3], torch.tensor((data.rooms.mean() - data.rooms[:3]).to_numpy()))
    assert f"sex = {data.sex[0]}" in found.features.named(0)
    read = pl.load(found.save(tmp_path / "frame.safetensors"))
    assert_close(pl.sweep_width(read, [1.5]).values[:, 0], values)
    assert pl.submodular_pick(found, 1).names == ("age", "sex", "city", "rooms")


def test_a_frame_takes_either_data_or_a_background():
    data = frame(50)
    with pytest.raises(InputError, match="must have the columns of the inputs"):
        pl.LIME(data=data[["age"]])(priced, data.iloc[:2])
    removed = pl.LIME(baseline=data)(priced, data.iloc[:2])
    # With the mean over rows as what is absent, a sum has the distance from its mean.
    expected = (data.rooms.mean() - data.rooms[:2]).to_numpy()
    assert_close(removed.players[:, 3], torch.tensor(expected))


def test_tolerance_stops_draws_of_a_table():
    found = pl.LIME(data=DATA, categorical=[3], samples=8000, tolerance=0.08)(bent, X)
    assert (found.player_error.amax(1) <= 0.08 * found.players.abs().amax(1)).all()
    assert found.evidence["draws"].max() < 8000
    alone = pl.LIME(data=DATA, categorical=[3], samples=8000, tolerance=0.08)(bent, X[1:])
    assert_close(alone.players, found.players[1:])


def test_players_of_each_sample_are_refused_with_data():
    labels = torch.tensor([[0, 0, 1], [0, 1, 1]])
    method = pl.LIME(features=labels, data=torch.randn(20, 3))
    with pytest.raises(InputError, match="`features` must be the same columns for all samples"):
        method(lambda t: t.sum(1, keepdim=True), torch.zeros(2, 3))


def test_what_is_missing_is_a_category():
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(2, (50, 2), generator=generator).double().numpy()
    data[::3, 1] = np.nan
    method = pl.LIME(data=data, bins=4, categorical=(1,))
    found = method(lambda t: 3.0 * np.isnan(t[:, 1:]), np.array([[1.0, np.nan]]))
    assert_close(found.players, torch.tensor([[0.0, 3.0]]).double(), rtol=0, atol=1e-6)
    assert "nowhere in the data" not in str(found)
    assert "nowhere in the data" in str(method(lambda t: t[:, :1], np.array([[1.0, 7.0]])))
    # It may be swept, too.
    swept = pl.sweep_width(found, [0.5, 5.0])
    assert_close(swept.values[0, :, 1], torch.full((2,), 3.0).double(), rtol=0, atol=1e-6)


def test_categories_of_other_precision_are_the_same():
    data = torch.tensor([[0.1], [0.2]], dtype=torch.float64)
    method = pl.LIME(data=data, categorical=(0,), samples=50)
    found = method(lambda t: (t < 0.15).to(t), torch.tensor([[0.1]]))
    assert_close(found.players, torch.tensor([[1.0]]).double(), rtol=0, atol=1e-6)
