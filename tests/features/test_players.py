"""Players are there or not, and have values: what holds for all of them."""

import hypothesis.strategies as st
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from pellucid.features import NOBODY, Features, Players
from pellucid.structure import Inputs


@st.composite
def masks(draw: st.DrawFn) -> tuple[torch.Tensor, Inputs]:
    """Any whole numbers for the elements of one sample or of a batch, and inputs of that shape."""
    rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    shape = (rows, width) if draw(st.booleans()) else (width,)
    size = torch.Size(shape).numel()
    numbers = draw(st.lists(st.integers(-3, 9), min_size=size, max_size=size))
    labels = torch.tensor(numbers).reshape(shape)
    labels[..., 0] = labels[..., 0].abs()  # each sample has somebody
    return labels, Inputs.of(torch.rand(rows, width))


@settings(deadline=None)
@given(masks())
def test_every_element_is_of_one_player_or_of_nobody(case):
    given_, inputs = case
    players = Features.of(given_).players(inputs)
    (labels,) = players.labels
    for row, own in enumerate(labels):
        told = given_ if given_.ndim == 1 else given_[row if len(labels) > 1 else 0]
        assert torch.equal(own == NOBODY, told < 0)
        count = int(players.counts[row])
        assert sorted(set(own.tolist()) - {NOBODY}) == list(range(count))
        # Two elements are of the same player where they have the same number.
        assert torch.equal(own[:, None] == own[None], (told[:, None] == told[None]) | _both(told))
        if players.names:
            named = [players.named(row)[i] for i in own.tolist() if i >= 0]
            assert named == [str(i) for i in told.tolist() if i >= 0]


def _both(told: torch.Tensor) -> torch.Tensor:
    return (told < 0)[:, None] & (told < 0)[None]


@settings(deadline=None)
@given(masks(), st.integers(0, 2**31))
def test_presence_and_spreading_are_adjoint(case, seed):
    """sum_e spread(v)_e m_e = sum_p v_p (sum of m over the elements of p), for every coalition."""
    given_, inputs = case
    players = Features.of(given_).players(inputs)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(inputs.rows, players.count, generator=generator, dtype=torch.float64)
    coalition = torch.rand(inputs.rows, players.count, generator=generator).round().double()
    (there,) = players.present(coalition, torch.arange(inputs.rows))
    (spread,) = players.spread(values)
    (labels,) = players.labels
    labels, own = labels.expand(inputs.rows, -1), values * coalition
    for row in range(inputs.rows):
        expected = sum(
            float(own[row, player]) for player in labels[row].tolist() if player != NOBODY
        )
        assert_close(float((spread[row] * there[row]).sum()), expected)
    assert bool((there[labels == NOBODY] == 1).all())
    assert bool((spread[labels == NOBODY] == 0).all())


@settings(deadline=None, max_examples=40)
@given(masks(), st.integers(1, 3))
def test_players_of_batches_are_those_of_the_whole(case, size):
    given_, inputs = case
    features, total = Features.of(given_), inputs.rows
    whole = features.players(inputs)
    ranges = [range(i, min(i + size, total)) for i in range(0, total, size)]
    parts = [
        features.players(inputs.select(torch.tensor(rows)), torch.tensor(rows), total)
        for rows in map(list, ranges)
    ]
    joined = Players.join(parts, list(map(len, ranges)))
    for row in range(total):
        one, same = (each.select(torch.tensor([row])) for each in (joined, whole))
        assert torch.equal(one.labels[0], same.labels[0])
        assert one.named(0) == same.named(0)


def test_joining_keeps_the_players_of_each_batch_of_one_sample():
    parts = [Players(labels=(torch.tensor([row]),), count=2) for row in ([0, 0, 1], [0, 1, 1])]
    joined = Players.join(parts, [1, 1])
    assert joined.labels[0].tolist() == [[0, 0, 1], [0, 1, 1]]
    assert Players.join([parts[0], parts[0]], [2, 3]) is parts[0]


def test_joining_keeps_the_names_of_each_batch():
    labels = torch.tensor([[0, 1]])
    parts = [
        Players(labels=(labels,), count=2, names=(names,)) for names in (("a", "b"), ("a", "c"))
    ]
    joined = Players.join(parts, [1, 2])
    assert [joined.named(row) for row in range(3)] == [("a", "b"), ("a", "c"), ("a", "c")]
