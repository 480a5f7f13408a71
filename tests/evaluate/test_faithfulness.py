"""Removing what is called relevant: against loops over steps, sets and orders."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate.faithfulness import (
    ABPC,
    AOPC,
    Deletion,
    FaithfulnessCorrelation,
    Infidelity,
    Insertion,
    Monotonicity,
    MonotonicityCorrelation,
    Selectivity,
    SensitivityN,
)
from pellucid.evaluate.faithfulness import flips as flipping
from pellucid.evaluate.faithfulness.coalitions import subsets
from pellucid.evaluate.faithfulness.flips import order, random_orders
from tests.counting import Counting
from tests.zoo.network import normal, seeded

METHODS = ["gradient_x_input", "saliency", "lrp", "integrated_gradients", "smoothgrad"]


def linear(players, seed=0):
    """A linear model, an input, and what each of its features is worth."""
    weight = normal(players, seed=seed)
    x = normal(1, players, seed=seed + 1)
    return (lambda z: z @ weight[:, None]), x, (weight * x[0])


def perceptron(players=6):
    return seeded(nn.Sequential(nn.Linear(players, 9), nn.Tanh(), nn.Linear(9, 3))).eval()


def network():
    """A small convolutional network, on images of 6 x 6 in 9 patches."""
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    return seeded(nn.Sequential(*layers)).eval(), normal(4, 3, 6, 6, seed=3)


def explained(model, x, methods="gradient_x_input", target=1):
    found = pl.compare(model, x, [methods] if isinstance(methods, str) else methods, target=target)
    return list(found)


def stated(found, values):
    """An explanation that says something else, as shares of the score."""
    shares = pl.GradientXInput()
    return pl.Explanation(**{**vars(found), "values": values, "method": shares})


# ---------------------------------------------------------------------------------- textbook


def patch(number, size=2, across=3):
    """The pixels of one patch of an image."""
    top, left = size * (number // across), size * (number % across)
    return (..., slice(top, top + size), slice(left, left + size))


def flipped(model, x, player_order, score, holes, absent=0.0):
    """The score after each player of an order is gone, one by one, in a plain loop."""
    left = x.clone()
    line = [score(model(left))]
    for player in player_order:
        left[holes(player)] = absent
        line.append(score(model(left)))
    return torch.stack(line)


def image_lines(model, x, values, absent=0.0, score=lambda out: out[0, 1]):
    """For one image: the lines of the most and of the least relevant patches first."""
    sums = torch.stack([values[patch(number)].sum() for number in range(9)])
    most = sums.argsort(descending=True).tolist()
    pixels = [flipped(model, x, each, score, patch, absent) for each in (most, most[::-1])]
    return [line.detach() for line in pixels]


def trapezoids(line):
    return sum(float(a + b) / 2 for a, b in itertools.pairwise(line)) / (len(line) - 1)


@pytest.mark.parametrize("absent", [0.0, 0.5])
def test_lines_and_areas_are_those_of_a_loop(absent):
    model, x = network()
    found = explained(model, x, ["gradient_x_input", "integrated_gradients"])
    options = {"features": pl.Features.patches(2), "baseline": absent, "scale": "score"}
    asked = [AOPC(**options), ABPC(**options), Deletion(**options), Insertion(**options)]
    got = pl.evaluate.measure(model, found, asked)
    for number, each in enumerate(found):
        aopc, abpc, deletion, insertion = got[4 * number : 4 * number + 4]
        for row in range(4):
            most, least = image_lines(model, x[row : row + 1], each.values[row], absent)
            assert_close(aopc.curves["morf"].y[row], most)
            assert_close(abpc.curves["lerf"].y[row], least)
            assert_close(insertion.curves["insertion"].y[row], least.flip(0))
            assert float(aopc.values[row]) == pytest.approx(float((most[0] - most).mean()))
            assert float(abpc.values[row]) == pytest.approx(float((least - most).mean()))
            assert float(deletion.values[row]) == pytest.approx(trapezoids(most))
            assert float(insertion.values[row]) == pytest.approx(trapezoids(least))


def test_the_sizes_of_slopes_count():
    model, x = network()
    (found,) = explained(model, x, "saliency")
    got = AOPC(features=pl.Features.patches(2))(model, found)
    most, _ = image_lines(model, x[:1], found.values[0].abs())
    assert_close(got.curves["morf"].y[0], most)


@pytest.mark.parametrize("scale", ["probability", "log_odds", "margin"])
def test_other_scales_of_a_class(scale):
    model, x = network()
    (found,) = explained(model, x)
    got = AOPC(features=pl.Features.patches(2), scale=scale)(model, found)

    def score(out):
        p = out.softmax(1)[0, 1]
        others = torch.stack([out[0, 0], out[0, 2]]).max()
        return {"probability": p, "log_odds": torch.log(p / (1 - p)), "margin": out[0, 1] - others}[
            scale
        ]

    most, _ = image_lines(model, x[:1], found.values[0], score=score)
    assert_close(got.curves["morf"].y[0], most)


def test_steps_and_how_much_is_removed():
    model, x = network()
    (found,) = explained(model, x)
    features = pl.Features.patches(2)
    whole = AOPC(features=features)(model, found).curves["morf"]
    few = AOPC(features=features, steps=3)(model, found).curves["morf"]
    assert few.x.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert_close(few.y, whole.y[:, [0, 3, 6, 9]])
    part = AOPC(features=features, removed=0.34)(model, found)
    assert_close(part.curves["morf"].y, whole.y[:, :4])
    assert part.evaluations.forward == 4 * 4  # nothing is ever gone as a whole


# ------------------------------------------------------------------------------ on linear models


def best_orders(model, x, measured):
    """The largest and the mean of a measure of lines over all orders of the features."""
    players = x.shape[1]
    numbers = torch.arange(2**players)
    there = (numbers[:, None] >> torch.arange(players) & 1).double()
    table = model(there * x)[:, 0]
    orders = torch.tensor(list(itertools.permutations(range(players))))
    gone = torch.cat([torch.zeros(len(orders), 1).long(), (2**orders).cumsum(1)], 1)
    lines = table[2**players - 1 - gone]
    found = measured(lines)
    return float(found.max()), float(found.mean())


def aopc_of(lines):
    return (lines[:, :1] - lines).mean(1)


def is_best(metric, players, measured):
    """True coefficients times x - baseline have the best value of all orders; others have not."""
    model, x, worth = linear(players)
    (found,) = explained(model, x, target=0)
    assert_close(found.values[0], worth)
    best, _ = best_orders(model, x, measured)
    assert float(metric(model, found).values) == pytest.approx(best)
    mixed = stated(found, found.values.roll(1, 1))
    assert float(metric(model, mixed).values) < best - 1e-6


@pytest.mark.parametrize("players", [2, 5, 8])
def test_on_a_linear_model_the_coefficients_have_the_best_aopc(players):
    is_best(AOPC(), players, aopc_of)


@pytest.mark.parametrize("players", [5, 8])
def test_on_a_linear_model_random_orders_lie_in_the_middle(players):
    in_the_middle(Selectivity, players)


def in_the_middle(kind, players):
    """The area of the random line is that of all orders: halfway from the best to the worst."""
    model, x, _ = linear(players)
    (found,) = explained(model, x, target=0)
    for draws in (2, 6, 10):
        got = kind(draws=draws)(model, found)
        line = got.curves["random"].y[0]
        assert float(torch.trapezoid(line)) / players == pytest.approx(
            float(line[0] + line[-1]) / 2
        )
        best, mean = best_orders(model, x, lambda lines: -torch.trapezoid(lines) / players)
        assert float(got.values) == pytest.approx(best - mean)
        opposite = kind(draws=draws)(model, stated(found, -found.values))
        assert float(opposite.values) == pytest.approx(mean - best)


def test_of_few_players_the_random_line_is_that_of_all_orders():
    model, x = perceptron(4), normal(2, 4, seed=5)
    (found,) = explained(model, x)
    got = Selectivity(draws=6)(model, found)  # 4 over 2 are 6 sets
    orders = list(itertools.permutations(range(4)))
    for row in range(2):
        lines = [
            flipped(model, x[row : row + 1], each, lambda out: out[0, 1], lambda p: (..., p))
            for each in orders
        ]
        assert_close(got.curves["random"].y[row], torch.stack(lines).mean(0).detach())


def test_draws_are_orders_of_players():
    model, x = perceptron(6), normal(1, 6, seed=5)
    (found,) = explained(model, x)
    got = Selectivity(draws=4, seed=3)(model, found)
    lines = torch.stack([
        flipped(model, x, each.argsort().tolist(), lambda out: out[0, 1], lambda p: (..., p))
        for each in random_orders(6, 4, 3)
    ])  # fmt: skip
    assert_close(got.curves["random"].y[0], lines.mean(0).detach())


def test_least_relevant_first_and_both():
    model, x = network()
    (found,) = explained(model, x)
    options = {"features": pl.Features.patches(2), "draws": 4}
    most, least, both = (
        Selectivity(first=first, **options)(model, found) for first in ("most", "least", "both")
    )
    assert_close(both.values, (most.values + least.values) / 2)
    gap = least.curves["lerf"].y - least.curves["random"].y
    assert_close(least.values, torch.trapezoid(gap) / 9)


def test_a_random_ranking_gains_nothing_on_average():
    model, x = network()
    found = explained(model, x)[0]
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.rand(x.shape, generator=generator).double() for _ in range(30)]
    rivals = [stated(found, values) for values in drawn]
    asked = Selectivity(features=pl.Features.patches(2), draws=60)
    gains = torch.stack([each.values for each in pl.evaluate.measure(model, rivals, asked)])
    error = gains.std(0) / 30**0.5
    assert bool((gains.mean(0).abs() < 4 * error).all())
    assert float(gains.std(0).min()) > 1e-3


# ------------------------------------------------------------------------------- what is shared


def test_methods_share_both_ends():
    model, x = network()
    found = explained(model, x, METHODS)
    got = pl.evaluate.measure(model, found, AOPC(features=pl.Features.patches(2)))
    ends = torch.stack([each.curves["morf"].y[:, [0, -1]] for each in got])
    assert_close(ends, ends[:1].expand_as(ends), rtol=0, atol=0)
    assert_close(ends[0, :, 0], found[0].score.detach(), check_dtype=False)
    with torch.no_grad():
        assert_close(ends[0, :, 1], model(torch.zeros_like(x))[:, 1])


@pytest.mark.parametrize(("samples", "batch"), [(2, 2), (4, 2), (3, 1)])
def test_five_methods_cost_no_more_rows_and_calls_than_they_must(samples, batch):
    """Of 49 patches: 48 steps of each method, and the two ends once for all."""
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(196, 3))).eval()
    x = normal(samples, 1, 14, 14)
    found = explained(model, x, METHODS)
    counting = Counting(model)
    features = pl.Features.patches(2)
    got = pl.evaluate.measure(counting, found, AOPC(features=features), batch_size=batch)
    rows = samples * (5 * 48 + 2)
    assert sum(counting.calls) == rows == sum(each.evaluations.forward for each in got)
    assert len(counting.calls) == math.ceil(rows / batch)
    assert counting.most_alive <= 2 * batch  # a batch and what came out


def test_metrics_share_their_lines():
    model, x = network()
    found = explained(model, x, METHODS[:2])
    options = {"features": pl.Features.patches(2), "scale": "score"}
    asked = [kind(**options) for kind in (AOPC, ABPC, Deletion, Insertion, Monotonicity)]
    counting = Counting(model)
    pl.evaluate.measure(counting, found, asked)
    assert sum(counting.calls) == 4 * (2 + 2 * 2 * 8)
    other = Counting(model)
    pl.evaluate.measure(other, found, [*asked, AOPC(**{**options, "baseline": 1.0})])
    assert sum(other.calls) == 4 * (2 + 2 * 2 * 8) + 4 * (1 + 2 * 8)


def test_sets_are_the_same_for_all_methods():
    model, x = network()
    found = explained(model, x, METHODS)
    options = {"features": pl.Features.patches(2), "draws": 12}
    for asked, rows in [
        (SensitivityN(sizes=(0.1, 0.5), **options), 1 + 9 + 12),
        (FaithfulnessCorrelation(**options), 1 + 12),
        (Infidelity(**options), 1 + 12),
        (MonotonicityCorrelation(features=options["features"]), 1 + 9),
    ]:
        counting = Counting(model)
        pl.evaluate.measure(counting, found, asked)
        assert sum(counting.calls) == 4 * rows


# ------------------------------------------------------------------------------------- players


def test_pixels_are_players_too():
    model, x = network()
    (found,) = explained(model, x)
    got = AOPC(features=pl.Features.patches(1), steps=4)(model, found)
    ranked = found.values[0].sum(0).flatten().argsort(descending=True)
    left = x[:1].clone()
    for step in range(5):
        left.flatten(2)[..., ranked[: 9 * step]] = 0
        assert_close(got.curves["morf"].y[0, step], model(left)[0, 1].detach())


def test_samples_with_other_numbers_of_players():
    """Each is judged as alone; curves with other steps are put on steps for all."""
    model, x = network()
    (found,) = explained(model, x)
    labels = torch.zeros(4, 1, 6, 6, dtype=torch.long)
    for row, side in enumerate([2, 3, 3, 6]):
        places = torch.arange(6) // side
        labels[row, 0] = places[:, None] * (6 // side) + places
    for kind in (Selectivity, ABPC, SensitivityN, Infidelity, MonotonicityCorrelation):
        together = kind(features=labels)(model, found)
        for row in range(4):
            alone = kind(features=labels[row])(model, found[row : row + 1])
            assert_close(together.values[row : row + 1], alone.values, equal_nan=True)
    sizes = [kind(features=labels)(model, found, batch_size=b) for b in (1, 3, 4)]
    for each in sizes:
        assert_close(each.values, sizes[0].values, equal_nan=True)
    lines = [Selectivity(features=labels)(model, found, batch_size=b) for b in (1, 3, 4)]
    for each in lines:
        assert each.curves["morf"].y.shape == (4, 101)
        assert_close(each.curves["morf"].y, lines[0].curves["morf"].y)


def test_equal_players_go_in_an_order_of_chance():
    """A map that says nothing is a random order, and not one from the top to the bottom."""
    model, x = network()
    found = explained(model, x)[0]
    flat = stated(found, torch.ones_like(x))
    got = AOPC(features=pl.Features.patches(2))(model, flat)
    assert got.notes == (
        "All features have the same relevance in 4 of 4 samples: their order there is one of "
        "chance.",
    )
    raster, _ = image_lines(model, x[:1], -torch.arange(36.0).reshape(6, 6).expand(3, 6, 6))
    assert not torch.allclose(got.curves["morf"].y[0], raster)
    chance = order(torch.zeros(9), 0).argsort().tolist()
    line = flipped(model, x[:1], chance, lambda out: out[0, 1], patch).detach()
    assert_close(got.curves["morf"].y[0], line)
    assert AOPC(features=pl.Features.patches(2))(model, found).notes == ()


def test_ids_are_judged_at_their_embeddings_or_with_a_token_for_absence():
    net = pl_tokens()
    found = pl.explain(net, IDS, "gradient_x_input", target=1)
    zero = AOPC()(net, found).curves["morf"].y
    token = AOPC(baseline=pl.Baseline.token(0))(net, found).curves["morf"].y
    ranked = found.values[0].argsort(descending=True).tolist()
    left = IDS[:1].clone()
    for step, place in enumerate([None, *ranked]):
        if place is not None:
            left[0, place] = 0
        assert_close(token[0, step], net(left)[0, 1].detach())
    with torch.no_grad():
        assert_close(zero[0, -1], net.head(torch.zeros(1, 3).double())[0, 1])


IDS = torch.tensor([[1, 4, 2, 7], [3, 3, 5, 6]])


class Bag(nn.Module):
    """Scores of the mean embedding."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(8, 3), nn.Linear(3, 2)

    def forward(self, ids):
        return self.head(torch.tanh(self.embed(ids)).mean(1))


