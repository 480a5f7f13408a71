"""Trees over players: each holds every player once, and what belongs together is near."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from sklearn.datasets import load_breast_cancer

from pellucid.errors import InputError
from pellucid.features import Features, Players, tree
from pellucid.structure import Inputs


def players(features: object, x: torch.Tensor) -> tuple[Players, Inputs]:
    inputs = Inputs.of(x)
    return Features.of(features).players(inputs), inputs


def test_columns_are_halved_in_order():
    found = tree.halves(*players(None, torch.rand(2, 5)))
    assert found == [((0, 1), (2, (3, 4)))] * 2


def test_an_image_is_halved_across_its_longest_axis():
    found = tree.halves(*players(Features.grid((2, 4)), torch.rand(1, 1, 8, 16)))
    assert found == [(((0, 1), (4, 5)), ((2, 3), (6, 7)))]


def test_a_grid_is_cut_between_its_rows_and_columns():
    (found,) = tree.halves(*players(Features.grid(7), torch.rand(1, 3, 28, 28)))
    top, bottom = map(sorted, map(tree.members, found))
    assert top == list(range(21))
    assert bottom == list(range(21, 49))


def test_several_inputs_are_apart_at_the_top():
    inputs = Inputs.of((torch.rand(1, 2), torch.rand(1, 3)))
    assert tree.halves(Features().players(inputs), inputs) == [((0, 1), (2, (3, 4)))]


def test_samples_have_trees_of_their_own():
    mask = torch.tensor([[0, 0, 1, 1], [0, 1, 2, -1]])
    assert tree.halves(*players(mask, torch.rand(2, 4))) == [(0, 1), (0, (1, 2))]


def test_one_player_is_its_own_tree():
    assert tree.halves(*players(torch.zeros(3).long(), torch.rand(1, 3))) == [0]


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=20))
def test_every_player_is_in_the_tree_once(numbers):
    found, inputs = players(torch.tensor(numbers), torch.rand(1, len(numbers)))
    (made,) = tree.halves(found, inputs)
    assert sorted(tree.members(made)) == list(range(found.count))
    assert list(tree.members(tree.flat(found, inputs)[0])) == list(range(found.count))


def test_superpixels_that_are_halved_lie_together():
    found, inputs = players(Features.superpixels(16), torch.rand(2, 3, 32, 32))
    for row, made in enumerate(tree.halves(found, inputs)):
        left, right = (set(tree.members(half)) for half in made)
        labels = found.labels[0][row, 0]
        assert left | right == set(range(int(found.counts[row])))
        where = torch.stack([sum((labels == p).float() for p in side) for side in (left, right)])
        places = [side.nonzero().float().mean(0) for side in where]
        assert (places[0] - places[1]).abs().max() > 10


def test_columns_that_go_together_are_joined_first():
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 200, generator=generator)
    noise = 0.1 * torch.randn(200, 4, generator=generator)
    data = torch.stack([one, two, -one, two], 1) + noise
    found = tree.correlated(*players(None, data[:3]), [data])
    assert len(found) == 3
    assert {frozenset(tree.members(half)) for half in found[0]} == {
        frozenset({0, 2}),
        frozenset({1, 3}),
    }


def test_radius_perimeter_and_area_of_a_cell_belong_together():
    table = load_breast_cancer()
    data = torch.from_numpy(table.data)
    names = list(table.feature_names)
    (found,) = tree.correlated(*players(Features.columns(names=names), data[:1]), [data])
    groups = set()

    def gather(node: object) -> frozenset[int]:
        members = frozenset(tree.members(node))
        groups.add(members)
        if not isinstance(node, int):
            for each in node:
                gather(each)
        return members

    gather(found)
    size = {names.index(f"mean {each}") for each in ("radius", "perimeter")}
    assert frozenset(size) in groups


def test_a_constant_column_is_far_from_all():
    data = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    data[:, 2] = data[:, 0]
    data[:, 1] = 4
    (found,) = tree.correlated(*players(None, data[:1]), [data])
    assert found in ((1, (0, 2)), ((0, 2), 1))


def test_groups_of_columns_are_joined_as_players():
    data = torch.randn(50, 4, generator=torch.Generator().manual_seed(2))
    found, inputs = players(Features.columns({"g": [0, 3]}), data[:1])
    (made,) = tree.correlated(found, inputs, [data])
    assert sorted(tree.members(made)) == [0, 1, 2]


def test_a_tree_of_the_users_may_have_names():
    found, inputs = players(Features.columns(names=["age", "sex", "fare"]), torch.rand(2, 3))
    assert tree.checked((["age", "fare"], "sex"), found, inputs) == [((0, 2), 1)] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 1), r"hold each of the 3 players once; got none for \[2\]"),
        ((0, 1, (2, 1)), r"hold each of the 3 players once; got \[1\] twice"),
        ((0, 1, 3), r"by name or from 0 to 2; got 3"),
        ((0, 1, ()), r"by name or from 0 to 2; got \(\)"),
        (("agee", 1, 2), r"A player of a tree must be one that exists; got 'agee'.*'age'"),
        ((True, 1, 2), r"from 0 to 2; got True"),
    ],
)
def test_what_is_no_tree_is_refused(given, message):
    found, inputs = players(Features.columns(names=["age", "sex", "fare"]), torch.rand(1, 3))
    with pytest.raises(InputError, match=message):
        tree.checked(given, found, inputs)


@pytest.mark.parametrize("data", [[torch.rand(2, 3)], [torch.rand(9, 3)] * 2, []])
def test_a_correlation_needs_rows(data):
    with pytest.raises(InputError, match=r"at least three rows for each input; .*take halves"):
        tree.correlated(*players(None, torch.rand(1, 3)), data)
