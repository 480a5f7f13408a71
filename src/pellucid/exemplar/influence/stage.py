"""The work at one set of weights: what tests pull at, undone, times what each example pulls at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.exemplar.influence.gradients import Gradients
from pellucid.exemplar.influence.head import Head
from pellucid.exemplar.influence.objective import Batch, Objective
from pellucid.exemplar.influence.result import Convergence
from pellucid.exemplar.influence.solver import Inverse, Keep, Solved, Solver
from pellucid.inside import inside
from pellucid.program import Program
from pellucid.run.folder import RunFolder
from pellucid.structure import Inputs
from pellucid.target import Target

# Training examples whose values are stored together, in a folder.
STORED = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What one stage has found; values are not divided by anything yet."""

    values: Tensor
    losses: Tensor
    tested: Tensor
    convergence: Convergence


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """The work at one set of weights."""

    solver: Solver
    objective: Objective
    tested: Labelled | None
    target: Target | None
    damping: float | None
    scale: float
    head: Head | None
    what: str
    place: str = ""

    @cached_property
    def asked(self) -> tuple[Objective, Labelled | None]:
        """The objective and the test data: where it can be, of the last layer on its features."""
        objective, tested, head = self.objective, self.tested, self.head
        if head is None:
            return objective, tested
        data = head.features(objective, objective.data, "features")
        given = head.features(objective, tested, "features to test") if tested else None
        if data is None or (tested and given is None):
            return objective, tested
        return replace(objective, fitted=head.alone(objective.fitted), data=data), given

    def keeper(self, store: RunFolder | None) -> Keep:
        """What is computed once, or found in the folder."""

        def keep(name: str, compute: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
            file = f"{self.place}{name}.safetensors"
            if store is None:
                return compute()
            if not store.has(file):
                store.write_tensors(file, dict(compute()))
            return store.tensors(file)

        return keep

    def influence(self, store: RunFolder | None) -> Part:
        """The values of all training examples for all test examples."""
        objective, tested = self.asked
        keep = self.keeper(store)
        inverse = self.solver.prepare(objective, self.damping, keep)
        made = keep("solved", lambda: self._solved(inverse, objective, tested))
        like = objective.theta
        solved = Solved(made["vectors"].to(like), made["residual"].to(like), int(made["steps"]))

        def work(batch: Batch) -> tuple[Tensor, Gradients]:
            gradients = objective.gradients(batch)
            return inverse.without(batch, gradients).times(solved.vectors), gradients

        values, losses, slope = self._over_train(objective, keep, work)
        return Part(
            values=values,
            losses=losses,
            tested=made["tested"].to(like),
            convergence=Convergence(
                damping=inverse.damping, steps=solved.steps, residual=solved.residual, slope=slope
            ),
        )

    def own(self, store: RunFolder | None) -> Part:
        """The self-influence of all training examples."""
        objective, _ = self.asked
        keep = self.keeper(store)
        inverse = self.solver.prepare(objective, self.damping, keep)

        def work(batch: Batch) -> tuple[Tensor, Gradients]:
            gradients = objective.gradients(batch)
            own = inverse.own(batch, gradients)
            steps = torch.full_like(own.values, own.steps)
            return torch.stack([own.values, own.residual, steps]), gradients

        (values, residual, steps), losses, slope = self._over_train(objective, keep, work)
        convergence = Convergence(
            damping=inverse.damping, steps=int(steps.max()), residual=residual, slope=slope
        )
        return Part(values=values, losses=losses, tested=losses, convergence=convergence)

    def _solved(
        self, inverse: Inverse, objective: Objective, tested: Labelled | None
    ) -> dict[str, Tensor]:
        """The test gradients, pointing to where the test gets worse, with the curvature undone."""
        data = tested if tested is not None else objective.data
        target = self.target and self.target.check_rows(data.rows)

        def work(batch: Batch) -> tuple[Tensor, Tensor]:
            if target is not None:
                pulls, now = _of_target(objective.fitted, batch, target)
                return -pulls, now
            with torch.no_grad():
                now = objective.losses(objective.theta, batch.inputs, batch.labels)
            return objective.gradients(batch).rows(), now

        parts = list(objective.over(work, alone=True, data=data))
        found = inverse.solve(torch.cat([pulls for pulls, _ in parts]))
        return {
            "vectors": found.vectors,
            "residual": found.residual,
            "steps": torch.tensor(found.steps),
            "tested": torch.cat([now for _, now in parts]),
        }

    def _over_train(
        self,
        objective: Objective,
        keep: Keep,
        work: Callable[[Batch], tuple[Tensor, Gradients]],
    ) -> tuple[Tensor, Tensor, float]:
        """Values (..., train), losses (train,) and the slope, kept part by part."""
        total = objective.data.rows
        done = [
            keep(f"values-{start}", partial(self._block, objective, start, work))
            for start in range(0, total, STORED)
        ]
        mean = torch.stack([each["pull"] for each in done]).sum(0) / total
        ends = [mean, mean + (self.damping or 0) * objective.theta.to(mean)]
        length = float(torch.stack([each["length"] for each in done]).sum()) / total
        slope = min(float(end.norm()) for end in ends) / length if length else 0.0
        values = torch.cat([each["values"] for each in done], 1).to(objective.theta)
        return values, torch.cat([each["losses"] for each in done]).to(objective.theta), slope

    def _block(
        self, objective: Objective, start: int, work: Callable[[Batch], tuple[Tensor, Gradients]]
    ) -> dict[str, Tensor]:
        """Some of the training examples, in batches."""
        rows = range(start, min(start + STORED, objective.data.rows))

        def found(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            values, gradients = work(batch)
            with torch.no_grad():
                losses = objective.losses(objective.theta, batch.inputs, batch.labels)
            return values, losses, gradients.total(), gradients.lengths().sum()

        values, losses, length = [], [], torch.zeros_like(objective.theta[0])
        pull = torch.zeros_like(objective.theta)
        some = objective.data.part(rows)
        for value, loss, total, long in objective.over(found, self.what, alone=True, data=some):
            values.append(value)
            losses.append(loss)
            pull, length = pull + total, length + long
        return {
            "values": torch.cat(values, 1),
            "losses": torch.cat(losses),
            "pull": pull,
            "length": length,
        }


def _of_target(fitted_: Fitted, batch: Batch, target: Target) -> tuple[Tensor, Tensor]:
    """The gradients of scores (sample, parameter), and the scores (sample,)."""
    found = [
        _of_row(fitted_, batch.inputs.select(slice(k, k + 1)), target.select(torch.tensor([row])))
        for k, row in enumerate(batch.rows)
    ]
    return torch.stack([pull for pull, _ in found]), torch.stack([now for _, now in found])


def _of_row(fitted_: Fitted, inputs: Inputs, target: Target) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        theta = fitted_.theta.clone().requires_grad_()
        program = Program(inside(fitted_.function(theta), target.layer))
        raw, scores = program.run(inputs)
        output = target.before_softmax(raw, scores)
        score = target.resolve(output, 1).score(output, raw)[0]
        if not score.requires_grad:  # parameters that are not used
            return torch.zeros_like(fitted_.theta), score
        (pull,) = torch.autograd.grad(score, theta, allow_unused=True, materialize_grads=True)
    return pull, score.detach()
