"""The report says how parts make up a score: a strip of forces, a waterfall, borders, whiskers."""

import re

import numpy as np
import pytest
import torch

from pellucid.plot import Map, Parts
from pellucid.report import marks, panel, write
from pellucid.report.forces import Forces
from pellucid.report.panel import outline
from tests.plot.made import completeness, made, of_players
from tests.plot.test_superpixels import REGIONS, photo
from tests.report.test_document import HOSTILE, Page, page

VALUES = [[1.0, -5.0, 0.5, 3.0]]
PLACE = re.compile(r"left: ([\d.]+)%; width: ([\d.]+)%")


def found_in(shown, kind):
    """Where the parts of a strip or of the steps are, in percent."""
    spans = [a for a in shown.all("span") if "push" in a.get("class", "")]
    own = [a for a in spans if ("role" in a) == (kind == "strip")]
    return [tuple(map(float, PLACE.search(a["style"]).groups())) for a in own]


def test_the_strip_is_as_long_as_its_parts():
    forces = Forces.of(Parts.of(of_players(VALUES, expected=-0.5)))
    assert [push.label.partition(" =")[0] for push in forces.pushes] == [
        *("feature 2", "feature 0", "feature 3", "feature 1")
    ]
    ends = [push.left + push.width for push in forces.pushes]
    assert np.allclose(ends[:-1], [push.left for push in forces.pushes[1:]])
    assert ends[-1] == pytest.approx(100)
    assert forces.score == pytest.approx(100 * 4.5 / 9.5)
    assert forces.base == pytest.approx(100 * 5 / 9.5)
    assert (forces.start, forces.end) == ("base value 2.5", "score 2")
    assert [push.side for push in forces.pushes] == ["plus"] * 3 + ["minus"]


def test_the_steps_lead_from_the_score_down_to_the_base_value():
    forces = Forces.of(Parts.of(of_players(VALUES, expected=1.5)))
    sides = [push.side for push in forces.steps]
    assert sides == ["rest", "minus", "plus", "plus", "plus"]
    assert [push.label.partition(" =")[0] for push in forces.steps] == [
        *("not explained", "feature 1", "feature 3", "feature 0", "feature 2")
    ]
    for push in forces.steps:
        assert push.left >= 0
        assert push.left + push.width <= 100 + 1e-9


def test_no_part_has_a_value_or_the_score_none():
    assert Forces.of(Parts.of(of_players([[0.0, 0.0]], expected=0.0))) is None
    assert Forces.of(Parts.of(of_players([[torch.nan]], expected=0.0))) is None
    assert Forces.of(Parts.of(of_players([[1.0]], expected=float("nan")))) is None


def test_a_table_that_claims_to_be_complete_has_a_strip(tmp_path):
    shown = page(tmp_path, [of_players(VALUES, expected=-0.5, error=[[0.1, 0.2, 0.0, 0.4]])])
    assert len(found_in(shown, "strip")) == len(found_in(shown, "steps")) == 4
    assert "base value 2.5 (dashed)" in shown.text
    assert "score 2 (solid)" in shown.text
    assert "Waterfall: step by step to the score" in shown.text
    titles = [
        a["title"] for a in shown.all("span") if "push" in a.get("class", "") and "title" in a
    ]
    assert "feature 0 = 0: +1 ± 0.1" in titles
    for left, width in found_in(shown, "strip") + found_in(shown, "steps"):
        assert left + width <= 100.01


@pytest.mark.parametrize(
    "found",
    [
        of_players(VALUES),
        made([[1.0, 2.0]], completeness=completeness(4.0, 4.0)),
        photo(expected=0.0),
        made([[1.0, 2.0]], completeness=completeness(3.0, 3.0), at="layer"),
    ],
    ids=["no law", "of another input, too", "an image", "a layer"],
)
def test_what_is_no_sum_of_what_is_shown_has_no_strip(found):
    assert "force" not in Page(panel(found)).text
    assert found_in(Page(panel(found)), "strip") == []


def test_a_text_has_a_strip(tmp_path):
    found = of_players([[1.0, -2.0]], inputs=torch.tensor([[5, 6]]), expected=-1.0)
    shown = page(tmp_path, [found], tokens=[["so", "bad"]])
    assert found_in(shown, "strip") == [(0.0, pytest.approx(33.333)), (33.333, 66.667)]


def test_many_players_are_summed_on_the_strip():
    forces = Forces.of(Parts.of(of_players([[0.1] * 300], expected=30.0)))
    assert len(forces.pushes) == len(forces.steps) == 13
    assert forces.pushes[-1].label == "288 others", "together the strongest"


def test_bars_have_whiskers_and_say_their_errors(tmp_path):
    found = of_players([[2.0, -8.0]], error=[[1.0, 2.0]], inputs=torch.tensor([[3.0, 4.0]]))
    low, high = marks.bars(Map.of(found))[::-1]
    assert (high.label, high.number) == ("feature 1 = 4", "\N{MINUS SIGN}8 ± 2")
    assert (high.width, low.width) == (-80, 20), "whiskers are inside"
    assert high.whisker == pytest.approx((50 - 50, 20))
    assert low.whisker == pytest.approx((55, 10))
    shown = page(tmp_path, [found])
    assert len([a for a in shown.all("span") if a.get("class") == "whisker"]) == 2
    without = Page(panel(of_players([[2.0, -8.0]])))
    assert [a for a in without.all("span") if a.get("class") == "whisker"] == []


def test_words_say_their_errors(tmp_path):
    found = of_players([[2.0, -8.0]], error=[[1.0, 0.0]], inputs=torch.tensor([[3, 4]]))
    shown = page(tmp_path, [found], tokens=[["so", "bad"]])
    assert "so +2 ± 1 bad \N{MINUS SIGN}8" in shown.text


def test_regions_have_borders_on_the_picture(tmp_path):
    shown = page(tmp_path, [photo()])
    (drawn,) = [a for a in shown.all("svg") if a.get("class") == "regions"]
    assert drawn["viewbox"] == "0 0 4 4"
    paths = {a["d"] for a in shown.all("path")}
    assert paths == {outline(REGIONS)} == {"M0 2H4M2 0V2M3 2V4"}
    frame = next(a for a in shown.all("div") if a.get("class") == "frame")
    assert frame["data-opacity"] == "0.8", "regions lie on the picture"
    assert "of 4 regions" in shown.text


def test_names_of_players_are_text_and_nothing_else(tmp_path):
    names = ((HOSTILE, "b", f"{HOSTILE} = 3", "d"),)
    shown = page(tmp_path, [of_players(VALUES, names=names, expected=-0.5)])
    assert len(shown.all("script")) == 1
    assert "evil" not in shown.script
    assert all(a["src"].startswith("data:") for a in shown.all("img"))


def test_a_report_of_tables_of_players_uses_the_names_of_columns(tmp_path):
    groups = of_players([[1.0, 2.0]], labels=[[0, 1, 1]], inputs=torch.ones(1, 3))
    path = write(tmp_path / "r.html", groups, features=["age", "red", "blue"])
    shown = Page(path.read_text("utf-8"))
    assert "age = 1" in shown.text
    assert "red + blue" in shown.text
