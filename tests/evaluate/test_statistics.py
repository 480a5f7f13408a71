"""Ranks, tests and groups, against tests that are written out or enumerate every chance."""

import dataclasses
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from pellucid.evaluate.leaderboard.statistics import Comparison, compared, holm

RNG = np.random.default_rng(0)


def ranks_of(values):
    """Mean ranks by counting: how many are less, and half of those that are equal."""
    less = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1)
    return (less + (equal + 1) / 2).mean(1)


def friedman_by_chance(values, draws=20_000):
    """The share of shuffles within the samples whose ranks differ at least as much."""
    rng = np.random.default_rng(1)
    ranks = np.argsort(np.argsort(values, axis=0), axis=0) + 1.0

    def spread(table):
        return ((table.mean(-1) - table.mean(-1).mean(-1, keepdims=True)) ** 2).sum(-1)

    shuffled = rng.permuted(np.broadcast_to(ranks, (draws, *ranks.shape)), axis=1)
    return (spread(shuffled) >= spread(ranks) - 1e-9).mean()


def wilcoxon_by_signs(differences):
    """The share of all signs whose sum of ranks is at least as far from its mean."""
    kept = differences[differences != 0]
    ranks = np.argsort(np.argsort(np.abs(kept))) + 1.0
    signs = np.array(list(product((0, 1), repeat=len(kept))))
    sums, middle = signs @ ranks, ranks.sum() / 2
    own = ranks[kept > 0].sum()
    return (np.abs(sums - middle) >= abs(own - middle) - 1e-9).mean()


def holm_by_definition(chances):
    """The least level at which Holm's steps reject each."""
    found = []
    for chance in chances:
        steps = sorted(chances)
        position = steps.index(chance)
        raised = [(len(steps) - j) * p for j, p in enumerate(steps[: position + 1])]
        found.append(min(1.0, max(raised)))
    return found


@pytest.mark.parametrize("higher", [True, False])
def test_ranks_count_the_better_ones(higher):
    values = RNG.integers(0, 4, (5, 40)).astype(float)
    found = compared(values, higher=higher)
    np.testing.assert_allclose(found.ranks, ranks_of(-values if higher else values))
    assert found.ranks.sum() == pytest.approx(15)


def test_friedman_agrees_with_shuffles():
    values = RNG.normal(size=(4, 25)) + np.array([[0.0], [0.1], [0.3], [0.5]])
    assert compared(values).friedman == pytest.approx(friedman_by_chance(values), abs=0.01)


def test_pairs_are_those_of_all_signs_adjusted():
    values = RNG.normal(size=(3, 10)) + np.array([[0.0], [0.4], [0.8]])
    pairs = list(combinations(range(3), 2))
    plain = [wilcoxon_by_signs(values[a] - values[b]) for a, b in pairs]
    found = compared(values)
    for (a, b), chance in zip(pairs, holm_by_definition(plain), strict=True):
        assert found.pairs[a, b] == found.pairs[b, a] == pytest.approx(chance)
    assert (np.diag(found.pairs) == 1).all()


def test_holm_is_its_definition():
    for size in (1, 2, 7):
        chances = RNG.random(size).tolist()
        assert holm(chances) == pytest.approx(holm_by_definition(chances))


def test_holm_keeps_the_level():
    """Of experiments without any difference, at most one in twenty finds one."""
    found = [min(holm(list(np.random.default_rng(seed).random(6)))) < 0.05 for seed in range(2000)]
    assert 0.02 < np.mean(found) < 0.065


def differing(*numbers, pairs=(), friedman=0.001):
    """A comparison in which these pairs differ."""
    chances = np.ones((len(numbers), len(numbers)))
    for a, b in pairs:
        chances[a, b] = chances[b, a] = 0.01
    return Comparison(ranks=np.array(numbers), friedman=friedman, pairs=chances, samples=30)


def test_groups_are_the_largest_sets_without_a_difference():
    found = differing(3.0, 1.0, 2.0, 4.0, pairs=[(1, 3), (1, 0)])
    assert found.order == [1, 2, 0, 3]
    assert found.groups == ((1, 2), (2, 0, 3))