def pl_tokens():
    return seeded(Bag()).eval()


# -------------------------------------------------------------------------- sets and correlation


def drops_of(model, x, sets):
    """How far the score falls without each of some sets of features, in a plain loop."""
    found = []
    for each in sets:
        left = x.clone()
        left[..., list(each)] = 0
        found.append(float((model(x) - model(left))[0, 1].detach()))
    return torch.tensor(found, dtype=torch.float64)


def test_sensitivity_n_is_the_mean_correlation_over_sizes():
    model, x = perceptron(), normal(2, 6, seed=5)
    (found,) = explained(model, x)
    got = SensitivityN(sizes=(0.2, 0.5, 0.8), draws=20)(model, found)
    for row in range(2):
        each = []
        for size in (1, 3, 5):
            sets = list(itertools.combinations(range(6), size))
            given = torch.stack([found.values[row, list(one)].sum() for one in sets])
            pair = torch.stack([given, drops_of(model, x[row : row + 1], sets)])
            each.append(float(torch.corrcoef(pair)[0, 1]))
        assert got.curves["correlation"].y[row].tolist() == pytest.approx(each)
        assert float(got.values[row]) == pytest.approx(sum(each) / 3)


def test_faithfulness_correlation_is_that_of_one_size_and_its_own_draws():
    model, x = perceptron(), normal(2, 6, seed=5)
    (found,) = explained(model, x)
    got = FaithfulnessCorrelation(size=0.5, draws=8, seed=4)(model, found)
    drawn = subsets(6, 3, 8, 4)
    assert drawn.sum(1).tolist() == [3] * 8
    sets = [each.nonzero()[:, 0].tolist() for each in drawn]
    for row in range(2):
        given = torch.stack([found.values[row, one].sum() for one in sets])
        pair = torch.stack([given, drops_of(model, x[row : row + 1], sets)])
        assert float(got.values[row]) == pytest.approx(float(torch.corrcoef(pair)[0, 1]))


