"""Where the values of a tape method stand: at the inputs, at a layer, or at an operation.

Every method that walks the tape takes `at=`, and asks here which values the walk goes to, what the
model had there, and how to read the answer.

    at="features.3"      what that layer returned, when it ran last
    at="relu:0"          the result of the first operation on the tape of that name; -1 is the last
    at=17                the result of operation 17, as `print(pellucid.record(...))` counts them
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from pellucid.case import Case
from pellucid.errors import InputError, UnknownNameError
from pellucid.tape.operations import Operation, Value
from pellucid.tape.paths import LOOK
from pellucid.tape.record import Tape
from pellucid.tape.walk import walk

At: TypeAlias = str | int | None

UNUSED_NOTE = "The score does not depend on what `{}` returned; its values are zero."


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a walk over the tape of a case ends: at the inputs, a layer or an operation.

    `path` names it, `None` for the inputs. What a layer returned is what it returned when it
    ran last, at the moment it returned.
    """

    case: Case
    path: At

    @cached_property
    def values(self) -> list[Value]:
        """The values of the tape to walk to."""
        if self.path is None:
            return self.case.tape.entries
        if isinstance(self.path, int) and self.case.embedded is not None:
            raise InputError(
                "An operation must be named where a model embeds integers, since it is recorded "
                "from its embeddings on, and numbers are others",
                got=self.path,
                hint='For example at="relu:0".',
            )
        _ = self.label  # while the tape is there: a walk may use it up
        return [value_at(self.case.tape, self.path, len(self.case))]

    @cached_property
    def label(self) -> str | None:
        """The layer's path, or the operation's name and number among those of that name."""
        if not isinstance(self.path, int):
            return self.path
        tape = self.case.tape
        name = _numbered(tape, self.path).name
        before = sum(each.name == name for each in tape.recorder.operations[: self.path])
        return f"{name}:{before}"

    @cached_property
    def tensors(self) -> list[Tensor]:
        """What the model had there."""
        if self.path is None:
            return list(self.case.inputs.leaves)
        return [value.tensor for value in self.values]

    def gradient(self) -> list[Tensor]:
        """The gradient of the score here, one tensor for each value.

        At the inputs it is autograd's; at a layer it is walked on the tape, where a backward
        function of the user's own counts as the operations that it computes forward.
        """
        if self.path is None:
            return self.case.gradient
        tape, until = self.case.tape, self.values
        with torch.set_grad_enabled(self.case.attached):
            found = walk(tape, ones(tape), until, consume=not self.case.shared)
        self.case.count(backward=len(self.case))
        return self.read(found)

    def read(self, found: dict[Value, Tensor]) -> list[Tensor]:
        """What a walk found here, one tensor for each value; zeros and a note for nothing."""
        if self.path is None:
            return self.case.complete([found.get(value) for value in self.values])
        if any(value not in found for value in self.values):
            self.case.counter.note(UNUSED_NOTE.format(self.path))
        pairs = zip(self.values, self.tensors, strict=True)
        return [
            found[value] if value in found else torch.zeros_like(tensor) for value, tensor in pairs
        ]


def check_at(at: object) -> None:
    """Raise unless this can name a layer or an operation."""
    if at is None or (isinstance(at, str | int) and not isinstance(at, bool)):
        return
    raise InputError(
        "`at` must be the path of a layer, an operation's number or its name and place, or None",
        got=at,
        hint='For example at="features.3", at=17 or at="relu:0".',
    )


def ones(tape: Tape) -> dict[Value, Tensor]:
    """One at the score, where a gradient starts; nothing if no input leads to the score."""
    score = tape.score_value
    return {score: torch.ones_like(score.tensor)} if score.depends else {}


def value_at(tape: Tape, at: str | int, rows: int) -> Value:
    """What a layer returned or an operation gave; or why nothing can be explained there."""
    check_at(at)
    if isinstance(at, int):
        value, what = _result(_numbered(tape, at)), f"Operation {at}"
    elif at not in tape.recorder.layers and ":" in at:
        value, what = _result(_named(tape, at)), f"The operation `{at}`"
    else:
        return layer_value(tape, at, rows)
    return _checked(value, what, rows)


def layer_value(tape: Tape, path: str, rows: int) -> Value:
    """What a layer returned, or the reason why nothing can be explained there."""
    there = tape.layers.layer(path) is not None
    if there and tape.layers.known_as(path) not in tape.recorder.layers:
        raise InputError(
            f"The layer `{path}` must run, and return a tensor that depends on the inputs",
            found="a layer that returned none in this run",
            hint=LOOK,
        )
    return _checked(tape.layer(path), f"The layer `{path}`", rows)


def _checked(value: Value, what: str, rows: int) -> Value:
    """A value that carries a signal of each of the samples, which is computed if it was dropped."""
    if not value.carries:
        raise InputError(
            f"{what} must return a floating-point tensor that carries a gradient",
            got=value.tensor,
        )
    if not value.shape or value.shape[0] != rows:
        raise InputError(
            f"{what} must return the {rows} samples along its first axis",
            got=value.tensor,
            hint="Name the layer around it, or the one after it.",
        )
    with torch.no_grad():
        _ = value.tensor  # computed now: a walk may use up the tape
    return value


def _numbered(tape: Tape, number: int) -> Operation:
    operations = tape.recorder.operations
    if not 0 <= number < len(operations):
        raise InputError(
            f"An operation must be from 0 to {len(operations) - 1}", got=number, hint=LOOK
        )
    return operations[number]


def _named(tape: Tape, at: str) -> Operation:
    """The operation that is called "relu:0": the first of that name."""
    name, _, place = at.rpartition(":")
    known = [operation for operation in tape.recorder.operations if operation.name == name]
    if not known:
        names = dict.fromkeys(operation.name for operation in tape.recorder.operations)
        raise UnknownNameError("An operation", name, names, hint=LOOK)
    try:
        return known[int(place)]
    except (ValueError, IndexError) as error:
        raise InputError(
            f"The place of an operation among those called `{name}` must be from 0 to "
            f"{len(known) - 1}, or negative to count from the last",
            found=f"{at!r}",
            hint=LOOK,
        ) from error


def _result(operation: Operation) -> Value:
    """The first result that is a tensor."""
    return next(value for value in operation.outputs if value is not None)
