"""Bars have the length of the values, and whiskers where these were sampled."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pellucid.errors import InputError
from pellucid.plot import Summary, bar, draw
from tests.plot.made import image, made, of_players, ramp


def lengths(ax):
    (bars,) = [c for c in ax.containers if hasattr(c, "patches")]
    return [patch.get_width() for patch in bars.patches]


def whiskers(ax):
    found = [c for c in ax.containers if not hasattr(c, "patches")]
    return [segment[:, 0].tolist() for c in found for segment in c.lines[2][0].get_segments()]


def rows(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_one_sample_shows_its_values_with_their_errors():
    found = of_players([[1.0, -4.0, 0.5]], error=[[0.1, 0.2, 0.3]])
    ax = bar(found, most=9)
    assert lengths(ax) == [-4.0, 1.0, 0.5]
    assert rows(ax) == ["feature 1 = 0.5", "feature 0 = 0", "feature 2 = 1"]
    assert np.allclose(whiskers(ax), [(-4.2, -3.8), (0.9, 1.1), (0.2, 0.8)])
    assert "bars: standard error" in ax.get_xlabel()
    low, high = ax.get_xlim()
    assert -low == high > 4.2, "zero is in the middle, and whiskers are inside"


def test_a_table_of_players_is_drawn_so_by_itself():
    ax = draw(of_players([[1.0, -4.0, 0.5]], error=[[0.1, 0.2, 0.3]]))
    assert lengths(ax) == [-4.0, 1.0, 0.5]
    assert len(whiskers(ax)) == 3
    assert whiskers(draw(of_players([[1.0, -4.0, 0.5]]))) == []
    assert "standard error" not in bar(of_players([[1.0, -4.0, 0.5]])).get_xlabel()


def test_many_samples_show_the_mean_of_the_sizes():
    values = np.array([[1.0, -4.0, 0.5], [3.0, 4.0, 0.5], [-2.0, 1.0, 0.5]])
    ax = bar(of_players(values), most=9)
    assert lengths(ax) == [3.0, 2.0, 0.5]
    assert rows(ax) == ["feature 1", "feature 0", "feature 2"]
    spread = np.abs(values).std(0, ddof=1) / np.sqrt(3)
    assert np.allclose(
        whiskers(ax), [(3 - spread[1], 3 + spread[1]), (2 - spread[0], 2 + spread[0])]
    )
    one = bar(of_players(values), row=1, most=9)
    assert lengths(one) == [4.0, 3.0, 0.5]
    assert ax.get_xlim()[0] == 0


def test_the_others_are_summed_in_each_sample_before_their_mean():
    values = np.array([[9.0, 1.0, -1.0], [9.0, 2.0, 1.0]])
    ax = bar(of_players(values), most=1)
    assert rows(ax) == ["feature 0", "2 others"]
    assert lengths(ax) == [9.0, 1.5]


def test_values_that_are_not_finite_are_left_out_of_means():
    summary = Summary.of(of_players([[1.0, torch.nan], [3.0, torch.nan]]))
    mean, error = summary.sizes()
    assert mean.tolist() == [2.0, 0.0]
    assert np.allclose(error, [1.0, np.nan], equal_nan=True)
    FigureCanvasAgg(bar(of_players([[1.0, torch.nan], [3.0, torch.inf]])).figure).draw()


def test_means_of_a_table_without_players():
    table = made([[1.0, -2.0], [3.0, 2.0]])
    ax = bar(table, names=["a", "b"])
    assert rows(ax) == ["a", "b"]
    assert lengths(ax) == [2.0, 2.0]
    with pytest.raises(InputError, match="`names` must name all 2 features; got 3"):
        bar(table, names=["a", "b", "c"])
    with pytest.raises(InputError, match="Values of many samples must be those of players, or of"):
        bar(made(ramp(2, 1, 3, 3)))


def test_samples_of_different_players_have_no_mean():
    own = of_players([[1.0, 2.0], [3.0, 4.0]], labels=[[0, 1], [1, 0]])
    words = of_players([[1.0, 2.0], [3.0, 4.0]], names=(("a", "b"), ("a", "c")))
    for found in (own, words):
        with pytest.raises(InputError, match="Samples must have the same players to be summed up"):
            bar(found)
    same = of_players([[1.0], [3.0]], names=(("a = x",), ("a = y",)))
    assert rows(bar(same)) == ["a"], "their values may differ"


def test_axes_of_the_user_and_other_things():
    ax = Figure().add_subplot()
    assert bar(of_players([[1.0, 2.0]]), ax) is ax
    assert ax.get_title() == "Saliency"
    with pytest.raises(InputError, match="`ax` must be axes of matplotlib; got 'x'"):
        bar(of_players([[1.0, 2.0]]), ax="x")
    with pytest.raises(InputError, match="Values must be those of players"):
        bar(image(ramp(3, 3)))
    with pytest.raises(InputError, match="What is drawn must be an explanation; got 3"):
        bar(3)


@pytest.mark.parametrize("values", [[[0.0]], [[0.0, 0.0]], [[torch.nan]], [[0.0], [0.0]]])
def test_zeros_and_one_player_draw(values):
    FigureCanvasAgg(bar(of_players(values)).figure).draw()
