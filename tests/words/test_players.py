"""The values of players are summed to words and sentences, each player once."""

import dataclasses
import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.baseline import Baseline
from pellucid.errors import InputError
from pellucid.features import Features
from pellucid.words import grouping

TOKENS = [
    ["[CLS]", "un", "##seen", "things", ".", "[SEP]", "[PAD]"],
    ["[CLS]", "a", "dog", "bark", "##s", ".", "[SEP]"],
]
IDS = torch.tensor([[1, 4, 5, 6, 8, 2, 0], [1, 7, 3, 9, 9, 8, 2]])


class Reader(nn.Module):
    """A score in which neighbors count together."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 3)
        generator = torch.Generator().manual_seed(0)
        self.table.weight.data = torch.randn(10, 3, generator=generator)

    def forward(self, ids):
        words = self.table(ids)
        return (words[:, 1:] * words[:, :-1]).sum((1, 2)).unsqueeze(1) + words.sum(1)


def ask(method="exact_shapley", **options):
    return pl.explain(Reader(), IDS, method, target=0, baseline=Baseline.token(3), **options)


def test_tokens_that_are_players_are_summed_to_words(tmp_path):
    found = ask()
    words = found.group(TOKENS)
    first, second = found.players
    summed = [first[0], first[1] + first[2], *first[3:]]
    assert_close(words.players[0, :6], torch.stack(summed))
    assert words.features.named(0) == ("[CLS]", "unseen", "things", ".", "[SEP]", "[PAD]")
    assert words.features.named(1)[3] == "barks"
    assert_close(words.players.sum(1), found.players.sum(1))
    assert_close(words.values.double(), words.players, atol=1e-6, rtol=1e-6)
    named = words.by_player().query("sample == 1").set_index("name")["value"]
    assert named["barks"] == pytest.approx(float(second[3] + second[4]))
    assert pl.load(words.save(tmp_path / "words.safetensors")) == words
    assert words[1].by_player()["name"].tolist() == named.index.tolist()
    assert "barks" in {text.get_text() for text in pl.plot.waterfall(words, 1).get_yticklabels()}


def test_a_word_of_several_tokens_counts_once_in_its_sentence():
    found = ask(features=Features.words(TOKENS))
    sentences = found.group(TOKENS, by="sentence")
    inside = [i for i, name in enumerate(sentences.features.named(0)) if "unseen" in name]
    assert_close(sentences.players[0, inside[0]], found.players[0].sum())
    assert sentences.features.named(0) == ("unseen things .",)  # the others are nobody's
    assert sentences.values.shape == (2, 4)
    assert sentences.values[0].tolist().count(0.0) == 3


def test_sums_of_elements_would_count_a_word_by_its_tokens(monkeypatch):
    """The mutant: values of elements, which repeat those of players, are summed as they are."""
    monkeypatch.setattr(grouping, "_of_players", lambda former, made: made)
    found = ask(features=Features.words(TOKENS))
    sentences = found.group(TOKENS, by="sentence")
    assert (sentences.values[0].sum() - found.players[0].sum()).abs() > 0.1


def test_words_that_are_players_stay_what_they_are():
    found = ask(features=Features.words(TOKENS))
    words = found.group(TOKENS)
    assert_close(words.players, found.players)
    assert words.features.names == found.features.names
    assert_close(words.values[0, 1:4].double(), found.players[0, :3], atol=1e-6, rtol=1e-6)


def test_errors_of_words_bound_those_of_their_tokens():
    found = ask("kernel_shap", samples=40)
    words = found.group(TOKENS)
    assert_close(words.player_error[0, 1], found.player_error[0, 1:3].sum())
    assert_close(words.error[0, 1].double(), words.player_error[0, 1], atol=1e-6, rtol=1e-6)


def test_players_of_another_input_stay():
    reader, numbers = Reader(), torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    def score(ids, numbers):
        return reader(ids) + numbers.sum(1, keepdim=True)

    found = pl.explain(
        score, (IDS, numbers), "shapley_sampling", target=0, baseline=Baseline.token(3), samples=4
    )
    words = found.group(TOKENS)
    assert_close(words.values[1].double(), numbers.double(), atol=1e-5, rtol=1e-5)
    assert_close(words.players[0, 6:8], numbers[0].double(), atol=1e-5, rtol=1e-5)
    assert_close(words.players.sum(1), found.players.sum(1))


def test_a_player_in_two_words_is_refused():
    found = ask(features=torch.tensor([0, 0, 1, 2, 3, 4, 5]))
    with pytest.raises(InputError, match=r"each be part of one word .*got the player '0', .*words"):
        found.group(TOKENS)


def test_elements_of_embeddings_are_summed_to_words():
    x = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))

    def score(words):
        return (words[:, 1:] * words[:, :-1]).sum((1, 2)).unsqueeze(1)

    found = pl.explain(score, x, "lime", features=Features.elements(), samples=300)
    words = found.group(TOKENS)
    own = found.players[1].reshape(7, 3).sum(1)
    expected = torch.stack([own[0], own[1], own[2], own[3] + own[4], own[5], own[6]])
    assert_close(words.players[1, :6], expected)


def test_numbers_of_tokens_are_none_of_words():
    x = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    words = pl.explain(nn.Linear(7, 1), x, "exact_shapley").group(TOKENS)
    assert pl.plot.names.with_values(words, row=1) == words.features.named(1)


def test_words_of_texts_are_summed_to_sentences():
    text = ["Not bad. Not good!"]

    def score(texts):
        counts = [len(re.findall(r"\w+", each)) + ("bad" in each) for each in texts]
        return torch.tensor(counts).float().unsqueeze(1)

    found = pl.explain(score, text, "exact_shapley")
    sentences = found.group([["Not", "bad.", "Not", "good!"]], by="sentence")
    assert sentences.players.tolist() == [[3.0, 2.0]]
    assert sentences.features.named(0) == ("Not bad.", "Not good!")
    assert sentences.to_frame()["text"].tolist() == ["Not bad.", "Not good!"]
    assert "Not bad." in sentences._repr_html_()
    labels = pl.plot.waterfall(sentences).get_yticklabels()
    assert {"Not bad.", "Not good!"} <= {each.get_text() for each in labels}


def test_values_without_players_are_summed_as_they_are():
    found = ask("occlusion", window=1)
    words = dataclasses.replace(found, players=None, features=None).group(TOKENS)
    assert_close(words.values[0, 1], found.values[0, 1:3].sum())
