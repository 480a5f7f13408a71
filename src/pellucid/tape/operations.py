"""What is on a tape: operations, and the values that flow between them."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.batching import is_out_of_memory
from pellucid.errors import ModelError

T = TypeVar("T")

# Operations behind which no signal goes on.
# fmt: off
STOPS = {
    "detach", "argmax", "argmin", "eq", "ne", "lt", "le", "gt", "ge", "sign", "floor", "round",
    "ceil", "isnan", "isfinite", "_local_scalar_dense", "zeros_like", "ones_like", "full_like",
    "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones", "new_full", "new_empty",
    "zero", "fill", "resize", "resize_as", "sgn", "bernoulli", "logical_not", "nonzero",
}
# fmt: on


# Types whose values can carry a signal.
CARRYING = {
    dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and (dtype.is_floating_point or dtype.is_complex)
}


class Value:
    """One version of one tensor of the recorded run.

    An in-place operation makes a new value of the same tensor. The data of the old one is then
    kept as a copy or, where it is cheap to compute again, dropped and computed when asked for.
    `depends` says whether it depends on the inputs; what does not is a constant (a weight, say).
    `carries` says whether a signal can pass it too: it is no integer or mask, nor made of those.
    `address` is where its data was when it was seen, 0 for what has none. `rectified` is what a
    rectifier wrote over it, if one did.

    A value refers weakly to the operation that made it, so that a walk that lets go of operations
    lets go of their values too, at once.
    """

    __slots__ = (
        "_producer", "_tensor", "address", "carries", "depends", "dtype", "position", "rectified",
        "shape",
    )  # fmt: skip

    def __init__(self, tensor: Tensor, *, depends: bool) -> None:
        self._tensor: Tensor | None = tensor
        self.shape, self.dtype = tensor.shape, tensor.dtype
        self.depends = depends
        self.carries = depends and self.dtype in CARRYING
        self._producer: weakref.ref[Operation] | None = None
        self.position = 0
        self.rectified: Value | None = None
        self.address = 0

    @property
    def producer(self) -> "Operation | None":
        """The operation that made it; `None` for inputs and constants."""
        return None if self._producer is None else self._producer()

    def made_by(self, producer: "weakref.ref[Operation]", position: int, carries: bool) -> None:
        """Remember the operation it is an output of, and whether a signal can pass that."""
        self._producer, self.position = producer, position
        self.carries = self.carries and carries

    @property
    def tensor(self) -> Tensor:
        """The data, computed again if it was dropped."""
        if self._tensor is not None:
            return self._tensor
        if self.producer is None:
            raise RuntimeError("A value that was dropped must still have its operation.")
        self._tensor = self.producer.again()[self.position]
        return self._tensor

    @property
    def kept(self) -> bool:
        """Whether the data is there without computing it again."""
        return self._tensor is not None

    def keep(self, tensor: Tensor) -> None:
        """Hold a copy, because the tensor itself is about to be overwritten."""
        self._tensor = tensor

    def drop(self) -> None:
        """Let go of the data; it is computed again if it is asked for."""
        self._tensor = None

    @property
    def number(self) -> int:
        """The number of the operation that made it; -1 for inputs and constants."""
        return -1 if self.producer is None else self.producer.number


class Operation:
    """One ATen call of the recorded run.

    `arguments` and `keywords` are those of the call with every tensor replaced by its value;
    `slots` lists those values in order, which is the order in which a rule returns signals.
    `path` is the layer it ran in, `line` the source line (only where lines were recorded).
    """

    __slots__ = (
        "__weakref__",
        "arguments",
        "function",
        "keywords",
        "line",
        "mutates",
        "name",
        "number",
        "outputs",
        "path",
        "random",
        "slots",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        function: Any,
        arguments: tuple,
        keywords: dict,
        slots: list[Value],
        path: str,
    ) -> None:
        self.number = number
        self.function = function
        self.name, random = _facts(function)
        self.arguments = arguments
        self.keywords = keywords
        self.slots = slots
        self.outputs: list[Value | None] = []
        self.mutates: tuple[int, ...] = ()
        self.random = RandomState.now() if random else None
        self.path = path
        self.line = ""

    @property
    def output(self) -> Value:
        """The first output, for the many operations that have one."""
        return self.result(0)

    def result(self, position: int) -> Value:
        """One of the outputs."""
        found = self.outputs[position]
        if found is None:
            raise RuntimeError(f"Output {position} of {self.name} is not a tensor.")
        return found

    def attach(self) -> None:
        """Read a value that is written through `.data` or `.detach()` as the one it came from.

        The write changes the memory of both, so what is written depends on the attached value.
        """
        for slot in self.mutates:
            source = self.slots[slot].producer
            if source is not None and source.name == "detach":
                self.slots[slot] = source.slots[0]

    @property
    def carries(self) -> bool:
        """Whether a signal can pass from an output to an input."""
        if self.name not in STOPS:
            for value in self.slots:  # a loop, since this is asked of every operation
                if value.carries:
                    return True
        return False

    def argument(self, position: int, default: Any = None) -> Any:
        """A positional argument, or the default where the call left it out."""
        return self.arguments[position] if position < len(self.arguments) else default

    def again(
        self,
        replace: Callable[[Value], Tensor] | None = None,
        run: Callable[..., Any] | None = None,
    ) -> list[Tensor]:
        """Run the operation once more, on its own values or on others in their place.

        `run` computes it in another way.
        """
        read = replace or (lambda value: value.tensor)
        tensors = [read(value) for value in self.slots]
        for slot in self.mutates:
            tensors[slot] = tensors[slot].clone()
        rest = iter(tensors)
        arguments = _filled(self.arguments, rest)
        keywords = {key: _filled(item, rest) for key, item in self.keywords.items()}
        with self.random.again() if self.random is not None else nullcontext():
            results = tensors_of((run or self.function)(*arguments, **keywords))
        return results or [tensors[slot] for slot in self.mutates]

    def __repr__(self) -> str:
        return f"<{self.number} {self.name} in {self.path or 'the model'}>"


@dataclass(frozen=True, eq=False)
class RandomState:
    """The state of torch's generators before an operation that draws from them."""

    cpu: Tensor
    cuda: list[Tensor]

    @classmethod
    def now(cls) -> "RandomState":
        """Copy the states; those of GPUs only where one is in use."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return cls(torch.get_rng_state(), cuda)

    def put(self) -> None:
        """Set the generators to this state."""
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw once more what was drawn then; afterwards the generators are where they were."""
        before = RandomState.now()
        self.put()
        try:
            yield
        finally:
            before.put()


