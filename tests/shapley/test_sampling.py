"""Shapley values, Owen values and interactions by random orders; trees and pairs also exactly."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.shapley.interactions import zigzags
from pellucid.shapley.partition import tree_ranks
from pellucid.shapley.sampling import Prefixes, uniform_ranks
from tests.counting import Counting
from tests.shapley.textbook import interactions, owen, random_game, shapley, smooth_game
from tests.zoo.network import normal

TREES = [
    (0, 1, 2, 3, 4),
    ((0, 1), (2, 3, 4)),
    (0, ((1, 4), 2), 3),
    ((((4, 3), 2), 1), 0),
]


def smooth_model(features: int) -> torch.nn.Module:
    layers = torch.nn.Linear(features, 7), torch.nn.Tanh(), torch.nn.Linear(7, 2)
    return torch.nn.Sequential(*layers).double()


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_owen_values_by_all_orders(tree):
    game = random_game(5, 3)
    found = pl.PartitionShapley(tree=tree)(game, game.inputs, target=0)
    assert_close(found.players[0], owen(game.score, tree, 5), rtol=0, atol=1e-12)
    assert found.error is None


def test_over_a_flat_tree_they_are_shapley_values():
    game = random_game(8, 4)
    found = pl.PartitionShapley(tree=list(range(8)))(game, game.inputs, target=0)
    assert_close(found.players[0], shapley(game.score, 8), rtol=0, atol=1e-12)


def test_groups_get_the_values_of_the_game_of_groups():
    game, tree = random_game(6, 5), ((0, 3), (1, 2, 5), 4)
    found = pl.PartitionShapley(tree=tree)(game, game.inputs, target=0).players[0]
    groups = [{0, 3}, {1, 2, 5}, {4}]
    large = shapley(lambda s: game.score(frozenset().union(*(groups[i] for i in s))), 3)
    assert_close(torch.stack([found[list(g)].sum() for g in groups]), large, rtol=0, atol=1e-12)


def test_halves_of_an_image_take_few_coalitions():
    model = Counting(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1)))
    found = pl.PartitionShapley(features=pl.Features.patches(2))(model, torch.ones(1, 1, 8, 8))
    assert found.evaluations.forward == sum(model.calls) < 16 * 16 + 16
    assert_close(found.completeness.residual, torch.zeros(1).double(), rtol=0, atol=1e-6)


def test_a_tree_with_too_large_groups():
    with pytest.raises(InputError, match=r"trees of up to 1048576 differences; got 40 players"):
        pl.PartitionShapley(tree=tuple(range(40)))(torch.nn.Linear(40, 1), torch.zeros(1, 40))


SAMPLED = {
    "shapley_sampling": {},
    "partition_shapley": {"tree": ((0, 1, 2), ((3, 4), 5))},
}


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("samples", [40, 150])
def test_stated_errors_cover(name, samples):
    game = random_game(6, 7)
    tree = SAMPLED[name].get("tree", tuple(range(6)))
    truth = owen(game.score, tree, 6)
    options = {**SAMPLED[name], "samples": samples}
    found = [
        pl.explain(game, game.inputs, name, target=0, seed=seed, **options) for seed in range(70)
    ]
    values = torch.cat([each.players for each in found])
    errors = torch.cat([each.player_error for each in found])
    inside = ((values - truth).abs() < 1.96 * errors).double().mean()
    assert 0.9 < inside < 0.99
    assert ((values.mean(0) - truth).abs() / (values.std(0) / 70**0.5)).max() < 4.5


def test_the_error_falls_like_one_over_the_root_of_the_samples():
    game = random_game(7, 8)
    truth = shapley(game.score, 7)

    def error(samples: int) -> float:
        method = [pl.ShapleySampling(samples=samples, seed=seed) for seed in range(40)]
        found = torch.cat([m(game, game.inputs, target=0).players for m in method])
        return float((found - truth).square().mean().sqrt())

    assert 1.6 < error(16) / error(64) < 2.5


def test_reversed_orders_make_games_of_pairs_exact():
    game = smooth_game(7, 1, degree=2)
    found = pl.ShapleySampling(samples=2)(game, game.inputs, target=0)
    assert_close(found.players[0], shapley(game.score, 7), rtol=0, atol=1e-12)


@pytest.mark.parametrize("players", [1, 2, 5, 70])
def test_the_coalitions_are_those_of_the_orders(players):
    """Each coalition is scored once, and the sums along every order are right."""
    ranks = uniform_ranks(players)(torch.Generator().manual_seed(1), 9)
    made = Prefixes.of(ranks)
    there = made.coalitions(False)
    table = there.pick(torch.arange(there.count))
    assert len({tuple(row) for row in table.tolist()}) == there.count
    weights = torch.randn(players, dtype=torch.float64)
    scores = (table.double() @ weights).square()[None]
    ends = torch.zeros(1).double(), weights.sum().square()[None]
    found = made.added(scores, *ends)[0]
    for order, mine in zip(ranks.argsort(1).tolist(), found, strict=True):
        total = 0.0
        for i in order:
            before, total = total, total + float(weights[i])
            assert_close(float(mine[i]), total**2 - before**2)


def test_orders_follow_their_tree():
    tree = ((0, 3), (1, (2, 5)), 4)
    ranks = tree_ranks(tree)(torch.Generator().manual_seed(1), 600)
    for group in ((0, 3), (1, 2, 5), (2, 5)):
        mine = ranks[:, list(group)]
        assert ((mine.amax(1) - mine.amin(1)) == len(group) - 1).all()
    assert torch.equal(ranks.sort(1).values, torch.arange(6).expand(600, 6))
    first = (ranks == 0).double().mean(0)
    expected = torch.tensor([1 / 6, 1 / 6, 1 / 12, 1 / 6, 1 / 3, 1 / 12], dtype=torch.float64)
    assert (first - expected).abs().max() < 0.06


@pytest.mark.parametrize("name", ["shapley_sampling", "partition_shapley"])
def test_the_answer_depends_neither_on_the_batch_nor_on_its_size(name):
    model, x, rows = smooth_model(9), normal(3, 9), normal(2, 9, seed=1)
    options = {"baseline": rows, "samples": 20, "target": 1}
    whole = pl.explain(model, x, name, **options)
    for size in (1, 2, 50):
        cut = pl.explain(model, x, name, batch_size=size, **options)
        assert_close(cut.players, whole.players)
        assert_close(cut.player_error, whole.player_error)
    alone = pl.explain(model, x[1:2], name, **options)
    assert_close(alone.players[0], whole.players[1])
    other = pl.explain(model, x, name, seed=1, **options)
    assert not torch.equal(other.players, whole.players)
    assert_close(whole.completeness.residual, torch.zeros(3).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [64, 300])
def test_the_model_is_called_in_full_batches(size):
    model = Counting(torch.nn.Linear(9, 1).double())
    found = pl.ShapleySampling(samples=11, baseline=normal(5, 9, seed=1))(
        model, normal(2, 9), target=0, batch_size=size
    )
    evaluations = found.evaluations.forward - 2
    assert sum(model.calls) == evaluations + 2
    assert len(model.calls) == 1 + -(-evaluations // size)
    assert evaluations % 10 == 0
    assert evaluations <= (12 * 8 + 1) * 10  # eleven orders, and one to make pairs


def test_a_tolerance_stops_each_sample_when_it_is_good_enough():
    def model(x: Tensor) -> Tensor:
        return torch.where(x[:, -1] != 0.5, x.sum(1), torch.sin(3 * x.cumsum(1)).sum(1))[:, None]

    x = torch.ones(2, 9).double()
    x[:, -1] = torch.tensor([0.25, 0.5])
    method = pl.ShapleySampling(
        tolerance=0.15, samples=4000, features=torch.tensor([[*range(8), -1]])
    )
    found = method(model, x, target=0)
    assert (found.player_error.amax(1) <= 0.15 * found.players.abs().amax(1)).all()
    alone = [method(model, x[row : row + 1], target=0) for row in range(2)]
    assert_close(torch.cat([each.players for each in alone]), found.players)
    assert alone[0].evaluations.forward <= 2 + 16 * 7 < alone[1].evaluations.forward
    stopped = pl.ShapleySampling(tolerance=0.0, samples=400)(model, x, target=0)
    plain = pl.ShapleySampling(samples=16)(model, x, target=0)
    assert stopped.player_error[1].max() < plain.player_error[1].max()


@pytest.mark.parametrize("players", [1, 2, 3, 6])
def test_interactions_by_brute_force(players):
    game = random_game(players, 9)
    found = pl.shapley_interactions(game, game.inputs, target=0)
    assert_close(found.values[0], interactions(game.score, players), rtol=0, atol=1e-12)
    assert_close(found.shapley[0], shapley(game.score, players), rtol=0, atol=1e-12)
    assert found.error is None


@pytest.mark.parametrize("players", [5, 6])
def test_sampled_interactions_cover(players):
    game = random_game(players, 10)
    truth = interactions(game.score, players)
    found = [
        pl.shapley_interactions(game, game.inputs, target=0, samples=30, seed=seed)
        for seed in range(50)
    ]
    values = torch.cat([each.values for each in found])
    errors = torch.cat([each.error for each in found])
    inside = ((values - truth).abs() < 1.96 * errors).double().mean()
    assert 0.9 < inside < 0.99
    assert ((values.mean(0) - truth).abs() / (values.std(0) / 50**0.5)).max() < 4.5
    assert_close(values, values.mT)
    residual = found[0].explanation.completeness.residual
    assert_close(residual, torch.zeros(1).double(), rtol=0, atol=1e-12)


def test_interactions_of_samples_with_other_numbers_of_players():
    labels = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 2]])
    model, x = smooth_model(4), normal(2, 4)
    for samples in (None, 6):
        options = {"target": 0, "samples": samples}
        whole = pl.shapley_interactions(model, x, features=labels, batch_size=1, **options)
        alone = pl.shapley_interactions(model, x[1:], features=labels[1:], **options)
        assert_close(whole.values[1, :3, :3], alone.values[0], rtol=0, atol=1e-12)
        assert not whole.values[1, 3].any()


@pytest.mark.parametrize("players", [2, 6, 10])
def test_zigzags_have_each_pair_side_by_side_once(players):
    orders = zigzags(players).tolist()
    pairs = [frozenset(pair) for order in orders for pair in pairwise(order)]
    assert len(pairs) == len(set(pairs)) == players * (players - 1) // 2


WRONG = {
    "samples": (pl.ShapleySampling, {"samples": 0}),
    "tolerance": (pl.ShapleySampling, {"tolerance": -1}),
    "seed": (pl.PartitionShapley, {"seed": 0.5}),
    "`tolerance` must come with `samples`": (pl.PartitionShapley, {"tolerance": 0.1}),
}


@pytest.mark.parametrize("word", WRONG)
def test_wrong_options(word):
    method, options = WRONG[word]
    with pytest.raises(InputError, match=word):
        method(**options)


def test_a_tree_that_forgets_a_player():
    with pytest.raises(InputError, match=r"A tree must hold each of the 3 players once"):
        pl.PartitionShapley(tree=(0, 1))(torch.nn.Linear(3, 1), torch.zeros(1, 3))


def test_a_table_of_coalitions_that_does_not_fit_is_told():
    model = torch.nn.Linear(800, 1)
    x = torch.rand(1, 800)
    with pytest.raises(InputError, match=r"about 1 GB; got 800 players with 7.*`samples` random"):
        pl.PartitionShapley()(model, x)
    found = pl.PartitionShapley(samples=4)(model, x)
    assert found.players.shape == (1, 800)
