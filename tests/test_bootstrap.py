"""The interval of a mean: against a slow bootstrap, the normal law, and how often it is right."""

import numpy as np
import pytest

import pellucid.bootstrap as room
from pellucid.bootstrap import mean_interval


def slow(values, level, seed, draws=2000):
    """Each mean of each draw, one by one, of what is known."""
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        drawn = values[rng.integers(len(values), size=len(values))]
        drawn = drawn[np.isfinite(drawn)]
        means += [drawn.mean()] if len(drawn) else []
    means.sort()
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_it_is_that_of_a_slow_bootstrap(level):
    values = np.random.default_rng(0).exponential(size=(40, 3))
    values[:10, 1] = np.nan
    low, high = mean_interval(values, level)
    for place in range(3):
        wanted = slow(values[:, place], level, seed=7)
        assert (low[place], high[place]) == pytest.approx(tuple(wanted), abs=0.03)


def test_many_samples_have_the_interval_of_the_normal_law():
    values = np.random.default_rng(1).normal(size=900)
    low, high = mean_interval(values)
    half = 1.96 * values.std() / 30
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.006)


def test_it_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(2)
    low, high = mean_interval(rng.normal(size=(30, 1000)), 0.9)
    assert 0.84 < ((low < 0) & (high > 0)).mean() < 0.93


def test_ends_do_not_depend_on_what_is_held_or_what_stands_beside(monkeypatch):
    values = np.random.default_rng(3).normal(size=(20, 4))
    whole = mean_interval(values)
    np.testing.assert_array_equal(mean_interval(values[:, 2])[0], whole[0][2])
    shaped = mean_interval(values.reshape(20, 2, 2))
    np.testing.assert_array_equal(shaped[1], whole[1].reshape(2, 2))
    monkeypatch.setattr(room, "HELD", 20 * 7)
    np.testing.assert_array_equal(mean_interval(values), whole)


@pytest.mark.parametrize("values", [np.zeros((0, 2)), np.ones((1, 2)), np.full((5, 2), np.nan)])
def test_fewer_than_two_samples_have_none(values):
    assert np.isnan(mean_interval(values)).all()


def test_where_one_sample_is_known_there_is_none():
    values = np.array([[1.0, 2.0], [3.0, np.nan], [4.0, np.nan]])
    low, high = mean_interval(values)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()
