"""Words and sentences have the values of their tokens: nothing is lost, and order is kept."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.plot import Map, draw, grid
from pellucid.report import write
from pellucid.words import spans
from pellucid.words.pieces import NEWLINE, spell
from tests.plot.made import completeness, made

TOKENS = ["[CLS]", "un", "##seen", "things", ".", "they", "shine", "!", "[SEP]", "[PAD]", "[PAD]"]
QUOTE = "\N{RIGHT SINGLE QUOTATION MARK}"
WORDS = ("[CLS]", "unseen", "things", ".", "they", "shine", "!", "[SEP]", "[PAD]")


def of_tokens(*rows, **fields):
    """An explanation of ids, with these values."""
    values = torch.tensor(rows, dtype=torch.float32)
    return made(values, inputs=torch.ones_like(values, dtype=torch.long), **fields)


def labels(tokens, by="word", **options):
    return pl.words.Grouping.of([tokens], by, **options).labels(0)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (TOKENS, WORDS),
        (["<s>", "The", "Ġfilm", "'s", "Ġwell", "-", "made", ".", "</s>"],
         ("<s>", "The", "film's", "well-made", ".", "</s>")),
        (["▁The", "▁film", "s", "▁", "shine", "."], ("The", "films", "shine", ".")),
        (["Ġna", "Ã", "¯", "ve", "Ċ", "ĠðŁĺ", "Ģ"], ("naïve", NEWLINE, "😀")),
        (["mat.", "The"], ("mat.", "The")),
        (["plain", "words", "##"], ("plain", "words", "#", "#")),
        (["don", "'", "t", "say", "'", "s", "'", QUOTE, "m"],
         ("don't", "say", "'", "s", "'", QUOTE, "m")),
        (["▁na", "<0xC3>", "<0xAF>", "ve", "<0x0A>"], ("naïve", NEWLINE)),
        (["<0xE4>", "<0xBD>", "<0xA0>"], ("你",)),
        (["<|startoftext|>", "un", "seen</w>", "naÃ", "¯", "ve</w>", ".</w>"],
         ("<|startoftext|>", "unseen", "naïve", ".")),
        (["caf", "é</w>", "olé</w>", "</s>"], ("café", "olé", "</s>")),
        (["un@@", "se@@", "en", "things", "@@"], ("unseen", "things", "@@")),
        (["你好", "##世", "界"], ("你好", "世", "界")),
        (["[MASK]", "[MASK]"], ("[MASK]", "[MASK]")),
        (["<pad>", "<pad>", "a"], ("<pad>", "a")),
        (["A", "Ġb", *["<|endoftext|>"] * 3], ("A", "b", "<|endoftext|>")),
        (["</s>", "</s>", "▁A", "</s>", "</s>", "▁b", "</s>"],
         ("</s>", "A", "</s>", "</s>", "b", "</s>")),
        (["", " ", "a"], ("␣", "␣", "a")),
    ],
    ids=["WordPiece", "byte-level", "SentencePiece", "bytes", "glued", "words", "apostrophe",
         "fallback", "only fallback", "ends of words", "ends and no bytes", "at signs",
         "Chinese", "masks", "padding", "padded by ends", "ends within", "blank"],
)  # fmt: skip
def test_words_are_read_from_tokens(tokens, words):
    if tokens[-1] == "##":
        words = ("plain", "words", "##")  # one token joins the words it is part of
    assert labels(tokens) == words


def test_sentences_end_where_a_reader_ends_them():
    tokens = [*TOKENS[:-3], "mr", ".", "low", "paid", "3", ".", "5", "!", "!", "ok", "[SEP]"]
    assert labels(tokens, "sentence") == (
        "[CLS]", "unseen things .", "they shine !", "mr . low paid 3 . 5 ! !", "ok", "[SEP]",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("in 1999. 2 men came.", ["in 1999.", "2 men came."]),
        ("it is 3 . 5 or 3.5 . now", ["it is 3 . 5 or 3.5 .", "now"]),
        ("eat e . g . cake, i.e. x . ok", ["eat e . g . cake, i.e. x .", "ok"]),
        ("see mr . low or Dr. No. ok", ["see mr . low or Dr. No.", "ok"]),
    ],
)
def test_a_point_in_a_number_or_an_abbreviation_ends_no_sentence(text, sentences):
    assert [text[start:stop] for start, stop in spans.sentences(text)] == sentences


def test_offsets_may_be_a_tensor_of_one_sample():
    offsets = [(0, 0), (0, 2), (2, 5)]
    found = [
        labels(["[CLS]", "we", "'re"], texts="we're", offsets=given)
        for given in (offsets, torch.tensor(offsets), torch.tensor(offsets).numpy())
    ]
    assert found == [("[CLS]", "we're")] * 3


def test_texts_and_offsets_say_what_tokens_do_not():
    text = f'He didn{QUOTE}t pay 3.5 dollars to "Dr. No".\n\nSo what?'
    tokens = ["<s>", "he", "didn", QUOTE, "t", "pay", "3", ".", "5", "dollars", "to", '"', "dr",
              ".", "no", '".', "so", "what", "?", "</s>"]  # fmt: skip
    offsets, at = [], 0
    for token in tokens:
        if token in ("<s>", "</s>"):
            offsets.append((0, 0))
            continue
        start = text.lower().index(token, at)
        at = start + len(token)
        offsets.append((start, at))
    found = {"texts": text, "offsets": offsets}
    assert labels(tokens, **found) == (
        "<s>", "He", f"didn{QUOTE}t", "pay", "3.5", "dollars", "to", '"', "Dr", ".", "No", '".',
        "So", "what", "?", "</s>",
    )  # fmt: skip
    assert labels(tokens, "sentence", **found) == (
        "<s>", f'He didn{QUOTE}t pay 3.5 dollars to "Dr. No".', "So what?", "</s>",
    )  # fmt: skip
    both = pl.words.Grouping.of([tokens] * 2, texts=[text] * 2, offsets=torch.tensor([offsets] * 2))
    assert both.labels(0) == both.labels(1) == labels(tokens, **found)


token = st.sampled_from(
    ["<0xC3>", "<0xAF>", "b</w>", "c@@", "t", "'", "</s>",
     "Ġa", "Ċ", "b", "Ã", "¯", "ĠÃ", "##c", "##", "▁d", "▁", "e.", ".", "?!", "Ġ'", "-", "3", "世",
     "[CLS]", "<pad>", "[PAD]", "", " ", "\n", "مر", "##حبا", "ðŁĺ", "don't", "\udc80", "x y"]
) | st.text(max_size=3)  # fmt: skip


@given(st.lists(token, min_size=1, max_size=12), st.sampled_from(["word", "sentence", "token"]))
@settings(deadline=None, max_examples=300)
def test_every_token_is_in_one_group_and_order_is_kept(tokens, by):
    found = pl.words.Grouping.of([tokens], by)
    (members,) = found.members
    assert len(members) == len(tokens)
    steps = [after - before for before, after in zip((-1, *members), members, strict=False)]
    assert set(steps) <= {0, 1}, "groups are numbered from 0, in the order of the text"
    assert steps[0] == 1
    assert len(found.labels(0)) == members[-1] + 1
    assert all(found.labels(0))


@given(st.lists(token, min_size=1, max_size=8), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_sums_are_those_of_the_tokens(tokens, seed):
    values = torch.randn(2, len(tokens), generator=torch.Generator().manual_seed(seed)).double()
    explanation = dataclasses.replace(of_tokens([0.0], [0.0]), values=values)
    for by in ("word", "sentence", "token"):
        found = explanation.group([tokens, tokens[::-1]], by)
        assert found.values.dtype == values.dtype
        check_sums(explanation, found)


def check_sums(explanation, found):
    """Each group has the sum over its tokens, added up one by one; nothing is lost."""
    assert torch.allclose(found.values.sum(1), explanation.values.sum(1), atol=1e-12)
    rows = zip(explanation.values.tolist(), found.values.tolist(), strict=True)
    for (tokens, groups), members in zip(rows, found.grouping.members, strict=True):
        slow = [0.0] * len(groups)
        for value, group in zip(tokens, members, strict=True):
            slow[group] += value
        assert groups == pytest.approx(slow, abs=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.flip(1),
        lambda v: v / v.new_tensor([2, 1]),
        lambda v: v * v.new_tensor([1, 0]),
        lambda v: v + v.new_tensor([1, -1]),
    ],
    ids=["order", "mean", "lost", "moved"],
)
def test_the_law_of_sums_can_fail(change):
    explanation = of_tokens([1.0, 2.0, 4.0])
    found = explanation.group(["a", "##b", "c"])
    check_sums(explanation, found)
    with pytest.raises(AssertionError):
        check_sums(explanation, dataclasses.replace(found, values=change(found.values)))


@given(st.lists(token, min_size=1, max_size=8))
@settings(deadline=None, max_examples=200)
def test_spans_are_in_the_text_and_in_order(tokens):
    text, places = spell(tokens)
    found = [span for span in places if span is not None]
    assert all(0 <= start <= stop <= len(text) for start, stop in found)
    assert found == sorted(found)


def test_evidence_is_carried():
    explanation = of_tokens(
        [1.0, 2.0, 3.0], error=torch.tensor([[0.1, 0.2, 0.3]]), completeness=completeness(6.0, 6.5)
    )
    found = explanation.group([["a", "##b", "c"]])
    assert found.values.tolist() == [[3, 3]]
    assert found.error[0].tolist() == pytest.approx([0.3, 0.3])
    assert found.completeness is explanation.completeness
    assert found.completeness.residual.item() == 0.5
    assert found.notes[-2:] == (
        "The values of tokens are summed to one a word.",
        "The standard error of a word is at most that given, the sum over its tokens.",
    )
    assert explanation.group([["a", "##b", "c"]], "token").notes == ()


def test_tables_and_repr_name_the_words():
    found = of_tokens([1.0, -5.0, 3.0], [4.0, 0.0, 2.0]).group([["a", "##b", "c"], ["d", "e", "f"]])
    assert found.values.shape == (2, 3)
    frame = found.to_frame()
    assert frame.columns.tolist() == ["sample", "word", "text", "value"]
    assert frame["text"].tolist() == ["ab", "c", "d", "e", "f"], "no row for what a sample lacks"
    assert found.top(1)["text"].tolist() == ["ab", "d"]
    assert "float32[2, 3] on cpu, one a word" in repr(found)
    assert found[1].grouping.labels(0) == ("d", "e", "f")
    assert found[1].top(1)["text"].tolist() == ["d"]


def test_inputs_besides_the_tokens_stay_as_they_are():
    ids = torch.ones(2, 3, dtype=torch.long)
    values = {"ids": torch.ones(2, 3), "types": torch.ones(2, 3), "table": torch.ones(2, 4)}
    inputs = {"ids": ids, "types": ids, "table": torch.ones(2, 4)}
    explanation = dataclasses.replace(of_tokens([0.0], [0.0]), values=values, inputs=inputs)
    found = explanation.group([["a", "##b", "c"]] * 2)
    assert found.values["ids"].tolist() == found.values["types"].tolist() == [[2, 1]] * 2
    assert found.values["table"] is values["table"]
    frame = found.to_frame()
    assert frame.loc[frame["input"] == "ids", "text"].tolist() == ["ab", "c"] * 2


def test_a_table_as_wide_as_there_are_words_gets_no_words():
    values = {"ids": torch.ones(1, 5), "table": torch.arange(4.0)[None]}
    inputs = {"ids": torch.ones(1, 5, dtype=torch.long), "table": torch.ones(1, 4)}
    explanation = dataclasses.replace(of_tokens([0.0]), values=values, inputs=inputs)
    found = explanation.group(["un", "##seen", "big", "things", "."])
    frame = found.to_frame().set_index("input")
    assert frame.loc["ids", "text"].tolist() == ["unseen", "big", "things", "."]
    assert frame.loc["table", "text"].isna().all()
    assert frame.loc["table", "feature"].tolist() == [0, 1, 2, 3]
    assert Map.of(found, part="ids").labels == ("unseen", "big", "things", ".")
    assert Map.of(found, part="table").labels == tuple(f"feature {i} = 1" for i in range(4))


def test_embeddings_and_layers_are_summed_over_features():
    values = torch.arange(12.0).reshape(1, 3, 4)
    embeddings = dataclasses.replace(of_tokens([0.0]), values=values, inputs=values)
    assert embeddings.group(["a", "##b", "c"]).values.tolist() == [[28, 38]]
    layer = dataclasses.replace(of_tokens([0.0, 0.0, 0.0]), values=values, at="encoder")
    assert layer.group(["a", "##b", "c"]).values.tolist() == [[28, 38]]


def test_samples_on_another_axis_stay_there():
    values = torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])
    ids = torch.ones(3, 2, dtype=torch.long)
    explanation = dataclasses.replace(
        of_tokens([0.0], [0.0]), values=values, inputs=ids, batch_axis=1
    )
    found = explanation.group([["a", "##b", "c"]] * 2)
    assert found.values.tolist() == [[3, 9], [3, 6]]
    assert found[1].values.tolist() == [[9], [6]]
    assert found.top(1)["text"].tolist() == ["ab", "ab"]


def test_it_is_saved_and_comes_back_equal(tmp_path):
    found = of_tokens([1.0, 2.0, 3.0]).group(["Ġa", "b", "Ġc"])
    again = pl.load(found.save(tmp_path / "e"))
    assert again == found
    assert again.grouping == found.grouping
    assert of_tokens([1.0, 2.0, 3.0]) != of_tokens([1.0, 2.0, 3.0]).group(["a", "b", "c"])


def test_it_is_drawn_as_words(tmp_path):
    explanation = of_tokens([1.0, 2.0, -3.0, 0.0, 0.0])
    tokens = ["un", "##seen", "</things>", "[PAD]", "[PAD]"]
    found = explanation.group(tokens)
    shown = Map.of(found)
    assert shown.kind == "text"
    assert shown.values.tolist() == [3, -3, 0]
    assert shown.labels == ("unseen", "</things>", "[PAD]")
    assert "one value a word" in shown.caption()
    page = found._repr_html_()
    assert "<bdi>unseen</bdi>" in page
    assert "&lt;/things&gt;" in page
    assert "which words" in page.lower() or "word" in page
    text = write(tmp_path / "r.html", [explanation, found], tokens=[tokens]).read_text("utf-8")
    assert "<bdi>unseen</bdi>" in text
    assert "<bdi>un</bdi>" in text
    assert "by word" in text
    assert "by token" in text


def test_a_sentence_is_drawn_over_several_lines_on_one_ground():
    tokens = ["the", *["cat", "sat", "on"] * 6, ".", "ok"]
    found = of_tokens([1.0] * (len(tokens) - 1) + [-1.0]).group(tokens, "sentence")
    ax = draw(found)
    grounds = [patch.get_facecolor() for patch in ax.patches[::2]]
    assert len(grounds) == len(tokens)
    assert len(set(grounds)) == 2
    widths = [patch.get_width() for patch in ax.patches[::2]]
    assert widths[0] == 3
    assert widths[1] == 4, "the space before a word of the same sentence is on its ground"
    assert max(patch.get_x() + patch.get_width() for patch in ax.patches[::2]) <= 44


def test_a_word_longer_than_a_line_is_cut():
    ax = draw(of_tokens([1.0]).group(["x" * 100]))
    assert [patch.get_width() for patch in ax.patches[::2]] == [44, 44, 12]


def test_words_and_tokens_side_by_side_are_told_apart():
    explanation = of_tokens([1.0, 2.0])
    figure = grid([explanation, explanation.group(["a", "##b"])], tokens=[["a", "##b"]], columns=1)
    assert [ax.get_title() for ax in figure.axes] == ["Saliency, by token", "Saliency, by word"]


@pytest.mark.parametrize(
    ("tokens", "options", "said"),
    [
        ([["a", "b"]], {}, "`tokens` must name every token .* got 2 tokens of 1 samples for values "
         r"of shape \[2, 3\]\. Keep the tokens of padding"),
        ("abc", {}, "`tokens` must be a list of strings for each sample; got 'abc'. For ids: "),
        ([[1, 2, 3]] * 2, {}, "`tokens` must be a list of strings"),
        ([[]], {}, "`tokens` must be a list of strings"),
        (None, {}, "`tokens` must be a list of strings"),
        ([["a"], ["b", "c"]], {}, r"`tokens` must have as many strings .* got \[1, 2\]\. Keep"),
        ([["a", "b", "c"]] * 2, {"texts": ["abc"] * 2}, "`texts` and `offsets` must be given"),
        ([["a", "b", "c"]] * 2, {"texts": ["abc"] * 2, "offsets": 3}, "`offsets` must have a pair"),
        ([["a", "b", "c"]] * 2, {"texts": ["abc"], "offsets": [[(0, 1)] * 3] * 2},
         "`texts` must have one string for each sample, .* got 1 texts"),
        ([["a", "b", "c"]] * 2, {"texts": ["abc"] * 2, "offsets": [[(0, 9)] * 3] * 2},
         r"Offsets must be from 0 to 3, .* got \(0, 9\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_grouped_is_refused(tokens, options, said):
    with pytest.raises(InputError, match=said):
        of_tokens([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).group(tokens, **options)


def test_an_unknown_unit_and_a_second_grouping_are_refused():
    explanation = of_tokens([1.0, 2.0])
    with pytest.raises(UnknownNameError, match=r"`by`.* got 'words'\. Did you mean 'word'\?"):
        explanation.group(["a", "b"], "words")
    grouped = explanation.group(["a", "b"])
    with pytest.raises(InputError, match=r"must be an explanation of tokens; got one of words\."):
        grouped.group(["a", "b"], "sentence")


def test_a_picture_has_no_tokens():
    with pytest.raises(InputError, match=r"for values of shape \[1, 3, 4, 4\]"):
        made(torch.rand(1, 3, 4, 4)).group(["a", "b", "c"])
