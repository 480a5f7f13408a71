"""The line is that of the local model, through the draws that it was fitted to."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.plot import LocalLine, local_line
from tests.plot.made import of_players


def plane(x):
    return x @ torch.tensor([[2.0], [-3.0], [0.5]]) + 1.0


def bent(x):
    return plane(x) + x[:, :1] * x[:, 1:2]


X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


def test_on_a_plane_the_line_goes_through_the_sample():
    found = LocalLine.of(pl.explain(plane, X[:3], "lime", target=0), 1, row=2)
    assert found.is_switch
    assert found.start + found.slope == pytest.approx(float(plane(X[2:3])), abs=1e-5)
    assert found.slope == pytest.approx(-3 * float(X[2, 1]), abs=1e-5)
    assert found.start == pytest.approx(float(plane(X[2:3] * torch.tensor([1, 0, 1]))), abs=1e-5)


@pytest.mark.parametrize("data", [None, X])
def test_the_line_is_the_weighted_regression_of_the_draws(data):
    """The textbook: all features by weighted least squares, then all but one held at the sample."""
    method = pl.LIME(data=data, k=None, samples=200)
    explanation = method(bent, X[:2], target=0)
    lines = [LocalLine.of(explanation, player, row=1) for player in range(3)]
    z = np.stack([line.z for line in lines], axis=1)
    root = np.sqrt(lines[0].weights)[:, None]
    design = np.hstack([np.ones((len(z), 1)), z])
    fitted, *_ = np.linalg.lstsq(root * design, root[:, 0] * lines[0].scores, rcond=None)
    for player, line in enumerate(lines):
        assert line.slope == pytest.approx(fitted[1 + player], abs=1e-6)
        held = [fitted[1 + j] * z[0, j] for j in range(3) if j != player]
        assert line.start == pytest.approx(fitted[0] + sum(held), abs=1e-6)
    assert float(explanation.score[1]) == pytest.approx(lines[0].scores[0], abs=1e-6)


def test_points_are_the_draws_as_large_as_their_weights():
    explanation = pl.explain(bent, X[:1], "lime", target=0)
    found, ax = LocalLine.of(explanation, 0), local_line(explanation, "feature 0")
    points, ring = ax.collections
    assert np.allclose(points.get_offsets()[:, 1], found.scores)
    order = np.argsort(found.weights, kind="stable")
    assert (np.diff(points.get_sizes()[order]) >= 0).all()
    assert ring.get_offsets()[0, 1] == pytest.approx(found.scores[0])
    (line,) = ax.get_lines()
    assert np.allclose(line.get_ydata(), [found.start, found.start + found.slope])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["absent", "present"]
    assert "weighted R² of the local model" in ax.get_xlabel()


def test_numbers_of_a_table_have_an_axis_of_their_own():
    ax = local_line(pl.LIME(data=X)(bent, X[:1], target=0), 0, dark=True)
    assert "as the local model reads it" in ax.get_xlabel()
    FigureCanvasAgg(ax.figure).draw()


@pytest.mark.parametrize("options", [{"bins": 4}, {"baseline": True}], ids=["bins", "baseline"])
@pytest.mark.parametrize("player", ["age", "town"])
def test_tables_with_gaps_and_categories(options, player, tmp_path):
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {"age": generator.normal(40, 10, 60), "town": generator.choice(["Ulm", "Bonn"], 60)}
    )
    table.loc[::7, "age"], table.loc[::5, "town"] = np.nan, None

    def model(rows):
        return (rows["age"].fillna(30) + 10 * (rows["town"] == "Ulm") + rows["town"].isna()) / 9

    given = {"baseline": table[1:2]} if "baseline" in options else {"data": table, **options}
    found = pl.explain(model, table[:2], "lime", samples=300, **given)
    line = LocalLine.of(found, player, row=0)
    assert line.name == player
    assert line.is_switch
    assert line.slope == pytest.approx(float(found.evidence["weights"][0, int(player == "town")]))
    assert np.isfinite([line.z, line.weights, line.scores]).all()
    stored = pl.load(found.save(tmp_path / "line.safetensors"))
    assert np.array_equal(LocalLine.of(stored, player).z, line.z)
    FigureCanvasAgg(local_line(found, player).figure).draw()


def test_errors_of_a_local_line():
    found = pl.explain(plane, X[:1], "lime", target=0)
    with pytest.raises(UnknownNameError, match="`player`"):
        local_line(found, "feature 9")
    with pytest.raises(InputError, match="A sample must be from 0 to 0; got 7"):
        local_line(found, 0, row=7)
    tree = pl.LIME(local="tree")(plane, X[:1], target=0)
    for other in (of_players([[1.0, 2.0]]), tree):
        with pytest.raises(InputError, match="A local line must be that of an explanation by lime"):
            local_line(other, 0)
    ax = Figure().add_subplot()
    assert local_line(found, 0, ax) is ax
