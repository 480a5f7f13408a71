"""Where the values of a tape method stand: at the inputs, or at what a layer returned.

Every method that walks the tape takes `at="layer.path"`, and asks here which values the walk goes
to, what the model had there, and how to read the answer.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.tape.operations import Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import walk

UNUSED_NOTE = "The score does not depend on what `{}` returned; its values are zero."


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a walk over the tape of a case ends: at the inputs, or at a layer.

    `path` is the layer, `None` at the inputs. What a layer returned is what it returned when it
    ran last, at the moment it returned.
    """

    case: Case
    path: str | None

    @cached_property
    def values(self) -> list[Value]:
        """The values of the tape to walk to."""
        if self.path is None:
            return self.case.tape.entries
        return [layer_value(self.case.tape, self.path, len(self.case))]

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
        with torch.no_grad():
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


def ones(tape: Tape) -> dict[Value, Tensor]:
    """One at the score, where a gradient starts; nothing if no input leads to the score."""
    score = tape.score_value
    return {score: torch.ones_like(score.tensor)} if score.depends else {}


def layer_value(tape: Tape, path: str, rows: int) -> Value:
    """What a layer returned, or the reason why nothing can be explained there."""
    named = getattr(tape.model, "named_modules", None)
    modules = dict(named()) if named is not None else {}
    if path in modules and path not in tape.recorder.layers:
        raise InputError(
            f"The layer `{path}` must run, and return a tensor that depends on the inputs",
            found="a layer that returned none in this run",
            hint="print(pellucid.record(model, inputs)) shows what ran.",
        )
    value = tape.layer(path)
    if not value.carries:
        raise InputError(
            f"The layer `{path}` must return a floating-point tensor that carries a gradient",
            got=value.tensor,
        )
    if not value.shape or value.shape[0] != rows:
        raise InputError(
            f"The layer `{path}` must return the {rows} samples along its first axis",
            got=value.tensor,
            hint="Name the layer around it, or the one after it.",
        )
    with torch.no_grad():
        _ = value.tensor  # computed now if it was dropped: a walk may use up the tape
    return value
