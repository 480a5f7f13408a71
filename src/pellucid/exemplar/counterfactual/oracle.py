"""The model asked: how far rows are beyond what is wanted, within a budget for each chain."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pellucid.batching import Batcher, BatchSize, auto_rows
from pellucid.errors import DisconnectedError
from pellucid.exemplar.counterfactual.goal import Goal, Side, goal_of, joined
from pellucid.explanation import Evaluations
from pellucid.program import Program
from pellucid.structure import Inputs
from pellucid.target import Target, TargetLike

# Makes what the model is called with of flat rows (row, element) in float64.
Decode: TypeAlias = Callable[[Tensor], Tensor]


class Oracle:
    """Answers for rows of chains, and keeps count of what each chain has spent.

    A row that is looked at costs one evaluation; with its gradient, two.
    """

    goal: Goal

    def __init__(self, program: Program, inputs: Inputs, decode: Decode, size: BatchSize) -> None:
        self.program, self.inputs, self.decode = program, inputs, decode
        leaf = inputs.leaves[0]
        self.batcher = Batcher(size, start=auto_rows(leaf, 1))
        self.forward = self.batcher.forward(leaf)
        self.limit = 0
        self.spent = torch.zeros(inputs.rows, dtype=torch.long)
        self.cost = Evaluations()

    def look(
        self, target: TargetLike, threshold: float | None, side: Side | None, margin: float
    ) -> tuple[Goal, tuple[Tensor, Tensor]]:
        """What is wanted of the inputs; how far beyond that they are, and what the model says."""
        aim = Target.of(target).check_rows(self.inputs.rows)

        def work(start: int, stop: int) -> tuple[Goal, Tensor, Tensor]:
            with torch.no_grad():
                raw, scores = self.program.run(self.inputs.select(slice(start, stop)))
                rows = torch.arange(stop - start)
                mine = aim.select(rows + start)
                goal = goal_of(raw, scores, len(rows), mine, threshold, side, margin)
                gain = goal.gain(raw, scores, rows).double().cpu()
                return goal, gain, goal.answer(raw, scores, rows)

        parts = list(self.forward.run(self.inputs.rows, work))
        self.cost = Evaluations(self.inputs.rows, 0, len(parts))
        goals, gains, answers = zip(*parts, strict=True)
        return joined(goals, aim), (torch.cat(gains), torch.cat(answers))

    def begin(self, goal: Goal, chains: int, limit: int) -> None:
        """A search of so many chains, each with a budget of its own."""
        self.goal, self.limit = goal, limit
        self.spent = torch.zeros(chains, dtype=torch.long)

    def room(self, need: int) -> Tensor:
        """Which chains can still pay for so many evaluations, of shape (chain,)."""
        return self.spent + need <= self.limit

    def gains(self, rows: Tensor, chain: Tensor, *, free: bool = False) -> Tensor:
        """How far rows (row, element) are beyond what is wanted, of shape (row,), in float64.

        What is `free` is counted, but not as part of the budget of a chain.
        """

        def work(start: int, stop: int) -> Tensor:
            with torch.no_grad():
                raw, scores = self.run(self.decode(rows[start:stop]))
                return self.goal.gain(raw, scores, chain[start:stop]).double().cpu()

        return self._all(self.forward, work, rows, chain, backward=False, free=free)[0]

    def slopes(self, rows: Tensor, chain: Tensor) -> tuple[Tensor, Tensor]:
        """How far rows are beyond what is wanted, and its gradient (row, element)."""

        def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                part = rows[start:stop].clone().requires_grad_()
                raw, scores = self.run(self.decode(part))
                gain = self.goal.gain(raw, scores, chain[start:stop])
                if not gain.requires_grad:
                    raise DisconnectedError(
                        "A search along gradients must have a model that autograd can follow",
                        found="a score that has no gradient with respect to the input",
                        hint="Search without: how='growing'.",
                    )
                (slope,) = torch.autograd.grad(gain.sum(), part, allow_unused=True)
            slope = torch.zeros_like(part) if slope is None else slope
            return gain.detach().double().cpu(), slope.nan_to_num(0.0)

        gains, slopes = self._all(self.batcher, work, rows, chain, backward=True, free=False)
        return gains, slopes

    def answers(self, rows: Tensor, chain: Tensor) -> Tensor:
        """What the model says of rows: a class or a score, of shape (row,)."""

        def work(start: int, stop: int) -> Tensor:
            with torch.no_grad():
                raw, scores = self.run(self.decode(rows[start:stop]))
                return self.goal.answer(raw, scores, chain[start:stop])

        return self._all(self.forward, work, rows, chain, backward=False, free=True)[0]

    def run(self, leaf: Tensor) -> tuple[Any, Any]:
        """The output for what the model is called with, and that without its softmax."""
        return self.program.run(self.inputs.replace([leaf]), fresh=True)

    def _all(
        self,
        batcher: Batcher,
        work: Callable[[int, int], Any],
        rows: Tensor,
        chain: Tensor,
        *,
        backward: bool,
        free: bool,
    ) -> tuple[Tensor, ...]:
        """Work on all rows, batch by batch, and book it."""
        if not len(rows):
            empty = torch.zeros(0, dtype=torch.float64)
            return empty, rows.new_zeros(rows.shape)
        parts = list(batcher.run(len(rows), work))
        self.cost = Evaluations(
            self.cost.forward + len(rows),
            self.cost.backward + backward * len(rows),
            self.cost.calls + len(parts),
        )
        if not free:
            self.spent += (1 + backward) * chain.bincount(minlength=len(self.spent))
        if isinstance(parts[0], Tensor):
            return (torch.cat(parts),)
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))