@pytest.mark.parametrize("kind", [SensitivityN, FaithfulnessCorrelation])
def test_on_a_linear_model_sets_get_what_they_are_worth(kind):
    model, x, _ = linear(9)
    (found,) = explained(model, x, target=0)
    assert float(kind()(model, found).values) == pytest.approx(1)
    assert float(kind()(model, stated(found, -found.values)).values) == pytest.approx(-1)
    assert abs(float(kind()(model, stated(found, found.values.roll(1, 1))).values)) < 0.99


def test_a_map_that_says_nothing_has_no_correlation():
    model, x, _ = linear(4)
    (found,) = explained(model, x, target=0)
    got = FaithfulnessCorrelation()(model, stated(found, torch.zeros_like(x)))
    assert not bool(got.values.isfinite().any())
    assert got.notes == ("In 1 of 1 samples what is compared does not vary, and there is no "
                         "correlation.",)  # fmt: skip


def test_infidelity_is_the_mean_squared_error_over_all_sets():
    model, x = perceptron(4), normal(2, 4, seed=5)
    (found,) = explained(model, x)
    plain, scaled = (Infidelity(scaled=s)(model, found).values for s in (False, True))
    sets = [s for size in range(1, 5) for s in itertools.combinations(range(4), size)]
    weight = torch.tensor([1 / (4 * math.comb(4, len(one))) for one in sets]).double()
    for row in range(2):
        given = torch.stack([found.values[row, list(one)].sum() for one in sets]).double()
        drop = drops_of(model, x[row : row + 1], sets)
        assert float(plain[row]) == pytest.approx(float((weight * (given - drop) ** 2).sum()))
        factors = torch.linspace(-5, 5, 200001).double()  # tried one by one
        errors = (weight * (factors[:, None] * given - drop) ** 2).sum(1)
        assert float(scaled[row]) == pytest.approx(float(errors.min()), abs=1e-6)


