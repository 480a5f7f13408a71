"""Relevance runs through stock models as they are, and every number is accounted for."""

import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.structure import leaves
from tests.architectures.program import plain, same_output
from tests.architectures.stock import GRADIENTS, LOGITS, TOKENS, bert, embedded, llama, of_ids, vit
from tests.test_untouched import Watched

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning")

COMPOSITES = ["epsilon", "attnlrp"]


def second(output):
    """The second class, or the second word at the last place."""
    scores = output.logits
    return scores[:, 1] if scores.ndim == 2 else scores[:, -1, 1]


def relevance(made, composite: str) -> pl.Explanation:
    """Relevance of a stock model; a leak is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pl.errors.IncompleteWarning)
        target = made.target or second
        return pl.explain(made.model, made.inputs, "lrp", target=target, composite=composite)


def accounted(found: pl.Explanation) -> None:
    """All values are numbers, and the ledger of each sample ends in its score."""
    ledger = found.ledger
    parts = [value for _, value in leaves(found.values)]
    assert all(value.isfinite().all() for value in parts)
    assert any(value.any() for value in parts)
    assert abs(ledger.residual) <= 1e-6 * ledger.largest
    for row in ledger.rows:
        assert abs(row.rest) <= 1e-5 * ledger.largest, row
    assert ledger.largest <= 100 * (1 + abs(ledger.score)), "relevance must not explode"


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", GRADIENTS)
def test_relevance_is_accounted_for(name, composite):
    made = GRADIENTS[name]()
    with Watched(made.model, made.inputs):
        found = relevance(made, composite)
    accounted(found)
    same_output(pl.record(made.model, made.inputs).output, plain(made), made)
    attends = name != "ResNet"
    assert (abs(found.ledger.stopped) > 0) == (attends and composite == "attnlrp")


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", TOKENS)
def test_tokens_have_relevance(name, composite):
    made = TOKENS[name]()
    with Watched(made.model, made.inputs):
        found = relevance(made, composite)
    accounted(found)
    values = found.values["input_ids"]
    assert values.shape == made.inputs["input_ids"].shape
    assert values.abs().sum() > 0


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize(
    ("model", "inputs"),
    [(bert, embedded), (llama, embedded), (vit, None)],
    ids=["BERT", "Llama", "ViT"],
)
def test_attention_says_the_same_however_it_runs(model, inputs, composite):
    """One fused kernel, or products and a softmax."""
    if inputs is None:
        pixels = next(iter(GRADIENTS["ViT"]().inputs.values()))
        programs = [model(attention=kind) for kind in ("sdpa", "eager")]
        programs[1].load_state_dict(programs[0].state_dict())
        found = [
            pl.explain(m, {"pixel_values": pixels}, "lrp", target=LOGITS, composite=composite)
            for m in programs
        ]
    else:
        made = [inputs(model(attention=kind)) for kind in ("sdpa", "eager")]
        made[1].model.load_state_dict(made[0].model.state_dict())
        found = [relevance(program, composite) for program in made]
    (a, *_), (b, *_) = ([value for _, value in leaves(each.values)] for each in found)
    assert_close(a, b, rtol=2e-3, atol=2e-4)


def test_padding_has_no_relevance():
    made = embedded(bert())
    for composite in COMPOSITES:
        values = relevance(made, composite).values["inputs_embeds"]
        assert not values[1, 3:].any()
        assert values[1, :3].abs().sum(-1).gt(0).all()


def test_words_after_a_place_have_no_relevance_for_it():
    """A causal mask is a mask for relevance too."""
    made = of_ids(llama())
    target = lambda output: output.logits[:, 2, 1]  # noqa: E731
    for composite in COMPOSITES:
        found = pl.explain(made.model, made.inputs, "lrp", target=target, composite=composite)
        values = found.values["input_ids"]
        assert not values[:, 3:].any()
        assert values[:, :3].abs().gt(0).all()


def test_the_two_readings_of_attention_differ():
    torch.manual_seed(0)
    made = embedded(bert())
    a, b = (relevance(made, composite).values["inputs_embeds"] for composite in COMPOSITES)
    assert (a - b).abs().max() > 0.05 * a.abs().max()


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_between_two_sequences(need_weights):
    """Queries from one input, keys and values from another: as gates, queries get nothing."""
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double()

    def model(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return attention(a, b, b, need_weights=need_weights)[0].mean(1)

    generator = torch.Generator().manual_seed(0)
    pair = tuple(torch.randn(2, n, 4, generator=generator, dtype=torch.float64) for n in (3, 5))
    queries, rest = pl.explain(model, pair, "lrp", target=0, composite="epsilon").values
    assert not queries.any()
    assert rest.any()
    queries, _ = pl.explain(model, pair, "lrp", target=0, composite="attnlrp").values
    assert queries.any()
