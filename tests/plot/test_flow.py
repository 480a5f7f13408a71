"""The ledger as a flow: what is left adds up, and what was taken has its place."""

import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.plot.flow import MOST_STEPS, TAKERS, steps
from pellucid.tape.ledger import Entry, Ledger
from tests.zoo.network import normal, seeded


def explained(bias: bool = True) -> pl.Explanation:
    net = seeded(nn.Sequential(nn.Linear(4, 6, bias=bias), nn.ReLU(), nn.Linear(6, 2, bias=bias)))
    return pl.explain(net, normal(3, 4), "lrp", target=1, on_incomplete="ignore")


def entry(number: int, path: str, bias: float) -> Entry:
    return Entry(
        number=number, name="mm", path=path, rule="Epsilon", relevance_out=2.0, relevance_in=1.0,
        bias=bias,
    )  # fmt: skip


def test_what_is_left_begins_at_the_score_and_ends_at_the_input():
    ledger = explained().ledger
    found = steps(ledger)
    assert found[-1].left == pytest.approx(ledger.explained, abs=1e-6)
    assert sum(step.taken[0] for step in found) == pytest.approx(ledger.bias)


def test_neighbors_of_one_layer_are_one_step():
    rows = tuple(entry(i, path, 1.0) for i, path in enumerate("aabbbac"))
    found = steps(Ledger(score=10.0, explained=3.0, rows=rows))
    assert [step.label for step in found] == ["a", "b", "a", "c"]
    assert [step.taken[0] for step in found] == [2.0, 3.0, 1.0, 1.0]
    assert [step.left for step in found] == [8.0, 5.0, 4.0, 3.0]


def test_many_layers_are_joined_and_nothing_is_lost():
    rows = tuple(entry(i, f"block{i // 2}.layer{i}", 0.5) for i in range(200))
    found = steps(Ledger(score=100.0, explained=0.0, rows=rows))
    assert len(found) <= MOST_STEPS
    assert sum(step.taken[0] for step in found) == pytest.approx(100.0)


def test_a_ledger_is_drawn_with_its_numbers():
    explanation = explained()
    ax = explanation.ledger.plot()
    (line,) = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert line.get_ydata()[0] == pytest.approx(explanation.ledger.score)
    assert line.get_ydata()[-1] == pytest.approx(explanation.ledger.explained, abs=1e-6)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["left", "to bias"]
    assert "summed over 3 samples" in ax.get_ylabel()
    assert len(TAKERS) == 4


def test_a_given_axes_is_drawn_on():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert explained(bias=False).ledger.plot(ax, dark=True) is ax


def test_the_report_shows_the_flow(tmp_path):
    path = tmp_path / "report.html"
    pl.report.write(path, [explained()[0]])
    page = path.read_text()
    assert 'class="drawing"' in page
    assert "relevance from the score" in page


def test_a_ledger_without_rows_is_drawn():
    ax = Ledger(score=1.0, explained=1.0, rows=()).plot()
    assert torch.isfinite(torch.tensor(ax.get_ylim())).all()
