"""Layers at which the whole of a network can be looked at: bottlenecks, which all ways pass."""

from pellucid.structure import leaves
from pellucid.tape.operations import Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import carriers


def bottlenecks(tape: Tape, rows: int, most: int) -> tuple[str, ...]:
    """Paths of layers, evenly from first to last, whose output all of the signal passes.

    Where there is none, as in a network whose ways never meet, they are any layers.
    """
    found = _candidates(tape, rows)
    values = sorted(set(found.values()), key=lambda value: value.number)
    reach = _reach(tape)
    passed = [value for value in values if _is_passed(value, reach)] or values
    names = [_name(found, value) for value in passed]
    parts = [names[i * len(names) // most : (i + 1) * len(names) // most] for i in range(most)]
    return tuple(_outermost(part) for part in parts if part)


def _candidates(tape: Tape, rows: int) -> dict[str, Value]:
    """The last output of every layer that a signal passes with the samples first."""
    ends = {tape.recorder.value_of(leaf) for _, leaf in leaves(tape.output)}
    passing = {value for operation in carriers(tape) for value in operation.slots if value.carries}
    last = {path: values[-1] for path, values in tape.recorder.layers.items()}
    return {
        path: value
        for path, value in last.items()
        if value in passing and value not in ends and len(value.shape) > 1
        and value.shape[0] == rows and value.number >= 0
    }  # fmt: skip


def _reach(tape: Tape) -> dict[Value, int]:
    """The last operation that reads each value on the way to the score."""
    found: dict[Value, int] = {}
    for operation in reversed(carriers(tape)):
        for value in operation.slots:
            if value.carries:
                found[value] = max(operation.number, found.get(value, -1))
    return found


def _is_passed(value: Value, reach: dict[Value, int]) -> bool:
    """Whether nothing that was computed before it is read after it."""
    return all(last <= value.number for one, last in reach.items() if one.number < value.number)


def _outermost(names: list[str]) -> str:
    """Of several layers in order one that is no part of others, and near the middle."""
    middle = (len(names) - 1) / 2
    return min(names, key=lambda name: (name.count("."), abs(names.index(name) - middle)))


def _name(found: dict[str, Value], value: Value) -> str:
    """The shortest path that has this output."""
    return min((path for path, each in found.items() if each is value), key=len)
