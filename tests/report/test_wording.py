"""Evidence in words: right numbers, sensibly rounded."""

import math

import pytest
import torch

import pellucid as pl
from pellucid.plot import Map
from pellucid.report import wording
from pellucid.report.wording import SPACE
from tests.plot.made import completeness, image, made, ramp


def plain(text):
    return text.replace(SPACE, " ")


def where(explanation):
    return plain(wording.where(Map.of(explanation)))


@pytest.mark.parametrize(
    ("spot", "place"),
    [
        ((0, 0), "around the upper left"),
        ((0, 4), "around the upper center"),
        ((4, 4), "around the center"),
        ((8, 8), "around the lower right"),
        ((4, 8), "around the right"),
    ],
)
def test_where_evidence_lies(spot, place):
    values = torch.zeros(9, 9)
    values[spot] = 1
    assert where(image(values)) == f"half of the positive part in 1.2 % of the pixels, {place}"


def test_how_much_is_negative():
    values = torch.tensor([[3.0, 0.0], [0.0, -1.0]])
    assert where(image(values)).endswith("around the upper left; 25 % of all is negative")
    against = where(image(-values))
    assert against == (
        "half of the negative part in 25 % of the pixels, around the upper left; "
        "25 % of all is positive"
    )
    assert where(image(-values.abs())).startswith("half of the negative part in 25 %")
    assert where(image(values * 0)) == "all values are zero"
    assert where(image(values * torch.nan)) == "no value is finite"


def test_where_evidence_lies_in_signals_and_tables():
    assert "of the positions, around the right" in where(made([[[0.0, 0, 0, 0, 0, 1]]]))
    two = made([[[0.0, 0, 3], [1, 0, 0]]])
    assert where(two).endswith("of the positions, around the right, the largest share in channel 0")
    assert "of the units" in where(image(ramp(3, 3), at="conv"))
    assert where(made([[0.5, -2.0, 0.0]])).startswith(
        "feature 1 = 0.5 (\N{MINUS SIGN}2), feature 0 = 0 (+0.5)"
    )
    assert where(made([[0.5, torch.nan, 3.0]])).startswith("feature 2 = 1 (+3)")
    ids = torch.tensor([[7, 8]])
    assert where(made([[0.5, -2.0]], inputs=ids)) == "“8” (\N{MINUS SIGN}2), “7” (+0.5)"


@pytest.mark.parametrize(
    ("explained", "expected", "said"),
    [
        (1.9, 2.0, "values sum to 1.9 of 2; residual 0.1 (5 %)"),
        (2.0, 2.0, "values sum to 2 of 2; residual 0 (0 %)"),
        (0.0, 0.0, "values sum to 0 of 0; residual 0 (0 %)"),
        (1.0, 0.0, "values sum to 1 of 0; residual \N{MINUS SIGN}1 (of nothing expected)"),
        (
            2.00001,
            2.0,
            "values sum to 2 of 2; residual \N{MINUS SIGN}1e\N{MINUS SIGN}05 (below 0.01 %)",
        ),
    ],
)
def test_completeness(explained, expected, said):
    explanation = image(ramp(2, 2), completeness=completeness(explained, expected))
    assert plain(wording.completeness(explanation)) == said


def test_no_completeness():
    assert wording.completeness(image(ramp(2, 2))) == "claims no completeness"


def test_the_cost():
    spent = pl.Evaluations(51, 50, 3)
    explanation = image(ramp(2, 2), evaluations=spent, seconds=0.5)
    assert wording.cost(explanation) == "51 forward, 50 backward evaluations, 500 ms"
    assert wording.cost(image(ramp(2, 2))) == "none of its own: it shares another method's; 0 ms"
    both = made(ramp(2, 3), evaluations=spent, seconds=12.3)
    assert wording.cost(both) == "51 forward, 50 backward evaluations, 12 s for 2 samples"


