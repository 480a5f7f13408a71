"""What a recorder can miss: fused kernels, later writes, memory given out twice, threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.tape.expand import expanded
from pellucid.tape.walk import gradient as walked
from tests.architectures.networks import IMAGE, Bottleneck, ViT
from tests.architectures.program import by_autograd, check, net, normal, program, target_of
from tests.architectures.tools import ATTENTION, TOKENS, grouped
from tests.test_untouched import Watched

PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}
FUSED = ("scaled_dot", "multi_head", "flash", "efficient", "transformer", "mkldnn", "lstm", "rnn",
         "gru", "cudnn", "fused")  # fmt: skip


def names(model: nn.Module, inputs: Tensor) -> list[str]:
    return [operation.name for operation in expanded(pl.record(model, inputs)).operations]


def fused(found: list[str]) -> list[str]:
    return [name for name in found if any(word in name for word in FUSED)]


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_two_products_and_a_softmax(name):
    made = ATTENTION[name]()
    found = names(made.model, made.inputs)
    assert fused(found) == []
    assert any("softmax" in each for each in found)
    assert sum(each in PRODUCTS for each in found) >= 2


def test_an_expanded_tape_is_the_same_run():
    """Its walk gives the gradient of the fused one, its values are those of the fused one."""
    tape = pl.record(ViT(fused=True).double().eval(), IMAGE).aim(pl.Target.of(1))
    fused_names = [operation.name for operation in tape.operations]
    taken_apart = expanded(tape)
    assert len(taken_apart.operations) > len(fused_names)
    assert_close(walked(taken_apart), walked(tape))
    assert [operation.name for operation in tape.operations] == fused_names
    for operation in taken_apart.operations:
        for again, value in zip(operation.again(), operation.outputs, strict=False):
            if value is not None and operation.random is None:
                assert_close(again, value.tensor)


def test_attention_of_a_fast_layer_is_seen_too():
    found = names(ViT(fused=True).double().eval(), IMAGE)
    assert fused(found) == []
    assert sum("softmax" in each for each in found) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("layer", "gates"),
    [(nn.LSTM, {"sigmoid", "tanh"}), (nn.GRU, {"sigmoid", "tanh"}), (nn.RNN, {"tanh"})],
)
def test_the_gates_of_a_recurrent_layer_are_seen(layer, gates, dtype):
    model = layer(6, 3, batch_first=True).eval().to(dtype)
    found = names(model, TOKENS.to(dtype))
    assert fused(found) == []
    assert gates <= set(found)
    assert PRODUCTS & set(found)


def test_a_layer_s_value_is_the_one_it_returned():
    """A block that adds to it and rectifies it in place afterwards changes nothing of it."""
    block = Bottleneck(3, 8, 1).double().eval()
    tape = pl.record(block, IMAGE)
    h = block.relu(block.bn1(block.conv1(IMAGE)))
    normed = block.bn3(block.conv3(block.relu(block.bn2(block.conv2(h)))))
    assert_close(tape.layer("bn3").tensor, normed.detach())
    assert_close(tape.layer("down").tensor, block.down(IMAGE).detach())
    assert (tape.layer("bn3").tensor < 0).any()
    assert not (tape.output < 0).any()


def test_memory_that_is_given_out_again_is_not_taken_for_what_it_was():
    """Hundreds of short-lived tensors, of which the allocator gives the same memory to many."""

    def model(x: Tensor) -> Tensor:
        total = torch.zeros_like(x[:, 0])
        for i in range(150):
            hidden = (x * (i % 7 + 1)).sin()
            constant = torch.full_like(total, 0.5)
            total = total + hidden[:, i % 5] * constant
            del hidden, constant
        return total

    check(program(net(model), normal(4, 5)), "trap: memory")


def test_a_module_that_runs_often_has_a_value_for_each_run():
    layer = nn.Linear(4, 4)
    model = net(lambda f, x: f(f(x).tanh()), layer).double()
    x = normal(2, 4)
    assert_close(pl.record(model, x).layer("layers.0").tensor, model(x).detach())


def test_an_exception_inside_a_recurrent_layer_leaves_every_flag():
    class Halfway(Exception):  # noqa: N818 - it stands for a user's own
        """Not one of ours."""

    def stop(module: nn.Module, args: tuple, output: tuple) -> None:
        raise Halfway

    model = nn.LSTM(6, 3)
    model.register_forward_hook(stop)
    with Watched(model, TOKENS), pytest.raises(Halfway):
        pl.record(model, TOKENS.float())


def test_threads_that_record_at_once():
    """Flags of torch are global to the process: each recording gets what it asked for."""
    programs = [
        program(net(grouped), TOKENS),
        program(nn.LSTM(6, 3, batch_first=True), TOKENS),
        program(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), TOKENS),
        program(nn.Conv1d(4, 3, 2), TOKENS),
    ]
    expected = [by_autograd(made)[0] for made in programs]

    def run(made):
        return walked(pl.record(made.model, made.inputs).aim(target_of(made)))[0]

    with Watched(programs[2].model, TOKENS), ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(run, programs * 4), expected * 4, strict=True):
            assert_close(found, right, rtol=1e-7, atol=1e-10)


def test_a_model_that_records_another():
    """An explanation inside of a forward pass does not disturb the one around it."""
    inner = nn.Linear(6, 3).double()

    def model(f: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            weights = pl.explain(inner, torch.ones(1, 6).double(), "saliency", target=1).values
        return f(x) * weights.detach()

    check(program(net(model, nn.Linear(6, 6)), normal(2, 6)), "trap: nested")


def test_a_softmax_of_attention_is_not_the_softmax_at_the_end():
    """Weights that a model returns beside its scores are a softmax, the scores are not."""
    model = net(lambda f, x: f(x, x, x), nn.MultiheadAttention(6, 2, batch_first=True)).double()
    tape = pl.record(model, TOKENS).aim(pl.Target.of(lambda output: output[0][:, 0, 0]))
    assert not tape.softmax_removed


def test_a_mask_of_minus_infinity_has_no_gradient_that_is_none():
    """0 times infinity is not a number; the walk gets what autograd gets."""
    model = net(
        lambda x: F.scaled_dot_product_attention(
            x, x, x, attn_mask=torch.ones(4, 4).tril().double().log()
        )
    )
    check(program(model, TOKENS), "trap: infinite mask")
