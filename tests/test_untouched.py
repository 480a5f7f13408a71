"""The user's model, inputs and process come back exactly as they were, whatever happens."""

import contextlib
import copy
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

import pellucid as pl
from pellucid.errors import TrainingModeWarning
from pellucid.method import named
from pellucid.structure import leaves
from tests import laws, zoo
from tests.fitted import ready

HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks")]
GLOBAL_HOOKS = [
    name for name in vars(torch_module) if name.startswith("_global_") and "hook" in name
]
METHODS = {name: named(name) for name in pl.methods()}
METHODS["smoothgrad"] = pl.SmoothGrad(samples=3)
METHODS["gradient_shap"] = pl.GradientSHAP(samples=1)
METHODS["rise"] = pl.RISE(samples=3)
METHODS["exact_shapley"] = pl.ExactShapley(features=pl.Features.patches(2))
METHODS["meaningful_perturbation"] = pl.MeaningfulPerturbation(steps=2)
METHODS["extremal_perturbation"] = pl.ExtremalPerturbation(steps=2)
METHODS["integrated_gradients"] = pl.IntegratedGradients(steps=3)
METHODS["smoothgrad-lrp"] = pl.SmoothGrad(samples=3, method=pl.LRP())


def flags() -> dict[str, Any]:
    """What is global to the process."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark),
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "math": torch.backends.cuda.math_sdp_enabled(),
        "modes": torch._C._len_torch_dispatch_stack(),
        "functions": torch._C._len_torch_function_stack(),
        "autocast": torch.is_autocast_enabled("cpu"),
    } | {name: dict(getattr(torch_module, name)) for name in GLOBAL_HOOKS if name.endswith("hooks")}


def state(model: nn.Module) -> dict[str, Any]:
    """All of a model that can change, in a form that compares."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        found[name, "keys"] = sorted(vars(module))
        found[name, "training"] = getattr(module, "training", None)
        found[name, "class"] = type(module)
        found[name, "forward"] = vars(module).get("forward"), getattr(type(module), "forward", None)
        for hook in HOOKS:
            found[name, hook] = list(getattr(module, hook))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[name, "data"] = tensor.detach().clone()
        found[name, "id"] = id(tensor)
        # Running statistics are put back by writing to them, which counts as a version.
        found[name, "version"] = tensor._version if isinstance(tensor, nn.Parameter) else 0
        found[name, "requires_grad"] = tensor.requires_grad
        found[name, "grad"] = None if tensor.grad is None else tensor.grad.clone()
        found[name, "hooks"] = tensor._backward_hooks
        found[name, "keys"] = sorted(vars(tensor))
    return found


def same(before: dict[Any, Any], after: dict[Any, Any]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        if isinstance(value, Tensor):
            assert value.dtype == after[key].dtype, key
            assert torch.equal(value, after[key]), key
        else:
            assert value == after[key], key


class Watched:
    """Compares a model, its inputs and the process before and after a block."""

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        self.model, self.inputs = model, [leaf for _, leaf in leaves(inputs)]

    def snapshot(self) -> dict[Any, Any]:
        found = {("flag", key): value for key, value in flags().items()}
        found["random"] = torch.get_rng_state()
        for i, leaf in enumerate(self.inputs):
            found["input", i] = leaf.detach().clone()
            found["input", i, "version"] = leaf._version
            found["input", i, "requires_grad"] = leaf.requires_grad
            found["input", i, "grad"] = leaf.grad if leaf.is_leaf else None
        return found | state(self.model)

    def __enter__(self) -> "Watched":
        self.before = self.snapshot()
        return self

    def __exit__(self, kind: type | None, *rest: Any) -> None:
        if kind is None:
            same(self.before, self.snapshot())


class Breaks(nn.Module):
    """Raises in the middle of a forward pass, after a number of them."""

    class HalfwayError(Exception):
        """Not one of ours."""

    def __init__(self, after: int, error: type[BaseException] = HalfwayError) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True))
        self.last = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(2, 2)
        )
        self.calls = []
        self.after = after
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.calls.append(1)
        if len(self.calls) > self.after:
            raise self.error("half way")
        return self.last(h)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingModeWarning)
        yield


def prepared(model: nn.Module) -> nn.Module:
    """Leave traces that must survive: gradients, a frozen weight, a hook, mixed modes, a note."""
    parameters = list(model.parameters())
    for parameter in parameters[1:]:
        parameter.grad = torch.ones_like(parameter)
    if parameters:
        parameters[0].requires_grad_(False)
    modules = list(model.modules())
    modules[-1].train(not modules[-1].training)
    modules[0].register_forward_hook(lambda module, args, output: None)
    modules[0].note = "mine"
    return model


WATCHED = ["convolutional", "batch_norm", "residual_image", "training", "written_input"]


@pytest.mark.parametrize(
    ("name", "network"),
    [(m, n) for i, m in enumerate(METHODS) for j, n in enumerate(WATCHED) if (i + 2 * j) % 5 < 3],
)
def test_after_success(name, network):
    """Every method on three of the networks, in turn."""
    net = zoo.load(network)
    if not laws.has_maps(METHODS[name].name, net):
        pytest.skip("no feature maps")
    with Watched(prepared(net.model), net.inputs):
        try:
            made = ready(METHODS[name], net.model, net.inputs)
            made(net.model, net.inputs, target=net.target)
        except pl.errors.MissingRuleError:
            assert network == "training"


