"""Removal of strong elements, against a loop that removes them one by one."""

import itertools

import pytest
import torch

import pellucid as pl
from pellucid.diagnose import diagnose_noise
from pellucid.diagnose.findings import beyond, matters
from pellucid.diagnose.removal import _every_order, _move, _ranks
from pellucid.diagnose.study import seeded
from tests.diagnose import planted

FRACTIONS = (0.01, 0.03, 0.06)
FEW = {"distances": [0.01], "alphas": [0, 1], "fractions": FRACTIONS, "points": 4}
KINDS = {"exact": planted.scattered, "place": planted.spot, "chance": torch.ones}


def image(rows=1):
    return torch.rand(rows, 1, planted.SIDE, planted.SIDE, dtype=torch.float64) + 1


def weights_of(kind):
    if kind == "chance":
        return torch.ones(planted.SIDE, planted.SIDE, dtype=torch.float64)
    return KINDS[kind]()


def drops(model, x, order, counts, replacement=0.0):
    """The drop of the score after the removal of the first pixels of an order, one by one."""
    found, made = [], x.clone()
    for place in range(max(counts)):
        made.view(-1)[order[place]] = replacement
        if place + 1 in counts:
            found.append((model(x) - model(made)).item())
    return found


@pytest.mark.parametrize("method", ["saliency", "gradient_x_input"])
def test_drops_are_those_of_a_loop(method):
    weights = planted.spot() * torch.linspace(-1, 1, planted.SIDE).double()
    model, x = planted.Weighed(weights), image()
    found = diagnose_noise(model, x, 0, [method], replacement=0.0, **FEW).removal
    counts = [round(f * planted.SIDE**2) for f in found.fractions.tolist()]
    strength = weights.abs() if method == "saliency" else weights * x[0, 0]
    order = strength.flatten().argsort(descending=True, stable=True)
    expected = drops(model, x, order.tolist(), counts)
    torch.testing.assert_close(found.strongest[0, 0].tolist(), expected, rtol=1e-9, atol=1e-9)


def test_random_drops_are_those_of_the_seed():
    model, x = planted.Weighed(planted.spot()), image()
    found = diagnose_noise(model, x, 0, ["saliency"], replacement=0.0, draws=3, seed=5, **FEW)
    counts = [round(f * planted.SIDE**2) for f in found.removal.fractions.tolist()]
    for draw in range(3):
        order = torch.randperm(planted.SIDE**2, generator=seeded(5, 3 + draw))
        place = order.argsort().tolist()
        expected = drops(model, x, place, counts)
        torch.testing.assert_close(found.removal.random[0, draw].tolist(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_scattered_pixels_are_worth(kind):
    model = planted.Weighed(weights_of(kind))
    found = diagnose_noise(model, image(), 0, ["saliency"], replacement=0.0, draws=8, **FEW)
    assert matters(found, 0, 0) == kind
    words = {
        "exact": "its scattered pixels matter, these and not others",
        "place": "the places that it marks matter, but not these very pixels",
        "chance": "its strongest pixels are not told apart from random ones by 19 draws",
    }
    assert words[kind] in found.findings()[0]


def test_a_table_has_no_neighbors():
    model = torch.nn.Linear(5, 2)
    found = diagnose_noise(model, torch.randn(2, 5), 0)
    assert found.removal.moved.isnan().all()
    assert found.removal.smoothed.isnan().all()
    assert found.removal.what == "features"
    assert "replaced by zero" in found.findings()[1]
    assert "moved" not in found.findings()[1]


@pytest.mark.parametrize("draws", [2, 8, 30])
@pytest.mark.parametrize(("features", "orders"), [(4, "all 12 orders"), (30, None)])
def test_one_feature_that_is_worth_all_matters_however_many_draws(features, orders, draws):
    model = torch.nn.Linear(features, 1, bias=False).double()
    x, options = torch.ones(1, features).double(), {"alphas": [0, 1], "points": 4, "draws": draws}
    model.weight.data = torch.full((1, features), 0.1).double()
    even = diagnose_noise(model, x, 0, ["lrp"], **options)
    model.weight.data[0, 2] = 10
    one = diagnose_noise(model, x, 0, ["lrp"], **options)
    assert (matters(one, 0, 0), matters(even, 0, 0)) == ("more", "chance")
    assert "lrp: its strongest features matter more than random ones." in one.findings()[0]
    told = f"are not told apart from random ones by {orders or f'{max(19, draws)} draws'}."
    assert told in even.findings()[0]


def test_all_orders_of_a_few_are_all_subsets_equally_often():
    """Linear weights, so that the drop is the sum of what is gone."""
    weights = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]).double()
    model = torch.nn.Linear(5, 1, bias=False).double()
    model.weight.data = weights
    found = diagnose_noise(
        model, torch.ones(1, 5).double(), 0, ["saliency"], fractions=[0.2, 0.6], alphas=[0, 1]
    ).removal
    assert found.complete
    for k, size in enumerate((1, 3)):
        sums = [sum(each) for each in itertools.combinations(weights[0].tolist(), size)]
        values, counts = found.random[0, :, k].round().unique(return_counts=True)
        assert values.tolist() == sorted(sums)
        assert len(counts.unique()) == 1
    first, second = found.random[0].round().long().unbind(1)
    assert (first & second == first).all()  # what is gone stays gone
    assert len(found.random[0].unique(dim=0)) == found.random.shape[1]
    assert (
        len(_every_order(65, [1]))
        == len(_every_order(4, [4]))
        == len(_every_order(7, [1, 2, 3]))
        == 0
    )


