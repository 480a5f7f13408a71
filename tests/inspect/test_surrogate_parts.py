"""Trees, rules and lines beside slow versions of the same: every split, nested ifs, formulas."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, r2_score

from pellucid.inspect.surrogate import lines, rules, search, trees
from pellucid.inspect.surrogate.conditions import Condition, all_hold, between, merged
from pellucid.inspect.surrogate.fidelity import judge


def data(seed, samples=40, features=3, outputs=2):
    """Features without ties, and answers that follow some of them."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(samples, features))
    y = draw.normal(size=(samples, outputs)) * 0.3
    y[:, 0] += np.sin(2 * x[:, 0]) + (x[:, 1] > 0.3)
    return x, y


def squared_error(y):
    return ((y - y.mean(0)) ** 2).sum() if len(y) else 0.0


# Trees


def best_split(x, y, rows, least):
    """Every threshold of every feature, one by one."""
    found = []
    for j in range(x.shape[1]):
        for low in np.unique(x[rows, j])[:-1]:
            left, right = rows & (x[:, j] <= low), rows & (x[:, j] > low)
            if min(left.sum(), right.sum()) >= least:
                gain = squared_error(y[rows]) - squared_error(y[left]) - squared_error(y[right])
                found.append((gain, j, left, right))
    return max(found, key=lambda each: each[0], default=None)


def slow_tree(x, y, leaves, depth, least):
    """The samples of each leaf: of all leaves, the one whose best split gains most is split."""
    parts = [(np.ones(len(x), dtype=bool), 0)]
    while len(parts) < leaves:
        splits = [
            (best_split(x, y, rows, least), i) for i, (rows, deep) in enumerate(parts)
            if deep < depth
        ]  # fmt: skip
        splits = [(split, i) for split, i in splits if split is not None]
        if not splits:
            break
        (_, _, left, right), i = max(splits, key=lambda each: each[0][0])
        deep = parts.pop(i)[1] + 1
        parts += [(left, deep), (right, deep)]
    return [rows for rows, _ in parts]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("depth", "least"), [(4, 1), (2, 1), (4, 5)])
def test_trees_of_every_size_are_those_of_an_exhaustive_search(seed, depth, least):
    x, y = data(seed)
    grown = trees.grow(x, y, most=7, depth=depth, least=least, seed=0)
    assert [tree.size for tree in grown] == list(range(1, len(grown) + 1))
    for tree in grown:
        wanted = np.empty_like(y)
        for rows in slow_tree(x, y, tree.size, depth, least):
            wanted[rows] = y[rows].mean(0)
        np.testing.assert_allclose(tree.answer(x), wanted, atol=1e-12)
    full = len(slow_tree(x, y, 7, depth, least))
    assert len(grown) == full


def test_thresholds_part_what_single_precision_does_not():
    x = np.array([[1.0], [1 + 1e-12], [1e300], [2e300]]).repeat(3, 0)
    y = np.array([0.0, 1.0, 2.0, 5.0]).repeat(3)[:, None]
    tree = trees.grow(x, y, most=4, depth=4, least=1, seed=0)[-1]
    assert tree.size == 4
    assert np.array_equal(tree.answer(x), y)


def test_the_shares_and_cuts_of_nodes():
    x, y = data(0)
    tree = trees.grow(x, y, most=6, depth=4, least=1, seed=0)[-1]
    ends = [node for node in tree.nodes if node.condition is None]
    assert sum(node.share for node in ends) == pytest.approx(1)
    left = ((y - tree.answer(x)) ** 2).sum() / squared_error(y)
    assert 1 - sum(node.cut for node in tree.nodes) == pytest.approx(left)


@pytest.mark.parametrize("seed", range(3))
def test_reasons_of_a_tree_hold_where_it_says(seed):
    x, y = data(seed)
    tree = trees.grow(x, y, most=6, depth=4, least=1, seed=0)[-1]
    fresh, _ = data(seed + 100, samples=200)
    places, reasons = tree.place(fresh), tree.reasons()
    for leaf, conditions in reasons.items():
        assert np.array_equal(all_hold(conditions, fresh), places == leaf)


# Conditions

numbers = st.floats(-5, 5, allow_nan=False)
conditions = st.builds(
    lambda feature, low, width, side: Condition(
        feature=feature,
        low=-math.inf if side == 0 else low,
        high=math.inf if side == 1 else low + width,
    ),
    st.integers(0, 2), numbers, st.floats(0, 5), st.integers(0, 2),
)  # fmt: skip


