"""The scores of inputs with windows occluded, from a recorded run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import Batcher, wide
from pellucid.perturb.incremental import whole
from pellucid.perturb.incremental.boxes import Boxes, extended, from_rows, paste, rows_of, table
from pellucid.perturb.incremental.plan import Course, Plan
from pellucid.perturb.windows import Windows
from pellucid.program import AFTER_SOFTMAX, SOFTMAX
from pellucid.structure import leaves, transform
from pellucid.tape.adjoints import CONVOLUTIONS
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.target import Target

# The elements that one operation reads and writes, where the batch size is left open.
AT_ONCE = 2**23


@dataclass(frozen=True, eq=False)
class Readout:
    """What of a tape becomes the output, and the output without a softmax at its end.

    `values` has the value of each output that depends on the inputs, by the identity of its
    tensor; `before` what went into the softmax that it is, with the steps after that softmax.
    """

    tape: Tape
    values: dict[int, Value]
    before: dict[int, tuple[Value, list[Operation]]]

    @classmethod
    def of(cls, tape: Tape) -> "Readout":
        """Find the values of an output."""
        values, before = {}, {}
        for _, leaf in leaves(tape.output):
            value = tape.recorder.value_of(leaf)
            if value is None or not value.depends:
                continue
            values[id(leaf)] = value
            steps, made = [], value.producer
            while made is not None and made.function._schema.name in AFTER_SOFTMAX:
                steps.append(made)
                made = made.slots[0].producer
            if made is not None and made.function._schema.name in SOFTMAX:
                before[id(leaf)] = (made.slots[0], steps[::-1])
        return cls(tape, values, before)

    @property
    def ends(self) -> list[Value]:
        """The values that it reads."""
        return [*self.values.values(), *(value for value, _ in self.before.values())]

    def scores(self, target: Target, rows: Tensor, read: Callable[[Value], Tensor]) -> Tensor:
        """The scores of a target that is settled for the samples in `rows`."""
        recorded = self.tape.inputs.rows

        def constant(leaf: Tensor) -> Tensor:
            of_samples = leaf.ndim > 0 and len(leaf) == recorded
            return leaf[rows.to(leaf.device)] if of_samples else leaf

        def after(leaf: Tensor) -> Tensor:
            found = self.values.get(id(leaf))
            return constant(leaf) if found is None else read(found)

        def earlier(leaf: Tensor) -> Tensor:
            if id(leaf) not in self.before:
                return after(leaf)
            value, steps = self.before[id(leaf)]
            found = read(value)
            for step in steps:
                (found,) = whole.run(step, lambda _: found, recorded, len(rows))  # noqa: B023
            return found

        raw = transform(after, self.tape.output)
        scores = transform(earlier, self.tape.output) if self.before else raw
        return target.score(target.before_softmax(raw, scores), raw)


@dataclass(frozen=True, eq=False)
class Tables:
    """Recorded maps as tables of rows, and weights with channels last: once for all windows."""

    made: dict[Value, Tensor] = field(default_factory=dict)
    weights: dict[Value, Tensor] = field(default_factory=dict)

    def of(self, value: Value, rank: int) -> Tensor:
        """The rows of a value, which is given axes of length one to have so many."""
        if value not in self.made:
            tensor = value.tensor
            self.made[value] = table(tensor.reshape(*[1] * (rank - tensor.ndim), *tensor.shape))
        return self.made[value]

    def weight(self, value: Value) -> Tensor:
        """A weight with channels last, as the maps that it meets; convolutions want that."""
        if value not in self.weights:
            self.weights[value] = value.tensor.movedim(1, -1).contiguous().movedim(-1, 1)
        return self.weights[value]


@dataclass(frozen=True, eq=False)
class Again:
    """Some windows on some samples, computed again: window `windows[i]` of a plan on `rows[i]`."""

    course: Course
    plan: Plan
    windows: Tensor
    rows: Tensor
    tables: Tables
    parts: dict[Value, Tensor]
    wholes: dict[Value, Tensor] = field(default_factory=dict)
    chosen: dict[int, Boxes] = field(default_factory=dict)

    def run(self) -> None:
        """Run all operations, and let go of what is read no more."""
        recorded = self.course.entry.shape[0]
        for step in self.plan.steps:
            if step.rule is not None and step.boxes is not None:
                found, kept = step.rule.run(self, self.boxes(step.boxes)), self.parts
            else:
                read = self._reader(step.operation, recorded)
                found = whole.run(step.operation, read, recorded, len(self.rows))
                kept = self.wholes
            for value, tensor in zip(step.operation.outputs, found, strict=False):
                if value is not None:
                    kept[value] = tensor
            for value in step.done:
                self.parts.pop(value, None)
                self.wholes.pop(value, None)

    def boxes(self, boxes: Boxes) -> Boxes:
        """Those of these windows; the same object for the same boxes."""
        if id(boxes) not in self.chosen:
            self.chosen[id(boxes)] = boxes.select(self.windows)
        return self.chosen[id(boxes)]

    def crop(self, value: Value, boxes: Boxes, fill: float | None = None) -> Tensor:
        """Part of the map of each row, as it is now; outside `fill`, or the nearest element."""
        part = self.parts.get(value)
        own = None if part is None else self.boxes(self.plan.boxes[value])
        if part is not None and own is not None and (own is boxes or own.same(boxes)):
            return part
        recorded, count = self.tables.of(value, len(boxes.size) + 2), len(self.rows)
        samples = self.rows if len(value.shape) == len(boxes.size) + 2 else self.rows * 0
        samples = samples if value.depends or value.shape[0] > 1 else samples * 0
        places, outside = rows_of(boxes, samples)
        rows = recorded.index_select(0, places.flatten())
        if outside is not None and fill is not None:
            rows[outside.expand(places.shape).flatten()] = fill
        if part is not None and own is not None:
            paste(rows, part, Boxes(own.starts - boxes.starts, own.size, boxes.size))
            if outside is not None and fill is None:
                rows = extended(rows, boxes, count)
        return from_rows(rows, count, boxes.size)

    def weight(self, value: Value) -> Tensor:
        """A constant weight, in the order in memory in which maps are."""
        return self.tables.weight(value)

    def full(self, value: Value) -> Tensor:
        """The whole value of each row, as it is now."""
        if value in self.wholes:
            return self.wholes[value]
        if value in self.parts:
            shape = tuple(value.shape[2:])
            starts = torch.zeros(len(self.rows), len(shape), dtype=torch.long)
            self.wholes[value] = self.crop(value, Boxes(starts, shape, shape))
            return self.wholes[value]
        tensor, recorded = value.tensor, self.course.entry.shape[0]
        if len(tensor) % recorded:  # a constant that all samples share
            return tensor.expand(len(self.rows), *tensor.shape[1:])
        each = tensor.reshape(recorded, -1, *tensor.shape[1:])[self.rows.to(tensor.device)]
        return each.reshape(-1, *tensor.shape[1:])

    def _reader(self, operation: Operation, recorded: int) -> Callable[[Value], Tensor]:
        convolved = operation.arguments[1] if operation.name in CONVOLUTIONS else None

        def read(value: Value) -> Tensor:
            if value is convolved:
                return self.weight(value)
            by_samples = whole.reads_samples(operation, value, recorded)
            return self.full(value) if by_samples else value.tensor

        return read


@dataclass(frozen=True, kw_only=True, eq=False)
class Occluded:
    """One input of a recorded run with windows occluded, one at a time.

    `references` hold what stands in a window, each with one row a sample; `shares` weigh them, if
    they do not count alike. `target` is settled for
    the samples. `batch` is the batch size of the user's: no operation on boxes needs more memory
    than the largest one on whole maps of so many samples.
    """

    course: Course
    readout: Readout
    windows: Windows
    references: Sequence[Tensor]
    shares: Sequence[float] = ()
    target: Target
    batch: Batcher

    def scores(self, plans: Sequence[Plan]) -> Tensor:
        """The mean score over the references, of shape (sample, window), in double precision."""
        leaf, tables = self.course.entry.tensor, Tables()
        found = torch.zeros(len(leaf), self.windows.total, dtype=wide(leaf), device=leaf.device)
        count = len(self.references)
        shares = torch.tensor(self.shares or (1 / count,) * count, dtype=found.dtype)
        shares = shares.to(found.device)
        for plan in plans:
            for numbers, rows, references, scores in self._run(plan, tables):
                places = (rows * self.windows.total + numbers).to(found.device)
                weighed = scores.to(found) * shares[references.to(found.device)]
                found.view(-1).index_add_(0, places, weighed)
        return found

    def _run(self, plan: Plan, tables: Tables) -> Iterator[tuple[Tensor, ...]]:
        """Windows, samples, references and scores of a plan, a batch at a time."""
        samples, count = self.course.entry.shape[0], len(plan.numbers)
        bound = self.batch.size * self.course.cost.most
        bound = max(bound, AT_ONCE) if self.batch.halve else bound
        size = max(1, int(bound // plan.cost.most))
        batcher = Batcher("auto" if self.batch.halve else size, start=size)

        def work(start: int, stop: int) -> tuple[Tensor, ...]:
            flat = torch.arange(start, stop)
            rows, window = flat % samples, flat // samples % count
            references = flat // (samples * count)
            part = self._part(plan, window, rows, references)
            again = Again(
                course=self.course,
                plan=plan,
                windows=window,
                rows=rows.to(part.device),
                tables=tables,
                parts={self.course.entry: part},
            )
            again.run()
            scores = self.readout.scores(self.target.select(rows), rows, again.full)
            return plan.numbers[window], rows, references, scores

        yield from batcher.run(count * samples * len(self.references), work, "occlusion")

    def _part(self, plan: Plan, window: Tensor, rows: Tensor, references: Tensor) -> Tensor:
        """The boxes of the input, with the references in the windows."""
        leaf, windows = self.course.entry.tensor, self.windows
        boxes = plan.boxes[self.course.entry].select(window)
        starts = windows.starts(plan.numbers[window])
        covered = _within(torch.arange(leaf.shape[1]).unsqueeze(0), starts, windows, 0)
        covered = covered.reshape(*covered.shape, *[1] * len(boxes.size))
        if windows.shape[0] == 1:
            covered = torch.ones_like(covered)
        for axis, places in enumerate(boxes.indices("cpu"), 1):
            covered = covered & _within(places, starts, windows, axis).unsqueeze(1)
        found = _at(leaf, boxes, rows)
        covered = covered.to(leaf.device)
        for number in references.unique().tolist():
            here = (references == number).to(leaf.device)
            other = _at(
                self.references[number].to(leaf),
                boxes.select(references == number),
                rows[references == number],
            )
            found[here] = torch.where(covered[here], other, found[here])
        return found


def _within(places: Tensor, starts: Tensor, windows: Windows, axis: int) -> Tensor:
    """Whether places (window or 1, ...) of an axis are those of a window."""
    start = starts[:, axis].reshape(-1, *[1] * (places.ndim - 1))
    return (places >= start) & (places < start + windows.size[axis])


def _at(leaf: Tensor, boxes: Boxes, rows: Tensor) -> Tensor:
    """The part of some samples of an input that lies in their boxes."""
    first = rows.reshape(-1, *[1] * len(boxes.size)).to(leaf.device)
    places: list[Any] = [first, slice(None), *boxes.indices(leaf.device)]
    return leaf[tuple(places)].movedim(-1, 1)
