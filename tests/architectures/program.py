"""What one entry of a table of programs is, and what every entry is checked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.structure import leaves
from pellucid.tape.record import Tape
from pellucid.tape.walk import gradient as walked
from pellucid.target import Target
from tests.test_untouched import Watched

# The names of the ATen calls on every tape that was checked, for the test that lists them.
SEEN: dict[str, set[str]] = {}
# Whatever a program draws, every run of it draws the same.
SEED = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A model with inputs, and how near the walk must be to autograd.

    `unused` names the positions of inputs that the score does not depend on. `constant` says that
    no input is floating point, so that only the output is compared. `twin` is the same function as
    autograd can follow it, where it cannot follow the model.
    """

    model: Callable[..., Any]
    inputs: Any
    target: Any = None
    rtol: float = 1e-7
    atol: float = 1e-10
    unused: tuple[int, ...] = ()
    constant: bool = False
    twin: Callable[..., Any] | None = None


def program(model: Any, *inputs: Tensor, **options: Any) -> Program:
    """A program with inputs by position, in evaluation mode and double precision."""
    if isinstance(model, nn.Module):
        model = model.double().eval()
    return Program(model=model, inputs=inputs[0] if len(inputs) == 1 else inputs, **options)


class Net(nn.Module):
    """A function of its layers and its inputs, as a module."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(*self.layers, *inputs, **named)


def net(function: Callable[..., Any], *layers: nn.Module) -> Net:
    """A function of layers, with batch statistics that are not those of a fresh layer."""
    made = Net(function, *layers)
    for name, buffer in made.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.linspace(0.1, 0.9, len(buffer)))
    return made


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in double precision, the same in every call."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def weighted(rows: int) -> Callable[[Any], Tensor]:
    """A score that hears every floating-point number of an output; its sum is what is compared."""

    def score(output: Any) -> Tensor:
        parts = [_weighted(leaf) for _, leaf in leaves(output) if _is_continuous(leaf)]
        total = sum(parts[1:], parts[0])
        return total.reshape(1).expand(rows) / rows

    return score


def _is_continuous(leaf: Tensor) -> bool:
    return leaf.is_floating_point() or leaf.is_complex()


def _weighted(leaf: Tensor) -> Tensor:
    real = torch.view_as_real(leaf) if leaf.is_complex() else leaf
    flat = real.reshape(-1).to(torch.float64)
    flat = flat.masked_fill(flat.isinf(), 0.0)
    return (flat * torch.arange(1.0, len(flat) + 1, dtype=torch.float64).sin()).sum()


def tensors_of(inputs: Any) -> list[Tensor]:
    """The tensors of inputs in order."""
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values() if isinstance(inputs, dict) else inputs)


def call(model: Callable[..., Any], inputs: Any, tensors: list[Tensor]) -> Any:
    """Call a model as its inputs say, with these tensors."""
    if isinstance(inputs, dict):
        return model(**dict(zip(inputs, tensors, strict=True)))
    return model(*tensors)


def target_of(made: Program) -> Target:
    """The target of a program: its own, or a weighted sum of all it returns."""
    given = weighted(len(tensors_of(made.inputs)[0])) if made.target is None else made.target
    return Target.of(given)


def check(made: Program, name: str = "") -> Tape:
    """Record and walk a program, and compare both with the plain run and with autograd."""
    torch.manual_seed(SEED)
    with Watched(_module(made.model), made.inputs):
        tape = pl.record(made.model, made.inputs)
        SEEN[name] = {operation.name for operation in tape.operations}
        assert len(str(tape).splitlines()) == len(tape) + 2
        found = walked(tape.aim(target_of(made)))
    same_output(tape.output, plain(made), made)
    same_gradient(found, by_autograd(made), made)
    return tape


def _module(model: Callable[..., Any]) -> nn.Module:
    return model if isinstance(model, nn.Module) else nn.Module()


@contextmanager
def buffers_given_back(model: Callable[..., Any]) -> Iterator[None]:
    """Let every run of a model that writes to its buffers begin with the same content."""
    buffers = list(_module(model).buffers())
    contents = [buffer.clone() for buffer in buffers]
    yield
    for buffer, content in zip(buffers, contents, strict=True):
        if not torch.equal(buffer, content):
            buffer.data.copy_(content)


def plain(made: Program) -> Any:
    """What the model returns when nobody looks."""
    torch.manual_seed(SEED)
    with torch.no_grad(), buffers_given_back(made.model):
        return call(made.model, made.inputs, [x.clone() for x in tensors_of(made.inputs)])


def by_autograd(made: Program) -> list[Tensor]:
    """The gradient of the score for every input; zeros for one that has none."""
    tensors = tensors_of(made.inputs)
    points = [x.detach().clone().requires_grad_(_is_continuous(x)) for x in tensors]
    wanted = [x for x in points if x.requires_grad]
    torch.manual_seed(SEED)
    with torch.enable_grad(), buffers_given_back(made.model):
        # A view of a leaf may be written to, the leaf itself may not.
        given = [x * 1 if x.requires_grad else x for x in points]
        output = call(made.twin or made.model, made.inputs, given)
        target = target_of(made).resolve(output, len(tensors[0]))
        score = target.score(output, output).sum()
    if not wanted or not score.requires_grad:
        return [torch.zeros_like(x) for x in points]
    grads = torch.autograd.grad(score, wanted, allow_unused=True, materialize_grads=True)
    found: Iterator[Tensor] = iter(grads)
    return [next(found) if x.requires_grad else torch.zeros_like(x) for x in points]


def same_output(found: Any, expected: Any, made: Program) -> None:
    """All tensors of two outputs are equal, and lie at the same places."""
    ours, theirs = list(leaves(found)), list(leaves(expected))
    assert type(found) is type(expected)
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    assert theirs
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=max(1e-5, made.rtol), atol=max(1e-9, made.atol), equal_nan=True)


def same_gradient(found: list[Tensor | None], expected: list[Tensor], made: Program) -> None:
    """The walk says what autograd says, and that is not nothing."""
    for position, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert theirs.isfinite().all()
        if position in made.unused or not _is_continuous(theirs):
            assert not theirs.any()
        else:
            assert theirs.any(), f"input {position} changes nothing: a poor test"
        ours = torch.zeros_like(theirs) if ours is None else ours
        assert_close(ours, theirs, rtol=made.rtol, atol=made.atol)
    assert made.constant or any(map(_is_continuous, expected))
