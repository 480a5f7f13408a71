"""What torch makes of a module (a trace, a script, a graph) is recorded, in any precision."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.structure import leaves
from pellucid.tape.walk import gradient as walked
from tests.architectures.forms import FORMS, HALF, SINGLE, encoder
from tests.architectures.functions import X
from tests.architectures.networks import IMAGE, ResNet, ViT
from tests.architectures.program import by_autograd, check, plain, program, target_of
from tests.architectures.tools import TOKENS, layers
from tests.test_untouched import Watched

# torch calls its own TorchScript deprecated; people have such models on disk.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    # What torch's compiler looks at when it traces a tensor that is not a leaf.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous"),
]


@pytest.mark.parametrize("name", FORMS)
def test_form(name):
    check(FORMS[name](), f"form: {name}")


@pytest.mark.parametrize("name", SINGLE)
def test_single_precision(name):
    check(SINGLE[name](), f"single: {name}")


@pytest.mark.parametrize("name", HALF)
def test_half_precision(name):
    tape = check(HALF[name](), f"half: {name}")
    assert all(leaf.dtype is torch.bfloat16 for _, leaf in leaves(tape.output))


def test_a_trace_of_a_module_says_the_same_as_the_module():
    model = layers().double().eval()
    expected = pl.explain(model, X, "saliency", target=0)
    found = pl.explain(torch.jit.trace(model, X), X, "saliency", target=0)
    assert_close(found.values, expected.values)


@pytest.mark.parametrize("name", ["saliency", "lrp", "occlusion"])
def test_a_trace_that_computes_with_lengths_says_the_same_too(name):
    """To our modes its script hands numbers where a call takes tensors."""
    module = encoder().double().eval()
    trace = torch.jit.trace(module, TOKENS, check_trace=False)
    target = lambda output: output[:, 0, 1]  # noqa: E731
    found, expected = (pl.explain(m, TOKENS, name, target=target).values for m in (trace, module))
    assert_close(found, expected)


def test_a_fused_layer_in_a_script_is_a_named_error():
    """A script asks no flag whether to take torch's fused layer, which has no derivative."""
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).double().eval()
    made = program(torch.jit.script(layer), TOKENS)
    tape = pl.record(made.model, made.inputs)
    assert_close(tape.output, plain(made))
    with pytest.raises(pl.errors.ModelError, match=r"got `_transformer_encoder_layer_fwd`"):
        walked(tape.aim(target_of(made)))


AUTOCAST = partial(torch.autocast, "cpu", torch.bfloat16)
MODELS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "ResNet": (ResNet, IMAGE.float()),
    "ViT": (lambda: ViT(fused=False), IMAGE.float()),
    "LSTM": (lambda: nn.LSTM(6, 3, batch_first=True), TOKENS.float()),
    "dense": (layers, X.float()),
}


@pytest.mark.parametrize("name", MODELS)
def test_under_autocast(name):
    """Casts pass the signal; what arrives has the type of the input."""
    build, x = MODELS[name]
    made = pl_program(build(), x)
    with AUTOCAST(), Watched(made.model, x):
        tape = pl.record(made.model, x)
        (found,) = walked(tape.aim(target_of(made)))
    # oneDNN has no LSTM for this type that autograd could use.
    torch._C._set_mkldnn_enabled(name != "LSTM")
    try:
        with AUTOCAST():
            (expected,), output = by_autograd(made), plain(made)
    finally:
        torch._C._set_mkldnn_enabled(True)
    for (_, ours), (_, theirs) in zip(leaves(tape.output), leaves(output), strict=True):
        assert ours.dtype == theirs.dtype
        assert_close(ours, theirs, rtol=0.05, atol=0.05)
    assert found.dtype is torch.float32
    assert_close(found, expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))
    assert name == "LSTM" or "_to_copy" in {operation.name for operation in tape.operations}


def pl_program(model: nn.Module, x: torch.Tensor):
    made = program(model, x)
    made.model.float()
    return made


@pytest.mark.parametrize("where", [torch.inference_mode, torch.no_grad], ids=lambda w: w.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_inside_inference_mode(name, where: Callable[[], AbstractContextManager]):
    """Also with inputs and weights that were made there."""
    build, x = MODELS[name]
    torch.manual_seed(1)
    made = pl_program(build(), x)
    (expected,) = by_autograd(made)
    with where():
        torch.manual_seed(1)
        inside = pl_program(build(), x.clone())
        before = copy.deepcopy(inside.model.state_dict())
        tape = pl.record(inside.model, inside.inputs)
        (found,) = walked(tape.aim(target_of(inside)))
        assert_close(inside.model.state_dict(), before, rtol=0, atol=0)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_part_of_the_model_in_another_precision():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with AUTOCAST():
                h = self.first(x).relu()
            with torch.autocast("cpu", enabled=False):
                return self.last(h.float())

    made = pl_program(Mixed(), X.float())
    (found,) = walked(pl.record(made.model, made.inputs).aim(target_of(made)))
    (expected,) = by_autograd(made)
    assert_close(found, expected, rtol=0.05, atol=0.05)


class Quantising(nn.Module):
    """Rounds its hidden values to eight bits, beside a path that does not."""

    def __init__(self, beside: bool) -> None:
        super().__init__()
        self.beside = beside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rounded = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize()
        return rounded + x if self.beside else rounded


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(layers().float(), {nn.Linear}, dtype=torch.qint8)


# What torch says while the model is made, or when autograd meets it.
@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*reduce_range.*")
@pytest.mark.filterwarnings("ignore:.*other quantized tensor creation functions")
@pytest.mark.filterwarnings("ignore:quantized.*an autograd kernel was not registered")
@pytest.mark.parametrize("name", ["saliency", "lrp", "integrated_gradients"])
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (quantised, "quantized"),
        (lambda: Quantising(False), "quantiz|changes with the input, but not through"),
        (lambda: Quantising(True), "quantiz"),
    ],
    ids=["layers", "values", "values beside others"],
)
def test_a_quantised_model_is_a_named_error(build, message, name):
    model, x = build(), X.float()
    with Watched(model, x), pytest.raises(pl.errors.ModelError, match=message):
        pl.explain(model, x, name, target=0)
