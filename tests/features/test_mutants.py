"""What is claimed of players can fail: broken versions, and the claim that has to notice each."""

from dataclasses import replace

import pytest
import torch
from scipy import ndimage

from pellucid.features import Features, Players
from pellucid.features import superpixels as own
from pellucid.structure import Inputs
from tests.features import test_players, test_superpixels

MASK = torch.tensor([4, 1, -2, 4, 1])


def broken(players: Players) -> Players:
    """The same, with one element given to another player."""
    (labels,) = players.labels
    moved = labels.clone()
    moved[0, 0] = (moved[0, 0] + 1) % players.count
    return replace(players, labels=(moved,))


def inner(test: object) -> object:
    """A test of hypothesis, to be called with one example."""
    return test.hypothesis.inner_test


@pytest.fixture
def mutant(monkeypatch):
    """Let `Features.players` give something else than it should."""

    def put(change):
        real = Features.players
        monkeypatch.setattr(
            Features, "players", lambda self, *given: change(real(self, *given), *given)
        )

    return put


def test_an_element_of_the_wrong_player_is_noticed(mutant):
    case = (MASK, Inputs.of(torch.rand(3, 5)))
    inner(test_players.test_every_element_is_of_one_player_or_of_nobody)(case)
    mutant(lambda players, *given: broken(players))
    with pytest.raises(AssertionError):
        inner(test_players.test_every_element_is_of_one_player_or_of_nobody)(case)


def test_players_by_their_batch_are_noticed(mutant):
    case = (MASK, Inputs.of(torch.rand(3, 5)))
    inner(test_players.test_players_of_batches_are_those_of_the_whole)(case, 2)
    mutant(lambda players, inputs, *rest: players if inputs.rows > 1 else broken(players))
    with pytest.raises(AssertionError):
        inner(test_players.test_players_of_batches_are_those_of_the_whole)(case, 2)


def test_elements_of_nobody_that_are_absent_are_noticed(monkeypatch):
    case = (MASK, Inputs.of(torch.rand(3, 5)))
    inner(test_players.test_presence_and_spreading_are_adjoint)(case, 1)
    real = Players.present
    gone = lambda self, coalitions, rows: [  # noqa: E731  # one line, once
        torch.where(labels < 0, 0, each)
        for each, labels in zip(real(self, coalitions, rows), self.labels, strict=True)
    ]
    monkeypatch.setattr(Players, "present", gone)
    with pytest.raises(AssertionError):
        inner(test_players.test_presence_and_spreading_are_adjoint)(case, 1)


def test_regions_in_pieces_are_noticed(monkeypatch):
    monkeypatch.setattr(own, "connected", lambda labels, least: own._numbered(labels.flatten()))
    labels = own.superpixels(test_superpixels.scene(), 49, 0.05).reshape(96, 96)
    assert max(ndimage.label(labels.numpy() == i)[1] for i in range(int(labels.max()) + 1)) > 1
    with pytest.raises(AssertionError):
        test_superpixels.assert_connected(labels)
