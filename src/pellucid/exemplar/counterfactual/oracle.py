"""The model asked: how far rows are beyond what is wanted, within a budget for each chain."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pellucid.batching import Batcher, BatchSize, auto_rows
from pellucid.errors import DisconnectedError, InputError, ModelError
from pellucid.exemplar.counterfactual.goal import Goal, Side, goal_of, joined
from pellucid.explanation import Evaluations
from pellucid.program import Program
from pellucid.structure import Inputs
from pellucid.target import Target, TargetLike

# Makes what the model is called with of flat rows (row, element) in float64.
Decode: TypeAlias = Callable[[Tensor], Tensor]


class Oracle:
    """Answers for rows of chains, and keeps count of what each chain has spent.

    A row that is looked at costs one evaluation; with its gradient, two. `most` (chain,) is the
    largest gain that a chain has seen.
    """

    goal: Goal

    def __init__(self, program: Program, inputs: Inputs, decode: Decode, size: BatchSize) -> None:
        self.program, self.inputs, self.decode = program, inputs, decode
        leaf = inputs.leaves[0]
        self.batcher = Batcher(size, start=auto_rows(leaf, 1), budget=program.budget)
        self.forward = self.batcher.forward(leaf)
        self.limit = 0
        self.spent = torch.zeros(inputs.rows, dtype=torch.long)
        self.most = torch.full((inputs.rows,), -torch.inf, dtype=torch.float64)
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
        self.most = torch.full((chains,), -torch.inf, dtype=torch.float64)

    def room(self, need: int) -> Tensor:
        """Which chains can still pay for so many evaluations, of shape (chain,)."""
        return self.spent + need <= self.limit

    def gains(self, rows: Tensor, chain: Tensor) -> Tensor:
        """How far rows (row, element) are beyond what is wanted, of shape (row,), in float64."""

        def work(start: int, stop: int) -> Tensor:
            with torch.no_grad():
                raw, scores = self.run(self.decode(rows[start:stop]))
                return self.goal.gain(raw, scores, chain[start:stop]).double().cpu()

        gains = self._all(self.forward, work, rows, chain, backward=False)[0]
        return self._seen(gains, chain)

    def slopes(self, rows: Tensor, chain: Tensor) -> tuple[Tensor, Tensor]:
        """How far rows are beyond what is wanted, and its gradient (row, element)."""

        def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
            with torch.enable_grad(), self.program.repeatable():
                part = rows[start:stop].clone().requires_grad_()
                raw, scores = self.program.once(self._given(self.decode(part)))
                gain = self.goal.gain(raw, scores, chain[start:stop])
                slope = None
                if gain.requires_grad:  # perhaps only of the weights
                    (slope,) = torch.autograd.grad(gain.sum(), part, allow_unused=True)
                if slope is None:
                    raise DisconnectedError(
                        "A search along gradients must have a model that autograd can follow",
                        found="a score that has no gradient with respect to the input",
                        hint="Search without: how='growing'.",
                    )
            return gain.detach().double().cpu(), slope.nan_to_num(0.0)

        gains, slopes = self._all(self.batcher, work, rows, chain, backward=True)
        return self._seen(gains, chain), slopes

    def judge(self, rows: Tensor, chain: Tensor) -> tuple[Tensor, Tensor]:
        """How far rows are beyond what is wanted, and what the model says: a class or a score.

        That is counted, but is not part of the budget of a chain.
        """

        def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                raw, scores = self.run(self.decode(rows[start:stop]))
                part = chain[start:stop]
                gain = self.goal.gain(raw, scores, part).double().cpu()
                return gain, self.goal.answer(raw, scores, part)

        gains, answers = self._all(self.forward, work, rows, chain, backward=False, free=True)
        return gains, answers

    def run(self, leaf: Tensor) -> tuple[Any, Any]:
        """The output for what the model is called with, and that without its softmax."""
        try:
            return self.program.run(self._given(leaf), fresh=True)
        except ModelError as error:
            if leaf.is_floating_point() or self.inputs.schema is not None:
                raise
            raise InputError(
                "Whole numbers must be such that may become any other within their range",
                got=self.inputs.leaves[0],
                hint="Name the range: Constraints(ranges=(0, 9)). Of token ids, which are no "
                f"numbers, change the embeddings: a function of these as the model. {error}",
            ) from error

    def _given(self, leaf: Tensor) -> Inputs:
        return self.inputs.replace([leaf])

    def _seen(self, gains: Tensor, chain: Tensor) -> Tensor:
        """Keep the largest gain of each chain."""
        known = gains.nan_to_num(-torch.inf)
        self.most = self.most.scatter_reduce(0, chain, known, "amax")
        return gains

    def _all(
        self,
        batcher: Batcher,
        work: Callable[[int, int], Any],
        rows: Tensor,
        chain: Tensor,
        *,
        backward: bool,
        free: bool = False,
    ) -> tuple[Tensor, ...]:
        """Work on all rows, batch by batch, and book it."""
        if not len(rows):
            empty = torch.zeros(0, dtype=torch.float64)
            return empty, rows.new_zeros(rows.shape) if backward else empty
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