@pytest.mark.parametrize(
    ("given", "said", "value"),
    [
        (None, "a blurred copy", None),
        (0.0, "zero", 0.0),
        (0.5, "the baseline", 0.5),
        (pl.Baseline.mean(), "the mean of the channel", "mean"),
    ],
)
def test_what_takes_the_place(given, said, value):
    model, x = planted.Weighed(torch.ones(8, 8, dtype=torch.float64)), torch.rand(1, 1, 8, 8)
    x = x.double()
    found = diagnose_noise(
        model, x, 0, ["saliency"], replacement=given, fractions=[1.0], distances=[0.01],
        alphas=[0, 1],
    ).removal  # fmt: skip
    assert found.by == said
    if value is None:
        made = pl.Baseline.blur().single(pl.structure.Inputs.of(x)).leaves[0]
    else:
        made = torch.full_like(x, x.mean().item() if value == "mean" else value)
    torch.testing.assert_close(found.strongest.item(), (model(x) - model(made)).item())


def test_channels_go_together_and_the_last_axis_may_hold_them():
    """Of a photo and of the same with its channels last, the same is removed."""

    class Last(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x.permute(0, 3, 1, 2))

    first = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
                                torch.nn.Linear(4 * 64, 2))  # fmt: skip
    x = torch.rand(2, 3, 10, 10)
    options = {"replacement": 0.0, **FEW}
    a = diagnose_noise(first, x, 0, ["saliency"], **options).removal
    b = diagnose_noise(Last(first), x.permute(0, 2, 3, 1), 0, ["saliency"], **options).removal
    torch.testing.assert_close(a.strongest, b.strongest)
    torch.testing.assert_close(a.random, b.random)
    assert a.fractions[0] == 1 / 100  # of the pixels, not of their channels


def test_a_moved_map_is_the_same_map_elsewhere():
    part = torch.rand(2, 24, 30)
    for draw in range(20):
        moved = _move(part, seeded(0, draw))
        assert torch.equal(moved.flatten(1).sort(1).values, part.flatten(1).sort(1).values)
        assert not torch.equal(moved, part)
        shift = (moved[0] == part[0, 0, 0]).nonzero()[0]
        rows, columns = (min(int(s), n - int(s)) for s, n in zip(shift, (24, 30), strict=True))
        assert 1 <= max(rows, columns) <= 2


def test_ranks_begin_with_the_strongest():
    assert _ranks([torch.tensor([[1.0, 9.0]]), torch.tensor([[[4.0]]])]).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("wild", [False, True])
def test_one_in_twenty_is_beyond_by_chance(wild):
    """Whatever the distribution."""
    draws = torch.randn(4000, 20, generator=torch.Generator().manual_seed(0))
    draws = (5 * draws).exp() if wild else draws
    above = sum(beyond(float(row[0]), row[1:]) for row in draws) / len(draws)
    assert 0.04 < above < 0.06