@given(st.lists(st.lists(conditions, min_size=1, max_size=3), max_size=4), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_rule_list_is_nested_ifs(premises, seed):
    x = np.random.default_rng(seed).uniform(-5, 5, size=(50, 3)).round(1)
    made = [
        rules.Rule(conditions=tuple(each), answer=(float(i),), share=0.0)
        for i, each in enumerate(premises)
    ]
    found = rules.RuleList(rules=tuple(made), otherwise=(-1.0,))

    def slow(row):
        for i, each in enumerate(premises):
            if all(c.low < row[c.feature] <= c.high for c in each):
                return i
        return -1

    assert found.answer(x)[:, 0].tolist() == [slow(row) for row in x]


@given(st.lists(conditions, max_size=5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_merged_conditions_say_the_same(several, seed):
    x = np.random.default_rng(seed).uniform(-5, 5, size=(50, 3)).round(1)
    fewer = merged(several)
    assert np.array_equal(all_hold(fewer, x), all_hold(several, x))
    assert len({each.feature for each in fewer}) == len(fewer)


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6))
def test_a_short_threshold_parts_the_two(low, width):
    high = low + width
    if low < high:
        assert low <= between(low, high) < high


def test_short_thresholds_are_short():
    pairs = {(30, 31): 30, (2.449, 2.451): 2.45, (-1, 1): 0, (0, 1): 0.5, (999, 1002): 1000}
    assert [between(*pair) for pair in pairs] == list(pairs.values())


# Rules


def slow_worth(y, held, least):
    """The formula, as it is written."""
    inside, outside = y[held], y[~held]
    if min(len(inside), len(outside)) < least:
        return -math.inf
    gap = inside.mean(0) - outside.mean(0)
    cut = len(inside) * len(outside) / len(y) * (gap**2).sum()
    return cut - search.PURITY * squared_error(inside)


@pytest.mark.parametrize("seed", range(5))
def test_what_a_set_is_worth(seed):
    x, y = data(seed)
    rest = search._Rest(x, y - y.mean(0), 3)
    for threshold in np.linspace(-2, 2, 9):
        held = x[:, 0] <= threshold
        assert rest.worth_of(held) == pytest.approx(slow_worth(y, held, 3), rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_a_rule_of_one_condition_is_the_best_there_is(seed):
    x, y = data(seed, samples=120)  # more values than the grid has thresholds
    (found,) = search.best_rule(x, y, depth=1, least=5)
    every = [
        slow_worth(y, side, 5)
        for j in range(x.shape[1])
        for low in np.unique(x[:, j])
        for side in (x[:, j] <= low, x[:, j] > low)
    ]
    assert slow_worth(y, found.holds(x), 5) == pytest.approx(max(every), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_rule_of_two_conditions_is_nearly_the_best_there_is(seed):
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 5, size=(80, 3)).astype(float)
    y = draw.normal(size=(80, 1)) + 2.0 * ((x[:, :1] > 2) & (x[:, 1:2] <= 1))
    found = search.best_rule(x, y, depth=2, least=4)
    single = [(j, low, way) for j in range(3) for low in range(4) for way in (True, False)]
    sides = [(x[:, j] <= low) == way for j, low, way in single]
    every = [slow_worth(y, a & b, 4) for a, b in product(sides, sides)]
    assert slow_worth(y, all_hold(found, x), 4) >= max(every) / (1 + search.LONGER) - 1e-9


def planted_rules(x):
    """If ... then 1, else if ... then 0, else 0.6."""
    first = (x[:, 0] > 0.25) & (x[:, 1] <= 0.5)
    second = x[:, 2] > 0.75
    return np.where(first, 1.0, np.where(second, 0.0, 0.6))[:, None]


@pytest.mark.parametrize("seed", range(5))
def test_planted_rules_are_found_again(seed):
    x = np.random.default_rng(seed).uniform(size=(600, 4))
    found = rules.grow(x, planted_rules(x), most=6, depth=3, least=5)
    assert len(found) == 3, "zero, one and two rules say all"
    fresh = np.random.default_rng(seed + 50).uniform(size=(5000, 4))
    wrong = (np.abs(found[-1].answer(fresh) - planted_rules(fresh)) > 1e-9).mean()
    assert wrong < 0.02
    assert set(found[-1].features) == {0, 1, 2}
    np.testing.assert_allclose(found[-1].answer(x), planted_rules(x), atol=1e-12)


def test_of_two_opposite_conditions_the_one_answered_well_is_the_rule(monkeypatch):
    """And the mutant that does not ask for that takes the other."""
    draw = np.random.default_rng(0)
    x = draw.uniform(size=(400, 2))
    x[:, 0] = 1 - x[:, 0]
    y = np.where(x[:, 0] > 0.5, 1.0, -1 + 0.8 * np.sign(x[:, 1] - 0.5))[:, None]

    def first():
        return rules.grow(x, y, most=1, depth=1, least=5)[-1].rules[0].conditions[0]

    assert first().low == pytest.approx(0.5, abs=0.02)
    monkeypatch.setattr(search, "PURITY", 0.0)
    assert first().high == pytest.approx(0.5, abs=0.02)


def test_the_shares_and_answers_of_rules():
    x, y = data(3, samples=200)
    for found in rules.grow(x, y, most=4, depth=2, least=5):
        places = found.place(x)
        for i, rule in enumerate(found.rules):
            assert rule.share == pytest.approx((places == i).mean())
            assert rule.share * 200 >= 5
            np.testing.assert_allclose(rule.answer, y[places == i].mean(0))
        assert found.share == pytest.approx((places == found.size).mean())
        np.testing.assert_allclose(found.otherwise, y[places == found.size].mean(0))


# Lines


def orthogonal(seed, samples=64, features=6):
    """Columns that are orthogonal, with mean zero and variance one."""
    draw = np.random.default_rng(seed).normal(size=(samples, features + 1))
    draw[:, 0] = 1
    return np.linalg.qr(draw)[0][:, 1:] * math.sqrt(samples)


@pytest.mark.parametrize("outputs", [1, 3])
def test_of_orthogonal_features_the_lasso_takes_the_strongest_first(outputs):
    """There the penalty only shrinks each: the order is that of the correlations."""
    z = orthogonal(outputs)
    x = z * np.array([1, 10, 0.1, 3, 1, 100]) + 7
    y = z @ np.random.default_rng(1).normal(size=(6, outputs))
    order = np.argsort(-np.linalg.norm(z.T @ y, axis=1))
    grown = lines.grow(x, y, most=6)
    assert [line.size for line in grown] == list(range(7))
    for line in grown:
        assert set(line.features) == set(order[: line.size].tolist())
    np.testing.assert_allclose(grown[-1].answer(x), y, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("outputs", [1, 2])
def test_weights_are_least_squares_on_what_was_chosen(seed, outputs):
    x, y = data(seed, samples=60, features=5, outputs=outputs)
    for line in lines.grow(x, y, most=4):
        chosen = x[:, list(line.features)]
        design = np.column_stack([chosen, np.ones(len(x))])
        wanted = design @ np.linalg.solve(design.T @ design, design.T @ y)
        np.testing.assert_allclose(line.answer(x), wanted, atol=1e-9)
        left = y - line.answer(x)
        np.testing.assert_allclose(design.T @ left, 0, atol=1e-8)
        strengths = [weight.strength for weight in line.weights]
        assert strengths == sorted(strengths, reverse=True)


def test_of_two_columns_that_are_the_same_one_is_taken_and_of_constant_ones_none():
    x = np.random.default_rng(0).normal(size=(50, 2))
    x = np.column_stack([x[:, 0], x[:, 0], x[:, 1], np.full(50, 0.1)])
    y = (3 * x[:, 0] - x[:, 2])[:, None]
    grown = lines.grow(x, y, most=2)
    np.testing.assert_allclose(grown[-1].answer(x), y, atol=1e-9)
    assert 3 not in grown[-1].features
    assert len({0, 1} & set(grown[-1].features)) == 1


# Fidelity


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_fidelity_is_that_of_the_textbook(seed, outputs):
    draw = np.random.default_rng(seed)
    y, said = draw.normal(5, 1, size=(2, 30, outputs))
    found = judge(said, y, classes=outputs > 1)
    assert found.r2 == pytest.approx(r2_score(y, said, multioutput="variance_weighted"))
    assert found.samples == 30
    if outputs == 1:
        assert found.agreement is None
    else:
        assert found.agreement == accuracy_score(y.argmax(1), said.argmax(1))


def test_fidelity_to_a_constant():
    y = np.full((9, 2), 0.1) / 3
    assert judge(y.copy(), y, classes=True).r2 == 1
    assert judge(y + 0.1, y, classes=True).r2 == 0
