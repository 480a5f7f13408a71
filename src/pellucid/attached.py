"""A case whose answers are differentiable: in the inputs, and in the parameters of the model.

So a loss on an explanation can train the model that it explains, or change an input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.case import REFUSALS, Case, check_derivative
from pellucid.structure import Inputs
from pellucid.tape.expand import FUSED, expanded
from pellucid.tape.record import Tape, record_run
from pellucid.tape.replay import replay
from pellucid.target import Outcome

SEVERED_NOTE = (
    "Somewhere the model writes what depends on the inputs into memory that holds parameters, or "
    "runs without gradients: the parameters in there may get no gradient, or only a part of it."
)
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
        if self._live.recorder.severed:
            self.counter.note(SEVERED_NOTE)
        return replay(expanded(self._live), self._points.leaves)

    @cached_property
    def _points(self) -> Inputs:
        """The inputs, each of which autograd follows."""
        return self.inputs.replace([_followed(leaf) for leaf in self.inputs.leaves])

    @cached_property
    def _live(self) -> Tape:
        """The recorded run as autograd followed it."""
        with self.program.repeatable():
            live = record_run(self.program.model, self._points, followed=True)
            tape = replace(live, inputs=self.inputs).aim(self.target)
        self.count(forward=len(self))
        if self.embedded is not None:
            self.counter.note(EMBEDDED_NOTE)
        return self.noted(tape)

    @cached_property
    def outcome(self) -> Outcome:
        """Output and score of the run, of which the score is differentiable."""
        return self._live.outcome

    @cached_property
    def gradient(self) -> list[Tensor]:
        """The gradient of the score at the inputs, which is differentiable in turn.

        It is that of the run itself, which also goes through backward functions of the user's.
        Where autograd refuses that run, or fused kernels ran, which have no second derivative, it
        is that of the run computed again.
        """
        self.count(backward=len(self))
        if not any(operation.name in FUSED for operation in self._live.operations):
            try:
                return self.complete(_slopes(self._live.outcome.score, self._points.leaves))
            except RuntimeError as error:
                check_derivative(error)
                if not any(sign in str(error) for sign in REFUSALS):
                    raise
        points = [entry.tensor for entry in self.tape.entries]
        return self.complete(_slopes(self.tape.outcome.score, points))


def _slopes(score: Tensor, points: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient at each point, which is differentiable; `None` where there is none."""
    free = [point for point in points if point.requires_grad]
    if not free or not score.requires_grad:
        return [None] * len(points)
    given = torch.autograd.grad(score.sum(), free, create_graph=True, allow_unused=True)
    found = dict(zip(map(id, free), given, strict=True))
    return [found.get(id(point)) for point in points]


def _followed(leaf: Tensor) -> Tensor:
    """The leaf itself if autograd follows it, or a copy that it follows."""
    if leaf.requires_grad or not leaf.is_floating_point():
        return leaf
    return leaf.detach().clone().requires_grad_()
