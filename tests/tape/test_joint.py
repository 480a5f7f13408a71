"""A run that is recorded and that autograd follows has the tape and the gradient of two."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import pellucid as pl
from pellucid.method import Attribution
from pellucid.program import Program, untouched
from pellucid.structure import Inputs, leaves
from pellucid.tape import recorder
from pellucid.tape.joint import Run, cuts_path, run_once
from pellucid.tape.walk import gradient as walked
from tests import zoo
from tests.architectures import functions, layers, networks, stock
from tests.architectures.program import SEED, by_autograd, same_gradient, target_of
from tests.architectures.program import Program as Made
from tests.counting import Counting

TABLE: dict[str, Callable[[], Made]] = {
    **{f"function: {name}": make for name, make in functions.FUNCTIONS.items()},
    **{f"network: {name}": make for name, make in networks.NETWORKS.items()},
    **{f"layer: {row}": lambda row=row: layers.ROWS[row](layers.layer_of(row))
       for row in layers.ROWS},
    **{f"stock: {name}": make for name, make in stock.GRADIENTS.items()},
}  # fmt: skip
SILENT = [
    "ignore:Sparse CSR tensor support is in beta state",
    "ignore:.*NLLLoss2d.* has been deprecated:FutureWarning",
    "ignore:Lazy modules are a new feature",
    "ignore:The PyTorch API of nested tensors is in prototype stage",
    "ignore:enable_nested_tensor is True",
    "ignore:.torch.jit.* is deprecated:DeprecationWarning",
]


def run(made: Made, *, followed: bool) -> Run:
    torch.manual_seed(SEED)
    with untouched(made.model) as states:
        program = Program(made.model, states)
        target = target_of(made)
        return run_once(program, Inputs.of(made.inputs), [target], followed=followed)[0]


def calls(found: Run) -> list[tuple]:
    """What is on a tape: operations with their numbers, layers, and where their inputs are from."""
    return [
        (op.number, op.name, op.path, [value.number for value in op.slots])
        for op in found.tape.operations
    ]


# Of the many single functions every third, and of the variants of layers every second.
FUNCTIONS = [name for name in TABLE if name.startswith("function")]
LAYERS = [name for name in TABLE if name.startswith("layer")]
SLOW = {*FUNCTIONS} - {*FUNCTIONS[::3]} | {*LAYERS[1::2]}


@pytest.mark.filterwarnings(*SILENT)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in TABLE]
)
def test_the_tape_is_the_same_and_the_gradient_that_of_autograd(name):
    made = TABLE[name]()
    plain, both = run(made, followed=False), run(made, followed=True)
    assert calls(both) == calls(plain)
    assert cuts_path(both.tape) == cuts_path(plain.tape)
    assert_close(both.tape.outcome.score, plain.tape.outcome.score, equal_nan=True)
    for a, b in zip(walked(both.tape), walked(plain.tape), strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-12, atol=1e-14, equal_nan=True)
    if both.gradient is not None:
        same_gradient(both.gradient, by_autograd(replace(made, twin=None)), made)
    assert not list(graphs(both))


def graphs(found: Run) -> list[object]:
    """What of a run still holds a graph."""
    tape = found.tape
    values = [v for op in tape.operations for v in (*op.slots, *op.outputs) if v is not None]
    values += [
        *tape.entries,
        tape.score_value,
        *(v for found in tape.recorder.layers.values() for v in found),
    ]
    held = [value for value in values if value.kept and value.tensor.grad_fn is not None]
    objects = [t for s in tape.recorder.storages.values() for t in s.objects]
    tensors = [*objects, tape.outcome.score, *(leaf for _, leaf in leaves(tape.output))]
    return held + [tensor for tensor in tensors if tensor.grad_fn is not None]


def broken(monkeypatch, what: str) -> None:
    """Undo one thing that a followed run takes care of."""
    if what == "saves":
        monkeypatch.setattr(recorder, "saves", lambda frame, again: False)
    elif what == "copies":
        monkeypatch.setattr(recorder.Recorder, "forget_saved", lambda self: None)
    else:
        monkeypatch.setattr("pellucid.tape.joint._settled", lambda tapes: tapes)


@pytest.mark.parametrize(
    ("what", "name"),
    [("saves", "layer: GRU"), ("copies", "layer: GRU"), ("graph", "layer: GRU")],
)
def test_the_law_above_can_be_broken(monkeypatch, what, name):
    name = next(each for each in TABLE if each.startswith(name))
    test_the_tape_is_the_same_and_the_gradient_that_of_autograd(name)
    broken(monkeypatch, what)
    with pytest.raises(AssertionError):
        test_the_tape_is_the_same_and_the_gradient_that_of_autograd(name)


def test_values_of_the_output_are_still_known():
    found = run(TABLE["network: squeeze and excite"](), followed=True).tape
    (leaf,) = [leaf for _, leaf in leaves(found.output)]
    assert found.recorder.value_of(leaf) in found.operations[-1].slots or any(
        found.recorder.value_of(leaf) in operation.outputs for operation in found.operations
    )


# What is compared says what it says alone


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.sigmoid()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, signal):
        return 3 * signal


LINEAR = zoo.load("perceptron").model
SINGLE = zoo.load("perceptron", torch.float32).model
X = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(2, 5)


def in_place(x: Tensor) -> Tensor:
    x.mul_(2)
    x[:, 0] = 1
    return LINEAR(x).relu_()


def rising(x: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        x.numpy()  # raises where autograd follows
    return LINEAR(x)


class Remembering(nn.Module):
    """Keeps what it computed in a buffer, and an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(5, dtype=torch.float64))
        self.inner = LINEAR

    def forward(self, x: Tensor) -> Tensor:
        self.mean += x.detach().mean(0)
        self.last = x
        return self.inner(x * self.mean)


