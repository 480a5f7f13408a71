"""The waterfall and the force plot: what is drawn leads from the base value to the score."""

import itertools
import sys

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.transforms import Bbox

from pellucid.errors import InputError
from pellucid.plot import Force, Parts, force, waterfall
from pellucid.plot.color import sign_color
from pellucid.plot.labels import Wanted, placed
from tests.plot.made import of_players

VALUES = [[1.0, -5.0, 0.5, 3.0]]
HOSTILE = [[[0.0]], [[0.0, 0.0]], [[float("nan"), 1.0]], [[float("inf")]], [[1e300, -1e300]]]


def bars(ax):
    """Where each bar starts and ends, from the lowest row up."""
    return [
        (bar.get_x(), bar.get_x() + bar.get_width())
        for container in ax.containers
        if hasattr(container, "patches")
        for bar in container.patches
    ]


def rows(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_bars_lead_from_the_base_value_to_the_score():
    ax = waterfall(of_players(VALUES, expected=-0.5), most=3)
    drawn = bars(ax)
    assert drawn[0][0] == 2.5
    assert [start for start, _ in drawn[1:]] == [end for _, end in drawn[:-1]]
    assert drawn[-1][1] == 2.0
    assert [end - start for start, end in drawn] == [0.5, 1.0, 3.0, -5.0]
    assert rows(ax) == [
        *("base value", "feature 2 = 0.666667", "feature 0 = 0", "feature 3 = 1"),
        *("feature 1 = 0.333333", "score"),
    ]
    minus = "\N{MINUS SIGN}5"
    assert texts(ax) == ["2.5", "+0.5", "+1", "+3", minus, "2"]
    assert ax.get_xlabel() == "from base value 2.5 to the score 2"


def test_warm_raises_and_cold_lowers():
    for dark in (False, True):
        ax = waterfall(of_players(VALUES, expected=-0.5), dark=dark)
        colors = [bar.get_facecolor() for bar in ax.containers[0].patches]
        wanted = [sign_color(value, dark) for value in (0.5, 1.0, 3.0, -5.0)]
        assert [_hex(color) for color in colors] == wanted


def _hex(color):
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in color[:3]))


def test_what_is_not_explained_is_hatched():
    ax = waterfall(of_players(VALUES, expected=1.5))
    assert rows(ax)[-2:] == ["not explained", "score"]
    assert [bool(bar.get_hatch()) for bar in ax.containers[0].patches] == [*[False] * 4, True]
    assert bars(ax)[-1] == (0.0, 2.0)


def test_a_method_that_claims_nothing_has_no_base_value():
    ax = waterfall(of_players(VALUES))
    assert rows(ax)[0] == "score less all values"
    assert "base value" not in ax.get_xlabel()
    assert bars(ax)[0][0] == 2.5


def test_errors_are_whiskers_at_the_ends_of_their_steps():
    ax = waterfall(of_players(VALUES, error=[[0.1, 0.2, 0.0, 0.4]], expected=-0.5))
    (whiskers,) = [c for c in ax.containers if not hasattr(c, "patches")]
    (lines,) = whiskers.lines[2]
    spans = [segment[:, 0].tolist() for segment in lines.get_segments()]
    assert np.allclose(spans, [(3.9, 4.1), (6.6, 7.4), (1.8, 2.2)])
    assert texts(ax)[1:3] == ["+0.5", "+1 \N{PLUS-MINUS SIGN} 0.1"], "no error is no sign of one"
    assert "bars: standard error" in ax.get_xlabel()
    low, high = ax.get_xlim()
    assert low < 1.8
    assert high > 7.4
    certain = waterfall(of_players(VALUES, error=[[0.0] * 4], expected=-0.5))
    assert "standard error" not in certain.get_xlabel()


def test_many_players_are_summed():
    values = [[*[0.01] * 300, 4.0]]
    ax = waterfall(of_players(values, expected=7.0), most=4)
    assert rows(ax)[1] == "297 others"
    assert len(rows(ax)) == 7
    assert bars(ax)[-1][1] == pytest.approx(2.0)


@pytest.mark.parametrize("draw", [waterfall, force])
@pytest.mark.parametrize("values", HOSTILE)
@pytest.mark.parametrize("law", [None, 1.0])
def test_anything_draws(draw, values, law):
    figure = draw(of_players(values, expected=law)).figure
    FigureCanvasAgg(figure).draw()


@pytest.mark.parametrize("draw", [waterfall, force])
def test_a_score_that_is_not_finite_is_no_sum(draw):
    with pytest.raises(InputError, match=r"must be finite to be drawn as a sum; got nan and 2"):
        draw(of_players(VALUES, expected=float("nan")))


@pytest.mark.parametrize("draw", [waterfall, force])
def test_axes_of_the_user_are_used_and_no_state_is_touched(draw):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(of_players(VALUES), ax=right, title="mine") is right
    assert right.get_title() == "mine"
    assert left.has_data() is False
    FigureCanvasAgg(figure).draw()
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
    with pytest.raises(InputError, match="`ax` must be axes of matplotlib; got 3"):
        draw(of_players(VALUES), ax=3)
    with pytest.raises(InputError, match="A sample must be from 0 to 0; got 4"):
        draw(of_players(VALUES), row=4)


