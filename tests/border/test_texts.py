"""Texts: their words are players, and what stands between these stays."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import pellucid as pl
from pellucid.border.texts import encode, pieces
from pellucid.errors import InputError
from pellucid.method import _REGISTRY
from tests.border.made import Drop, critic

TEXTS = ["Not a good film, really!", "so bad"]


def without(text: str, position: int, mask: str = "") -> str:
    """A text without one of its words, as lime's users know it: all else stays."""
    words = list(re.finditer(r"\w+", text))
    return text[: words[position].start()] + mask + text[words[position].end() :]


@pytest.mark.parametrize("mask", ["", "[MASK]"])
def test_words_are_removed_or_masked_one_by_one(mask):
    model = critic()
    options = {"baseline": [mask]} if mask else {}
    found = Drop(**options)(model, TEXTS, target="+", batch_size=3)
    for row, text in enumerate(TEXTS):
        own = model.predict_proba([text])[0, 0]
        changed = [without(text, i, mask) for i in range(len(text.split()))]
        expected = own - model.predict_proba(changed)[:, 0]
        assert_close(found.players[row, : len(changed)], torch.from_numpy(expected))
    assert found.score.tolist() == model.predict_proba(TEXTS)[:, 0].tolist()
    assert found.players.abs().max() > 0.01


def test_the_model_sees_the_text_itself():
    seen = []

    def model(texts: list[str]) -> list[float]:
        seen.extend(texts)
        return [float(len(text)) for text in texts]

    Drop()(model, ["  Don't  stop,\nme :) now!! "])
    assert seen[0] == "  Don't  stop,\nme :) now!! "
    assert set(seen[1:]) == {
        "    stop,\nme :) now!! ",
        "  Don't  ,\nme :) now!! ",
        "  Don't  stop,\n :) now!! ",
        "  Don't  stop,\nme  now!! ",
        "  Don't  stop,\nme :) !! ",
    }


def test_words_name_the_players_and_padding_is_nobodys():
    found = Drop()(critic(), TEXTS, target="+")
    assert found.features.named(0) == ("Not", "a", "good", "film", "really")
    assert found.features.named(1) == ("so", "bad")
    assert found.features.counts.tolist() == [5, 2]
    assert found.players[1, 2:].tolist() == [0, 0, 0]
    table = found.to_frame()
    assert table["given"].tolist() == ["Not", "a", "good", "film", "really", "so", "bad"]
    assert table["word"].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert found.by_player().groupby("sample")["name"].first().tolist() == ["good", "bad"]


