"""Linear regions on a line: planted numbers, and a very fine grid."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import pellucid as pl
from pellucid.diagnose import diagnose_noise
from pellucid.diagnose.sides import CHOOSERS, STATES, sides
from pellucid.tape.adjoints import ROWS
from tests.diagnose import planted

FEW = {"alphas": [0, 1], "fractions": [0.5]}


def crossed(model, x, distance=0.5, draws=3, points=2000, **options):
    options = {"methods": ["saliency"], "target": 0, **FEW, **options}
    return diagnose_noise(
        model, x, distances=[distance / 2, distance], draws=draws, points=points, **options
    ).regions


def test_a_linear_model_has_one_region():
    found = crossed(nn.Linear(4, 2), torch.randn(2, 4))
    assert (found.count == 1).all()
    assert found.exact.all()
    assert found.units == 0
    assert (found.switches == 0).all()


def test_every_hinge_on_the_line_is_a_boundary():
    """x = (0, 1): the first feature moves from 0 to the distance times the noise of the draw."""
    places = torch.linspace(-1, 1, 41).double() + 0.013
    x = torch.tensor([[0.0, 1.0]]).double()
    found = crossed(planted.Hinges(places), x, distance=0.4)
    for draw in range(3):
        for k, distance in enumerate((0.2, 0.4)):
            end = (distance * planted.step(x, draw))[0, 0].item()
            between = sum(min(0.0, end) < place < max(0.0, end) for place in places.tolist())
            assert found.count[0, draw, k] == 1 + between
            assert found.switches[0, draw, k] == between
    assert found.exact.all()


def test_teeth_grow_as_two_to_the_depth():
    """Montufar et al.: a region for each of the 2**n teeth that the line crosses."""
    x = torch.tensor([[0.003, 1.003]]).double()
    for times in (1, 3, 5):
        found = crossed(planted.Saw(times), x, distance=0.9, draws=4)
        for draw in range(4):
            end = 0.003 + (0.9 * planted.step(x, draw))[0, 0].item()
            # At 0 the units of every layer bend at once, at 1 those of all but the first: these
            # are one boundary each.
            borders = [k / 2**times for k in range(2**times + (times > 1))]
            expected = 1 + sum(min(0.003, end) < b < max(0.003, end) for b in borders)
            assert found.count[0, draw, -1] == expected
        assert found.exact.all()


def test_a_random_network_has_as_many_as_a_fine_grid_shows():
    torch.manual_seed(5)
    model, x = planted.perceptron(3, width=6), torch.randn(2, 4).double()

    def states(point):
        found, y = [], point
        for layer in model:
            y = layer(y)
            if isinstance(layer, nn.ReLU):
                found.append(y > 0)
        return torch.cat(found, 1)

    found = crossed(model, x)
    for row in range(2):
        for draw in range(3):
            way = 0.5 * planted.step(x, draw)[row : row + 1]
            expected = planted.patterns_on(states, x[row : row + 1], way, 2000)
            assert found.count[row, draw, -1] == expected
    assert found.count[..., -1].max() > 3


def test_pooled_and_clipped_units_as_a_fine_grid_shows():
    torch.manual_seed(2)
    model, x = planted.Pooled(), torch.rand(1, 1, 8, 8).double()
    found = crossed(model, x, distance=0.05, draws=2)
    for draw in range(2):
        way = 0.05 * planted.step(x, draw)
        with torch.no_grad():
            assert found.count[0, draw, -1] == planted.patterns_on(model.states, x, way, 3000)
    assert found.count[..., -1].min() > 2
    assert found.units == 2 * 3 * 36 / 2 + 27  # one with two kinks a pixel, one a window


def test_with_few_points_both_numbers_are_lower_bounds():
    torch.manual_seed(5)
    model, x = planted.perceptron(4, width=40), torch.randn(1, 4).double()
    full, short = (crossed(model, x, points=points) for points in (20_000, 1))
    assert full.exact.all()
    assert not short.exact.any()
    assert (short.count <= full.count).all()
    assert (short.switches <= full.switches).all()
    assert (short.count[..., -1] == 3).all()  # two parts of the line, and both change
    some = crossed(model, x, points=int(full.switches.max()) * 14 + 20)
    assert (some.count <= full.count).all()


# A function of one number with kinks -> where they are.
BENDS = {
    "relu": (torch.relu, [0.0]),
    "relu6": (functional.relu6, [0.0, 6.0]),
    "hardtanh": (functional.hardtanh, [-1.0, 1.0]),
    "leaky_relu": (functional.leaky_relu, [0.0]),
    "prelu": (lambda x: functional.prelu(x, torch.tensor([-0.3]).double()), [0.0]),
    "abs": (torch.abs, [0.0]),
    "clamp": (lambda x: x.clamp(-2, 3), [-2.0, 3.0]),
    "clamp below": (lambda x: x.clamp(min=1.5), [1.5]),
    "clamp above": (lambda x: x.clamp_max(1.5), [1.5]),
    "in place": (lambda x: (x * 1).relu_(), [0.0]),
    "threshold": (lambda x: functional.threshold(x, 1.0, 20.0), [1.0]),
    "hardsigmoid": (functional.hardsigmoid, [-3.0, 3.0]),
    "softshrink": (functional.softshrink, [-0.5, 0.5]),
    "hardshrink": (functional.hardshrink, [-0.5, 0.5]),
    "maximum": (lambda x: torch.maximum(x, torch.tensor(2.0).double()), [2.0]),
    "minimum of two": (lambda x: torch.minimum(x, 3 - x), [1.5]),
    "where": (lambda x: torch.where(x > 1, x, -x), [1.0]),
    "a mask": (lambda x: x * (x > 0), [0.0]),
    "masked_fill": (lambda x: x.masked_fill(x < -1, 0.0), [-1.0]),
    "sign": (lambda x: x + torch.sign(x), [0.0]),
    "amax": (lambda x: torch.stack([x, 1 - x, 0 * x + 2]).amax(0), [-1.0, 2.0]),
    "max": (lambda x: torch.stack([x, 1 - x]).max(0).values, [0.5]),
    "sort": (lambda x: torch.stack([x, 1 - x]).sort(0).values[1], [0.5]),
    "trunc": (lambda x: x + x.trunc(), [k for k in range(-10, 11) if k]),
    "frac": (torch.frac, [k for k in range(-10, 11) if k]),
    "round": (torch.round, [k + 0.5 for k in range(-10, 10)]),
    "two at once": (lambda x: x.relu() + (x - 1).relu(), [0.0, 1.0]),
    "one twice": (lambda x: x.relu().relu(), [0.0]),
    "none": (lambda x: 3 * x / 2 - 1, []),
}


@pytest.mark.parametrize("name", BENDS)
def test_kinks_are_found_however_they_are_written(name):
    function, kinks = BENDS[name]
    x = torch.tensor([[0.2, 1.2]]).double()

    def model(x):
        return function(10 * x[:, :1] - 5) * 2

    found = crossed(model, x, distance=0.6, draws=4)
    assert found.uncounted == ()
    assert found.exact.all()
    for draw in range(4):
        ends = [10 * 0.2 - 5, 10 * (0.2 + 0.6 * planted.step(x, draw)[0, 0].item()) - 5]
        expected = 1 + sum(min(ends) < kink < max(ends) for kink in kinks)
        assert found.count[0, draw, -1] == expected, name


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functional.gelu, "gelu"),
        (torch.tanh, "tanh"),
        (lambda x: x * x, "mul"),
        (lambda x: 1 / x, "reciprocal"),
        (lambda x: 2 / x, "div"),
        (lambda x: torch.softmax(x, 1) @ torch.ones(2, 2), "_softmax"),
        (lambda x: functional.layer_norm(x, (2,)), "native_layer_norm"),
        (lambda x: x * x.detach(), "detach"),
    ],
)
def test_what_is_not_piecewise_linear_is_named(function, name):
    found = crossed(lambda x: function(x) @ torch.ones(2, 3), torch.rand(1, 2) + 1)
    assert name in found.uncounted or (name == "div" and "reciprocal" in found.uncounted)
    assert not found.exact.any()


EXTREMES = {
    "max": lambda x: x.max(1).values,
    "min": lambda x: x.min(1).values,
    "median": lambda x: x.median(1).values,
    "nanmedian": lambda x: x.nanmedian(1).values,
}


@pytest.mark.parametrize("name", EXTREMES)
def test_an_extreme_of_all_elements_is_one_along_their_axis(name):
    """Written sample by sample, without indices, or along an axis: the same regions."""
    x = torch.randn(2, 8).double()
    along = crossed(EXTREMES[name], x, distance=2.0, target=lambda y: y)
    each = crossed(
        lambda x: torch.stack([getattr(row, name)() for row in x]), x, distance=2.0,
        target=lambda y: y,
    )  # fmt: skip
    assert torch.equal(each.count, along.count)
    assert along.count.max() > 1
    assert each.exact.all()
    assert each.uncounted == along.uncounted == ()


@pytest.mark.parametrize("whole", [torch.max, lambda x: x.amax((0, 1)), lambda x: x.amax()])
def test_an_extreme_over_samples_is_not_read_for_each(whole):
    """Its points are looked at one by one: in one run each would change the others."""
    x = torch.randn(1, 8).double()
    found = crossed(lambda x: whole(x).expand(len(x)), x, distance=2.0, target=lambda y: y)
    alone = crossed(lambda x: x.amax(1), x, distance=2.0, target=lambda y: y)
    assert torch.equal(found.count, alone.count)
    assert alone.count.max() > 1


# fmt: off
# Operations that move elements to the same places whatever their values are.
MOVES = {
    "_pack_padded_sequence", "_pad_packed_sequence", "_reshape_alias", "_to_copy",
    "_unsafe_index", "_unsafe_view", "alias", "as_strided", "as_strided_scatter", "cat",
    "channel_shuffle", "clone", "constant_pad_nd", "contiguous", "copy", "diag_embed", "diagonal",
    "expand", "flatten", "flip", "gather", "index", "index_copy", "index_fill", "index_put",
    "index_select", "lift_fresh", "masked_fill", "masked_scatter", "masked_select", "max_unpool2d",
    "max_unpool3d", "native_channel_shuffle", "permute", "pixel_shuffle", "pixel_unshuffle",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "repeat", "repeat_interleave",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "reshape", "roll", "scatter",
    "select", "select_copy", "select_scatter", "slice", "slice_scatter", "split",
    "split_with_sizes", "squeeze", "stack", "t", "take", "transpose", "tril", "triu", "unbind",
    "unfold", "unsafe_split", "unsafe_split_with_sizes", "unsqueeze", "upsample_nearest2d", "view",
    "where",
}
# fmt: on


def test_every_route_moves_or_chooses():
    """A route that is in neither list would count as linear, whatever it does."""
    routes = {name for name, row in ROWS.items() if row.kind == "route"}
    assert routes - CHOOSERS == MOVES


@pytest.mark.parametrize("name", ["amax", "max", "median"])
def test_a_choice_that_is_not_read_is_not_exact(name, monkeypatch):
    monkeypatch.delitem(STATES, name)
    found = crossed(
        lambda x: torch.stack([getattr(row, name)() for row in x]), torch.randn(1, 8).double(),
        target=lambda y: y,
    )  # fmt: skip
    assert found.uncounted == (name,)
    assert not found.exact.any()


def test_what_the_score_does_not_depend_on_is_not_counted():
    """Neither another branch nor the softmax at the end."""

    def model(x):
        _ = (x - 0.3).relu().tanh()
        return torch.softmax((x @ torch.ones(2, 3)).relu(), 1)

    tape = pl.record(model, torch.rand(1, 2)).aim(pl.Target.of(0))
    found = sides(tape)
    assert found.units == 3
    assert found.uncounted == ()


def test_the_words_say_which_count_it_is():
    x = torch.randn(1, 4).double()
    options = {"target": 0, "methods": ["saliency"], **FEW}
    exact = diagnose_noise(planted.perceptron(1), x, points=5000, **options).findings()[3]
    assert "at the least" not in exact
    assert "of 60 units with a kink change sides" in exact
    some = diagnose_noise(planted.perceptron(6), x, points=1, **options).findings()[3]
    assert "at least" in some
    assert "each at a boundary between two" in some
    smooth = diagnose_noise(lambda x: torch.tanh(x), x, **options).findings()[3]
    assert "This is not known: all of the program that is not linear bends smoothly or has kinks "
    assert "kinks that are not counted (`tanh`)." in smooth
    mixed = diagnose_noise(lambda x: torch.tanh(x).abs(), x, **options).findings()[3]
    assert "some of the program bends smoothly or has kinks that are not counted (`tanh`)" in mixed
    bent = diagnose_noise(lambda x: x.norm(p=1, dim=1), x, **{**options, "target": lambda y: y})
    assert "no kinks" not in bent.findings()[3]  # it has them where an element is zero
