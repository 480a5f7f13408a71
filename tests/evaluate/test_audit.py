"""An audit tells what is robust from what is an artefact of a choice."""

import pytest
import torch

import pellucid as pl
from pellucid.evaluate import audit
from pellucid.evaluate.audit import Audit
from pellucid.features import Features
from pellucid.structure import Inputs


def line(weights):
    """A linear model of one score."""
    w = torch.tensor(weights)
    return lambda x: (x * w).sum(1, keepdim=True)


def of_shares(relevance, top=2):
    """An audit of one sample whose shares are given, choice by choice."""
    table = torch.tensor(relevance, dtype=torch.float64).unsqueeze(1)
    players = Features.columns().players(Inputs.of(torch.zeros(1, table.shape[2])))
    choices = tuple({"seed": str(n)} for n in range(len(table)))
    found = pl.explain(line([1.0] * table.shape[2]), table[0].float(), "gradient_x_input")
    return Audit(
        choices=choices,
        explanations=(found,) * len(table),
        relevance=table,
        players=players,
        top=top,
    )


def test_shares_are_those_of_the_closed_form():
    model, x = line([2.0, -1.0, 0.5]), torch.tensor([[1.0, 3.0, 2.0]])
    found = audit(model, x, "integrated_gradients", {"baseline": [0.0, 1.0]}, target=0)
    whole = torch.tensor([[2.0, -3.0, 1.0], [0.0, -2.0, 0.5]], dtype=torch.float64)
    expected = whole / whole.abs().sum(1, keepdim=True)
    assert torch.allclose(found.relevance[:, 0], expected)
    assert [each["baseline"] for each in found.choices] == ["0.0", "1.0"]


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ([0.6, 0.6, 0.6, 0.6], "robust"),
        ([0.6, 0.6, 0.6, 0.0], "depends"),
        ([0.6, -0.6, 0.6, 0.6], "sign changes"),
        ([0.6, 0.0, 0.0, 0.0], "artefact"),
        ([0.0, 0.0, 0.0, 0.0], "weak"),
    ],
)
def test_the_verdict_is_that_of_the_table(shares, verdict):
    made = of_shares([[each, 0.3, 0.2, 0.01] for each in shares])
    assert made.verdict(0)[0] == verdict
    row = made.to_frame().query("player == 0").iloc[0]
    assert (row.verdict, row.least, row.greatest) == (verdict, min(shares), max(shares))


def test_ranks_agreement_and_the_share_of_choices_are_counted():
    made = of_shares([[0.5, -0.3, 0.2], [0.1, 0.3, 0.6]], top=1)
    assert made.ranks[:, 0].tolist() == [[1, 2, 3], [3, 2, 1]]
    assert made.agreement[0].tolist() == pytest.approx([1.0, 0.0, 1.0])
    assert made.among_top[0].tolist() == [0.5, 0.0, 0.5]


def test_the_choice_that_matters_comes_first_and_one_that_does_not_correlates_fully():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.Tanh(), torch.nn.Linear(12, 3))
    choices = {"steps": [64, 128], "baseline": {"zero": 0.0, "five": 5.0}}
    found = audit(net, torch.rand(8, 6), "integrated_gradients", choices)
    table = found.by_choice().set_index("choice")
    assert list(table.index) == ["baseline", "steps"]
    assert table.correlation["steps"] > 0.99 > 0.8 > table.correlation["baseline"]
    assert "baseline: rank correlation" in repr(found)


def test_several_models_are_a_choice_asked_for_the_same_class():
    models = {"plain": line([1.0, 2.0]), "turned": line([1.0, -2.0])}
    found = audit(models, torch.tensor([[1.0, 1.0]]), "gradient_x_input")
    assert [each["model"] for each in found.choices] == ["plain", "turned"]
    assert found.verdict(0) == ["robust", "sign changes"]
    assert len({each.target for each in found.explanations}) == 1


def test_players_of_the_method_are_kept_with_their_names():
    frame = pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0], "b": [0.5, 4.0]})
    found = audit(
        lambda rows: rows["a"] * 2 + rows["b"], frame, "exact_shapley", {"baseline": [0.0, 1.0]}
    )
    assert {name.partition(" ")[0] for name in found.to_frame()["name"]} == {"a", "b"}


def test_usual_choices_are_those_that_a_method_leaves_to_taste():
    net = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(18, 2))
    found = audit(net, torch.rand(2, 2, 8), "integrated_gradients")
    assert len(found) == 2 * 4
    assert {"steps", "baseline"} == set(found.choices[0])


@pytest.mark.parametrize(
    ("method", "choices", "said"),
    [
        ("saliency", None, "must leave at least two answers"),
        ("saliency", {"seeds": [1, 2]}, "An option of saliency must be one that exists"),
        ("smoothgrad", {"seed": 3}, "must be in a list, or in a dict with their labels"),
        ("smoothgrad", ["seed"], "must be a dict of options and their values"),
    ],
)
def test_bad_choices_are_told(method, choices, said):
    with pytest.raises(pl.errors.InputError, match=said):
        audit(line([1.0, 2.0]), torch.ones(1, 2), method, choices)


def test_it_is_drawn_with_a_line_a_player():
    axes = of_shares([[0.5, -0.3, 0.2], [0.1, 0.3, 0.6]]).plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "0", "2"]


def test_values_with_the_same_label_are_told_apart():
    """Else answers that differ in two choices would count for one of them."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.Tanh(), torch.nn.Linear(12, 3))
    x, ends = torch.rand(8, 6), [torch.zeros(6), torch.full((6,), 5.0)]
    steps = {"steps": [64, 128]}
    plain = audit(net, x, "integrated_gradients", {"baseline": ends, **steps})
    assert len({each["baseline"] for each in plain.choices}) == 2
    named = dict(zip(("zero", "five"), ends, strict=True))
    told = audit(net, x, "integrated_gradients", {"baseline": named, **steps})
    assert plain.by_choice().equals(told.by_choice())


def test_places_that_a_sample_does_not_have_do_not_correlate():
    labels = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]])
    players = Features.of(labels).players(Inputs.of(torch.zeros(2, 6)))
    table = torch.tensor([
        [[6.0, 5, 4, 3, 2, 1], [2.0, 1, 0, 0, 0, 0]],
        [[6.0, 5, 4, 3, 2, 1], [1.0, 2, 0, 0, 0, 0]],
    ]).double()  # fmt: skip
    made = of_shares([[1.0, 0.0], [0.0, 1.0]])
    made = Audit(**{**vars(made), "relevance": table, "players": players})
    assert made.by_choice().correlation.tolist() == pytest.approx([0.0])  # of 1 and -1


def test_values_that_are_not_finite_are_told_with_the_choice():
    def broken(x):
        return (x * torch.nan).sum(1, keepdim=True)

    models = {"good": line([1.0, 2.0]), "bad": broken}
    with pytest.raises(pl.errors.InputError, match=r"must be finite .* under model bad"):
        audit(models, torch.ones(2, 2), "gradient_x_input", target=0)


def test_a_row_that_is_drawn_must_be_there():
    with pytest.raises(pl.errors.InputError, match="A sample must be from 0 to 0; got 1"):
        of_shares([[0.5, -0.3], [0.1, 0.3]]).plot(row=1)