def test_texts_against_other_texts_word_for_word():
    model = critic()
    found = Drop(baseline=["Yes a bad film, really!", "so good"])(model, TEXTS, target="-")
    expected = model.predict_proba(["so bad"])[0, 1] - model.predict_proba(["so good"])[0, 1]
    assert_close(found.players[1, 1], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("kind", [np.array, pd.Series, tuple])
def test_texts_in_other_containers(kind):
    one, other = (Drop()(critic(), each, target="+") for each in (TEXTS, kind(TEXTS)))
    assert_close(one.players, other.players, rtol=0, atol=0)


def test_texts_are_stored_with_their_pieces(tmp_path, monkeypatch):
    monkeypatch.setitem(_REGISTRY.known, "drop", Drop)
    monkeypatch.setattr(Drop, "name", "drop")
    found = Drop(baseline=["?"])(critic(), TEXTS, target="+")
    again = pl.load(found.save(tmp_path / "e.safetensors"))
    assert again == found
    assert again.schema.decode(again.inputs) == TEXTS
    assert again[1].schema.decode(again[1].inputs) == ["so bad"]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_text_comes_back(texts):
    worded = [text for text in texts if list(pieces(text))]
    if worded:
        vocabulary, codes = encode(worded)
        schema = vocabulary.schema()
        assert schema.decode(codes) == worded
        gone = schema.decode(schema.absence(codes))
        words = [[word for _, word, _ in pieces(text)] for text in worded]
        lengths = [len(t) - sum(map(len, w)) for t, w in zip(worded, words, strict=True)]
        assert list(map(len, gone)) == lengths


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Drop()(critic(), "one text"),
            r"^Texts must be in a list; got 'one text'\. For on",
        ),
        (
            lambda: Drop()(critic(), [" ", ""]),
            r"^Texts must have at least one word; got \[' ', ''\]",
        ),
        (
            lambda: Drop(baseline=["so", "good"])(critic(), ["so good", "x"]),
            r"^A baseline of texts must have as many words as the texts.*; got \[1, 1\] words for "
            r"\[2, 1\]\. Without a baseline words are removed; baseline=\[\"\[MASK\]\"\] puts",
        ),
        (
            lambda: pl.explain(critic(), TEXTS, pl.LIME(data=["so bad"])),
            r"^`data` must be rows of a table, of which texts are none; got \['so bad'\]\. Of "
            r"texts words are removed",
        ),
        (
            lambda: pl.explain(critic(), TEXTS, "integrated_gradients"),
            r"^integrated_gradients must have a model that torch can follow; got the estimator "
            r"Pipeline\. Methods that only call the model: .*",
        ),
        (
            lambda: pl.explain(lambda texts: [1.0] * len(texts), TEXTS, "saliency"),
            r"^saliency must have a model that torch can follow; got <lambda> on texts\.",
        ),
        (
            lambda: Drop()(torch.nn.Linear(2, 1), TEXTS),
            r"^`inputs` of a torch module must be tensors; got texts for Linear\. Wrap it in a fu",
        ),
    ],
)
def test_bad_texts(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_words_are_occluded_one_by_one():
    model, text = critic(), "so good a film, so bad a film, so good and not so bad a film"
    words = text.split()
    found = pl.explain(model, [text], "occlusion", target="+")
    whole = model.predict_proba([text])[0, 0]
    left = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    wanted = whole - model.predict_proba(left)[:, 0]
    assert found.players[0].tolist() == pytest.approx(wanted.tolist(), abs=1e-12)
    assert found.evaluations.forward == 1 + len(words)


REPEATED = ["Not bad, not at all bad.", "so very so-so"]


def test_equal_words_are_one_player_where_they_are_together(tmp_path):
    model = critic()
    bag = pl.Features.words(together=True)
    found = pl.explain(model, REPEATED, "exact_shapley", target="+", features=bag)
    assert found.features.named(0) == ("Not", "bad", "not", "at", "all")
    assert found.features.named(1) == ("so", "very")
    apart = pl.explain(model, REPEATED, "exact_shapley", target="+")
    assert apart.features.named(0) == ("Not", "bad", "not", "at", "all", "bad")
    assert_close(found.players.sum(1), apart.players.sum(1))
    assert found.values[0, 1] == found.values[0, 5] == found.players[0, 1]
    assert pl.load(found.save(tmp_path / "bag.safetensors")) == found
    each = pl.explain(model, REPEATED, "exact_shapley", target="+", features=pl.Features.words())
    assert torch.equal(each.players, apart.players)
    assert each.features.names == apart.features.names


def test_lime_removes_all_of_a_word_at_once_where_they_are_together():
    seen = []

    def model(texts):
        seen.extend(texts)
        return [float("so" in text) for text in texts]

    found = pl.explain(model, REPEATED[1:], "lime", features=pl.Features.words(together=True))
    assert set(seen) == {"so very so-so", "so  so-so", " very -", "  -"}
    assert found.by_player()["name"].tolist() == ["so", "very"]
    assert_close(found.players, torch.tensor([[1.0, 0.0]]).double(), atol=1e-9, rtol=0)


def test_words_without_tokens_are_those_of_texts():
    with pytest.raises(
        InputError, match=r"Words without `tokens` must be .*Features.words\(tokens"
    ):
        pl.explain(lambda x: x, torch.ones(1, 3), "lime", features=pl.Features.words())