# Programs, and how many runs they take for the methods below: recorded and followed at once, but
# one more where autograd refuses to give a gradient, or stops the model.
PROGRAMS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "plain": (LINEAR, 1),
    "a softmax at the end": (lambda x: LINEAR(x).softmax(1), 1),
    "detached": (lambda x: LINEAR(x + x.detach().sigmoid()), 1),
    "data": (lambda x: LINEAR(x + x.sigmoid().data), 1),
    "data of what was saved": (lambda x: LINEAR(x.sigmoid()).sigmoid().data + LINEAR(x), 1),
    "a list": (lambda x: LINEAR(x * float(x.sigmoid().detach().sum())), 1),
    "numpy": (lambda x: LINEAR(x + torch.from_numpy(x.detach().numpy())), 1),
    "a number": (lambda x: LINEAR(x * x.sigmoid().sum().item()), 1),
    "a backward of its own": (lambda x: LINEAR(StraightThrough.apply(x)), 1),
    "a part without gradients": (lambda x: LINEAR(x + torch.no_grad()(LINEAR)(x)[:, :1]), 1),
    "in place": (in_place, 1),
    "checkpoints": (lambda x: LINEAR(checkpoint(torch.sigmoid, x, use_reentrant=False)), 1),
    "complex numbers": (lambda x: LINEAR(torch.fft.fft(x).abs()), 1),
    "autocast": (lambda x: torch.autocast("cpu", torch.bfloat16)(SINGLE)(x.float()), 1),
    "no gradients": (torch.no_grad()(LINEAR), 2),
    "checkpoints that run backward": (
        lambda x: LINEAR(checkpoint(torch.sigmoid, x, use_reentrant=True)), 2
    ),
    "what is saved is written over": (lambda x: LINEAR(x.sigmoid().mul_(2)), 2),
    "a buffer": (Remembering(), 2),
}  # fmt: skip
METHODS = ["guided_backprop", "saliency", "gradient_x_input", pl.IntegratedGradients(steps=3)]


@pytest.mark.filterwarnings(
    "ignore:Converting a tensor with requires_grad=True", "ignore:None of the inputs have requires"
)
@pytest.mark.parametrize("order", [METHODS, METHODS[::-1], METHODS[1:3] + METHODS[:1]])
@pytest.mark.parametrize("name", PROGRAMS)
def test_methods_say_together_what_they_say_alone(name, order):
    function, runs = PROGRAMS[name]
    alone = [pl.explain(function, X, m, target=1, on_incomplete="ignore") for m in order]
    found = pl.compare(function, X, order, target=1, on_incomplete="ignore")
    for each, expected in zip(found, alone, strict=True):
        assert_close(each.values, expected.values, rtol=1e-9, atol=1e-12)
        assert_close(each.score, expected.score)
        assert each.notes == expected.notes
        assert not any(t.requires_grad for t in (each.values, each.score, each.output))
    path = sum(e.evaluations.forward for e in alone if isinstance(e.method, pl.IntegratedGradients))
    spent = sum(each.evaluations.forward for each in found)
    assert spent - max(path - len(X), 0) == runs * len(X)


def test_a_model_that_autograd_stops_is_recorded_without_it():
    with pytest.raises(pl.errors.ModelError, match="Can't call numpy"):
        pl.explain(rising, X, "saliency", target=1)
    with pytest.raises(pl.errors.ModelError, match="Can't call numpy"):
        pl.compare(rising, X, ["lrp", "saliency"], target=1)


