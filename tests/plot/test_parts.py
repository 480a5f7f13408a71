"""A score is what its parts add up to, whatever part of it is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pl
from pellucid.border.schema import Schema
from pellucid.errors import InputError
from pellucid.plot import Map, Parts
from pellucid.plot.parts import REST
from tests.plot.made import image, made, of_players, ramp

numbers = st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: round(x, 3))


@given(st.lists(numbers, min_size=1, max_size=20), numbers, st.integers(1, 25))
@settings(max_examples=60, deadline=None)
def test_the_steps_add_up_to_the_score(values, expected, most):
    parts = Parts.of(of_players([values], expected=expected)).strongest(most)
    steps = parts.steps()
    ends = [start + size for _, start, size in steps]
    assert np.allclose([start for _, start, _ in steps], [parts.base, *ends[:-1]], atol=1e-6)
    reach = max(map(abs, [*values, expected, 1]))
    assert ends[-1] == pytest.approx(parts.score, abs=2e-4 * reach), "a small rest is not drawn"
    assert parts.base == pytest.approx(2 - expected)
    assert parts.score == pytest.approx(parts.base + parts.total + parts.rest)


def test_without_a_law_the_base_is_what_the_values_leave():
    parts = Parts.of(of_players([[1.0, 3.0]]))
    assert (parts.base, parts.rest, parts.score) == (-2.0, 0.0, 2.0)
    assert parts.start == "\N{MINUS SIGN}2 (the score less all values)"
    assert Parts.of(of_players([[1.0]], expected=1.0)).start == "base value 1"


def test_what_is_not_explained_is_a_step():
    steps = Parts.of(of_players([[1.0, -4.0]], expected=-2.0)).strongest(9).steps()
    assert [name for name, _, _ in steps] == ["feature 0 = 0", "feature 1 = 1", REST]
    assert steps[-1] == (REST, 1.0, 1.0)
    full = Parts.of(of_players([[1.0, -3.0]], expected=-2.0))
    assert not full.has_rest
    assert len(full.steps()) == 2


def test_the_weaker_parts_are_summed_and_their_error_is_not_known():
    found = of_players([[1.0, -5.0, 0.5, 3.0]], error=[[0.1, 0.2, 0.3, 0.4]])
    parts = Parts.of(found).strongest(2)
    assert parts.names == ("feature 1 = 0.333333", "feature 3 = 1", "2 others")
    assert parts.values.tolist() == [-5.0, 3.0, 1.5]
    assert parts.errors.tolist()[:2] == [0.2, 0.4]
    assert np.isnan(parts.errors[2])
    assert len(Parts.of(found).strongest(3).names) == 4, "one other is itself"
    for most in (0, True, 2.5):
        with pytest.raises(InputError, match="`most` must be a whole number, 1 or more"):
            Parts.of(found).strongest(most)


def test_values_that_are_not_finite_are_no_step():
    parts = Parts.of(of_players([[torch.nan, 1.0, torch.inf]], expected=1.0)).strongest(9)
    assert parts.total == 1.0
    assert [size for _, _, size in parts.steps()] == [1.0, 0.0, 0.0]
    assert parts.steps()[-1][1] == parts.score


def test_players_are_named_with_the_number_they_have():
    inputs = torch.tensor([[39.0, 1984.0, 0.25]])
    found = of_players([[1.0, 2.0, 3.0]], inputs=inputs)
    assert Parts.of(found).names == ("feature 0 = 39", "feature 1 = 1984", "feature 2 = 0.25")
    assert Parts.of(found, names=["a", "b", "c"]).names == ("a = 39", "b = 1984", "c = 0.25")
    own = of_players([[1.0, 2.0, 3.0]], inputs=inputs, names=(("x", "y = red", "z"),))
    assert Parts.of(own).names == ("x", "y = red", "z"), "who named them has put the values there"
    with pytest.raises(InputError, match=r"`names` .* must name all 3 players; got 2"):
        Parts.of(found, names=["a", "b"])


def test_a_player_of_several_columns_has_no_one_number():
    found = of_players([[1.0, 2.0]], labels=[[0, 1, 1, -1]], inputs=torch.ones(1, 4))
    assert Parts.of(found).names == ("feature 0 = 1", "feature 1")
    assert Parts.of(found, names=list("abcd")).names == ("a = 1", "b + c")
    shown = Map.of(found)
    assert shown.labels == ("feature 0 = 1", "feature 1")
    assert shown.values.tolist() == [1.0, 2.0]


def test_a_batch_of_players_gives_that_of_its_row():
    found = of_players([[1.0, 2.0], [3.0, 4.0]], error=[[0.1, 0.2], [0.3, 0.4]])
    parts = Parts.of(found, row=1)
    assert parts.values.tolist() == [3.0, 4.0]
    assert parts.errors.tolist() == [0.3, 0.4]


def test_a_sample_with_fewer_players_shows_its_own():
    labels = [[0, 1, 2], [0, 0, 1]]
    found = of_players([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], labels=labels, inputs=torch.ones(2, 3))
    assert len(Parts.of(found, row=1).values) == 2


def test_elements_are_parts_where_nothing_is_a_player():
    table = made([[1.0, -2.0]], inputs=torch.tensor([[5.0, 6.0]]))
    assert Parts.of(table).names == ("feature 0 = 5", "feature 1 = 6")
    text = made([[1.0, -2.0]], inputs=torch.tensor([[5, 6]]))
    assert Parts.of(text, tokens=["so", "bad"]).names == ("so", "bad")
    with pytest.raises(InputError, match="Values must be those of players, of a table or of a te"):
        Parts.of(image(ramp(3, 3)))
    with pytest.raises(InputError, match="What is drawn must be an explanation; got 3"):
        Parts.of(3)


def test_the_elements_of_a_smoothed_table_have_errors():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    found = pl.explain(model, torch.rand(2, 3), "smoothgrad", samples=5)
    assert np.allclose(Parts.of(found, row=1).errors, found.error[1])
    assert np.allclose(Map.of(found, row=1).errors, found.error[1])


WORDS = ["[CLS]", "un", "##seen", "films", "[PAD]"]


def test_words_of_several_tokens_are_one_mark():
    ids = torch.arange(5)[None]
    found = of_players([[1.0, -2.0]], labels=[[-1, 0, 0, 1, -1]], inputs=ids)
    shown = Map.of(found, tokens=WORDS)
    assert shown.kind == "text"
    assert shown.labels == ("[CLS]", "unseen", "films", "[PAD]")
    assert shown.values.tolist() == [0.0, 1.0, -2.0, 0.0]
    assert [piece.special for piece in shown.words] == [True, False, False, True]
    assert Map.of(found).labels == ("1 to 2", "3"), "padding without a name is left out"


def test_every_token_its_own_player_is_a_text_as_usual():
    found = of_players([[1.0, -2.0]], inputs=torch.tensor([[5, 6]]))
    assert Map.of(found).labels == ("5", "6")
    assert Map.of(found, tokens=["un", "##seen"]).labels == ("un", "##seen")
    named = of_players([[1.0, -2.0]], inputs=torch.tensor([[5, 6]]), names=(("so", "good"),))
    assert Map.of(named).labels == ("so", "good")


def test_a_text_is_shown_with_its_signs():
    pieces = (("(", "Not", " *"), ("", "so", "* bad) "), ("", "film", "!"))
    schema = Schema(layout="texts", pieces=pieces)
    found = of_players(
        [[1.0, -2.0, 3.0]],
        labels=[[0, 1, 2, -1]],
        inputs=torch.tensor([[1, 2, 3, 0]]),
        names=(("Not", "so", "film"),),
        schema=schema,
    )
    shown = Map.of(found)
    assert shown.labels == ("(Not", "*so*", "film!")
    assert [piece.spaced for piece in shown.words] == [True, True, True]
    joined = replace_pieces(found, (("", "well", "-"), ("", "made", " "), ("", "film", "")))
    assert [piece.spaced for piece in Map.of(joined).words] == [True, False, True]
    assert Map.of(joined).labels == ("well-", "made", "film")


def replace_pieces(found, pieces):
    return type(found)(**{**vars(found), "schema": Schema(layout="texts", pieces=pieces)})


def test_a_text_without_words_is_shown_empty():
    found = of_players(
        [[0.0]], labels=[[-1, -1]], inputs=torch.tensor([[0, 0]]),
        names=(("so",),), schema=Schema(layout="texts", pieces=(("", "so", ""), ("", "", ""))),
    )  # fmt: skip
    shown = Map.of(found)
    assert shown.labels == ()
    assert len(shown.values) == 0