def test_infidelity_of_slopes_is_that_of_slopes_times_the_distance():
    model, x = network()
    baseline = torch.full((1, 3, 6, 6), 0.25).double()
    slopes, shares = (
        pl.explain(model, x, name, target=1, **options)
        for name, options in [("saliency", {}), ("gradient_x_input", {})]
    )
    shares = stated(shares, slopes.values * (x - 0.25))
    asked = Infidelity(features=pl.Features.patches(2), baseline=baseline, scaled=False)
    found = pl.evaluate.measure(model, [slopes, shares], asked)
    assert_close(found[0].values, found[1].values)


def test_infidelity_says_where_slopes_have_no_distance():
    net = pl_tokens()
    found = pl.explain(net, IDS, "saliency", target=1)
    got = Infidelity()(net, found)
    assert "no distance from the baseline" in got.notes[0]
    assert bool(got.values.isfinite().all())


def test_on_a_linear_model_infidelity_is_zero():
    model, x, _ = linear(9)
    (found,) = explained(model, x, target=0)
    assert float(Infidelity(scaled=False)(model, found).values) == pytest.approx(0, abs=1e-20)
    double = stated(found, 2 * found.values)
    assert float(Infidelity()(model, double).values) == pytest.approx(0, abs=1e-20)
    assert float(Infidelity(scaled=False)(model, double).values) > 0.1


