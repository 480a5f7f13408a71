"""LIME where players are kept or removed: what is exact, what is sampled, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.lime.removal import drawn
from tests.counting import Counting
from tests.lime import textbook


def line(x):
    """A score that is linear in six columns."""
    return (x * torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 4.0]).to(x)).sum(1, keepdim=True) + 7


def bent(x):
    """A score that is not."""
    return (x[:, 0] * x[:, 1] + torch.sin(x[:, 2] + x[:, 3]) * x[:, 4] - x[:, 5] ** 2).unsqueeze(1)


def wide(x):
    """A score of more columns than can be enumerated."""
    weights = torch.linspace(-1, 1, x.shape[1]).to(x)
    return torch.tanh((x * weights).sum(1, keepdim=True)) + 0.3 * x[:, :1] * x[:, 1:2]


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WIDE = torch.randn(3, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("width", [0.05, 0.25, 100.0])
def test_with_all_coalitions_it_is_the_textbook(width):
    found = pl.LIME(width=width, baseline=0.3)(bent, X)
    for row in range(4):
        values, intercept, fidelity = textbook.lime(
            lambda x: bent(torch.tensor(x)[None]).item(), X[row].numpy(), np.full(6, 0.3), width
        )
        assert_close(found.players[row], torch.tensor(values), rtol=1e-7, atol=1e-8)
        assert found.evidence["intercept"][row].item() == pytest.approx(intercept)
        assert found.evidence["fidelity"][row].item() == pytest.approx(fidelity)
    assert not found.player_error.any()
    assert found.evaluations.forward == 4 * 64
    assert "All coalitions of the players of 4 of 4 samples were run" in str(found)


@pytest.mark.parametrize("options", [{}, {"distance": "l2"}, {"width": 0.1}, {"seed": 5}])
def test_it_is_exact_where_the_score_is_linear(options):
    x = torch.randn(2, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = torch.linspace(-1, 2, 30, dtype=torch.float64)
    found = pl.LIME(samples=80, baseline=0.5, **options)(lambda x: x @ weights[:, None] + 3, x)
    assert_close(found.players, weights * (x - 0.5), rtol=1e-8, atol=1e-9)
    assert_close(found.evidence["fidelity"], torch.ones(2).double())
    assert found.player_error.max() < 1e-8
    assert found.evidence["agreement"].tolist() == pytest.approx([1, 1])


def test_a_wide_kernel_gives_the_global_linear_fit():
    found = pl.LIME(samples=300, width=1e9)(wide, WIDE)
    there = torch.cat([torch.ones(1, 20), drawn(20, 300, 0)]).double().numpy()
    mass = np.array([300 / 20, *[1] * 300])
    for row in range(3):
        scores = wide(torch.tensor(there) * WIDE[row])[:, 0].numpy()
        values = textbook.least_squares(there, scores, mass)[0]
        assert_close(found.players[row], torch.tensor(values), rtol=1e-8, atol=1e-9)


def test_more_draws_come_closer_to_all_coalitions():
    x = WIDE[:1, :12]
    exact = pl.LIME(samples=2**12)(wide, x).players
    off = {
        n: torch.stack([pl.LIME(samples=n, seed=s, runs=0)(wide, x).players for s in range(20)])
        for n in (100, 1600)
    }
    few, many = ((each - exact).square().mean().sqrt() for each in off.values())
    assert 2.5 < few / many < 6.5  # 4 = sqrt(1600 / 100)


def test_standard_errors_cover_what_all_coalitions_give():
    x = WIDE[:1, :12]
    exact = pl.LIME(samples=2**12)(wide, x).players
    inside = []
    for seed in range(30):
        found = pl.LIME(samples=250, seed=seed)(wide, x)
        inside.append((found.players - exact).abs() <= 1.96 * found.player_error)
    assert 0.88 <= torch.cat(inside).double().mean() <= 0.99


def test_agreement_is_low_where_nothing_is_sure():
    sure = pl.LIME(samples=500)(lambda x: x @ torch.arange(20.0).double()[:, None], WIDE)
    noisy = pl.LIME(samples=60)(lambda x: torch.sin(50 * x.sum(1, keepdim=True)), WIDE)
    assert (sure.evidence["agreement"] > 0.999).all()
    assert (noisy.evidence["agreement"] < 0.8).all()
    assert (noisy.evidence["agreement"] > -1).all()


def test_fidelity_is_that_of_the_scores_near_by():
    found = pl.LIME(samples=400)(wide, WIDE)
    there = torch.cat([torch.ones(1, 20), drawn(20, 400, 0)]).double()
    assert_close(found.evidence["scores"][1], wide(there * WIDE[1])[:, 0])
    size = there.sum(1) / 20
    kernel = torch.exp(-((1 - size.sqrt()) ** 2) / (2 * 0.25**2))
    kernel[0] *= 400 / 20
    _, _, fidelity = textbook.least_squares(
        there.numpy(), found.evidence["scores"][1].numpy(), kernel.numpy()
    )
    assert found.evidence["fidelity"][1].item() == pytest.approx(fidelity)
    low, high = (round(100 * each.item()) for each in found.evidence["fidelity"].aminmax())
    assert f"explains {low} to {high} % of the variance" in str(found)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.permutations(range(3)),
    size=st.integers(1, 700),
    local=st.sampled_from(["linear", "tree"]),
)
def test_neither_order_nor_batch_size_matters(rows, size, local):
    method = pl.LIME(samples=120, k=5, local=local, runs=3)
    whole = method(wide, WIDE)
    found = method(wide, WIDE[list(rows)], batch_size=size)
    assert_close(found.players, whole.players[list(rows)])
    assert_close(found.player_error, whole.player_error[list(rows)])
    assert_close(found.evidence["agreement"], whole.evidence["agreement"][list(rows)])


def test_seeds_matter_and_repeat():
    first, again, other = (pl.LIME(samples=50, seed=s)(wide, WIDE) for s in (1, 1, 2))
    assert first == again
    assert not torch.equal(first.players, other.players)


@pytest.mark.parametrize(("samples", "batch"), [(100, 7), (100, 300), (10_000, 64)])
def test_calls_are_full_batches(samples, batch):
    model = Counting(nn.Linear(8, 1))
    rows = torch.randn(3, 8)
    found = pl.LIME(samples=samples)(model, rows, batch_size=batch)
    draws = min(samples, 2**8 - 1) * 3
    first = math.ceil(3 / batch)
    assert len(model.calls) == first + math.ceil(draws / batch)
    assert found.evaluations.forward == 3 + draws


def test_samples_of_few_and_many_players_share_a_batch():
    labels = torch.arange(20).expand(3, 20).clone()
    labels[1] = labels[1] // 5  # four players
    labels[2, 15:] = -1
    method = pl.LIME(samples=200, features=pl.LIME().features)
    mixed = pl.LIME(samples=200, features=labels)(wide, WIDE)
    for row in range(3):
        alone = pl.LIME(samples=200, features=labels[row : row + 1])(wide, WIDE[row : row + 1])
        count = alone.players.shape[1]
        assert_close(mixed.players[row, :count], alone.players[0])
        assert_close(mixed.player_error[row, :count], alone.player_error[0])
        assert not mixed.players[row, count:].any()
    assert not mixed.player_error[1].any()
    assert method.features is None


@pytest.mark.parametrize("options", [{}, {"tolerance": 0.3}, {"tolerance": 0.01}])
def test_draws_do_not_depend_on_how_many_players_others_have(options):
    labels = torch.arange(20).expand(3, 20).clone()
    labels[1] = labels[1] // 3  # 127 coalitions
    labels[2] = labels[2].clamp(max=11)
    method = pl.LIME(samples=200, features=labels, **options)
    found, alone = (method(wide, WIDE, batch_size=size) for size in ("auto", 1))
    assert found.evidence["draws"].tolist() == alone.evidence["draws"].tolist()
    assert found.evidence["draws"][1] == 127
    assert list(found.notes) == list(alone.notes)
    assert_close(found.players, alone.players)
    # Nothing is run that is not read.
    assert found.evaluations.forward == alone.evaluations.forward
    assert found.evaluations.forward == 3 + int(found.evidence["draws"].sum())


@pytest.mark.parametrize("select", ["forward", "lasso", "weights"])
@pytest.mark.parametrize("local", ["linear", "tree"])
def test_k_features_get_values(select, local):
    def sparse(x):
        return (3 * x[:, 4] - 2 * x[:, 9] + 4 * x[:, 13]).unsqueeze(1)

    found = pl.LIME(samples=300, k=3, select=select, local=local)(
        sparse, torch.ones(2, 20).double()
    )
    assert [row.nonzero().squeeze(1).tolist() for row in found.players] == [[4, 9, 13]] * 2
    if local == "linear":
        assert_close(found.players[0, [4, 9, 13]], torch.tensor([3.0, -2, 4]).double())
    else:
        assert (found.players.sign()[0, [4, 9, 13]] == torch.tensor([1, -1, 1])).all()


def test_a_tree_sees_what_is_only_there_together():
    def both(x):
        return (x[:, 2] * x[:, 5]).unsqueeze(1)

    found = pl.LIME(local="tree", depth=2, samples=400)(both, torch.ones(1, 12).double())
    assert found.players[0].nonzero().squeeze(1).tolist() == [2, 5]
    assert found.evidence["fidelity"].item() == pytest.approx(1)
    assert (found.players.sum(1) + found.evidence["intercept"]).item() == pytest.approx(1)
    line = pl.LIME(samples=400)(both, torch.ones(1, 12).double())
    assert line.evidence["fidelity"] < 0.9


def test_tolerance_stops_when_the_errors_are_small():
    method = pl.LIME(samples=4000, tolerance=0.1)
    found = method(wide, WIDE)
    largest = found.players.abs().amax(1)
    assert (found.player_error.amax(1) <= 0.1 * largest).all()
    assert found.evidence["draws"].max() < 4000
    # A sample stops where it does alone.
    alone = method(wide, WIDE[1:2])
    assert_close(alone.players[0], found.players[1])
    assert alone.evidence["draws"][0] == found.evidence["draws"][1]
    spent = int(found.evidence["draws"].sum())
    assert spent <= found.evaluations.forward <= spent + 5 * 3


def test_a_tolerance_that_is_not_reached_is_said():
    found = pl.LIME(samples=100, tolerance=1e-6)(wide, WIDE)
    assert "3 of 3 samples have errors above the tolerance" in str(found)
    assert found.evidence["draws"].tolist() == [100, 100, 100]


def test_tolerance_leaves_what_is_enumerated_whole():
    labels = torch.arange(20).expand(2, 20).clone()
    labels[1] = labels[1] // 3
    found = pl.LIME(samples=800, tolerance=0.3, features=labels)(wide, WIDE[:2])
    exact = pl.LIME(samples=800, features=labels[1:])(wide, WIDE[1:2])
    assert_close(found.players[1, :7], exact.players[0])
    assert not found.player_error[1].any()


def test_images_have_players_of_all_channels():
    weights = torch.randn(3, 14, 14, generator=torch.Generator().manual_seed(3))
    x = torch.rand(2, 3, 14, 14, generator=torch.Generator().manual_seed(4))
    labels = torch.arange(49).reshape(7, 7).repeat_interleave(2, 0).repeat_interleave(2, 1)
    found = pl.LIME(samples=200, features=labels[None])(
        lambda x: (x * weights).sum((1, 2, 3))[:, None], x
    )
    parts = (x * weights).sum(1).reshape(2, 7, 2, 7, 2).sum((2, 4)).flatten(1)
    assert_close(found.players, parts.double(), rtol=1e-3, atol=1e-4)
    assert found.values.shape == (2, 1, 14, 14)


def test_a_file_holds_all_of_it(tmp_path):
    found = pl.LIME(samples=64, k=4)(wide, WIDE)
    read = pl.load(found.save(tmp_path / "lime.safetensors"))
    assert read == found
    assert read.evidence.keys() == {
        "weights", "intercept", "fidelity", "agreement", "scores", "draws",
    }  # fmt: skip
    assert_close(read[1].evidence["scores"], found.evidence["scores"][1:2])


def test_evidence_of_batches_is_put_together():
    method = pl.LIME(samples=64)
    whole, cut = method(wide, WIDE), method(wide, WIDE, batch_size=2)
    assert whole.evidence.keys() == cut.evidence.keys()
    for name, each in whole.evidence.items():
        assert_close(cut.evidence[name], each)


def test_without_repeated_fits_there_are_no_errors():
    found = pl.LIME(samples=64, runs=0)(wide, WIDE)
    assert found.error is None
    assert found.player_error is None
    assert "agreement" not in found.evidence


def test_too_few_draws_for_the_weights_are_an_error():
    with pytest.raises(InputError, match=r"`samples` must be at least 20, .*; got 10\. Draw more"):
        pl.LIME(samples=10)(wide, WIDE)
    assert pl.LIME(samples=10, ridge=1)(wide, WIDE).players.isfinite().all()
    assert pl.LIME(samples=10, k=3)(wide, WIDE).players.isfinite().all()
    assert pl.LIME(samples=20)(wide, WIDE).players.isfinite().all()


def test_a_kernel_that_leaves_too_little_is_said():
    found = pl.LIME(samples=40, width=0.004)(wide, WIDE)
    assert "In 3 of 3 samples the kernel leaves fewer draws than" in str(found)
    assert found.players.isfinite().all()
    # A tree that has seen the sample alone explains all of it.
    tree = pl.LIME(samples=40, width=0.004, local="tree", runs=0)(wide, WIDE)
    assert "In 3 of 3 samples the kernel leaves fewer draws than" in str(tree)
    usual = pl.LIME(local="tree", runs=0)(wide, WIDE)
    assert "fewer draws" not in str(usual)


def test_more_features_than_players_are_all():
    found = pl.LIME(k=50)(line, X)
    assert_close(found.players, pl.LIME()(line, X).players)
    assert "4 of 4 samples have no more than k = 50 players: all are kept." in str(found)


def test_one_player_gets_the_whole_difference():
    found = pl.LIME(features=torch.zeros(1, 6, dtype=torch.long))(bent, X)
    assert_close(found.players[:, 0], (bent(X) - bent(0 * X))[:, 0])


def test_a_score_that_is_not_a_number_is_an_error():
    with pytest.raises(ModelError, match="scores of all draws near a sample must be finite"):
        pl.LIME()(lambda x: x.log().sum(1, keepdim=True), X.abs())


def test_a_model_that_does_not_vary_has_no_contributions():
    found = pl.LIME()(lambda x: 0 * x[:, :1] + 3, X)
    assert not found.players.any()
    assert found.evidence["fidelity"].tolist() == [1] * 4


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"samples": 0}, "`samples` must be a whole number, at least 1"),
        ({"width": 0}, "`width` must be the width of a kernel, above 0"),
        ({"k": 0}, "`k` must be a whole number, at least 1"),
        ({"tolerance": -1}, "`tolerance` must be a fraction, above 0"),
        ({"ridge": -1}, "`ridge` must be a number, 0 or more"),
        ({"tolerance": 0.1, "runs": 0}, "`runs` must be 2 or more where `tolerance` is given"),
        ({"bins": 4}, "`bins` and `categorical` must be of columns that are drawn from `data`"),
        ({"data": X, "baseline": 1.0}, "`data` or `baseline` must be given, not both"),
        ({"data": X, "categorical": "sex"}, "`categorical` must be a list of numbers of columns"),
    ],
)
def test_options_that_say_nothing_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        pl.LIME(**options)


@pytest.mark.parametrize(
    ("name", "word"), [("local", "three"), ("select", "lars"), ("distance", "l1")]
)
def test_unknown_words_are_refused_with_the_nearest(name, word):
    with pytest.raises(UnknownNameError, match="must be one that exists"):
        pl.LIME(**{name: word})


def test_several_inputs_share_one_local_model():
    first, second = X[:, :4], X[:, 4:]
    found = pl.LIME()(lambda a, b: line(torch.cat([a, b], 1)), (first, second))
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 4.0]).double()
    assert_close(found.players, weights * X, rtol=1e-6, atol=1e-6)
    assert [each.shape for each in found.values] == [(4, 4), (4, 2)]


def test_texts_have_their_words_and_one_may_be_empty():
    def great(given):
        return np.array([[text.count("great") - 2.0 * text.count("not")] for text in given])

    found = pl.LIME()(great, ["not so great", "great food", "..."])
    assert found.features.named(0) == ("not", "so", "great")
    assert_close(found.players[0], torch.tensor([-2.0, 0, 1]).double())
    assert_close(found.players[1], torch.tensor([1.0, 0, 0]).double())
    assert not found.players[2].any()