def test_long_names_are_cut_and_start_no_formula():
    name = "a $\\frac{name$ that is much longer than there is room for " * 3
    ax = waterfall(of_players(VALUES, names=((name, "b", "c", "d = 4"),)))
    shown = rows(ax)
    assert max(map(len, shown)) <= 38
    assert "…" in "".join(shown)
    assert "d = 4" in shown
    FigureCanvasAgg(ax.figure).draw()
    FigureCanvasAgg(force(of_players(VALUES, names=((name, "b", "c", "d"),))).figure).draw()


def test_words_beside_the_bars_are_inside_of_the_axes():
    names = (("the quite long name of a feature = 39", "b", "c", "d"),)
    found = of_players(VALUES, names=names, error=[[0.123] * 4], expected=-0.5)
    for each in (None, Figure(figsize=(4, 3)).add_subplot()):
        ax = waterfall(found, ax=each)
        FigureCanvasAgg(ax.figure).draw()
        right = ax.get_window_extent().x1
        for text in ax.texts:
            assert text.get_window_extent().x1 <= right + 1


def test_forces_meet_at_the_score():
    found = Force.of(Parts.of(of_players(VALUES, expected=-0.5)))
    by_name = {each.name.partition(" =")[0]: (each.left, each.right) for each in found.segments}
    assert by_name == {
        "feature 3": (-1.0, 2.0),
        "feature 0": (-2.0, -1.0),
        "feature 2": (-2.5, -2.0),
        "feature 1": (2.0, 7.0),
    }
    assert found.span == (-2.5, 7.0)
    assert found.base == 2.5, "what raises less what lowers, from the base value, is the score"
    raising = sum(each.value for each in found.segments if each.value > 0)
    lowering = sum(each.value for each in found.segments if each.value < 0)
    assert found.base + raising + lowering == found.score


def test_a_force_plot_draws_an_arrow_for_each_value():
    ax = force(of_players([[1.0, 0.0, -0.5, float("nan")]], expected=0.5))
    arrows = [patch for patch in ax.patches if isinstance(patch, Polygon)]
    assert len(arrows) == 2
    tips = [arrow.get_xy()[[1, 4], 0].tolist() for arrow in arrows]
    assert sorted(tips) == [[1.0, 2.0], [2.0, 2.5]]
    assert "score 2" in texts(ax)
    assert ax.get_xlabel() == "dashed: base value 1.5"


def test_the_rest_of_a_force_plot_is_hatched():
    ax = force(of_players(VALUES, expected=1.5))
    assert [bool(patch.get_hatch()) for patch in ax.patches] == [*[False] * 4, True]
    assert any(text.startswith("not explained") for text in texts(ax))


NAMES = ("education_number_of_years", "marital status of the applicant", "age", "capital_gain",
         "hours per week", "occupation (detailed)", "sex", "native country of birth", "region",
         "workclass", "capital_loss", "fnlwgt (census weight)", "relationship")  # fmt: skip


@pytest.mark.parametrize("size", [None, (4, 2), (6, 1.5), (12, 4)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_names_below_forces_touch_nothing(size, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1, len(NAMES), generator=generator) ** 3
    values = torch.ones(1, len(NAMES)) if seed == 0 else values
    found = of_players(values.tolist(), names=(NAMES,), error=(values.abs() / 9).tolist())
    ax = force(found, None if size is None else Figure(size).add_subplot(), most=len(NAMES))
    FigureCanvasAgg(ax.figure).draw()
    texts = [each for each in ax.texts if not each.get_text().startswith("score")]
    boxes = [each.get_window_extent() for each in texts]
    assert len(boxes) >= (5 if size is None else 2)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(ax.bbox.x0 - 8 < box.x0 and box.x1 < ax.bbox.x1 + 8 for box in boxes)
    assert all(ax.bbox.y0 - 1 < box.y0 for box in boxes)
    lines = [line.get_path().transformed(line.get_transform()) for line in ax.get_lines()]
    inner = [Bbox.from_extents(b.x0 + 2, b.y0 + 2, b.x1 - 2, b.y1 - 4) for b in boxes]
    assert not any(line.intersects_bbox(box, filled=False) for line in lines for box in inner)


def test_a_line_leads_to_each_name_that_is_not_right_below():
    wanted = [Wanted(1.0, "first", ()), Wanted(1.3, "second", ()), Wanted(0.0, "edge", ())]
    first, second, edge = placed(wanted, 4.0)
    assert (first.row, second.row, edge.row) == (0, 1, 0)
    assert (first.x, second.x) == (1.0, 1.3)
    assert edge.x == edge.width / 2
    below = placed([wanted[0], Wanted(1.0, "no line leads down here", ())], 4.0)
    assert below == [first]
    assert placed([Wanted(0.5, "n" * 80, ())], 1.0)[0].words == f"{'n' * 7}…"
    assert placed([Wanted(0.1, "n" * 80, ())], 0.2) == []
    assert [each.words for each in placed(wanted, 1.9, rows=1)] == ["first", "edge"]
