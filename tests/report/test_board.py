"""The report of a leaderboard is one file that needs nothing else, and says what is so."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import FileError, InputError, UnknownNameError
from pellucid.evaluate.complexity import EffectiveFeatures
from pellucid.evaluate.leaderboard.board import Leaderboard
from pellucid.evaluate.metric import Found, Metric
from pellucid.method import Method
from pellucid.plot.leaderboard import agreement, leaderboard, tradeoff
from pellucid.report import board as board_room
from pellucid.report import write_board
from tests.report.browser import CHROMIUM, Browser
from tests.report.test_document import HOSTILE, Page


@dataclass(frozen=True, kw_only=True)
class Slope(Metric):
    """The correlation of the map with the gradient."""

    name: ClassVar[str] = "slope"
    answers: ClassVar[str] = "Is the map that of the gradient?"
    weakness: ClassVar[str] = HOSTILE

    def judge(self, trial):
        gradient = trial.case.gradient[0].flatten(1)
        found = [torch.cosine_similarity(each.values.flatten(1), gradient) for each in trial.rivals]
        return [Found(values=each) for each in found]


@dataclass(frozen=True, kw_only=True)
class Broken(Method):
    """Does not answer."""

    name: ClassVar[str] = "broken"

    def attribute(self, case):
        raise ValueError(HOSTILE)


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval()
    x = torch.randn(30, 6).double()
    methods = ["saliency", pl.Saliency(reduce="absolute"), "gradient_x_input", "lrp", Broken()]
    return pl.evaluate.leaderboard(model, x, methods, [Slope(), EffectiveFeatures()], chunk=20)


def page(tmp_path, board, **options):
    return Page(write_board(tmp_path / "r.html", board, **options).read_text("utf-8"))


def test_the_page_says_what_the_board_says(tmp_path, board):
    found = page(tmp_path, board, about="Model: mine.", credits="From here.")
    text = " ".join(found.text.split())
    for verdict in board.verdicts:
        assert verdict in text
    for metric in board.metrics:
        for row in board.table(metric):
            assert row.title in text
            assert f"{row.measurement.mean:.4g}".replace("-", "\N{MINUS SIGN}") in text
    for word in ("Model: mine.", "30 samples", "From here.", "Friedman's test", "What it cost"):
        assert word in text
    assert "ValueError: " + HOSTILE in text  # as words, not as elements
    assert found.all("script") == []
    assert all(src["src"].startswith("data:") for src in found.all("img"))


def test_bars_lie_where_the_numbers_are(tmp_path, board):
    """Zero, the random ranking and each mean share one axis, from the least to the largest."""
    html = write_board(tmp_path / "r.html", board).read_text("utf-8")
    table = html.split("<h2>slope")[1].split("</table>")[0]

    def places(kind, name):
        return [float(part.split(f"{name}: ")[1].split("%")[0])
                for part in table.split(f'class="{kind}" style="')[1:]]  # fmt: skip

    rows = board.table("slope")
    ends = [0.0, *(e for row in rows for e in (row.measurement.mean, *row.interval))]
    low, span = min(ends), max(ends) - min(ends)
    means = np.array([row.measurement.mean for row in rows])
    zero = places("origin", "left")
    assert zero == pytest.approx([100 * -low / span] * len(rows), abs=0.01)
    left, width = np.array(places("fill", "left")), np.array(places("fill", "width"))
    np.testing.assert_allclose(left, 100 * (np.minimum(means, 0) - low) / span, atol=0.01)
    np.testing.assert_allclose(width, 100 * np.abs(means) / span, atol=0.01)
    random = board.measured("slope")["random"].mean
    assert places("chance", "left")[0] == pytest.approx(100 * (random - low) / span, abs=0.01)


def test_the_tradeoff_is_of_the_metrics_that_are_asked(tmp_path, board):
    alt = "slope against effective_features"
    assert any(each["alt"].startswith(alt) for each in page(tmp_path, board).all("img"))
    turned = page(tmp_path, board, against=("slope", "effective_features"))
    assert any("effective_features against slope" in each["alt"] for each in turned.all("img"))
    with pytest.raises(UnknownNameError, match="A metric of this leaderboard"):
        page(tmp_path, board, against=("slope", "slop"))


@pytest.mark.parametrize("metric", ["selectivity", "abpc", "model_randomization"])
def test_curves_are_drawn_with_all_methods(tmp_path, metric):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    methods = ["saliency", "lrp", Broken()]
    judged = pl.evaluate.leaderboard(model, torch.randn(5, 6), methods, [metric], chunk=3)
    (drawn,) = page(tmp_path, judged).all("img")
    assert drawn["alt"] == f"{metric}: the curves of all methods"


def test_curves_have_the_names_of_the_table(tmp_path, monkeypatch):
    """And random orders are drawn once: not as a line of chance and as a method."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    methods = ["saliency", pl.LRP(), pl.LRP(composite="epsilon-gamma")]
    metrics = ["selectivity", "model_randomization"]
    judged = pl.evaluate.leaderboard(model, torch.randn(5, 6), methods, metrics)
    drawn = []
    for name in ("curves", "cascade"):
        plain = getattr(board_room, name)
        monkeypatch.setattr(board_room, name, lambda *a, plain=plain, **o: (
            drawn.append(o["titles"]) or plain(*a, **o)))  # fmt: skip
    write_board(tmp_path / "r.html", judged)
    names = [each.title for each in judged.standings]
    assert names[1].startswith("lrp(composite=")
    assert drawn[0] == names[:-1]
    assert names in drawn


