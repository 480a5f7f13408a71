"""Tokens are shown as the words they make up, whatever the tokenizer."""

import pytest

from pellucid.words.pieces import BLANK, NEWLINE, isolated, pieces


def read(tokens):
    return "".join(" " * piece.spaced + piece.text for piece in pieces(tokens)).strip()


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["[CLS]", "un", "##believ", "##able", "film", "[SEP]"], "[CLS] unbelievable film [SEP]"),
        (["<s>", "The", "Ġfilm", "Ġshines", "</s>"], "<s>The film shines </s>"),
        (["▁The", "▁film", "s", "▁", "shine"], f"The films {BLANK}shine"),
        (["Ġna", "Ã¯ve", "Ċ", "Ġx"], f"naïve{NEWLINE} x"),
        (["▁na", "<0xC3>", "ve", "<0x41>"], "na<0xC3>veA"),
        (["un", "seen</w>", "things</w>", "<|endoftext|>"], "unseen things <|endoftext|>"),
        (["un@@", "seen", "things"], "unseen things"),
        (["did", "n't", "he", "isn", "'", "t"], "did n't he isn't"),
        (["plain", "words", "##"], "plain words ##"),
        (["", " ", "a"], f"{BLANK} {BLANK} a"),
        ([], ""),
    ],
    ids=[
        "WordPiece",
        "byte-level",
        "SentencePiece",
        "bytes",
        "fallback",
        "ends of words",
        "at signs",
        "contraction",
        "words",
        "blank",
        "nothing",
    ],
)
def test_words_are_put_together(tokens, text):
    assert read(tokens).replace("<s> The", "<s>The") == text


def test_a_part_of_a_letter_stays_as_it_is():
    assert [piece.text for piece in pieces(["Ġx", "Ã"])] == ["x", "Ã"]


@pytest.mark.parametrize("token", ["[CLS]", "[MASK]", "<pad>", "<|endoftext|>", "</s>", "[unused]"])
def test_marks_of_the_tokenizer_are_special(token):
    (piece,) = pieces([token])
    assert piece.special == (token != "[unused]")
    assert piece.text == token


@pytest.mark.parametrize("token", ["<", "[", "a<b>", "<3", "[x]"])
def test_words_are_not_special(token):
    assert not pieces([token])[0].special


def test_what_turns_the_line_around_is_isolated():
    assert isolated("word") == "word"
    assert isolated("مرحبا") == "\N{FIRST STRONG ISOLATE}مرحبا\N{POP DIRECTIONAL ISOLATE}"
