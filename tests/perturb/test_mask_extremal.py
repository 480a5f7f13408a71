"""Extremal perturbations: the best of all masks of an area, found and held."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.perturb import extremal
from pellucid.perturb.extremal import gaussian, smoothed, template
from pellucid.perturb.mask_sheets import Sheet
from tests.counting import Counting
from tests.perturb import planted
from tests.zoo.network import normal, seeded

COLUMNS = 20
WEIGHTS = normal(COLUMNS, seed=3)
TABLE = normal(4, COLUMNS, seed=4)
IMAGE = normal(2, 2, 9, 7, seed=1)
NET = seeded(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(105, 2)))


def learn(model: object, x: Any, **options: Any) -> pl.Explanation:
    return pl.explain(model, x, "extremal_perturbation", **{"target": 0, **options})


def line(x: Tensor) -> Tensor:
    return 3.0 + (x * WEIGHTS).sum(1, keepdim=True)


def best(count: int) -> Tensor:
    """The columns with the largest contributions, one for each of them."""
    shares = TABLE * WEIGHTS
    return torch.zeros_like(shares).scatter(1, shares.topk(count).indices, 1.0)


@pytest.mark.parametrize("mode", ["preservation", "deletion"])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_on_a_line_it_holds_the_largest_contributions(mode, count):
    found = learn(line, TABLE, mode=mode, area=count / COLUMNS, steps=200)
    assert_close(found.values.round(), best(count), rtol=0, atol=0)
    assert_close(
        found.evidence["area"], torch.full((4, 1), count / COLUMNS).double(), rtol=0, atol=0.03
    )


def test_the_closed_form_can_fail(monkeypatch):
    monkeypatch.setattr(extremal, "template", lambda area, cells: template(2 * area, cells))
    found = learn(line, TABLE, area=0.1, steps=200)
    assert not torch.equal(found.values.round(), best(2))


def test_several_areas_are_those_of_each_summed():
    single = [learn(line, TABLE, area=a, steps=50) for a in (0.1, 0.3)]
    both = learn(line, TABLE, area=[0.1, 0.3], steps=50)
    assert_close(both.values, single[0].values + single[1].values, rtol=1e-6, atol=1e-9)
    for place, each in enumerate(single):
        assert_close(both.evidence["within"][:, place], each.evidence["within"][:, 0])
    assert any(note.startswith("At 30 %: with nothing else") for note in both.notes)


def test_the_template_has_the_area():
    for area, cells in [(0.1, 20), (0.05, 4), (1.0, 3), (0.37, 100)]:
        found = template(area, cells)
        assert_close(found.sum(), torch.tensor(area * cells, dtype=torch.float64))
        assert (found.diff() >= 0).all()
        assert ((found > 0) & (found < 1)).sum() <= 1


def test_the_smooth_maximum_is_that_of_the_textbook():
    sheet = Sheet(leaves=(0,), size=(10, 6), grid=(5, 3), channel=1, smooth=True)
    cells = normal(1, 1, 5, 3, seed=5).sigmoid()
    width, temperature = 0.2, 1 / 20  # a Gaussian of 2 positions; a cell is 2 wide
    kernel = gaussian(sheet, width)
    assert kernel.shape == (7, 7)
    found = smoothed(cells, sheet, width)
    for i in range(5):
        for j in range(3):
            values = []
            for a in range(-3, 4):
                for b in range(-3, 4):
                    inside = 0 <= i + a < 5 and 0 <= j + b < 3
                    cell = float(cells[0, 0, i + a, j + b]) if inside else 0.0
                    distance = (2 * a) ** 2 + (2 * b) ** 2
                    values.append(cell * torch.tensor(-distance / 2 / 2**2).exp().double())
            stacked = torch.stack(values)
            share = (stacked / temperature).exp()
            assert_close(
                found[0, 0, i, j], (share * stacked).sum() / share.sum(), rtol=1e-6, atol=1e-8
            )


def test_a_mask_finds_what_was_planted():
    x, where = planted.images()
    share = float(where.double().mean())
    found = learn(
        planted.Rectangle(),
        (x, where),
        area=share,
        baseline=0.0,
        grid=12,
        steps=120,
        smoothness=0.04,
    )
    values = found.values[0]
    for row in range(2):
        assert values[row, 0][where[row]].mean() > 0.6
        assert values[row, 0][~where[row]].mean() < 0.1
    assert (found.evidence["within"] > 0.8).all()
    assert (found.evidence["area"] - share).abs().max() < 0.05


@pytest.mark.parametrize("size", [1, 64])
def test_passes_are_counted(size):
    counted = Counting(NET)
    found = learn(counted, IMAGE, area=(0.1, 0.2), steps=5, batch_size=size)
    assert found.evaluations.forward == sum(counted.calls) == 2 * (2 + 6 * 2)
    assert found.evaluations.backward == 2 * 5 * 2
    assert len(counted.calls) == (28 if size == 1 else 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"area": 0}, "`area` must be a fraction of the input, between 0 and 1, or several; got 0"),
        ({"area": []}, "`area` must be one fraction, or several that differ; got []"),
        ({"area": (0.1, 0.1)}, "`area` must be one fraction, or several that differ"),
        ({"mode": "keep"}, "`mode` of extremal_perturbation must be one that exists; got 'keep'"),
        ({"smoothness": -1}, "`smoothness` must be a fraction of the longest axis; got -1"),
        ({"weight": 0}, "`weight` must be a positive weight; got 0"),
        ({"grid": (2, 2, 2)}, "`grid` must have a number of cells for each of the 2 axes"),
        ({"baseline": pl.Baseline.inpaint()}, "baseline"),
    ],
)
def test_what_cannot_be_is_said(options, words):
    with pytest.raises(InputError) as caught:
        learn(NET, IMAGE, **options)
    assert words in str(caught.value)


def gated(x: Tensor) -> Tensor:
    """A score that is gone unless most of what two columns say is there, and little of 18."""
    says = torch.full((COLUMNS,), 0.01, dtype=x.dtype).index_fill(0, torch.tensor([4, 11]), 1.0)
    return ((x * says).sum(1, keepdim=True) - 1.5).relu()


def test_it_begins_where_everything_is_seen():
    x = torch.ones(2, COLUMNS).double()
    found = learn(gated, x, area=0.1, steps=100)
    where = torch.zeros(COLUMNS).index_fill(0, torch.tensor([4, 11]), 1.0).double()
    assert_close(found.values.round(), where.expand(2, -1), rtol=0, atol=0)


def test_that_the_beginning_matters_can_fail(monkeypatch):
    monkeypatch.setattr(extremal, "BEGIN", 0.5)  # no gradient leads out of there
    found = learn(gated, torch.ones(2, COLUMNS).double(), area=0.1, steps=100)
    assert (found.values[:, [4, 11]] < 0.5).any()


@pytest.mark.parametrize("step", [0, 100])
def test_the_weight_of_the_area_is_in_units_of_the_usual_slope_not_of_the_steepest(step):
    slopes = torch.ones(1, 1, 100).double()
    slopes[..., 7] = 50.0  # one cell of noise must not make the area count fifty times
    method = pl.ExtremalPerturbation(area=0.1, weight=30.0, steps=100)
    found = method._penalty([torch.full((1, 1, 100), 0.5).double()], [slopes], step)
    unit = ((99 * 1.0 + 50.0**2) / 100) ** 0.5
    weight = 30.0 if step == 100 else 0.3
    assert_close(found, torch.full((1, 1), weight * unit * 100 * 0.25 / 2).double())