def test_equals_that_are_no_neighbours_have_a_common_group():
    """The first and the last are not told apart, though the one between them is."""
    assert differing(1.0, 2.0, 3.0, pairs=[(0, 1)]).groups == ((0, 2), (1, 2))


@pytest.mark.parametrize("seed", range(20))
def test_two_are_in_a_common_group_if_and_only_if_they_do_not_differ(seed):
    """Against every set of methods: groups are those without a difference that cannot grow."""
    rng = np.random.default_rng(seed)
    count = 6
    pairs = [pair for pair in combinations(range(count), 2) if rng.random() < 0.5]
    found = differing(*rng.permutation(count).astype(float), pairs=pairs)
    alike = [
        set(some)
        for size in range(1, count + 1)
        for some in combinations(range(count), size)
        if not any(found.differ(a, b) for a, b in combinations(some, 2))
    ]
    largest = {frozenset(some) for some in alike if not any(some < other for other in alike)}
    assert {frozenset(group) for group in found.groups} == largest
    assert len(found.groups) == len(largest)
    firsts = [found.order.index(group[0]) for group in found.groups]
    assert firsts == sorted(firsts)


def test_nothing_differs_where_all_may_be_alike():
    found = differing(1.0, 2.0, 3.0, pairs=[(0, 2)], friedman=0.2)
    assert found.groups == ((0, 1, 2),)
    assert not found.beats(0, 2)


def test_one_beats_the_other_only_in_the_right_direction():
    found = compared(np.stack([np.arange(12.0), np.arange(12.0) + 1]), higher=False)
    assert (found.beats(0, 1), found.beats(1, 0)) == (True, False)
    assert np.isnan(found.friedman)


def test_samples_without_a_number_are_left_out():
    values = RNG.normal(size=(3, 20))
    gaps = values.copy()
    gaps[1, 3] = np.nan
    found, wanted = compared(gaps), compared(np.delete(values, 3, axis=1))
    assert found.samples == 19
    np.testing.assert_array_equal(found.pairs, wanted.pairs)
    np.testing.assert_array_equal(found.ranks, wanted.ranks)


@pytest.mark.parametrize("shape", [(3, 0), (3, 1), (1, 5), (2, 2)])
def test_too_few_to_tell(shape):
    found = compared(np.ones(shape))
    assert len(found.groups) == 1 or shape == (3, 0)
    assert not any(found.differ(a, b) for a, b in pairwise(range(shape[0])))


@pytest.mark.parametrize("methods", [2, 3, 5, 8])
def test_so_many_samples_are_needed(methods):
    """With one fewer not even methods that are always in one order are told apart."""

    def told(samples):
        values = np.arange(methods)[:, None] * np.linspace(1, 2, samples)
        return any(compared(values).differ(a, b) for a, b in combinations(range(methods), 2))

    needed = compared(np.ones((methods, 3))).needed
    assert told(needed)
    assert not told(needed - 1)


def test_equal_methods_are_not_told_apart():
    found = compared(np.tile(RNG.normal(size=12), (3, 1)))
    assert (found.friedman, found.groups) == (1.0, ((0, 1, 2),))
    assert (found.ranks == 2).all()


def test_the_order_of_samples_does_not_matter():
    values = RNG.normal(size=(4, 15))
    one, other = compared(values), compared(values[:, ::-1])
    np.testing.assert_allclose(one.pairs, other.pairs)
    np.testing.assert_allclose(one.ranks, other.ranks)


def test_without_the_adjustment_the_law_fails():
    """What the test of pairs looks for: probabilities as they are, or those of means of ranks."""
    values = RNG.normal(size=(3, 10)) + np.array([[0.0], [0.4], [0.8]])
    found = compared(values)
    plain = [wilcoxon_by_signs(values[a] - values[b]) for a, b in combinations(range(3), 2)]
    broken = dataclasses.replace(found, pairs=found.pairs / 3)
    assert sorted(plain)[0] != pytest.approx(found.pairs[np.triu_indices(3, 1)].min())
    assert broken.pairs[0, 1] != pytest.approx(holm_by_definition(plain)[0])
