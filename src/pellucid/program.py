"""The user's model as a program: how it is run, and how it is left exactly as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.lazy import LazyModuleMixin

from pellucid.batching import is_out_of_memory
from pellucid.dispatch import DispatchMode, called
from pellucid.errors import (
    DisconnectedError,
    InputError,
    ModelError,
    PellucidError,
    TrainingModeWarning,
    warn,
)
from pellucid.memory import Budget, fresh_bytes
from pellucid.structure import Inputs, leaves, outline, transform
from pellucid.target import Outcome

SOFTMAX = {"aten::_softmax", "aten::_log_softmax", "aten::_safe_softmax"}
# What may follow a softmax that is still the end of a model: it copies, casts or reshapes it.
AFTER_SOFTMAX = {
    "aten::" + name
    for name in ("clone", "_to_copy", "view", "_unsafe_view", "alias", "squeeze", "unsqueeze",
                 "transpose", "permute")
}  # fmt: skip
# Operations after which a value goes on outside of what torch follows.
CUTS = {"detach": ".detach()", "_local_scalar_dense": ".item()"}
DETACH = torch.ops.aten.detach.default
READ = torch.ops.aten._local_scalar_dense.default


class Program:
    """A model, and what has been found out about it by running it."""

    def __init__(
        self,
        model: Callable[..., Any],
        states: "list[State] | None" = None,
        budget: Budget | None = None,
    ) -> None:
        if not callable(model):
            raise InputError(
                "`model` must be a torch.nn.Module or a callable on tensors",
                got=model,
                hint="A state dict must be loaded into a module first.",
            )
        self.model = model
        self.ends_in_softmax: bool | None = None
        self.cuts = False
        self.states = states
        self.budget = budget or Budget()
        self._kept: list[State] | None = None

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Put back what a run changes of the model, so that the next begins where this one did.

        The first run shows which modules keep something; only those are looked at afterwards.
        `states` is what they were before it.
        """
        if self.states is None:
            self.states = [State.of(module) for module in _modules(self.model)]
        yield
        if self._kept is None:
            self._kept = [state for state in self.states if state.is_changed()]
        for state in self._kept:
            state.restore()

    def run(self, inputs: Inputs, *, fresh: bool = False) -> tuple[Any, Any]:
        """Return the output, and the output with a softmax at its end left out.

        The inputs are copied first, so that a model that writes to them does not change the
        user's tensors, and so that autograd accepts such a model; not those that are `fresh`, made
        for this run.
        """
        copied = inputs if fresh else inputs.replace([leaf.clone() for leaf in inputs.leaves])
        with self.repeatable():
            return self.once(copied)

    def once(self, inputs: Inputs) -> tuple[Any, Any]:
        """Run as above, but leave what the run changes of the model until `repeatable` ends.

        So a gradient is taken of a run whose buffers are still those that it had.
        """
        if self.ends_in_softmax is False:
            raw = call(self.model, inputs)
            return raw, raw
        with Watch() as watch:
            raw = call(self.model, inputs)
        scores = watch.before(raw)
        self.cuts = watch.cuts
        self.budget.learn(watch.made, inputs.rows)
        self.ends_in_softmax = scores is not raw
        return raw, scores

    def check_disconnected(self, inputs: Inputs, outcome: Outcome) -> None:
        """Raise if the score, which no recorded operation ties to the input, does change with it.

        Otherwise the answer zero is right: the score does not depend on the input.
        """
        moved = inputs.replace([_moved(leaf) for leaf in inputs.leaves])
        target = outcome.target
        with torch.no_grad():
            raw, scores = self.run(moved)
            score = target.score(target.before_softmax(raw, scores), raw)
        if not torch.equal(score, outcome.score):
            raise DisconnectedError(
                "The explained score must depend on the input through torch operations",
                found=f"the score {target!r}, which changes with the input, but not through any "
                "of them",
                hint="Look for .detach(), .numpy(), .item(), torch.no_grad() or a thread inside "
                "the model.",
            )


