"""What a page shows besides words is computed right: packed values, lanes, tokens, tables."""

import base64
import zlib

import numpy as np
import pytest
import torch

from pellucid.plot import Map
from pellucid.report import marks
from pellucid.report.image import MOST_STEPS, NO_NUMBER, STEPS, pack, rasterize
from pellucid.report.lanes import MOST_POINTS, Lanes, path
from pellucid.report.tables import MOST_ROWS, ledger_table
from pellucid.tape.ledger import Entry, Ledger
from tests.plot.made import image, made, ramp


def unpack(text, step):
    """The values again, written by hand: high bytes, then low bytes."""
    raw = zlib.decompress(base64.b64decode(text))
    half = len(raw) // 2
    steps = [256 * raw[i] + raw[half + i] for i in range(half)]
    steps = [n - 65536 if n >= 32768 else n for n in steps]
    return np.array([np.nan if n == NO_NUMBER else n * step for n in steps])


@pytest.mark.parametrize("largest", [1.0, 50.0, 1e4])
def test_values_are_packed_to_a_part_of_a_color(largest):
    values = np.array([[0.0, 1e-3, -0.5], [1.0, -largest, np.nan]])
    text, step = pack(values, span=1.0)
    assert step == pytest.approx(max(1 / STEPS, largest / MOST_STEPS))
    np.testing.assert_allclose(unpack(text, step), values.ravel(), atol=step / 2)


def test_nothing_finite_is_packed():
    text, step = pack(np.array([np.nan, np.inf]), span=1.0)
    assert np.isnan(unpack(text, step)).all()


def test_a_map_without_a_picture_lies_on_none():
    shown = Map.of(made(torch.rand(1, 1, 4, 4), inputs=torch.rand(1, 7)))
    assert rasterize(shown, alt="", opacity=0.5).opacity is None


def test_a_long_line_keeps_its_peaks():
    line = np.zeros(20_000)
    line[12_345] = 1
    points = path(line)[1:].split("L")
    assert len(points) <= MOST_POINTS + 2
    assert min(float(point.split(",")[1]) for point in points) == 10


def test_a_signal_names_its_channels_and_times():
    signal = made(ramp(1, 2, 100), inputs=torch.linspace(-1, 1, 200).reshape(1, 2, 100))
    lanes = Lanes.of(Map.of(signal, names=["a", "b"], rate=10.0), alt="")
    assert [name for name, _ in lanes.names] == ["a", "b"]
    assert lanes.names[0][1] == "\N{MINUS SIGN}1 to \N{MINUS SIGN}0.00503"
    assert lanes.ticks[:2] == [("0.50", "0"), ("20.50", "2")]
    assert lanes.axis == "seconds"
    assert Lanes.of(Map.of(signal), alt="").ticks[1] == ("20.50", "20")


def test_many_channels_have_low_lanes_without_names():
    lanes = Lanes.of(Map.of(made(ramp(1, 90, 5))), alt="")
    assert lanes.height * 90 < 600
    assert lanes.names == []


def test_only_special_tokens_of_no_value_are_put_together():
    ids = torch.arange(6)[None]
    text = made([[0.0, 0.0, 0.0, 0.5, 0.0, 0.0]], inputs=ids)
    tokens = ["the", "the", "[PAD]", "[PAD]", "[PAD]", "[PAD]"]
    found = marks.tokens(Map.of(text, tokens=tokens))
    assert [(mark.label, mark.count) for mark in found] == [
        *(("the", 1), ("the", 1), ("[PAD]", 1), ("[PAD]", 1), ("[PAD]", 2))
    ]


def test_the_longest_bar_is_the_largest_finite_value():
    found = marks.bars(Map.of(made([[1.0, -4.0, torch.inf, torch.nan, 0.0]])))
    assert {mark.label: mark.width for mark in found} == {
        "feature 2 = 0.5": 0,
        "feature 3 = 0.75": 0,
        "feature 1 = 0.25": -100,
        "feature 0 = 0": 25,
        "feature 4 = 1": 0,
    }
    assert [mark.value is None for mark in found] == [True, True, False, False, False]


def test_a_long_ledger_says_what_it_leaves_out():
    rows = tuple(
        Entry(number=i, name="mm", path="", rule="Pass", relevance_out=2.0, relevance_in=2.0)
        for i in range(MOST_ROWS + 3)
    )
    table = ledger_table(Ledger(score=2.0, explained=2.0, rows=rows), samples=4)
    assert (len(table.rows), table.left_out) == (MOST_ROWS, 3)
    assert "summed over 4 samples" in table.title
    assert table.rows[0] == ("0", "mm", "-", "Pass", "2", "2", "0", "0", "0", "0")
    assert image(ramp(2, 2)).ledger is None
