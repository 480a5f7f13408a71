"""What is felt of some windows at every operation of a tape, and how much that is to compute."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from pellucid.perturb.incremental import whole
from pellucid.perturb.incremental.boxes import Boxes
from pellucid.perturb.incremental.local import Local, map_of
from pellucid.perturb.incremental.rules import local
from pellucid.perturb.windows import Windows
from pellucid.tape.adjoints import CONVOLUTIONS
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

# From this part of a map on, all of it is computed: cutting and pasting would cost more.
NEARLY_ALL = 0.85
# In how many bands the windows of an axis may be cut, each with boxes of a size of its own: less
# is felt of windows at the border of an image.
BANDS = (1, 6)
# In multiply-adds: what it costs to read and write an element, to call an operation, and to bring
# an element of a weight into the order that a convolution wants.
ELEMENT, CALL, WEIGHT = 20, 2e6, 50


@dataclass(frozen=True, eq=False)
class Step:
    """An operation that is computed again: in boxes by a rule, or without one on whole maps.

    `done` are the values that nothing after it reads.
    """

    operation: Operation
    rule: Local | None
    boxes: Boxes | None
    done: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Cost:
    """Multiply-adds of a sample, elements that are read and written, and the most at a time."""

    products: float = 0.0
    elements: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, parts: "Iterable[Cost]") -> "Cost":
        """One after another."""
        found = list(parts)
        return cls(
            sum(each.products for each in found),
            sum(each.elements for each in found),
            max((each.most for each in found), default=0.0),
        )

    @property
    def work(self) -> float:
        """All of it, in multiply-adds."""
        return self.products + ELEMENT * self.elements


@dataclass(frozen=True, eq=False)
class Plan:
    """How the scores of some windows on one input are computed.

    `numbers` are those of the windows; `boxes` has what is felt of each at the values that are not
    computed as a whole. `stop` is the first operation that has no rule for boxes.
    """

    numbers: Tensor
    steps: tuple[Step, ...]
    boxes: Mapping[Value, Boxes]
    cost: Cost
    stop: Operation | None


@dataclass(frozen=True, eq=False)
class Course:
    """The operations between one input of a tape and what is read of its output."""

    tape: Tape
    entry: Value
    ends: frozenset[Value]
    operations: tuple[Operation, ...]
    obstacle: Operation | None

    @classmethod
    def of(cls, tape: Tape, entry: Value, ends: Iterable[Value]) -> "Course":
        """Follow an input forwards, and the ends backwards."""
        felt, touched = {entry}, []
        for operation in tape.recorder.operations:
            if any(value in felt for value in operation.slots):
                touched.append(operation)
                felt.update(value for value in operation.outputs if value is not None)
        needed, found = set(ends), []
        for operation in reversed(touched):
            if any(value in needed for value in operation.outputs):
                found.append(operation)
                needed.update(operation.slots)
        samples = entry.shape[0]
        blind = [op for op in touched if not any(v is not None for v in op.outputs)]
        barred = [op for op in reversed(found) if not whole.allows(op, samples)]
        return cls(
            tape=tape,
            entry=entry,
            ends=frozenset(ends),
            operations=tuple(reversed(found)),
            obstacle=next(iter([*blind, *barred]), None),
        )

    @property
    def cost(self) -> Cost:
        """What all of it costs, a sample."""
        return Cost.of(_cost(op, self.entry.shape[0], 1.0) for op in self.operations)

    def plan(self, windows: Windows, numbers: Tensor) -> Plan:
        """What is felt of some windows at every operation."""
        boxes = {self.entry: boxes_of(windows, numbers, map_of(self.entry))}
        everywhere: set[Value] = set()
        made, costs, stop = [], [], None
        for operation in self.operations:
            rule, found = None, None
            if not any(value in everywhere for value in operation.slots):
                rule = local(operation, boxes)
                stop = stop or (operation if rule is None else None)
                found = None if rule is None else rule.felt(boxes)
            if found is None or found.share >= NEARLY_ALL:
                rule, found = None, None
                everywhere.update(value for value in operation.outputs if value is not None)
            else:
                boxes |= {value: found for value in operation.outputs if value is not None}
            made.append((operation, rule, found))
            share = 1.0 if found is None else found.share
            costs.append(_cost(operation, self.entry.shape[0], share))
        steps = [Step(*each, done) for each, done in zip(made, self._done(), strict=True)]
        return Plan(numbers, tuple(steps), boxes, Cost.of(costs), stop)

    def arranged(self, windows: Windows) -> "list[Plan]":
        """Plans for all windows, in as many blocks as make the least work."""
        best: list[Plan] = []
        for bands in BANDS:
            blocks = list(blocks_of(windows, bands))
            found = [self.plan(windows, numbers) for numbers in blocks]
            if best and self.work(found) > 0.95 * self.work(best):
                break
            best = found
        return best

    def work(self, plans: Sequence[Plan]) -> float:
        """What plans cost for one sample, with what there is to every call."""
        calls = sum(CALL + WEIGHT * _weight(op) for op in self.operations)
        return sum(calls + len(plan.numbers) * plan.cost.work for plan in plans)

    def _done(self) -> list[tuple[Value, ...]]:
        """For each operation the values that nothing after it reads."""
        last: dict[Value, int] = {}
        for number, operation in enumerate(self.operations):
            for value in (*operation.slots, *operation.outputs):
                if value is not None and value not in self.ends:
                    last[value] = number
        found: list[list[Value]] = [[] for _ in self.operations]
        for value, number in last.items():
            found[number].append(value)
        return [tuple(each) for each in found]


def boxes_of(windows: Windows, numbers: Tensor, shape: tuple[int, ...]) -> Boxes:
    """Where windows lie on a map of this shape."""
    starts = windows.starts(numbers)[:, 1:]
    return Boxes.spanning(starts, starts + torch.tensor(windows.size[1:]), shape)


def blocks_of(windows: Windows, bands: int) -> Iterable[Tensor]:
    """The numbers of windows, in blocks of neighbours: so many bands on every spatial axis."""
    parts = [[torch.arange(windows.counts[0])]]
    for count in windows.counts[1:]:
        size = -(-count // min(bands, max(1, count // 2)))
        parts.append(list(torch.arange(count).split(size)))
    for block in product(*parts):
        found = torch.zeros(1, dtype=torch.long)
        for places, count in zip(block, windows.counts, strict=True):
            found = (found.unsqueeze(1) * count + places).flatten()
        yield found


def _cost(operation: Operation, samples: int, share: float) -> Cost:
    """What part of an operation costs, a sample."""
    out = sum(v.shape.numel() for v in operation.outputs if v is not None) / samples
    read = sum(v.shape.numel() for v in operation.slots if v.depends) / samples
    return Cost(_products(operation) / samples * share, out * share, (out + read) * share)


def _products(operation: Operation) -> float:
    """The multiply-adds of all samples."""
    name, slots = operation.name, operation.slots
    if name in CONVOLUTIONS:
        x, weight = operation.arguments[:2]
        maps = x if operation.argument(6) else operation.output
        return float(maps.shape[0] * math.prod(map_of(maps)) * weight.shape.numel())
    if name in ("addmm", "mm", "bmm"):
        inner = slots[1 if name == "addmm" else 0].shape[-1]
        return float(operation.output.shape.numel() * inner)
    return 0.0


def _weight(operation: Operation) -> int:
    """The elements of what an operation computes with, whatever the sample."""
    return sum(value.shape.numel() for value in operation.slots if not value.depends)
