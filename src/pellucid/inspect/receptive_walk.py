"""What of the inputs some units of a tape can see: boolean signals that are walked back to there.

A signal has the shape (seed, *value), and many seeds are walked at once on the tape of one sample.
An operation passes a signal to all elements that it reads for the elements of the signal, whatever
their values are: to all of a pooling window, and through a rectifier that is off. What does count
is where a weight, a mask or the weight of an attention is exactly zero, for nothing passes there.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Size, Tensor

from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

aten = torch.ops.aten

Signals: TypeAlias = list[Tensor | None]
Step: TypeAlias = Callable[[Operation, Signals], Signals]

PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "mv", "dot"}
# These choose among the elements of an axis, the place of which is that of an argument.
CHOOSING = {
    "max": 1, "min": 1, "amax": 1, "amin": 1, "median": 1, "nanmedian": 1, "mode": 1, "sort": 1,
    "cummax": 1, "cummin": 1, "kthvalue": 2, "topk": 2,
}  # fmt: skip
SOFTMAX = {"_softmax", "_log_softmax", "_safe_softmax"}
STRIDED = {"as_strided", "as_strided_scatter"}


def pull(tape: Tape, start: Value, seeds: Tensor, until: Collection[Value], step: Step) -> Signals:
    """Walk signals back from one value, and return what arrives at each of others.

    `seeds` have the shape (seed, *start); `step` turns the signals at the outputs of an operation
    into one for each of its slots, and they add up where paths join.
    """
    signals: dict[Value, Tensor] = {start: seeds}
    for operation in reversed(tape.operations):
        arriving = [
            signals.pop(value, None) if value is not None and value not in until else None
            for value in operation.outputs
        ]
        if all(signal is None for signal in arriving):
            continue
        for value, signal in zip(operation.slots, step(operation, arriving), strict=True):
            if signal is not None and value.depends:
                held = signals.get(value)
                signals[value] = signal if held is None else held + signal
    return [signals.get(value) for value in until]


def seen(operation: Operation, signals: Signals) -> Signals:
    """Which elements of what an operation reads are seen at some elements of its results."""
    name, first = operation.name, signals[0]
    if kind(operation) == "stop":
        return [None] * len(operation.slots)
    if first is None:
        return _probed(operation, signals)
    if is_strided(operation):
        return strided(operation, first)
    if name == "embedding":
        return [None, first.any(-1)]
    if name in CONVOLUTIONS and not operation.slots[1].depends:
        return [_convolved(operation, first), *[None] * (len(operation.slots) - 1)]
    if name.startswith("max_pool"):
        return [windows(operation, first.float()) > 0.5]
    if name.startswith("adaptive_max_pool"):
        mean = getattr(torch.nn.functional, name.replace("max", "avg"))
        return _probed(operation, [first], lambda x, size: mean(x, tuple(size)))
    if name in CHOOSING:
        return [_chosen(operation, first), *[None] * (len(operation.slots) - 1)]
    if name in SOFTMAX:
        return [_softmax(operation, first)]
    if torch.Tag.pointwise in operation.function.tags:
        return [_alike(operation, slot, first) for slot in range(len(operation.slots))]
    return _probed(operation, signals)


def _convolved(operation: Operation, signal: Tensor) -> Tensor:
    """As many paths as there are from each input: a count, so that rounding cannot matter."""
    x, weight = operation.slots[:2]
    pattern = (weight.tensor != 0).float()
    like = pattern.new_empty(()).expand(signal.shape[0] * x.shape[0], *x.shape[1:])
    places = [operation.argument(i) for i in range(3, 9)]
    flat = signal.flatten(0, 1).float()
    paths = aten.convolution_backward(flat, like, pattern, None, *places, [True, False, False])[0]
    return (paths > 0.5).unflatten(0, (signal.shape[0], x.shape[0]))


def is_strided(operation: Operation) -> bool:
    """Whether an operation shows or writes a part of memory whose start is that of its whole."""
    return operation.name in STRIDED and not operation.slots[0].tensor.storage_offset()


def strided(operation: Operation, signal: Tensor) -> Signals:
    """A signal at a view of memory, or at a whole into which one was written.

    Both speak of where elements lie, which values made for a derivative do not have; and autograd's
    formula for the second was seen to be wrong for what stays (torch 2.13).
    """
    whole, flat = operation.slots[0], signal.reshape(len(signal), -1)
    places = _places(operation)
    if operation.name == "as_strided":
        spread = flat.new_zeros(len(flat), whole.shape.numel()).index_add_(1, places, flat)
        return [spread.reshape(len(flat), *whole.shape)]
    part = operation.slots[1]
    kept = flat.index_fill(1, places, 0).view_as(signal) if whole.depends else None
    written = flat[:, places].reshape(len(flat), *part.shape) if part.depends else None
    return [kept, written]


def _places(operation: Operation) -> Tensor:
    """The numbers of the elements of a whole that a view of its memory shows, in order."""
    layout, first = operation.slots[0].tensor, len(operation.slots)
    numbers = torch.arange(layout.numel(), device=layout.device).view(layout.shape)
    laid = numbers.new_empty_strided(layout.shape, layout.stride()).copy_(numbers)
    size, stride = operation.arguments[first : first + 2]
    return laid.as_strided(size, stride, operation.argument(first + 2) or 0).flatten()


def windows(operation: Operation, signal: Tensor) -> Tensor:
    """A signal at a max-pooling, given to all of each window."""
    rank = int(operation.name[len("max_pool")])
    size, stride, padding, dilation = pooling(operation)
    space = operation.slots[0].shape[-rank:]
    flat = signal.reshape(-1, 1, *signal.shape[-rank:])
    spread = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    found = spread(flat, flat.new_ones(1, 1, *size), stride=stride, dilation=dilation)
    for axis, (before, length) in enumerate(zip(padding, space, strict=True), start=2):
        missing = max(0, before + length - found.shape[axis])
        more = found.new_zeros([*found.shape[:axis], missing, *found.shape[axis + 1 :]])
        found = torch.cat([found, more], axis).narrow(axis, before, length)
    return found.reshape(*signal.shape[:-rank], *space)


def pooling(operation: Operation) -> tuple[list[int], ...]:
    """Size, stride, padding and dilation of the windows of a max-pooling, a number an axis."""
    rank = int(operation.name[len("max_pool")])
    given = [operation.argument(i, default) for i, default in ((1, 1), (2, []), (3, 0), (4, 1))]
    size, stride, padding, dilation = (
        [*each] * rank if len(each) == 1 else [*each] for each in map(_listed, given)
    )
    return size, stride or size, padding, dilation


def _listed(given: Any) -> list[int]:
    return [given] if isinstance(given, int) else list(given)


def _chosen(operation: Operation, signal: Tensor) -> Tensor:
    """All elements of the axes among which one is chosen."""
    shape = operation.slots[0].shape
    given = operation.argument(CHOOSING[operation.name], operation.keywords.get("dim"))
    if given is None and operation.name in ("sort", "topk", "kthvalue"):
        given = -1
    axes = [axis % len(shape) for axis in _listed(given)] if given not in (None, []) else []
    return spread_over(signal, shape, axes or [*range(len(shape))])


def spread_over(signal: Tensor, shape: Size, axes: list[int]) -> Tensor:
    """A signal at a reduction over some axes, which it may have kept, at all that it reads."""
    if signal.ndim - 1 == len(shape):
        found = signal.any([axis + 1 for axis in axes], keepdim=True)
    else:
        found = signal
        for axis in sorted(axes):
            found = found.unsqueeze(axis + 1)
    return found.expand(len(signal), *shape)


def _softmax(operation: Operation, signal: Tensor) -> Tensor:
    """All elements that share one sum, but those that a mask has taken out of it."""
    shares = operation.output.tensor
    shares = shares if operation.name != "_log_softmax" else shares.exp()
    axis = operation.argument(1) % len(operation.output.shape)
    return spread_over(signal & (shares > 0), operation.output.shape, [axis]) & (shares > 0)


def _alike(operation: Operation, slot: int, signal: Tensor) -> Tensor:
    """The same element; nothing where it is multiplied by a constant zero, or is not chosen."""
    value, name = operation.slots[slot], operation.name
    others = [each for i, each in enumerate(operation.slots) if i != slot and not each.depends]
    if name in ("mul", "div"):
        for other in others:
            signal = signal & (other.tensor != 0)
    if name == "where" and slot and not operation.slots[0].depends:
        chosen = operation.slots[0].tensor
        first = operation.arguments[1] is value and slot == 1
        signal = signal & (chosen if first else ~chosen)
    if name == "masked_fill" and slot == 0 and not operation.slots[1].depends:
        signal = signal & ~operation.slots[1].tensor
    return _reduced(signal, value.shape)


def _reduced(signal: Tensor, shape: Size) -> Tensor:
    """Undo broadcasting."""
    lead = signal.ndim - 1 - len(shape)
    found = signal.flatten(1, lead).any(1) if lead else signal
    single = [i + 1 for i, n in enumerate(shape) if n == 1 and found.shape[i + 1] != 1]
    return found.any(single, keepdim=True) if single else found


def _probed(
    operation: Operation, signals: Signals, run: Callable[..., Tensor] | None = None
) -> Signals:
    """Where the derivative is not zero at random values, for random signals on some elements.

    That is where the operation reads them, but for values that cancel by chance. Constants are what
    they are; in products, so are exact zeros.
    """
    weighted = [None if signal is None else _random(signal) for signal in signals]
    read = partial(_probe, zeros=operation.name in PRODUCTS)
    found = derivative(operation, weighted, read, run)
    return [None if each is None else each != 0 for each in found]


def derivative(
    operation: Operation,
    signals: Signals,
    read: Callable[[Value], Tensor],
    run: Callable[..., Tensor] | None = None,
) -> Signals:
    """The adjoint of an operation at the values that are `read`, for many signals at once.

    The operation runs again under autograd, on one sample; signals have the shape (seed, *result).
    """
    with torch.enable_grad():
        leaves = [_leaf(value, read) for value in operation.slots]
        rest = iter(leaves)
        results = operation.again(lambda _: next(rest), run)
        pairs = [
            (result, signal.to(result.dtype))
            for result, signal in zip(results, signals, strict=False)
            if signal is not None and result.requires_grad
        ]
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        if not pairs or not wanted:
            return [None] * len(leaves)
        outputs, weights = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(
            outputs, wanted, weights, allow_unused=True, is_grads_batched=True
        ))  # fmt: skip
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def _leaf(value: Value, read: Callable[[Value], Tensor]) -> Tensor:
    tensor = value.tensor.detach()
    if tensor.is_inference():  # of a model that was made so, which autograd does not take
        tensor = tensor.clone()
    if not value.depends or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    return read(value).detach().requires_grad_()


def _probe(value: Value, zeros: bool) -> Tensor:
    """Random positive values; with `zeros`, those of the value stay."""
    tensor = value.tensor
    random = _random(torch.ones_like(tensor, dtype=torch.bool)).to(tensor.dtype)
    return random * (tensor != 0) if zeros else random


def _random(where: Tensor) -> Tensor:
    """Random positive numbers where a signal is."""
    return (torch.rand(where.shape, device=where.device) + 0.5) * where