class Watch(DispatchMode):
    """Remember what went into every softmax, to find the scores before the last one.

    It also sees whether a path from an input is cut: whether a number is read, or what was
    detached is used. Autograd itself detaches what it saves, and does not use that in a call. And
    it counts the bytes that are `made`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scores: dict[int, tuple[Callable[[], Tensor], Tensor, int]] = {}
        self.cuts = False
        self.made = 0
        self.detached: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if is_quantized(function):
            raise quantized(function)
        result = called(function, args, kwargs or {})
        self.made += fresh_bytes(function, args, result)
        self.cuts = self.cuts or self._is_cut(function, args)
        if function is DETACH:
            self.detached[id(result)] = result
        name = function._schema.name
        if name in SOFTMAX:
            self.scores[id(result)] = (lambda: args[0], result, result._version)
        elif name in AFTER_SOFTMAX and id(args[0]) in self.scores:
            before = self.scores[id(args[0])][0]
            # Computed when it is asked for, where autograd can follow.
            again = lambda: function(before(), *args[1:], **(kwargs or {}))  # noqa: E731
            self.scores[id(result)] = (again, result, result._version)
        return result

    def _is_cut(self, function: Any, args: tuple) -> bool:
        if function is READ:
            return isinstance(args[0], Tensor) and args[0].requires_grad
        return any(id(arg) in self.detached for arg in args)

    def before(self, output: Any) -> Any:
        """Replace every tensor of the output that is a softmax by the scores it was made of."""
        if not any(self._is_softmax(leaf) for _, leaf in leaves(output)):
            return output
        return transform(
            lambda leaf: self.scores[id(leaf)][0]() if self._is_softmax(leaf) else leaf, output
        )

    def _is_softmax(self, leaf: Tensor) -> bool:
        """Whether this is a softmax, and was not written to since."""
        _, _, version = self.scores.get(id(leaf), (None, None, None))
        return version is not None and leaf._version == version


@cache
def is_quantized(function: Any) -> bool:
    """Whether an ATen call works on quantized numbers, or makes them."""
    name = function._schema.name.partition("::")[2]
    return function.namespace == "quantized" or name.startswith(("quantize_per_", "dequantize"))


def quantized(function: Any) -> ModelError:
    """The error of an operation that has no gradient, and no rule."""
    return ModelError(
        "The operations of a model must have gradients to be explained through",
        found=f"the quantized operation `{function.name()}`",
        hint="Explain the model before its quantization.",
    )


def check_output(output: Any) -> None:
    """Raise if there is no floating-point tensor in what the model returned."""
    if not any(leaf.is_floating_point() or leaf.is_complex() for _, leaf in leaves(output)):
        raise ModelError(
            "The model must return at least one floating-point tensor",
            found=outline(output),
            hint="Return the scores, explain a module that does, or wrap it: "
            "lambda x: model(x).scores; lambda x: model.head(x); lambda x: model(x)['logits'].",
        )


@contextmanager
def untouched(model: Callable[..., Any]) -> "Iterator[list[State]]":
    """Give back random states, and the attributes and buffers of a model, whatever happens."""
    modules = _modules(model)
    _warn_of_training(modules)
    states = [State.of(module) for module in modules]
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        with torch.inference_mode(False):
            yield states
    finally:
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        for state in states:
            state.restore()
            state.rewind()


def held_by(model: Callable[..., Any]) -> list[Tensor]:
    """The tensors that the modules of a model hold and may write to: buffers and attributes."""
    held = [
        item
        for module in _modules(model)
        for item in (*module._buffers.values(), *module.__dict__.values())
        if isinstance(item, Tensor) and not item.is_inference()
    ]
    return [item for item in held if item.layout is torch.strided]


@dataclass(frozen=True)
class State:
    """What a run may change of one module: its attributes, and what its tensors hold."""

    module: nn.Module
    attributes: dict[str, Any]
    registered: dict[str, Tensor | None] | None
    contents: list[tuple[Tensor, Tensor]]
    versions: tuple[int, ...]

    @classmethod
    def of(cls, module: nn.Module) -> "State":
        """Remember a module as it is now."""
        held = [*module._buffers.values(), *module.__dict__.values()]
        if getattr(module, "max_norm", None) is not None:  # an embedding that shrinks its rows
            held += module._parameters.values()
        tensors = [item for item in held if isinstance(item, Tensor)]
        # Of a TorchScript module only methods are bound late; all else is not Python's.
        script = isinstance(module, torch.jit.ScriptModule)
        return cls(
            module=module,
            attributes=dict(module.__dict__),
            registered=None if script else dict(module._buffers),
            contents=[(t, t.detach().clone()) for t in tensors if not t.is_inference()],
            versions=tuple(t._version for t in tensors if not t.is_inference()),
        )

    def is_changed(self) -> bool:
        """Whether a run left something of the module different."""
        registered = {} if self.registered is None else self.registered
        return (
            not _is_same(self.module.__dict__, self.attributes)
            or not _is_same(self.module._buffers if registered else {}, registered)
            or any(a.shape != b.shape or not torch.equal(a, b) for a, b in self.contents)
        )

    def restore(self) -> None:
        """Put back what is different now; what is the same is not touched."""
        if self.registered is None:
            for name in set(self.module.__dict__) - set(self.attributes):
                del self.module.__dict__[name]
        else:
            _put_back(self.module.__dict__, self.attributes)
            _put_back(self.module._buffers, self.registered)
        with torch.no_grad():
            for buffer, content in self.contents:
                if buffer.grad_fn is not None and content.grad_fn is None:
                    buffer.detach_()  # a run that autograd followed wrote to it
                # Compared by content: batch norm changes its buffers and not their version.
                if buffer.shape != content.shape or not torch.equal(buffer, content):
                    if buffer.shape != content.shape:
                        buffer.resize_(content.shape)
                    buffer.copy_(content)

    def rewind(self) -> None:
        """Give tensors the versions that they had with what they hold again.

        A graph of the user's that has saved one of them finds it as it was; one that is made of a
        run in between does not, and autograd says so.
        """
        held = tuple(tensor for tensor, _ in self.contents)
        torch._C._autograd._unsafe_set_version_counter(held, self.versions)


def _put_back(now: dict[str, Any], before: dict[str, Any]) -> None:
    """Make a dict hold the same objects as before, in the same order, if it does not."""
    if not _is_same(now, before):
        now.clear()
        now.update(before)


def _is_same(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether two dicts hold the same objects under the same names, in the same order."""
    same = map(id, now.values()), map(id, before.values())
    return list(now) == list(before) and list(same[0]) == list(same[1])


