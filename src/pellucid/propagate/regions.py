"""Activations that are written as several operations: regions of a tape that end in one value.

A region is a value y and the one value x that it is computed from, element by element. It is as
large as it can be, but that x + f(x) is a connection around f.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from pellucid.propagate.forms import ACTIVATIONS, COMPARISONS, KINKS, SAME, Form, form_of
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# fmt: off
LINEAR = {"add", "sub", "rsub", "neg"}
ARITHMETIC = LINEAR | {"mul", "pow", "square"}
# Operations that may be inside of a region: of one element, whatever else they read.
ELEMENTWISE = ACTIVATIONS | ARITHMETIC | SAME | KINKS | COMPARISONS | {
    "div", "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "expm1", "log", "log1p", "erf", "erfc",
    "atan", "sin", "cos", "relu", "relu6", "log_sigmoid_forward", "where", "masked_fill",
    "masked_scatter", "index_put", "heaviside", "logical_not", "logical_and", "logical_or",
    "logical_xor", "bitwise_not", "bitwise_and", "bitwise_or", "bitwise_xor", "nonzero", "unbind",
    "stack", "cat", "addcmul", "addcdiv", "lerp", "nan_to_num",
}
# These take the shape of what they read, and nothing else.
CONSTANT = {
    "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full",
    "new_empty", "zero", "fill",
}
# The points on which a region is tried, of both signs, and one far out.
GRID = (0.001, -0.02, 0.7, -0.3, 2.4, -3.0, -0.001, 0.02, -0.7, 0.3, -2.4, 3.0, -1.0)
FAR = 1e4
LARGEST = 64  # operations of a region
LOGARITHMS = {"log", "log1p", "log2", "log10"}
# fmt: on


Again: TypeAlias = Callable[[Operation, Callable[[Value], Tensor]], list[Tensor]]


@dataclass(frozen=True, eq=False)
class Region:
    """An elementwise function of `entry`; the last of its operations gives the result."""

    entry: Value
    operations: list[Operation]

    @property
    def end(self) -> Operation:
        """The operation that gives the result."""
        return self.operations[-1]

    def __call__(self, x: Tensor, again: Again = Operation.again) -> Tensor:
        """The function on other values, of the shape of the entry; `again` runs an operation."""
        values: dict[Value, Tensor] = {self.entry: x}

        def read(value: Value) -> Tensor:
            known = values.get(value)
            return value.tensor if known is None else known

        for operation in self.operations:
            results = again(operation, read)
            outputs = zip(operation.outputs, results, strict=True)
            values.update((value, result) for value, result in outputs if value is not None)
        return values[self.end.output].reshape(x.shape)


def regions(tape: Tape, ends: Collection[Value]) -> dict[int, Form]:
    """The form of every operation in a region, by its number; no route leads around `ends`."""
    operations = tape.operations
    found: dict[int, Form] = {}
    joins = [operation for operation in operations if _may_end(operation)]
    lone = any(each.name in ACTIVATIONS | LOGARITHMS or _beside(each) for each in operations)
    if not joins and not lone:
        return found
    users = _users(operations)
    for operation in reversed(joins):
        region = None if operation.number in found else _region(operation)
        if region is not None and _is_closed(region, users):
            found |= _forms(region, ends)
    for operation in reversed(operations):
        region = _softplus(operation) if operation.number not in found else None
        if region is not None and _is_closed(region, users):
            found |= _forms(region, ends)
        found |= _beside(operation) if operation.number not in found else {}
        form = found.get(operation.number) or form_of(operation)
        if form is not None and form.name == "activation":
            found |= _shifted(operation, form, users, ends)
    return found


def whole_regions(
    tape: Tape,
    may_end: Callable[[Operation], bool] | None = None,
    may_be_inside: Callable[[Operation], bool] | None = None,
) -> list[Region]:
    """The regions of a tape that are in no other one, from the last to the first.

    They are of single elements, unless it is said what else may end one and be in one.
    """
    operations = tape.operations
    users, found = _users(operations), list[Region]()
    inside: set[Operation] = set()
    for operation in reversed(operations):
        if operation in inside or not (may_end or _may_end)(operation):
            continue
        region = _region(operation, may_be_inside or _is_elementwise)
        if region is not None and _is_closed(region, users):
            found.append(region)
            inside.update(region.operations)
    return found


def _users(operations: list[Operation]) -> dict[Value, list[Operation]]:
    users: dict[Value, list[Operation]] = {}
    for operation in operations:
        for value in operation.slots if operation.carries else ():
            users.setdefault(value, []).append(operation)
    return users


# -- where regions are


def _may_end(operation: Operation) -> bool:
    """Whether ways from one value may join here, or one operation bends it that has no form."""
    if operation.name not in ELEMENTWISE or not operation.carries:
        return False
    several = len(operation.slots) > 1 and len(_sources(operation)) > 1
    return several or (operation.name in KINKS and form_of(operation) is None)


def _sources(operation: Operation) -> set[Value]:
    """The values of an operation that depend on more than the shape of the input."""
    return {value for value in operation.slots if value.depends and not _is_constant(value)}


def _is_constant(value: Value) -> bool:
    made = value.producer
    while made is not None and made.name in SAME:
        made = made.slots[0].producer
    return made is not None and made.name in CONSTANT


def _region(
    end: Operation, may_be_inside: Callable[[Operation], bool] | None = None
) -> Region | None:
    """Back from an operation to the one value all its elements come from, one by one."""
    is_inside = may_be_inside or _is_elementwise
    found, size = {end: None}, end.output.shape.numel()
    waiting = _sources(end) if is_inside(end) else set()
    while waiting:
        latest = max(waiting, key=lambda value: value.number)
        if len(waiting) == 1 and latest.carries and latest.shape.numel() == size:
            return Region(latest, sorted(found, key=lambda operation: operation.number))
        made = latest.producer
        if made is None or not is_inside(made) or len(found) == LARGEST:
            return None
        found[made] = None
        waiting = (waiting - {latest}) | _sources(made)
    return None


def _is_elementwise(operation: Operation) -> bool:
    """Whether each element of the result depends on one element of each value that is read."""
    if operation.name in ("amax", "max"):
        return _is_of_stack(operation)
    if operation.name in ("nonzero", "unbind"):
        return operation.name == "nonzero" or not operation.slots[0].carries
    return operation.name in ELEMENTWISE


def _is_of_stack(operation: Operation) -> bool:
    """The largest of a stack, or of what was joined along an axis in which each has one."""
    axes = operation.argument(1)
    axes = axes if isinstance(axes, (list, tuple)) else [axes]
    made, rank = operation.slots[0].producer, len(operation.slots[0].shape)
    if len(operation.slots) != 1 or made is None or made.name not in ("stack", "cat"):
        return False
    axis = made.argument(1, 0) % rank
    single = made.name == "stack" or all(value.shape[axis] == 1 for value in made.slots)
    return single and len(axes) == 1 and axes[0] is not None and axes[0] % rank == axis


def _is_closed(region: Region, users: dict[Value, list[Operation]]) -> bool:
    """Whether nothing between its entry and its end is read by others."""
    inside = set(region.operations)
    return all(inside.issuperset(users.get(value, ())) for value in _between(region))


def _between(region: Region) -> Iterator[Value]:
    for operation in region.operations[:-1]:
        yield from (value for value in operation.outputs if value is not None and value.carries)


# -- what they do


def _forms(region: Region, ends: Collection[Value]) -> dict[int, Form]:
    """The form of each operation, or none if the region is no activation."""
    if {operation.name for operation in region.operations} <= ARITHMETIC | SAME:
        return {}
    form = _tried(region)
    if form is None:
        return {}
    found = {operation.number: Form("inside") for operation in region.operations}
    if form.name in ("rectifier", "bound"):
        if not set(ends).isdisjoint(_between(region)):  # a route would lead around it
            return {}
        steps = route(region)
        found |= {number: Form("route", slot=slot) for number, slot in steps}
        form = replace(form, slot=steps[0][1], shape=region.entry.shape)
    return found | {region.end.number: form}


def _is_activation(region: Region) -> bool:
    """Whether it is more than one operation that bends, or a connection around an activation."""
    if len(region.operations) == 1:
        return False
    around = any(_is_linear(value, region.entry) for value in region.end.slots)
    return region.end.name not in LINEAR or not around


def _is_linear(value: Value, entry: Value) -> bool:
    """Whether a value is the entry times and plus constants."""
    while value is not entry:
        made = value.producer
        carrying = [] if made is None else [slot for slot in made.slots if slot.carries]
        if made is None or made.name not in LINEAR | SAME | {"mul", "div"} or len(carrying) != 1:
            return False
        value = carrying[0]
    return True


def route(region: Region) -> list[tuple[int, int]]:
    """The numbers of operations from the end to one that reads the entry, and the slots there."""
    made: dict[Value | None, Operation] = {
        value: operation for operation in region.operations for value in operation.outputs
    }
    found, operation = [], region.end
    while True:
        slots = {value: i for i, value in enumerate(operation.slots) if value.carries}
        direct = region.entry in slots
        value = region.entry if direct else next(value for value in slots if value in made)
        found.append((operation.number, slots[value]))
        if direct:
            return found
        operation = made[value]


def _tried(region: Region) -> Form | None:
    """What the region answers on the grid: the form of a function that clips, or of another."""
    entry = region.entry
    if not entry.dtype.is_floating_point:
        return None
    held = entry if entry.kept else region.end.output  # for the device
    x = held.tensor.new_empty(entry.shape, dtype=entry.dtype)
    try:
        return _answer(region, x)
    except (RuntimeError, IndexError):  # a shape that depends on the values
        return None


def _answer(region: Region, x: Tensor) -> Form | None:
    """A function that clips is a line, with a slope, between its values far out; try that."""
    small, tolerance = GRID[0], 1e-4 if x.dtype in (torch.float32, torch.float64) else 2e-2
    up, down = region(torch.full_like(x, small)) / small, region(torch.full_like(x, -small)) / small
    scale = float(torch.maximum(up.abs(), down.abs()).flatten()[0])
    if not scale > 0:
        return _bent(region, all(_cuts(p, region(p)) for p in _probes(x)))
    for slope in (up, -down):
        if not bool(((slope == 0) | (slope / scale - 1).abs().le(tolerance)).all()):
            return _bent(region, False)
    low, high = (region(torch.full_like(x, side)) for side in (-FAR, FAR))
    for p in _probes(x):
        clipped = p.clamp(low / scale, high / scale) * scale
        if not torch.allclose(region(p), clipped, rtol=tolerance, atol=0):
            one_side = not (down.any() or low.any()) or not (up.any() or high.any())
            return _bent(region, one_side)
    return _clipped(low / scale, high / scale, scale)


def _clipped(low: Tensor, high: Tensor, scale: float) -> Form | None:
    """The form of scale * clamp(x, low, high)."""
    if not low.any() and bool((high > 0).all()):
        return Form("rectifier", scale=scale)
    if not high.any() and bool((low < 0).all()):
        return Form("rectifier", scale=-scale)
    far = FAR * 0.98
    if bool((low < -far).all()):
        return None if bool((high > far).all()) or scale != 1 else Form("bound")
    return Form("activation")


def _bent(region: Region, doubtful: bool) -> Form | None:
    """The form of what does not clip; `doubtful` says that it is zero where rectifiers may be."""
    known = any(form_of(operation) is not None for operation in region.operations)
    if doubtful:
        return None if known else Form("inside", doubtful=True)
    return Form("activation") if _is_activation(region) else None


def _probes(x: Tensor) -> Iterator[Tensor]:
    """Tensors of the shape of x with points of the grid, each element with both signs."""
    grid = torch.tensor(GRID, dtype=x.dtype, device=x.device)
    places = torch.arange(x.numel(), device=x.device)
    for shift in range(2 if x.numel() >= 64 else len(GRID)):
        p = grid[(places + shift) % len(GRID)].reshape(x.shape)
        yield from (p, -p)


def _cuts(x: Tensor, y: Tensor) -> bool:
    """Whether each element stayed or is zero, and one is."""
    return bool(((y == x) | (y == 0)).all()) and bool((y == 0).any())


# -- what only the operations before it tell


def _softplus(end: Operation) -> Region | None:
    """The logarithm of an exponential and what is between them: log(1 + exp(x))."""
    if end.name not in LOGARITHMS or not end.carries:
        return None
    found, made = [end], end
    while made.name != "exp" and len(found) < LARGEST:
        carrying = [value for value in made.slots if value.carries]
        before = carrying[0].producer if len(carrying) == 1 else None
        if before is None or before.name not in LINEAR | SAME | {"exp", "expm1", "mul", "div"}:
            return None
        found.append(made := before)
    return Region(made.slots[0], found[::-1]) if made.name == "exp" else None


def _beside(operation: Operation) -> dict[int, Form]:
    """A form that depends on what goes in: clip(x + 3, 0, 6), and softshrink(relu(x)).

    The first is clipped at both sides of zero and so no rectifier of x; the second is one, of
    x - lambda, of which the shrinking is a bound.
    """
    made = operation.slots[0].producer if operation.slots else None
    form, before = form_of(operation), form_of(made) if made is not None else None
    if made is None or form is None:
        return {}
    if form.name == "rectifier" and form.bound is not None and _added(made) == form.bound / 2:
        return {operation.number: Form("activation")}
    if operation.name == "softshrink" and before is not None and before.name == "rectifier":
        return {operation.number: Form("bound")}
    return {}


def _added(operation: Operation) -> float | None:
    """The number that an operation adds, if it adds one."""
    if operation.name not in ("add", "sub") or not _is_by_number(operation):
        return None
    given = operation.argument(1)
    value = given.tensor.item() if isinstance(given, Value) and not given.carries else given
    if not isinstance(value, int | float):
        return None
    factor = operation.argument(2, operation.keywords.get("alpha", 1))
    return float(value) * factor * (1 if operation.name == "add" else -1)


# -- an activation and what is added to it


def _shifted(
    end: Operation, form: Form, users: dict[Value, list[Operation]], ends: Collection[Value]
) -> dict[int, Form]:
    """2 sigmoid(2x) - 1 is one activation: go on to the last number that is added."""
    passed, last = [end], end
    while True:
        reading = users.get(passed[-1].output, ())
        if passed[-1].output in ends or len(reading) != 1 or not _is_by_number(reading[0]):
            break
        passed.append(reading[0])
        last = reading[0] if reading[0].name in ("add", "sub", "rsub") else last
    if last is end:
        return {}
    between = passed[: passed.index(last)]
    return {step.number: Form("inside") for step in between} | {last.number: form}


def _is_by_number(operation: Operation) -> bool:
    """Times or plus one number."""
    if operation.name not in LINEAR | {"mul", "div"}:
        return False
    others = [value for value in operation.slots if not value.carries]
    plain = all(not value.depends and value.shape.numel() == 1 for value in others)
    return plain and len(operation.slots) - len(others) == 1