class Stopping(nn.Module):
    """Fails in the first run under autograd, after it wrote to its buffer and drew a number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))
        self.linear, self.failed = LINEAR, []

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        drawn = torch.rand(())
        if torch.is_grad_enabled() and not self.failed:
            self.failed.append(True)
            raise RuntimeError("not under autograd")
        return self.linear(x) * self.runs * drawn


def test_a_run_that_autograd_stops_leaves_no_trace():
    model, again = Stopping(), Stopping()
    again.failed.append(True)
    torch.manual_seed(0)
    found = pl.compare(model, X, ["guided_backprop", "saliency"], target=1)
    torch.manual_seed(0)
    (expected,) = pl.compare(again, X, ["guided_backprop"], target=1)
    assert model.failed == [True]
    assert_close(found[0].values, expected.values)
    assert sum(each.evaluations.forward for each in found) == 3 * len(X)
    assert model.runs == 0


def test_gradients_that_the_caller_switched_off_cost_no_run():
    """Metrics ask methods under `no_grad`: autograd follows the one recorded run there too."""
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(2, 4)
    targets = [pl.Target.of(0), pl.Target.of(1)]
    with untouched(model) as states, torch.no_grad():
        program = Program(model, states)
        runs = run_once(program, Inputs.of(x), targets, followed=True)
    for number, each in enumerate(runs):
        assert each.gradient is not None
        point = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(model(point)[:, number].sum(), point)
        assert_close(each.gradient[0], expected)


def test_parameters_get_no_gradients_and_nothing_is_left():
    model = zoo.load("convolutional").model
    x = zoo.load("convolutional").inputs
    pl.compare(model, x, ["saliency", "lrp"], target=1)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_only_what_reads_the_tape_needs_a_recording(monkeypatch):
    """Methods that read autograd's gradient alone are answered by one pass that is not recorded."""
    monkeypatch.setattr("pellucid.tape.record.Recorder", None)
    path = pl.IntegratedGradients(steps=2)
    alone = pl.explain(LINEAR, X, path, target=1, on_incomplete="ignore")
    for order in (["saliency", "gradient_x_input", path], [path, "gradient_x_input", "saliency"]):
        model = Counting(LINEAR)
        found = pl.compare(model, X, order, target=1, on_incomplete="ignore")
        more = (
            0 if order[0] == "saliency" else len(X)
        )  # the gradient's pass gives the score as well
        assert sum(each.evaluations.forward for each in found) == alone.evaluations.forward + more
        assert sum(model.calls) == alone.evaluations.forward + more
        by_name = {each.method.name: each for each in found}
        assert_close(by_name["gradient_x_input"].values, by_name["saliency"].values * X)
        assert_close(by_name["integrated_gradients"].values, alone.values)
    two = pl.compare(LINEAR, X, [path, "interior_gradient"], target=1, on_incomplete="ignore")
    assert_close(two[0].values, alone.values)


def test_a_method_that_asks_for_what_it_did_not_say_is_answered():
    @dataclass(frozen=True, kw_only=True)
    class Silent(pl.Method):
        reads: ClassVar[frozenset[str]] = frozenset()

        def attribute(self, case):
            return Attribution(
                values=[g + 0 * case.tape.score_value.tensor.sum() for g in case.gradient]
            )

    for order in ([Silent(), "saliency"], ["saliency", Silent()], [Silent(), "guided_backprop"]):
        model = Counting(LINEAR)
        found = pl.compare(model, X, order, target=1)
        mine = next(each for each in found if isinstance(each.method, Silent))
        assert_close(mine.values, pl.explain(LINEAR, X, "saliency", target=1).values)
        assert len(model.calls) == 2
        assert sum(each.evaluations.forward for each in found) == 2 * len(X)


def test_what_is_held_while_methods_are_compared_is_the_tape(monkeypatch):
    """No graph is alive when the first method that reads the tape starts to walk."""
    held: list[bool] = []
    plain = pl.methods()["guided_backprop"].attribute

    def attribute(self, case):
        values = [v for op in case.tape.operations for v in op.slots if v.kept]
        held.extend(value.tensor.grad_fn is not None for value in values)
        return plain(self, case)

    monkeypatch.setattr(pl.methods()["guided_backprop"], "attribute", attribute)
    pl.compare(nn.Sequential(LINEAR, nn.Softplus()), X, ["guided_backprop", "saliency"], target=1)
    assert held
    assert not any(held)


def test_a_shared_input_and_several_inputs():
    weight = torch.ones(5, 3, dtype=torch.float64)

    def model(x: Tensor, ids: Tensor, scale: Tensor) -> Tensor:
        return F.softplus(x @ weight) * scale * ids.double()

    inputs = (X, torch.tensor([[1], [2]]), torch.tensor(3.0).double())
    for order in (["saliency", "guided_backprop"], ["guided_backprop", "saliency"]):
        found = pl.compare(model, inputs, order, target=1, batch_axis=(0, 0, None))
        for each, name in zip(found, order, strict=True):
            alone = pl.explain(model, inputs, name, target=1, batch_axis=(0, 0, None))
            assert each.notes == alone.notes
            assert_close(each.values[0], alone.values[0])