def test_the_sampling_error():
    error = torch.full((1, 1, 2, 2), 0.5)
    explanation = image(torch.ones(2, 2), error=error)
    assert plain(wording.error(explanation)) == "standard error 0.5, 50 % of a typical value"
    assert wording.error(image(torch.zeros(2, 2), error=error)) == "standard error 0.5"
    assert wording.error(image(torch.ones(2, 2))) == ""


def test_scores_become_probabilities_once():
    chances = torch.tensor([[0.2, 0.5, 0.3]])
    for output in (chances, chances.log(), chances.log() + 7, {"logits": chances.log()}):
        found = wording.predictions(image(ramp(2, 2), output=output), classes=["a", "b"])
        assert [(p.number, p.name) for p in found] == [(1, "b"), (2, "class 2"), (0, "a")]
        assert [p.probability for p in found] == pytest.approx([0.5, 0.3, 0.2])


def test_what_a_function_reads_need_not_be_classes():
    found = image(ramp(2, 2), output=torch.ones(1, 3))
    found = type(found)(**{**vars(found), "target": pl.Target.of(len)})
    assert wording.predictions(found) == []
    assert len(wording.predictions(found, classes=["a", "b", "c"])) == 3


@pytest.mark.parametrize("output", [torch.ones(1), torch.ones(1, 1), torch.ones(1, 2, 3), {}])
def test_an_output_without_classes_has_no_predictions(output):
    assert wording.predictions(image(ramp(2, 2), output=output)) == []


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (1, "the score of “b”"),
        ((1, 0), "the score of “b” less that of “a”"),
        (pl.Target.probability(1), "the probability of “b”"),
        (pl.Target.log_odds(7), "the log-odds of “class 7”"),
        (-1, "the score of “class -1”"),
        (len, "the function len"),
        ((lambda: lambda output: output)(), "the function <lambda>"),
    ],
)
def test_what_is_explained(target, said):
    explanation = image(ramp(2, 2))
    explanation = type(explanation)(**{**vars(explanation), "target": pl.Target.of(target)})
    assert wording.target(explanation, classes=["a", "b"] if target != -1 else []) == said


@pytest.mark.parametrize(
    ("target", "said"), [(1, "b"), ((1, 0), "score of “b” less that of “a”"), (len, "function len")]
)
def test_the_name_of_a_target(target, said):
    explanation = image(ramp(2, 2))
    explanation = type(explanation)(**{**vars(explanation), "target": pl.Target.of(target)})
    assert wording.aim(explanation, classes=["a", "b"]) == said


def test_the_class_of_each_row_is_its_own():
    explanation = made(ramp(2, 3))
    explanation = type(explanation)(**{**vars(explanation), "target": pl.Target.of([2, 1])})
    said = [wording.target(explanation, row=row, classes=list("abc")) for row in (0, 1)]
    assert said == ["the score of “c”", "the score of “b”"]


def test_percent_of_what_is_not_finite():
    assert wording.percent(math.inf) == wording.percent(math.nan) == "of nothing expected"


def test_predictions_say_whether_a_softmax_made_them():
    values = torch.zeros(1, 2)
    scores = made(values, output=torch.tensor([[2.0, 1.0, 0.0]]))
    assert wording.heading(scores) == "Top predictions, with the probability of each (softmax)"
    chances = made(values, output=torch.tensor([[0.7, 0.2, 0.1]]))
    assert wording.heading(chances) == "Top predictions, with the probability of each"


def test_a_model_of_one_number_has_no_class():
    one = pl.explain(torch.nn.Linear(2, 1), torch.ones(3, 2), "saliency")[0]
    assert wording.target(one) == wording.aim(one).join(("the ", "")) == "the score"
    assert wording.target(one, classes=["price"]) == "the score of “price”"
    two = pl.explain(torch.nn.Linear(2, 2), torch.ones(1, 2), "saliency", target=1)
    assert wording.target(two) == "the score of “class 1”"
    assert wording.aim(two) == "class 1"