@pytest.mark.parametrize("network", zoo.NETWORKS)
def test_recording(network):
    net = zoo.load(network)
    with Watched(prepared(net.model), net.inputs):
        str(pl.record(net.model, net.inputs))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("after", "training", "error"),
    [
        (0, False, Breaks.HalfwayError),
        (0, True, KeyboardInterrupt),
        (1, False, KeyboardInterrupt),
        (1, True, Breaks.HalfwayError),
        (2, False, Breaks.HalfwayError),
        (2, True, KeyboardInterrupt),
    ],
)
def test_after_an_exception_half_way(name, after, training, error):
    model = prepared(Breaks(after, error).train(training))
    x = torch.randn(2, 1, 4, 4)
    with Watched(model, x), contextlib.suppress(error, pl.errors.MissingRuleError):
        ready(METHODS[name], model, x)(model, x, target=0, batch_size=1)


@pytest.mark.parametrize("after", [0, 1])
def test_recording_after_an_exception(after):
    model, x = prepared(Breaks(after).train()), torch.randn(2, 1, 4, 4)
    with Watched(model, x):
        try:
            pl.record(model, x)
        except Breaks.HalfwayError:
            assert after == 0


def test_comparing():
    net = zoo.load("batch_norm")
    with Watched(prepared(net.model), net.inputs):
        pl.compare(net.model, net.inputs, ["saliency", "gradcam", "lrp"], target=0)


def test_after_an_error_of_ours():
    net = zoo.load("training")
    for options in ({"target": 99}, {"target": lambda output: output.sum()}):
        with Watched(prepared(net.model), net.inputs), pytest.raises(pl.errors.PellucidError):
            pl.explain(net.model, net.inputs, "lrp", **options)


def test_inputs_of_the_user_s_own_graph():
    """Inputs that require a gradient keep their graph, and get no gradient from us."""
    net = zoo.load("perceptron")
    x = net.inputs.clone().requires_grad_()
    y = x * 2
    with Watched(net.model, y):
        found = pl.explain(net.model, y, "saliency")
    assert x.grad is None
    assert not found.values.requires_grad
    assert not found.inputs.requires_grad
    assert y.requires_grad


def test_the_explanation_does_not_share_memory_with_the_inputs():
    net = zoo.load("linear")
    x = net.inputs.clone()
    found = pl.explain(net.model, x, "saliency")
    x.zero_()
    assert torch.equal(found.inputs, net.inputs)


def test_a_model_can_be_copied_and_saved_afterwards(tmp_path):
    net = zoo.load("convolutional")
    for name in METHODS:
        made = ready(METHODS[name], net.model, net.inputs)
        pl.explain(net.model, net.inputs, made, target=0)
    copy.deepcopy(net.model)
    torch.save(net.model.state_dict(), tmp_path / "model.pt")


def test_two_threads_at_once():
    """They do not see each other's modules, flags or random numbers."""
    net = zoo.load("residual_image")
    names = ["saliency", "lrp", "gradcam", "smoothgrad"] * 3
    alone = {name: pl.explain(net.model, net.inputs, METHODS[name]).values for name in set(names)}
    with Watched(net.model, net.inputs), ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda name: pl.explain(net.model, net.inputs, METHODS[name]), names)
        for name, each in zip(names, found, strict=True):
            torch.testing.assert_close(each.values, alone[name])


def test_a_model_in_training_mode_is_announced():
    net = zoo.load("training")
    with pytest.warns(TrainingModeWarning, match=r"training mode .*Call model\.eval\(\) first"):
        pl.explain(net.model, net.inputs, "saliency")


def test_a_model_in_evaluation_mode_is_not():
    net = zoo.load("training")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pl.explain(net.model.eval(), net.inputs, "saliency")


def test_what_is_compared_would_be_noticed():
    """The comparison above fails for every kind of trace."""
    traces = [
        lambda m, x: m[0].weight.data.add_(1),
        lambda m, x: m[1].running_mean.add_(1),
        lambda m, x: m[1].train(),
        lambda m, x: m[0].weight.requires_grad_(False),
        lambda m, x: setattr(m[0].weight, "grad", torch.ones_like(m[0].weight)),
        lambda m, x: m[0].register_forward_hook(lambda *_: None),
        lambda m, x: setattr(m[0], "rule", 1),
        lambda m, x: torch.rand(1),
        lambda m, x: torch.backends.mha.set_fastpath_enabled(False),
        lambda m, x: torch_module.register_module_forward_hook(lambda *_: None),
        lambda m, x: x.add_(1),
        lambda m, x: m[0].weight.register_hook(lambda g: g),
    ]
    for leave in traces:
        net = zoo.load("batch_norm")
        try:
            with pytest.raises(AssertionError), Watched(net.model, net.inputs):
                trace = leave(net.model, net.inputs)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
            if hasattr(trace, "remove"):
                trace.remove()