def test_monotonicity_counts_the_steps_up():
    model, x = perceptron(), normal(2, 6, seed=5)
    (found,) = explained(model, x)
    got = Monotonicity()(model, found)
    for row in range(2):
        ranked = found.values[row].argsort()
        left = torch.zeros(1, 6).double()
        scores = [model(left)[0, 1]]
        for place in ranked.tolist():
            left[0, place] = x[row, place]
            scores.append(model(left)[0, 1])
        ups = [bool(b >= a) for a, b in itertools.pairwise(scores)]
        assert float(got.values[row]) == pytest.approx(sum(ups) / 6)


def test_an_increasing_model_is_monotone_in_every_order():
    weight = normal(5).abs()
    model, x = (lambda z: torch.tanh(z @ weight[:, None])), normal(1, 5, seed=1).abs()
    (found,) = explained(model, x, target=0)
    assert float(Monotonicity()(model, found).values) == 1
    assert float(Monotonicity()(model, stated(found, normal(1, 5, seed=9))).values) == 1


def test_monotonicity_correlation_compares_ranks_one_by_one():
    from scipy.stats import spearmanr

    model, x = perceptron(), normal(2, 6, seed=5)
    (found,) = explained(model, x)
    got = MonotonicityCorrelation()(model, found)
    for row in range(2):
        moved = drops_of(model, x[row : row + 1], [[player] for player in range(6)]).abs()
        expected = spearmanr(found.values[row].abs(), moved).statistic
        assert float(got.values[row]) == pytest.approx(float(expected))
    some = MonotonicityCorrelation(most=3)(model, found)
    assert some.evaluations.forward == 2 * 4


