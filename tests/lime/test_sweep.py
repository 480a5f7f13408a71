"""How far the answer depends on the kernel's width, and which samples to show."""

import itertools

import pytest
import torch
from matplotlib.figure import Figure
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError

DATA = torch.randn(300, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def wide(x):
    weights = torch.linspace(-1, 1, x.shape[1]).to(x)
    return torch.tanh((x * weights).sum(1, keepdim=True)) + 0.3 * x[:, :1] * x[:, 1:2]


WIDE = torch.randn(3, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("options", [{}, {"k": 4}, {"local": "tree"}, {"distance": "l2"}])
def test_a_sweep_is_what_each_width_gives_and_runs_nothing(options):
    found = pl.LIME(samples=100, **options)(wide, WIDE)
    swept = pl.sweep_width(found, [0.1, 0.3, 2.0])
    assert swept.values.shape == (3, 3, 20)
    for step, width in enumerate([0.1, 0.3, 2.0]):
        each = pl.LIME(samples=100, width=width, **options)(wide, WIDE)
        assert_close(swept.values[:, step], each.players)
        assert_close(swept.fidelity[:, step], each.evidence["fidelity"])


def test_a_sweep_of_a_table_and_of_samples_of_different_length():
    found = pl.LIME(samples=100, data=DATA)(wide, DATA[:2])
    each = pl.LIME(samples=100, data=DATA, width=0.7)(wide, DATA[:2])
    assert_close(pl.sweep_width(found, [0.7]).values[:, 0], each.players)
    labels = torch.arange(20).expand(3, 20).clone()
    labels[1] = labels[1] // 5
    found = pl.LIME(samples=200, features=labels, tolerance=0.5)(wide, WIDE)
    each = pl.LIME(samples=200, features=labels, width=0.7)(wide, WIDE)
    stopped = found.evidence["draws"] < 200
    swept = pl.sweep_width(found, [0.7])
    assert_close(swept.values[~stopped, 0], each.players[~stopped])
    assert [len(names) for names in swept.names] == [20, 4, 20]


def test_without_widths_a_sweep_goes_around_the_one_that_was_used():
    found = pl.LIME(samples=100)(wide, WIDE)
    swept = pl.sweep_width(found)
    assert_close(swept.widths[0, [0, 10, 20]], torch.tensor([0.025, 0.25, 2.5]).double())
    assert_close(swept.values[:, 10], found.players)
    assert (swept.draws.diff(dim=1) > -1e-9).all()
    assert swept.used.tolist() == [0.25] * 3


def test_flips_are_the_widths_at_which_the_sign_is_another():
    found = pl.LIME(samples=100)(wide, WIDE)
    swept = pl.sweep_width(found)
    signs = swept.values.sign()
    other = (signs != signs[:, 10:11]).double().mean(1)
    assert_close(swept.flips(), other)
    assert 0 < other.max() < 1


def test_a_sweep_is_drawn():
    swept = pl.sweep_width(pl.LIME(samples=100)(wide, WIDE))
    ax = swept.plot(row=1, most=3)
    lines = [each for each in ax.get_lines() if len(each.get_xdata()) == 21]
    assert len(lines) == 3
    largest = swept.values[1].abs().amax(0).argsort(descending=True)[0]
    assert_close(torch.tensor(lines[0].get_ydata()), swept.values[1, :, largest])
    assert ax.get_legend().get_texts()[0].get_text() == str(largest.item())
    given = Figure().add_subplot()
    assert swept.plot(given) is given
    with pytest.raises(InputError, match="`ax` must be axes of matplotlib"):
        swept.plot("axes")


def test_a_sweep_is_of_lime():
    other = pl.Saliency()(wide, WIDE)
    with pytest.raises(InputError, match="swept for an explanation by lime; got one by saliency"):
        pl.sweep_width(other)
    with pytest.raises(InputError, match="`widths` must be the width of a kernel, above 0"):
        pl.sweep_width(pl.LIME(samples=100)(wide, WIDE), [0.1, -1])
    with pytest.raises(InputError, match="`widths` must hold at least one width"):
        pl.sweep_width(pl.LIME(samples=100)(wide, WIDE), [])


def explained(weights):
    """Explanations whose players have these values, (sample, player)."""
    x = torch.tensor(weights, dtype=torch.float64)
    return pl.LIME()(lambda x: x.sum(1, keepdim=True), x)


def test_picked_samples_cover_the_most_important_features():
    table = [[1, 0, 0, 0], [1, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1], [1, 2, 3, 0]]
    found = pl.submodular_pick(explained(table), 3)
    assert found.rows == (4, 3)  # nothing is left after two
    assert_close(found.importance, torch.tensor([3.0, 4, 6, 1]).double().sqrt())
    assert found.coverage[-1] == pytest.approx(1)
    assert found.names == ("0", "1", "2", "3")


def test_the_greedy_choice_is_nearly_the_best():
    generator = torch.Generator().manual_seed(4)
    table = torch.rand(9, 12, generator=generator) * (torch.rand(9, 12, generator=generator) < 0.25)
    found = pl.submodular_pick(explained(table.tolist()), 3)
    importance, there = table.double().sum(0).sqrt(), table > 0

    def covered(rows):
        return float(importance[there[list(rows)].any(0)].sum())

    best = max(map(covered, itertools.combinations(range(9), 3)))
    assert covered(found.rows) >= (1 - 1 / 2.7183) * best
    assert found.rows[0] == max(range(9), key=lambda row: covered([row]))
    assert_close(found.coverage[-1].item(), covered(found.rows) / covered(range(9)))


def test_explanations_of_several_calls_are_picked_from():
    table = [[1.0, 0, 0], [0, 2, 0], [0, 0, 3]]
    whole = pl.submodular_pick(explained(table), 2)
    parts = pl.submodular_pick([explained(table[:1]), explained(table[1:])], 2)
    assert parts.rows == whole.rows == (2, 1)


def test_what_has_no_players_is_not_picked_from():
    with pytest.raises(InputError, match="must be explanations of players; got Saliency"):
        pl.submodular_pick(pl.Saliency()(wide, WIDE))
    with pytest.raises(InputError, match="`budget` must be a whole number, at least 1"):
        pl.submodular_pick(explained([[1.0, 2.0]]), 0)
    assert pl.submodular_pick(explained([[0.0, 0.0]])).rows == ()
