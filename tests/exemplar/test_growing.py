"""Growing data sets: the loop beside the same by hand, and what picking gains on digits."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.evaluate.retrain import Examples
from pellucid.evaluate.retrain.curves import estimate
from pellucid.exemplar import choose_to_label, grow


def data(seed, samples=60):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, samples)
    return (draw.normal(size=(samples, 2)) + 2 * np.eye(3)[y][:, :2]), y


def centers():
    """The simplest classifier: the class whose mean is nearest."""
    from sklearn.neighbors import NearestCentroid

    return NearestCentroid()


(X, Y), TEST = data(0), data(1)


def test_the_loop_is_that_by_hand():
    found = grow(centers(), X, Y, test=TEST, how="coverage", start=6, step=4, rounds=2, seeds=2)
    assert found.sizes == (6, 10, 14)
    for seed in range(2):
        rows = found.picks["coverage"][seed].tolist()
        assert len(set(rows)) == 14
        assert rows[:6] == found.picks["random"][seed, :6].tolist(), "all begin alike"
        for turn, size in enumerate(found.sizes):
            model = centers().fit(X[rows[:size]], Y[rows[:size]])
            right = (model.predict(TEST[0]) == TEST[1]).mean()
            assert float(found.accuracy["coverage"][seed, turn]) == pytest.approx(right)
            if turn < 2:
                left = [i for i in range(60) if i not in rows[:size]]
                picked = choose_to_label(model, X[rows[:size]], X[left], 4, "coverage")
                assert [left[i] for i in picked.index] == rows[size : size + 4]
    assert found.trainings == 12


def test_features_of_the_inputs_need_no_model():
    options = {"start": 6, "step": 4, "rounds": 1, "seeds": 1}
    found = grow(centers(), X, Y, test=TEST, how="coverage", features="inputs", **options)
    rows = found.picks["coverage"][0].tolist()
    left = [i for i in range(60) if i not in rows[:6]]
    picked = choose_to_label(None, X[rows[:6]], X[left], 4)
    assert [left[i] for i in picked.index] == rows[6:]


def test_gains_are_paired_and_over_all_rounds():
    found = grow(centers(), X, Y, test=TEST, how="coverage", start=6, step=4, rounds=2, seeds=3)
    drops = found.accuracy["coverage"] - found.accuracy["random"]
    assert found.gain("coverage").mean == pytest.approx(float(drops[:, 1:].mean()))
    assert found.gain("coverage", 10).mean == pytest.approx(float(drops[:, 1].mean()))
    wanted = estimate(drops[:, 1:].mean(1).tolist(), 1 / 60 / 12**0.5)
    assert found.gain("coverage").low == pytest.approx(wanted.low)
    assert found.gain("random").mean == 0
    assert len(found.to_frame()) == 6
    ax = found.plot()
    assert [line.get_label().partition(" ")[0] for line in ax.get_lines()] == ["coverage", "random"]
    assert "points over random on average" in repr(found)


def test_a_seed_counts_once():
    options = {"how": "coverage", "start": 6, "step": 4, "rounds": 1}
    found = grow(centers(), X, Y, test=TEST, seeds=np.array([3, 3]), **options)
    assert found.accuracy["coverage"].shape == (1, 2)
    assert found.accuracy["coverage"].dtype is torch.float64
    assert "1 seed\n" in repr(found)


def solved(factory, examples):
    """A training without steps: the last layer fits the classes by least squares."""
    net = factory()
    with torch.no_grad():
        hidden = net[:2](examples.inputs)
        wanted = nn.functional.one_hot(examples.labels, 3).float()
        net[2].weight.copy_(torch.linalg.lstsq(hidden, wanted, driver="gelsd").solution.T)
        net[2].bias.zero_()
    return net


def test_of_torch_models():
    x, y = torch.from_numpy(X).float(), torch.from_numpy(Y)
    test = (torch.from_numpy(TEST[0]).float(), torch.from_numpy(TEST[1]))
    net = lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))  # noqa: E731
    state, ways = torch.get_rng_state(), ["diverse", "uncertainty", "explanation"]
    options = {"how": ways, "start": 6, "step": 3, "rounds": 1, "fit": solved, "layer": "1"}
    found = grow(net, x, y, test=test, seeds=[4], **options)
    assert list(found.accuracy) == [*ways, "random"]
    assert torch.equal(state, torch.get_rng_state())
    again = grow(net, x, y, test=test, seeds=[4], **options)
    assert all(torch.equal(found.picks[way], again.picks[way]) for way in ways)
    kept = found.picks["random"][0]
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = solved(net, Examples(x[kept], y[kept]))
    right = (model(test[0]).argmax(1) == test[1]).double().mean()
    assert found.accuracy["random"][0, 1] == pytest.approx(float(right))


def test_what_cannot_be_used():
    with pytest.raises(
        InputError, match="must be at most the 60 samples there are; got 50 and 2 x"
    ):
        grow(centers(), X, Y, test=TEST, start=50, step=6, rounds=2)
    with pytest.raises(InputError, match="`start` must be a whole number, at least 2; got 1"):
        grow(centers(), X, Y, test=TEST, start=1)
    with pytest.raises(InputError, match="must have at least two classes; got one, 0"):
        grow(centers(), X, Y * 0, test=(TEST[0], TEST[1] * 0))
    with pytest.raises(UnknownNameError, match="Did you mean 'coverage'"):
        grow(centers(), X, Y, test=TEST, how=["coverages"])
    with pytest.raises(InputError, match="`seeds` must be their number, or at least one"):
        grow(centers(), X, Y, test=TEST, seeds=[])
    with pytest.raises(InputError, match="`model_factory` must make a new model each time"):
        grow(nn.Linear(2, 3), X, Y, test=TEST)
    found = grow(centers(), X, Y, test=TEST, how="coverage", start=6, step=4, rounds=1, seeds=1)
    with pytest.raises(UnknownNameError, match="A way to pick must be one that exists"):
        found.gain("unlike")
    with pytest.raises(UnknownNameError, match="A size of the data set"):
        found.gain("coverage", 7)


@pytest.mark.slow
def test_on_digits_what_is_uncertain_and_diverse_gains_over_random_picks():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order] / 16, y[order]
    found = grow(
        LogisticRegression(max_iter=1000), x[:1200], y[:1200], test=(x[1200:], y[1200:]),
        how=("diverse", "coverage", "unlike", "uncertainty"), features="inputs",
        start=20, step=20, rounds=4, seeds=8,
    )  # fmt: skip
    gain = found.gain("coverage")
    assert gain.low > 0, "more accurate than with random picks, beyond chance"
    assert found.gain("diverse").low > 0.02
    assert found.gain("diverse").mean > gain.mean
    # What a young model mixes up teaches it little.
    assert found.gain("uncertainty").high < 0
    # Outliers that are alike teach the same thing twice.
    assert found.gain("unlike").mean < gain.mean