def _roots(model: Any, depth: int = 2) -> list[nn.Module]:
    """The modules that a model runs: itself, or those that a function or method of one uses."""
    if isinstance(model, nn.Module):
        return [model]
    if depth == 0:
        return []
    held = [getattr(model, name, None) for name in ("__self__", "func", "model")]
    held += [*getattr(model, "args", ()), *(getattr(model, "keywords", None) or {}).values()]
    held += [
        cell.cell_contents for cell in getattr(model, "__closure__", None) or () if _full(cell)
    ]
    held += getattr(model, "__defaults__", None) or ()
    code, names = getattr(model, "__code__", None), getattr(model, "__globals__", {})
    held += [names[name] for name in code.co_names if name in names] if code is not None else []
    reached = [item for item in held if isinstance(item, nn.Module) or callable(item)]
    reached = [item for item in reached if not isinstance(item, type)]
    return [root for item in reached for root in _roots(item, depth - 1)]


def _full(cell: Any) -> bool:
    """Whether a variable of an enclosing function has been given a value."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _modules(model: Callable[..., Any]) -> list[nn.Module]:
    """The modules of a model; none of one whose first run still has to make its parameters."""
    modules = list(dict.fromkeys(m for root in _roots(model) for m in root.modules()))
    lazy = any(isinstance(m, LazyModuleMixin) and m.has_uninitialized_params() for m in modules)
    return [] if lazy else modules


def _warn_of_training(modules: list[nn.Module]) -> None:
    random = [m for m in modules if isinstance(m, _DropoutNd | _NormBase) and m.training]
    if random:
        warn(
            f"The model is in training mode ({type(random[0]).__name__} and "
            f"{len(random) - 1} more): dropout and batch statistics are part of the explanation. "
            "Call model.eval() first.",
            TrainingModeWarning,
        )


def call(model: Callable[..., Any], inputs: Inputs) -> Any:
    """Call the model, and say with which inputs if it fails or returns nothing to explain.

    A model that takes a gradient inside of itself needs them to be switched on.
    """
    try:
        try:
            output = inputs.call(model)
        except RuntimeError as error:
            if torch.is_grad_enabled() or "does not require grad" not in str(error):
                raise
            with torch.enable_grad():
                output = inputs.copied().call(model)
    except (
        RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError,
        ArithmeticError,
    ) as error:  # fmt: skip
        if is_out_of_memory(error) or isinstance(error, PellucidError):
            raise
        raise ModelError(
            "The model must run on the inputs",
            got=inputs.pack(inputs.leaves),
            hint=f"It raised {type(error).__name__}: {str(error).strip().rstrip('.')}.",
        ) from error
    check_output(output)
    return output


def _moved(leaf: Tensor) -> Tensor:
    """Another point near an input, to see whether an output changes at all."""
    if not leaf.is_floating_point():
        return leaf
    return leaf * 0.5 + torch.linspace(-1, 1, leaf.numel()).to(leaf).reshape(leaf.shape)