def is_random(function: Any) -> bool:
    """Whether an ATen call may draw random numbers."""
    return torch.Tag.nondeterministic_seeded in function.tags


def by_identity(compute: Callable[[Any], T]) -> Callable[[Any], T]:
    """Remember what is known of an ATen call; faster than a cache that asks for its hash."""
    known: dict[int, tuple[Any, T]] = {}

    def recall(function: Any) -> T:
        found = known.get(id(function))
        if found is None:  # the call is held, so that its id stays its own
            found = known[id(function)] = (function, compute(function))
        return found[1]

    return recall


@by_identity
def _facts(function: Any) -> tuple[str, bool]:
    """Name, and whether it is random; together, since a lookup takes a while."""
    return operation_name(function), is_random(function)


def decomposition(function: Any) -> Callable[..., Any] | None:
    """How torch computes an ATen call from its core ones, if it says so."""
    return _decompositions().get(function)


@cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    from torch._decomp import core_aten_decompositions  # takes a moment

    return dict(core_aten_decompositions().items())  # the `get` of its own finds nothing


def operation_name(function: Any) -> str:
    """The name of an ATen call without its overload, and without the mark of in-place calls."""
    name = function._schema.name.partition("::")[2]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def tensors_of(result: Any) -> list[Any]:
    """The results of a call as a list; what is not a tensor becomes `None`."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        flat = [item for part in result for item in (part if isinstance(part, list) else [part])]
        return [item if isinstance(item, Tensor) else None for item in flat]
    return []


def _filled(argument: Any, tensors: Iterator[Tensor]) -> Any:
    """Put tensors back in the place of values."""
    if isinstance(argument, Value):
        return next(tensors)
    if isinstance(argument, tuple | list):
        return type(argument)(_filled(item, tensors) for item in argument)
    return argument


def fallback_adjoint(
    operation: Operation,
    signals: list[Tensor | None],
    run: Callable[..., Any] | None = None,
) -> list[Tensor | None]:
    """The adjoint of any operation, by running that one operation again under autograd.

    Where gradients are switched on, autograd follows the adjoint too: to the values and signals.
    """
    followed = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = [_leaf(value, followed=followed) for value in operation.slots]
        rest = iter(leaves)
        results = operation.again(lambda _: next(rest), run)
        pairs = [
            (result, signal)
            for result, signal in zip(results, signals, strict=True)
            if signal is not None and result.requires_grad
        ]
        carrying = [value.carries for value in operation.slots]
        wanted = [leaf for leaf, carries in zip(leaves, carrying, strict=True) if carries]
        if not pairs or not wanted:
            return [None] * len(leaves)
        try:
            found = iter(_vector_jacobian(pairs, wanted, followed=followed))
        except RuntimeError as error:
            raise _without_gradient(operation, error) from error
    return [next(found) if carries else None for carries in carrying]


def _without_gradient(operation: Operation, error: RuntimeError) -> Exception:
    """What to say of an operation for which torch has no derivative."""
    if is_out_of_memory(error):
        return error
    where = f"in `{operation.path}`" if operation.path else "in the model itself"
    return ModelError(
        "The operations of a model must have gradients to be explained through",
        found=f"`{operation.name}` {where}",
        hint=f"Torch says: {str(error).strip().rstrip('.')}.",
    )


def _vector_jacobian(
    pairs: list[tuple[Tensor, Tensor]], wanted: list[Tensor], *, followed: bool
) -> tuple[Tensor | None, ...]:
    take = partial(torch.autograd.grad, allow_unused=True, create_graph=followed)
    found: tuple[Tensor | None, ...]
    if any(result.is_complex() for result, _ in pairs):
        outputs, grads = zip(*pairs, strict=True)
        found = take(outputs, wanted, grads)
        return found
    # A product with the signal rather than `grad_outputs`, which would import a computer algebra
    # system at the first call.
    products = [(result * signal).sum() for result, signal in pairs]
    found = take(sum(products[1:], products[0]), wanted)
    return found


def _leaf(value: Value, *, followed: bool) -> Tensor:
    """What an operation is run on to be differentiated: of a value that is followed, a view."""
    tensor = value.tensor
    if followed and tensor.requires_grad:
        return tensor.view_as(tensor)
    tensor = tensor.detach()
    return tensor.requires_grad_() if value.carries else tensor
