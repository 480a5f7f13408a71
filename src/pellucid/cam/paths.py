"""The ways from an input to the score: whether maps lie on all, and whether they are moved."""

from dataclasses import dataclass, replace
from functools import cached_property

from pellucid.cam.frame import Frame, back
from pellucid.cam.lineage import Layouts
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import carriers

# For each axis that was moved: the axis, whether it is mirrored, and by how much it is rolled.
Motion = tuple[tuple[int, bool, int], ...]

MOST_MOTIONS = 8  # of a value; more are as unclear as two


def descendants(tape: Tape, start: Value) -> set[Value]:
    """All values that depend on one, itself included."""
    found = {start}
    for operation in tape.operations:
        if any(value in found for value in operation.slots):
            found.update(value for value in operation.outputs if value is not None)
    return found


def around(tape: Tape, entry: Value, maps: Value) -> str:
    """What an input passes on its way to the score without passing maps; "" if there is none.

    It is named by the last operation before what goes around meets what comes from the maps.
    """
    below, after = descendants(tape, entry), descendants(tape, maps)
    reached = {tape.score_value}
    for operation in carriers(tape):
        if any(value in reached and value is not maps for value in operation.outputs):
            reached.update(value for value in operation.slots if value.carries)
    aside = (reached & below) - after
    if not aside:
        return ""
    made = max(aside, key=lambda value: value.number).producer
    if made is None:
        return "the input itself"
    return f"`{made.name}`" + (f" in `{made.path}`" if made.path else "")


@dataclass(frozen=True, eq=False)
class Motions:
    """How positions were mirrored or rolled between one input and all that depends on it."""

    tape: Tape
    layouts: Layouts
    entry: Value
    frame: Frame

    def placed(self, maps: Value) -> tuple[Frame, str]:
        """The frame of maps, mirrored as they are; and which operation cannot be undone so."""
        found = self._found.get(maps, {()})
        if found == {()}:
            return self.frame, ""
        axes = [self._axes.get(axis) for motion in found for axis, *_ in motion]
        shifted = any(shift for motion in found for *_, shift in motion)
        if len(found) > 1 or shifted or None in axes:
            return self.frame, "roll" if shifted else "flip"
        return replace(self.frame, mirrored=tuple(a for a in axes if a is not None)), ""

    @cached_property
    def _axes(self) -> dict[int, int | None]:
        """The axis of the input that each axis which is moved stands for, if that is known."""
        found: dict[int, int | None] = {}
        for operation in self._moving:
            for axis in _moved(operation):
                known = self._axis(operation.slots[0], axis)
                found[axis] = known if found.get(axis, known) == known else None
        return found

    @cached_property
    def _moving(self) -> list[Operation]:
        return [op for op in self.tape.operations if op.name in ("flip", "roll")]

    @cached_property
    def _found(self) -> dict[Value, set[Motion]]:
        """The motions on the ways from the input to each value."""
        if not self._moving:
            return {}
        found: dict[Value, set[Motion]] = {self.entry: {()}}
        for operation in self.tape.operations:
            held = [found[v] for v in operation.slots if v in found and v.carries]
            motions = sorted(set().union(*held))[:MOST_MOTIONS]
            if operation.name in ("flip", "roll"):
                motions = [self._then(motion, operation) for motion in motions]
            if motions:
                found.update({v: set(motions) for v in operation.outputs if v is not None})
        return found

    def _then(self, motion: Motion, operation: Operation) -> Motion:
        held = {axis: (mirrored, shift) for axis, mirrored, shift in motion}
        value = operation.slots[0]
        for axis, by in _moved(operation).items():
            if axis == 0 or self._is_channel(value, axis):
                continue
            mirrored, shift = held.pop(axis, (False, 0))
            place = (not mirrored, -shift) if by is None else (mirrored, shift + by)
            if place != (False, 0):
                held[axis] = place
        return tuple(sorted((axis, *place) for axis, place in held.items()))

    def _axis(self, value: Value, axis: int) -> int | None:
        """The axis of the input's positions that an axis of a value stands for."""
        labels, layout = back(value, self.entry), self.layouts.get(value)
        if labels is not None:
            found = labels.index(axis) if axis in labels else None
            return found if found in self.frame.axes else None
        places = () if layout is None else layout.positions
        known = axis in places and len(places) == len(self.frame.axes)
        return self.frame.axes[places.index(axis)] if known else None

    def _is_channel(self, value: Value, axis: int) -> bool:
        labels, layout = back(value, self.entry), self.layouts.get(value)
        if labels is not None:
            return axis in labels and labels.index(axis) not in self.frame.axes
        return layout is not None and axis in (layout.channel, layout.batch)


def _moved(operation: Operation) -> dict[int, int | None]:
    """The axes that are moved, and by how much they are rolled; `None` for mirrored."""
    rank = len(operation.slots[0].shape)
    if operation.name == "flip":
        return {axis % rank: None for axis in operation.arguments[1]}
    axes = operation.argument(2) or [rank - 1]  # of all at once the last moves by as much
    return {axis % rank: by for axis, by in zip(axes, operation.arguments[1], strict=True)}