def test_agreement_counts_the_better_direction(board):
    """Who is best by one and simplest by the other: both are good, though the one is low."""
    slope = {row.title: row.measurement.mean for row in board.table("slope")}
    simple = {row.title: -row.measurement.mean for row in board.table("effective_features")}
    names = [name for name in slope if name != "random"]
    pairs = [(slope[a] - slope[b]) * (simple[a] - simple[b]) for a in names for b in names]
    assert len(names) == 4
    said = agreement(board, "slope", "effective_features")
    assert said.startswith("rank correlation over 4 methods: ")
    number = float(said.split(": ")[1].replace("\N{MINUS SIGN}", "-"))
    assert np.sign(number) == np.sign(np.sign(np.round(pairs, 12)).sum())


def test_bars_are_drawn_in_order_with_their_intervals(board):
    ax = leaderboard(board, "effective_features")
    rows = board.table("effective_features")
    assert [patch.get_width() for patch in ax.patches] == pytest.approx(
        [row.measurement.mean for row in rows]
    )
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"{row.title} {row.groups}" for row in rows]
    random = board.measured("effective_features")["random"].mean
    assert any(line.get_xdata()[0] == pytest.approx(random) for line in ax.lines)
    assert "95 % interval" in ax.get_xlabel()


def test_points_lie_at_the_means(board):
    ax = tradeoff(board, "effective_features", "slope")
    points = {
        tuple(np.round(line.get_xydata()[0], 9)) for line in ax.lines if len(line.get_xdata())
    }
    for name, found in board.measured("slope").items():
        other = board.measured("effective_features")[name]
        assert (round(other.mean, 9), round(found.mean, 9)) in points
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [each.title for each in board.standings if not each.failure]


def test_drawings_take_axes_and_are_dark(board):
    ax = board.plot("slope")
    assert board.plot("slope", ax=ax) is ax
    assert leaderboard(board, dark=True).figure.get_facecolor() != ax.figure.get_facecolor()
    assert tradeoff(board, "slope", "effective_features", ax=ax) is ax


def test_one_sample_and_one_method(tmp_path):
    model = nn.Linear(3, 2)
    small = pl.evaluate.leaderboard(model, torch.rand(1, 3), ["saliency"], [EffectiveFeatures()])
    text = page(tmp_path, small).text
    assert "nan" not in text
    assert "too few samples" in text


@pytest.mark.parametrize(
    ("given", "path", "error", "message"),
    [
        (3, "r.html", InputError, "`board` must be a Leaderboard; got 3"),
        (None, "no/where/r.html", FileError, "The folder of .* must exist"),
    ],
)
def test_messages(tmp_path, board, given, path, error, message):
    with pytest.raises(error, match=message):
        write_board(tmp_path / path, board if given is None else given)


def test_a_metric_that_judged_nobody_cannot_be_drawn(board):
    empty = Leaderboard(standings=board.standings[-1:], metrics={"none": Slope()}, samples=3)
    with pytest.raises(InputError, match="A metric must have judged a method to be drawn"):
        leaderboard(empty)
    with pytest.raises(InputError, match="Two metrics must have judged the same method"):
        tradeoff(empty, "none", "none")


@pytest.mark.skipif(not CHROMIUM, reason="No Chromium was found: the page is NOT opened.")
def test_the_page_in_a_browser(tmp_path, board):
    """No complaint, no request, and nothing wider than the window; wide tables scroll alone."""
    path = Path(write_board(tmp_path / "r.html", board))
    browser = Browser()
    try:
        tab = browser.tab()
        tab.settle = lambda: None
        for width in (1200, 500):
            for dark in (False, True):
                tab.open(path, width=width, dark=dark)
                assert tab.complaints() == []
                assert all(u.startswith(("file:", "data:", "about:")) for u in tab.requests())
                assert tab.run("document.documentElement.scrollWidth") == width
    finally:
        browser.close()
