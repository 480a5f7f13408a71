"""A case whose answers are differentiable: in the inputs, and in the parameters of the model.

So a loss on an explanation can train the model that it explains, or change an input.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.case import Case
from pellucid.tape.expand import expanded
from pellucid.tape.record import Tape, record_run
from pellucid.tape.replay import replay
from pellucid.target import Outcome

EMBEDDED_NOTE = (
    "Values are differentiable in the parameters above the embeddings, which are taken as given."
)


@dataclass(frozen=True)
class AttachedCase(Case):
    """A case that autograd follows: through the recorded run, and through every walk on it."""

    attached: ClassVar[bool] = True

    @cached_property
    def tape(self) -> Tape:
        """The recorded run, with all its values computed again under autograd."""
        points = self.inputs.replace([_followed(leaf) for leaf in self.inputs.leaves])
        with self.program.repeatable():
            live = record_run(self.program.model, points, followed=True)
            tape = expanded(replace(live, inputs=self.inputs).aim(self.target))
        self.count(forward=len(self))
        if self.embedded is not None:
            self.counter.note(EMBEDDED_NOTE)
        return self.noted(replay(tape, points.leaves))

    @cached_property
    def outcome(self) -> Outcome:
        """Output and score of the recorded run, of which the score is differentiable."""
        return self.tape.outcome

    @cached_property
    def gradient(self) -> list[Tensor]:
        """The gradient of the score at the inputs, which is differentiable in turn."""
        tape = self.tape
        entries = [value for value in tape.entries if value.carries]
        found: dict[int, Tensor | None] = {}
        if tape.score_value.depends:
            score = tape.score_value.tensor.sum()
            given = torch.autograd.grad(
                score, [e.tensor for e in entries], create_graph=True, allow_unused=True
            )
            found = {id(entry): signal for entry, signal in zip(entries, given, strict=True)}
            self.count(backward=len(self))
        return self.complete([found.get(id(entry)) for entry in tape.entries])


def _followed(leaf: Tensor) -> Tensor:
    """The leaf itself if autograd follows it, or a copy that it follows."""
    if leaf.requires_grad or not leaf.is_floating_point():
        return leaf
    return leaf.detach().clone().requires_grad_()