# -------------------------------------------------------------------------------------- mutants


@dataclass(frozen=True, kw_only=True)
class LeastFirst(AOPC):
    """Reads the wrong line."""

    @property
    def lines(self):
        return ("lerf",)

    def value(self, found):
        line = found.lines["lerf"]
        return (line[..., :1] - line).mean(-1)


@dataclass(frozen=True, kw_only=True)
class BySize(AOPC):
    """Takes what speaks against the class for relevant."""

    def judge(self, trial):
        wrong = [stated(each, each.values.abs()) for each in trial.rivals]
        return super().judge(type(trial)(**{**vars(trial), "rivals": tuple(wrong), "store": {}}))


@pytest.mark.parametrize("kind", [LeastFirst, BySize])
def test_a_wrong_order_is_not_the_best(kind):
    with pytest.raises(AssertionError):
        is_best(kind(), 5, aopc_of)


def test_orders_that_are_not_reversed_are_noticed(monkeypatch):
    def drawn(count, draws, seed):
        found = [torch.randperm(count, generator=flipping.seeded(seed, d)) for d in range(draws)]
        return torch.stack(found)

    monkeypatch.setattr(flipping, "random_orders", drawn)
    with pytest.raises(AssertionError):
        in_the_middle(Selectivity, 8)


@dataclass(frozen=True, kw_only=True)
class NoMiddle(Selectivity):
    """Measures from the start, not from chance."""

    def value(self, found):
        return (found.lines["morf"][..., :1] - found.lines["morf"]).mean(-1)


