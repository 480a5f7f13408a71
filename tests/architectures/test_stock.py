"""Stock models of Hugging Face are explained as they are: no copy, no wrapper, no patch."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.structure import leaves
from tests.architectures.program import check, plain
from tests.architectures.stock import GRADIENTS, LOGITS, TOKENS, bert, embedded, of_pixels, vit
from tests.test_untouched import Watched

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning")


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    check(GRADIENTS[name](), f"stock: {name}")


@pytest.mark.parametrize("name", TOKENS)
def test_token_models_say_the_same_when_recorded(name):
    made = TOKENS[name]()
    with Watched(made.model, made.inputs):
        found = pl.record(made.model, made.inputs).output
    expected = plain(made)
    assert type(found) is type(expected)
    for (path, a), (_, b) in zip(leaves(found), leaves(expected), strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-12, msg=str(path))


def at_embeddings(made, target):
    """Gradient times embedding by autograd, with the embedding layer's own result as the leaf."""
    found = []

    def keep(module, args, output):
        found.append(output.detach().requires_grad_())
        return found[-1]

    words = made.model.get_input_embeddings().weight
    tables = [m for m in made.model.modules() if getattr(m, "weight", None) is words]
    embeds = [m for m in tables if isinstance(m, nn.Embedding)]
    hooks = [table.register_forward_hook(keep) for table in embeds]
    try:
        scores = made.model(**made.inputs).logits
    finally:
        for hook in hooks:
            hook.remove()
    gradient = torch.autograd.grad(target(scores).sum(), found)
    return [(g * e).sum(-1).detach() for g, e in zip(gradient, found, strict=True)]


def of_last(scores):
    """A score a sample: the second class, or the second word at the last place."""
    return scores[:, 1] if scores.ndim == 2 else scores[:, -1, 1]


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_have_one_number_each(name):
    """T5 embeds two inputs by the same table, the words it reads and those it has written."""
    made = TOKENS[name]()
    expected = at_embeddings(made, of_last)
    with Watched(made.model, made.inputs):
        target = lambda output: of_last(output.logits)  # noqa: E731 - a target as a user writes it
        found = pl.explain(made.model, made.inputs, "gradient_x_input", target=target)
    inputs = [key for key in made.inputs if key.endswith("input_ids")]
    for key, right in zip(inputs, expected, strict=True):
        assert right.any()
        assert_close(found.values[key], right, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "smoothgrad"])
def test_a_model_output_is_a_target(name):
    made = of_pixels(vit())
    method = {"saliency": pl.Saliency(), "smoothgrad": pl.SmoothGrad(samples=2)}.get(
        name, pl.IntegratedGradients(steps=4)
    )
    found = method(made.model, made.inputs, target=LOGITS, batch_size=8)
    expected = method(lambda **x: made.model(**x).logits, made.inputs, target=1, batch_size=8)
    assert_close(found.score, expected.score)
    assert_close(found.values, expected.values)
    assert found.output["logits"].shape == (2, 4)


def test_the_only_head_needs_no_name():
    """Scores that a whole output holds in one place are found by their path or are asked for."""
    with pytest.raises(pl.errors.TargetError, match=r"'logits'.*'logits', 0"):
        pl.explain(vit(), {"pixel_values": torch.zeros(2, 3, 16, 16).double()}, "saliency")


def test_padding_has_no_gradient():
    made = embedded(bert())
    found = pl.explain(made.model, made.inputs, "saliency", target=LOGITS)
    values = found.values["inputs_embeds"]
    assert not values[1, 3:].any()
    assert values[1, :3].abs().sum(-1).gt(0).all()
    assert not found.values["attention_mask"].any()
