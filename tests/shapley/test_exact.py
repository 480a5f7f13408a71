"""Exact Shapley values: games with known solutions, brute force, axioms, what is refused."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.shapley.exact import shapley_values
from tests.counting import Counting
from tests.shapley.textbook import Play, random_game, shapley
from tests.zoo.network import normal


def solved(game: Play, name: str = "exact_shapley", **options: object) -> Tensor:
    return pl.explain(game, game.inputs, name, target=0, **options).players[0]


RUNWAYS = [1.0, 3.0, 4.0, 4.5, 9.0]
VOTES = [4, 2, 1, 1, 3]


def airport(s: frozenset[int]) -> float:
    return max((RUNWAYS[i] for i in s), default=0.0)


def gloves(s: frozenset[int]) -> float:
    """Players 0 and 1 have a left glove, player 2 a right one; a pair is worth one."""
    return float(min(len(s & {0, 1}), len(s & {2})))


def majority(s: frozenset[int]) -> float:
    return float(sum(VOTES[i] for i in s) > sum(VOTES) / 2)


# A game, its number of players, and its solution as it is in books.
KNOWN = {
    "linear": (lambda s: sum((1.5, -2.0, 0.25, 0.0)[i] for i in s), 4, [1.5, -2.0, 0.25, 0.0]),
    "product": (lambda s: float(len(s) == 5) * 10, 5, [2.0] * 5),
    "product of the first three": (lambda s: float(s >= {0, 1, 2}) * 6, 5, [2, 2, 2, 0, 0]),
    # Each part of the runway is paid for by those who need it.
    "airport": (airport, 5, [1 / 5, 1 / 5 + 2 / 4, 0.7 + 1 / 3, 0.7 + 1 / 3 + 0.5 / 2,
                             0.7 + 1 / 3 + 0.25 + 4.5]),
    "gloves": (gloves, 3, [1 / 6, 1 / 6, 4 / 6]),
    # In so many of the 120 orders the player is the one who makes a majority.
    "weighted majority": (majority, 5, [48 / 120, 28 / 120, 8 / 120, 8 / 120, 28 / 120]),
}  # fmt: skip
METHODS = {
    "exact_shapley": {},
    "kernel_shap": {},
    "partition_shapley": {"tree": True},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", KNOWN)
def test_games_with_known_solutions(name, method):
    score, players, expected = KNOWN[name]
    options = {"tree": tuple(range(players))} if METHODS[method] else {}
    found = solved(Play(score, players), method, **options)
    assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("players", [1, 2, 3, 5, 8])
def test_random_games_by_brute_force(players):
    game = random_game(players, players)
    assert_close(solved(game), shapley(game.score, players), rtol=0, atol=1e-12)
    assert_close(solved(game, "kernel_shap"), shapley(game.score, players), rtol=0, atol=1e-10)


def test_a_product_of_inputs_and_a_baseline():
    """x y z from (a, b, c): each player has the mean over orders, by hand for the first."""
    x, x0 = torch.tensor([[2.0, 3.0, 5.0]]).double(), torch.tensor([1.0, -1.0, 0.5]).double()
    found = pl.ExactShapley(baseline=x0)(lambda t: t.prod(1, keepdim=True), x)
    (a, b, c), (p, q, r) = x0.tolist(), x[0].tolist()
    first = (p - a) * (b * c / 3 + q * c / 6 + b * r / 6 + q * r / 3)
    assert_close(found.values[0, 0], torch.tensor(first, dtype=torch.float64))
    assert_close(
        found.completeness.expected, torch.tensor([30 - prod(x0.tolist())], dtype=torch.float64)
    )
    assert_close(found.completeness.residual, torch.zeros(1).double(), rtol=0, atol=1e-12)


scores = st.lists(st.floats(-5, 5, width=32), min_size=16, max_size=16)


def of(table: list[float]) -> Tensor:
    return shapley_values(torch.tensor([table], dtype=torch.float64))[0]


@settings(max_examples=50, deadline=None)
@given(scores, scores, st.floats(-3, 3))
def test_additivity_and_efficiency(one, two, scale):
    both = [a + scale * b for a, b in zip(one, two, strict=True)]
    assert_close(of(both), of(one) + scale * of(two), rtol=0, atol=1e-12)
    assert_close(
        of(one).sum(), torch.tensor(one[-1] - one[0], dtype=torch.float64), rtol=0, atol=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(scores, st.integers(0, 3), st.floats(-3, 3))
def test_dummy(table, player, alone):
    bit = 2**player
    made = [table[s & ~bit] + (alone if s & bit else 0) for s in range(16)]
    assert_close(of(made)[player], torch.tensor(alone, dtype=torch.float64), rtol=0, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(scores)
def test_symmetry(table):
    """Players 0 and 1 count alike: only how many of them are there matters."""
    made = [table[(s & ~3) | (1 if s & 3 in (1, 2) else s & 3)] for s in range(16)]
    found = of(made)
    assert_close(found[0], found[1], rtol=0, atol=1e-12)


def test_a_background_is_averaged_over():
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    model = model.double()
    x, rows = normal(2, 4), normal(3, 4, seed=1)
    whole = pl.ExactShapley(baseline=rows)(model, x, target=1)
    each = [pl.ExactShapley(baseline=row[None])(model, x, target=1).values for row in rows]
    assert_close(whole.values, torch.stack(each).mean(0))


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_the_model_is_called_in_full_batches(size):
    model = Counting(torch.nn.Linear(5, 1).double())
    found = pl.ExactShapley(baseline=normal(3, 5, seed=2))(
        model, normal(2, 5), target=0, batch_size=size
    )
    batches = [2] if size > 1 else [1, 1]  # the samples, a batch of which is one case
    calls = sum(1 + -(-(31 * 3 * rows) // size) for rows in batches)
    assert len(model.calls) == found.evaluations.calls == calls
    assert found.evaluations.forward == sum(model.calls) == 2 + 31 * 3 * 2
    assert max(model.calls) <= max(size, 1)


def test_samples_with_fewer_players_have_the_values_they_have_alone():
    """And nothing for players that others of their batch have."""
    labels = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 1, 1, -1]])
    model = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    model, x = model.double(), normal(2, 5)
    whole = pl.ExactShapley(features=labels)(model, x)
    for row in range(2):
        alone = pl.ExactShapley(features=labels[row : row + 1])(model, x[row : row + 1])
        assert_close(whole.values[row], alone.values[0], rtol=0, atol=1e-12)
    assert_close(whole.players[1, 2:], torch.zeros(3).double())
    assert whole.evaluations.forward == 2 + 31 + 3


def test_numbers_whose_difference_is_infinite_are_replaced_all_the_same():
    x, x0 = torch.tensor([[3e38, 2.0, -3e38]]), torch.tensor([[-3e38, 0.0, 3e38]])
    found = pl.ExactShapley(baseline=x0)(lambda t: (t > 0).float().sum(1, keepdim=True), x)
    assert_close(found.values, torch.tensor([[1.0, 1.0, -1.0]]))


def test_more_players_than_can_be_enumerated():
    with pytest.raises(
        InputError,
        match=r"Every coalition can be scored of at most 16 players; got 40, which take 1\.1e\+12 "
        r"evaluations of the model, or about .* (years|days) here\. Take kernel_shap or "
        r"shapley_sampling",
    ):
        pl.ExactShapley()(torch.nn.Linear(40, 1), torch.zeros(1, 40))
    with pytest.raises(InputError, match=r"got 17, .*seconds here.* or wait, with most=17"):
        pl.ExactShapley()(torch.nn.Linear(17, 1), torch.zeros(1, 17))
    found = pl.ExactShapley(most=17)(torch.nn.Linear(17, 1), torch.ones(1, 17))
    assert_close(found.completeness.residual, torch.zeros(1).double(), rtol=0, atol=1e-6)


def test_players_whose_coalitions_have_no_number():
    with pytest.raises(InputError, match=r"got 2000, which take more than 8\.45e\+270 evaluations"):
        pl.ExactShapley()(torch.nn.Linear(2000, 1), torch.zeros(1, 2000))


EMPTY = torch.tensor([[0, 0, 1, 1, -1], [-1] * 5, [0, 1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("exact_shapley", {}),
        ("kernel_shap", {}),
        ("kernel_shap", {"tolerance": 0.1}),
        ("shapley_sampling", {}),
        ("partition_shapley", {}),
        ("partition_shapley", {"samples": 20}),
        ("lime", {}),
    ],
)
def test_a_sample_without_players_gets_nothing_in_any_batch(method, options):
    model = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    model, x = model.double(), normal(3, 5)
    found = [
        pl.explain(model, x, method, features=EMPTY, batch_size=size, **options)
        for size in ("auto", 1)
    ]
    assert_close(found[0].players, found[1].players)
    assert not found[0].players[1].any()
    assert found[0].players[2].any()


def test_nobody_is_an_error_whatever_the_batch_size():
    for size in (1, "auto"):
        with pytest.raises(InputError, match="must have at least one player"):
            pl.explain(
                torch.nn.Linear(3, 1), torch.ones(2, 3), "exact_shapley",
                features=pl.Features.nobody(), batch_size=size,
            )  # fmt: skip


def test_pairs_of_a_sample_without_players():
    x = normal(3, 5)
    for samples in (None, 5):
        found = pl.shapley_interactions(
            lambda t: t[:, :2].prod(1, keepdim=True), x, features=EMPTY, samples=samples
        )
        assert not found.values[1].any()
        assert found.values[2].any()


@pytest.mark.parametrize("most", [0, None, 1.5, 31])
def test_wrong_options(most):
    with pytest.raises(InputError, match="^`most` must be a"):
        pl.ExactShapley(most=most)


def test_an_empty_background_is_refused():
    with pytest.raises(InputError, match="A background must have at least one row"):
        pl.ExactShapley(baseline=torch.zeros(0, 3))(torch.nn.Linear(3, 1), torch.zeros(1, 3))
