"""KernelSHAP: exact where it can be, unbiased, with errors that cover, at the cost it says."""

import gc
import math
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.plot.parts import Parts
from pellucid.report import wording
from pellucid.shapley.exact import shapley_values
from pellucid.shapley.play import Coalitions
from pellucid.shapley.regression import Regression, Ridge, Triples
from pellucid.shapley.strata import Stratum, allotted, strata
from tests.counting import Counting
from tests.shapley.textbook import Play, random_game, shapley, smooth_game
from tests.zoo.network import normal


def table(game: Play) -> Tensor:
    """The scores of all coalitions, (2^n,)."""
    there = Coalitions.subsets(game.players).pick(torch.arange(2**game.players))
    found = [game.score(frozenset(row.nonzero().flatten().tolist())) for row in there]
    return torch.tensor(found, dtype=torch.float64)


def fitted(scores: Tensor, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """What the regression makes of a game whose scores are all known."""
    n = scores.shape[0].bit_length() - 1
    kinds, counts = strata(n), allotted(n, samples)
    members = torch.cat([k.drawn(c, seed) for k, c in zip(kinds, counts, strict=True)])
    regression = Regression(members=members, counts=counts, strata=kinds)
    places = (members * 2 ** torch.arange(n)).sum(1)
    differences = scores[places] - scores[2**n - 1 - places]
    values, errors = regression.solve(differences[None], (scores[-1] - scores[0])[None])
    return values[0], errors[0]


def textbook(game: Play, members: Tensor, weights: Tensor) -> Tensor:
    """Weighted least squares with the sum as a constraint, one coalition in a row, no pairs."""
    n = game.players
    both = torch.cat([members, ~members]).double()
    y = torch.tensor(
        [game.score(frozenset(row.nonzero().flatten().tolist())) for row in both],
        dtype=torch.float64,
    ) - game.score(frozenset())
    w = weights.repeat(2)
    system = torch.zeros(n + 1, n + 1).double()
    right = torch.zeros(n + 1).double()
    for row, target, weight in zip(both, y, w, strict=True):
        system[:n, :n] += weight * torch.outer(row, row)
        right[:n] += weight * target * row
    system[n, :n] = system[:n, n] = 1
    right[n] = game.score(frozenset(range(n))) - game.score(frozenset())
    return torch.linalg.solve(system, right)[:n]


@pytest.mark.parametrize("samples", [24, 40, 61])
def test_it_is_the_weighted_regression_of_the_paper(samples):
    """Without triples the same as with each coalition as a row of its own."""
    game = random_game(6, 1)
    kinds, counts = strata(6), allotted(6, samples)
    members = torch.cat([k.drawn(c, 3) for k, c in zip(kinds, counts, strict=True)])
    regression = Regression(members=members, counts=counts, strata=kinds)
    scores, places = table(game).double(), (members * 2 ** torch.arange(6)).sum(1)
    differences = scores[places] - scores[2**6 - 1 - places]
    found = regression.players_alone(differences[None], (scores[-1] - scores[0])[None])
    expected = textbook(game, members, regression.weights)
    assert_close(found[0], expected, rtol=0, atol=1e-10)


def test_weights_are_those_of_the_kernel_where_all_coalitions_are_there():
    n, kinds = 7, strata(7)
    members = torch.cat([k.drawn(k.total, 0) for k in kinds])
    weights = Regression(members=members, counts=[k.total for k in kinds], strata=kinds).weights
    sizes = members.sum(1).tolist()
    kernel = [(n - 1) / (math.comb(n, s) * s * (n - s)) for s in sizes]
    kernel = torch.tensor(kernel, dtype=torch.float64)
    assert_close(weights / weights[0], kernel / kernel[0])


@pytest.mark.parametrize("players", [1, 2, 3, 4, 7, 9])
def test_all_coalitions_give_the_exact_values(players):
    game = random_game(players, players + 1)
    found = pl.KernelSHAP()(game, game.inputs, target=0)
    assert_close(found.players[0], shapley(game.score, players), rtol=0, atol=1e-10)
    assert_close(found.player_error, torch.zeros(1, players).double(), rtol=0, atol=0)
    assert found.evaluations.forward == 1 + 2**players - 1
    assert found.notes == ("All coalitions were scored of 1 of 1 samples: there values are exact.",)
    late = pl.KernelSHAP(tolerance=0.0)(game, game.inputs, target=0)
    assert_close(late.players[0], shapley(game.score, players), rtol=0, atol=1e-10)


def test_text_and_plots_say_exact_where_nothing_was_left_to_chance():
    game = random_game(5, 1)
    exact = pl.KernelSHAP()(game, game.inputs, target=0)
    assert wording.error(exact) == "exact: nothing was left to chance"
    assert Parts.of(exact, row=0).chance == ["exact: no sampling error"]
    few = pl.KernelSHAP(samples=20)(game, game.inputs, target=0)
    assert not few.notes
    assert wording.error(few).startswith("standard error 0.")
    assert Parts.of(few, row=0).chance == ["bars: standard error"]
    assert Parts.of(pl.ExactShapley()(game, game.inputs, target=0), row=0).chance == []


def test_pairwise_interactions_need_no_luck():
    game = smooth_game(9, 2, degree=2)
    found = pl.KernelSHAP(samples=60)(game, game.inputs, target=0)
    assert_close(found.players[0], shapley(game.score, 9), rtol=0, atol=1e-10)
    assert found.player_error.max() < 1e-10


@pytest.mark.parametrize("method", [pl.KernelSHAP(samples=60), pl.ShapleySampling(samples=9)])
def test_what_rounding_leaves_is_no_error(method):
    """In single precision, of a sum that every coalition splits alike."""
    factors = torch.linspace(-1, 5, 12)
    found = method(lambda x: (x * factors).sum(1, keepdim=True), torch.full((2, 12), 0.7))
    assert_close(found.players[0], (0.7 * factors).double(), rtol=0, atol=1e-5)
    assert not found.player_error.any()
    bent = method(lambda x: (x * factors).sum(1, keepdim=True).exp(), torch.full((2, 12), 0.2))
    assert (bent.player_error > 0).all()


def test_interactions_of_three_need_no_luck_where_there_are_pairs_enough():
    game = smooth_game(9, 2, degree=4)
    found = pl.KernelSHAP(samples=400)(game, game.inputs, target=0)
    assert_close(found.players[0], shapley(game.score, 9), rtol=0, atol=1e-10)
    few = pl.KernelSHAP(samples=150)(game, game.inputs, target=0)
    assert (few.players[0] - shapley(game.score, 9)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("samples", "seeds"), [(60, 300), (150, 80), (420, 60)], ids=["few", "some", "triples"]
)
@pytest.mark.parametrize("kind", [random_game, smooth_game])
def test_stated_errors_cover(kind, samples, seeds):
    scores = table(kind(10, 5)).double()
    truth = shapley_values(scores[None])[0]
    found = [fitted(scores, samples, seed) for seed in range(seeds)]
    values, errors = (torch.stack(column) for column in zip(*found, strict=True))
    inside = ((values - truth).abs() < 1.96 * errors).double().mean()
    assert 0.9 < inside < 0.99
    # Ridge regression and weighted least squares have a bias, smaller than the standard error.
    assert ((values.mean(0) - truth).abs() / values.std(0)).max() < 0.7


def pairs_of(players: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """The signs of some pairs, and products of three of them, in nested loops."""
    kinds, counts = strata(players), allotted(players, samples)
    members = torch.cat([k.drawn(c, seed) for k, c in zip(kinds, counts, strict=True)])
    signs = members.double() * 2 - 1
    triples = [row[list(t)].prod() for row in signs for t in combinations(range(players), 3)]
    return signs, torch.stack(triples).reshape(len(signs), -1)


def ridge_by_rows(signs: Tensor, triples: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Coefficients of players and triples: ridge regression as one least squares problem."""
    players, count = signs.shape[1], triples.shape[1]
    penalty = torch.cat([torch.zeros(count, players), torch.eye(count)], 1).double()
    system = torch.cat([torch.cat([signs, triples], 1), penalty * (ridge * count) ** 0.5])
    right = torch.cat([y, torch.zeros(count).double()])
    found = torch.linalg.lstsq(system, right.unsqueeze(1), driver="gelsd").solution[:, 0]
    return found[:players], found[players:]


@pytest.mark.parametrize("fit", [Ridge, Triples])
@pytest.mark.parametrize("ridge", [1e-3, 0.3])
def test_triples_are_fitted_as_by_the_textbook(fit, ridge):
    """Their shares, what they leave, and what each pair is when it is left out."""
    signs, triples = pairs_of(7, 40 if fit is Ridge else 120, 2)
    y = torch.randn(len(signs), generator=torch.Generator().manual_seed(0)).double()
    made = Ridge(signs=signs, ridge=ridge) if fit is Ridge else Triples(signs=signs)
    part, left, outside = made.fit(y[None])
    strength = ridge if fit is Ridge else 0.0
    _, shares = ridge_by_rows(signs, triples, y, strength)
    expected = torch.zeros(7).double()
    for share, three in zip(shares, combinations(range(7), 3), strict=True):
        expected[list(three)] += share / 3
    assert_close(part[0], expected)
    assert_close(left[0], y - triples @ shares)
    for row in (0, 5, len(y) - 1):
        keep = torch.arange(len(y)) != row
        alone, three = ridge_by_rows(signs[keep], triples[keep], y[keep], strength)
        missed = y[row] - signs[row] @ alone - triples[row] @ three
        assert_close(outside[0, row], missed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("samples", "most"), [(100, 0.95), (200, 0.8), (400, 0.55)])
def test_few_pairs_tell_something_of_triples_and_noise_does_no_harm(samples, most):
    """The error beside that of players alone: for few strong interactions, and for none."""
    n, generator = 12, torch.Generator().manual_seed(5)
    there = Coalitions.subsets(n).pick(torch.arange(2**n)).double()
    there = torch.cat([there, torch.ones(1, n).double()])[: 2**n]
    planted = there[:, 0] * there[:, 3] * there[:, 7] - there[:, 2] * there[:, 3] * there[:, 9]
    planted = planted + there[:, 5] * there[:, 6] * (1 - there[:, 8]) * (1 + there[:, 1])
    games = torch.stack([planted, torch.randn(2**n, generator=generator).double()])
    truth = shapley_values(games)
    off = []
    for seed in range(25):
        kinds, counts = strata(n), allotted(n, samples)
        members = torch.cat([k.drawn(c, seed) for k, c in zip(kinds, counts, strict=True)])
        regression = Regression(members=members, counts=counts, strata=kinds)
        places = (members * 2 ** torch.arange(n)).sum(1)
        asked = games[:, places] - games[:, 2**n - 1 - places], games[:, -1] - games[:, 0]
        found = regression.solve(*asked)[0], regression.players_alone(*asked)
        off.append(torch.stack([each - truth for each in found]))
    with_, without = torch.stack(off).square().mean((0, 3)).sqrt()
    assert with_[0] / without[0] < most
    assert with_[1] / without[1] < 1.1


def test_the_error_falls_like_one_over_the_root_of_the_samples():
    """Of players too many for complete sizes to matter."""
    game = Play(lambda s: math.sin(sum((i + 1) ** 0.7 for i in s)), 16)
    scores = table(game).double()
    truth = shapley_values(scores[None])[0]

    def error(samples: int) -> float:
        found = [fitted(scores, samples, seed)[0] - truth for seed in range(40)]
        return float(torch.stack(found).square().mean().sqrt())

    ratio = error(300) / error(1200)
    assert 1.7 < ratio < 2.6  # 2, or more, where complete sizes leave no error


def test_pairs_are_drawn_without_any_twice_and_a_longer_draw_begins_with_a_shorter_one():
    for players, size in [(6, 2), (6, 3), (24, 11), (24, 12), (70, 5)]:
        kind = Stratum(players=players, size=size)
        few = min(kind.total, 40)
        long, short = kind.drawn(min(kind.total, 200), 1), kind.drawn(few, 1)
        assert torch.equal(long[:few], short)
        assert (long.sum(1) == size).all()
        seen = {frozenset((tuple(r.tolist()), tuple((~r).tolist()))) for r in long}
        assert len(seen) == len(long) == min(kind.total, 200)


def test_draws_are_even():
    kind = Stratum(players=6, size=2)
    counts = torch.zeros(6)
    for seed in range(300):
        counts += kind.drawn(5, seed).sum(0)
    assert (counts / 300 - 5 * 2 / 6).abs().max() < 0.2
    assert len(kind.drawn(15, 0)) == len(list(combinations(range(6), 2)))


@pytest.mark.parametrize("players", [2, 3, 8, 13, 49])
def test_more_coalitions_take_no_pair_away(players):
    before = [0] * (players // 2)
    for samples in range(4 * players, 40 * players, 7):
        now = allotted(players, samples)
        assert all(a <= b for a, b in zip(before, now, strict=True))
        assert 2 * sum(now) <= max(samples, 2 * players)
        before = now


def test_the_answer_depends_neither_on_the_batch_nor_on_its_size():
    model = torch.nn.Sequential(torch.nn.Linear(12, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))
    model, x, rows = model.double(), normal(3, 12), normal(2, 12, seed=1)
    method = pl.KernelSHAP(baseline=rows, samples=200)
    whole = method(model, x, target=1)
    for size in (1, 2, 50):
        assert_close(method(model, x, target=1, batch_size=size).players, whole.players)
    alone = method(model, x[1:2], target=1)
    assert_close(alone.players[0], whole.players[1])
    assert not torch.equal(pl.KernelSHAP(baseline=rows, samples=200, seed=1)(
        model, x, target=1
    ).players, whole.players)  # fmt: skip


@pytest.mark.parametrize("size", [64, 333])
def test_the_model_is_called_in_full_batches(size):
    model = Counting(torch.nn.Linear(12, 1).double())
    found = pl.KernelSHAP(samples=200, baseline=normal(5, 12, seed=1))(
        model, normal(2, 12), target=0, batch_size=size
    )
    evaluations = (2 * sum(allotted(12, 200)) + 1) * 5 * 2
    assert found.evaluations.forward == 2 + evaluations
    assert model.calls == [2] + [size] * (evaluations // size) + (
        [evaluations % size] if evaluations % size else []
    )


def test_a_tolerance_stops_each_sample_when_it_is_good_enough():
    """One sample has a linear score and needs the first stage only."""

    def model(x: Tensor) -> Tensor:
        hard = torch.sin(3 * x.cumsum(1)).sum(1)
        return torch.where(x[:, -1] != 0.5, x.sum(1), hard)[:, None]

    x = torch.ones(2, 13).double()
    x[:, -1] = torch.tensor([0.25, 0.5])
    features = torch.tensor([[*range(12), -1]])
    method = pl.KernelSHAP(tolerance=0.02, samples=4000, features=features)
    found = method(model, x, target=0)
    assert (found.player_error.amax(1) <= 0.02 * found.players.abs().amax(1)).all()
    exact = pl.ExactShapley(features=features)(model, x, target=0)
    off = (found.players - exact.players).abs()
    assert (off <= 5 * found.player_error + 1e-9).all()
    alone = [method(model, x[row : row + 1], target=0) for row in range(2)]
    assert_close(torch.cat([each.players for each in alone]), found.players, rtol=0, atol=1e-10)
    assert alone[0].evaluations.forward < 70 < alone[1].evaluations.forward


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "`samples` must be a whole number, at least 1; got 0"),
        ({"tolerance": -0.1}, "`tolerance` must be a fraction of the largest value of a sample"),
        ({"seed": 1.5}, "`seed` must be a whole number"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        pl.KernelSHAP(**options)


def test_too_few_samples():
    with pytest.raises(InputError, match="at least 48 coalitions for 12 players; got 20"):
        pl.KernelSHAP(samples=20)(torch.nn.Linear(12, 1), torch.zeros(1, 12))


def test_nothing_of_a_design_is_kept():
    def living() -> int:
        gc.collect()
        return sum(type(each) is Regression for each in gc.get_objects())

    before = living()
    for seed in range(3):
        pl.KernelSHAP(samples=40, seed=seed)(lambda t: t[:, :1] * t[:, 1:2], normal(2, 8))
    assert living() == before