def test_a_zero_line_elsewhere_is_noticed():
    with pytest.raises(AssertionError):
        in_the_middle(NoMiddle, 5)


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AOPC(steps=0), "`steps` must be a whole number, at least 1"),
        (lambda: AOPC(removed=0), "`removed` must be a share of the features, above 0 and at most"),
        (lambda: AOPC(scale="odds"), "log_odds"),
        (lambda: Selectivity(first="last"), "`first` of selectivity"),
        (lambda: Selectivity(draws=0), "`draws` must be a whole number, at least 1"),
        (lambda: SensitivityN(sizes=()), "`sizes` must be a share of the features"),
        (lambda: SensitivityN(sizes=(0.5, 1.0)), "`sizes` must be a share of the features"),
        (lambda: FaithfulnessCorrelation(size=1), "`size` must be a share of the features"),
        (lambda: SensitivityN(draws=1), "`draws` must be a whole number, at least 2"),
        (lambda: MonotonicityCorrelation(most=2), "`most` must be a whole number, at least 3"),
        (lambda: Infidelity(seed=0.5), "`seed` must be a whole number"),
    ],
)
def test_options_are_checked(make, words):
    with pytest.raises((InputError, pl.errors.UnknownNameError), match=words):
        make()


def test_only_a_class_has_a_probability():
    model, x = network()
    found = pl.explain(model, x, "gradient_x_input", target=(0, 1))
    with pytest.raises(InputError, match="must be a class where its probability is asked") as info:
        Deletion()(model, found)
    assert 'Ask for scale="score"' in str(info.value)
    assert bool(Deletion(scale="score")(model, found).values.isfinite().all())


def test_what_is_a_probability_already_is_read_as_it_is():
    """An estimator is explained at its probabilities; a model with a softmax at its end is not."""
    from sklearn.linear_model import LogisticRegression

    x = normal(40, 3, seed=2).numpy()
    fitted = LogisticRegression().fit(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 1))
    found = pl.explain(fitted, x[:3], "kernel_shap", baseline=x, target=1)
    got = Deletion(baseline=0.0)(fitted, found).curves["morf"].y
    assert_close(got[:, 0], torch.from_numpy(fitted.predict_proba(x[:3])[:, 1]))
    assert_close(got[:, -1], torch.from_numpy(fitted.predict_proba(0 * x[:3])[:, 1]))
    model, rows = perceptron(), normal(2, 6, seed=5)
    ending = nn.Sequential(model, nn.Softmax(1))
    line = Deletion()(ending, explained(ending, rows)[0]).curves["morf"].y
    assert_close(line, Deletion()(model, explained(model, rows)[0]).curves["morf"].y)
    assert_close(line[:, 0], model(rows).softmax(1)[:, 1].detach())
