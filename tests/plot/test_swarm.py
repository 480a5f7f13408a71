"""The beeswarm shows each sample of each player once, at its value, in the color of its number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from pellucid.border.schema import Schema
from pellucid.errors import InputError, UnknownNameError
from pellucid.plot import beeswarm, scatter
from pellucid.plot.swarm import GRAY, OKABE_ITO, pile, shades
from tests.plot.made import made, of_players


def values_of(ax, row):
    return ax.collections[row].get_offsets()[:, 0].tolist()


def rows(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


VALUES = np.array([[1.0, -4.0, 0.5], [3.0, 4.0, 0.25], [-2.0, 1.0, 0.5], [0.0, 1.0, -0.5]])


def test_every_sample_is_a_point_at_its_value():
    ax = beeswarm(of_players(VALUES), most=9)
    assert rows(ax) == ["feature 1", "feature 0", "feature 2"]
    for row, column in enumerate((1, 0, 2)):
        assert values_of(ax, row) == VALUES[:, column].tolist()
    heights = ax.collections[1].get_offsets()[:, 1]
    assert np.abs(heights - 1).max() < 0.5, "rows are apart"


def test_others_are_summed_in_each_sample():
    ax = beeswarm(of_players(VALUES), most=1)
    assert rows(ax) == ["feature 1", "2 others"]
    assert values_of(ax, 1) == (VALUES[:, 0] + VALUES[:, 2]).tolist()
    colors = ax.collections[1].get_facecolors()
    assert {tuple(color) for color in colors} == {to_rgba(GRAY)}, "they have no one number"


@given(st.lists(st.floats(-5, 5) | st.just(float("nan")), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_points_of_one_value_do_not_hide_each_other(values):
    values = np.array(values)
    shift = pile(values)
    assert np.abs(shift).max() <= 1
    for value in set(values[np.isfinite(values)].tolist()):
        own = shift[values == value]
        assert len(set(own.tolist())) == len(own)


def test_colors_run_from_low_to_high():
    assert shades(np.array([1.0, 1.0, 1.0])).tolist() == [0.5] * 3
    assert shades(np.array([0.0, np.nan, 1.0]))[[0, 2]].tolist() == [0.0, 1.0]
    assert np.isnan(shades(np.array([np.nan, np.nan]))).all()
    assert shades(np.array([*[0.0] * 99, 7.0]))[-1] == 1.0, "though one value is most of them"
    many = shades(np.array([*range(100), 1e9]))
    assert many[50] == pytest.approx(0.5, abs=0.02), "an outlier does not take all colors"
    inputs = torch.tensor([[0.0], [1.0], [2.0]])
    ax = beeswarm(of_players([[1.0], [2.0], [3.0]], inputs=inputs))
    lights = ax.collections[0].get_facecolors()[:, :3].sum(1)
    assert (np.diff(lights) > 0).all()


def table(codes):
    """A table of one column of categories and one of numbers."""
    schema = Schema(
        layout="frame",
        names=("pet", "age"),
        kinds=("categorical", "numeric"),
        categories=(("cat", "dog", None, "a", "b", "c", "d", "e", "f"), ()),
        dtypes=("str", "float64"),
    )
    inputs = torch.tensor([[code, 30.0 + code] for code in codes]).double()
    names = tuple((f"pet = {code}", "age = 1") for code in codes)
    values = torch.tensor([[float(code) + 5, 1.0] for code in codes])
    return of_players(values, inputs=inputs, names=names, schema=schema)


def test_categories_have_colors_of_their_own_and_are_named():
    ax = beeswarm(table([0, 1, 2, 1]))
    colors = [tuple(color) for color in ax.collections[0].get_facecolors()]
    assert colors == [to_rgba(OKABE_ITO[code]) for code in (0, 1, 2, 1)]
    named = {text.get_text(): text.get_color() for text in ax.texts}
    assert named == {"cat": OKABE_ITO[0], "dog": OKABE_ITO[1], "missing": OKABE_ITO[2]}
    assert rows(ax) == ["pet", "age"]
    many = beeswarm(table(range(9)))
    assert [text.get_text() for text in many.texts] == ["cat", "dog", "and 7 more"]
    assert tuple(many.collections[0].get_facecolors()[8]) == to_rgba(GRAY)


def test_a_scatter_of_one_player():
    ax = scatter(table([0, 1, 2, 1]), "pet")
    assert ax.collections[0].get_offsets().tolist() == [[0, 5], [1, 6], [2, 7], [1, 6]]
    assert [tick.get_text() for tick in ax.get_xticklabels()][:3] == ["cat", "dog", "missing"]
    assert scatter(table([0, 1]), 1).get_xlabel() == "age"
    for wrong in (2, -1, "pets", True, None):
        with pytest.raises(UnknownNameError, match="`player`"):
            scatter(table([0, 1]), wrong)


@pytest.mark.parametrize(
    "values",
    [[[0.0]], [[1.0, 2.0]], [[torch.nan, 0.0], [torch.inf, 0.0]], [[0.5] * 200] * 2, [[1.0]] * 300],
    ids=["zero", "a batch of one", "not finite", "many players", "many of one value"],
)
def test_anything_draws(values):
    dark = len(values) > 1
    figure = beeswarm(of_players(values), dark=dark).figure
    FigureCanvasAgg(figure).draw()
    FigureCanvasAgg(scatter(of_players(values), 0, dark=dark).figure).draw()


def test_a_table_without_players_and_axes_of_the_user():
    ax = Figure().add_subplot()
    assert beeswarm(made([[1.0, -2.0], [3.0, 2.0]]), ax, names=["a", "b"]) is ax
    assert rows(ax) == ["a", "b"]
    with pytest.raises(InputError, match="`ax` must be axes"):
        beeswarm(made([[1.0, -2.0]]), ax=1)
