"""The curvature as a matrix, for heads of a few thousand parameters."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.exemplar.influence.fitted import Fitted
from pellucid.exemplar.influence.gradients import VECTORS, Gradients, Rows
from pellucid.exemplar.influence.objective import Batch, Curvature, Objective
from pellucid.exemplar.influence.solver import (
    Inverse,
    Keep,
    Solved,
    Solver,
    checked_damping,
    not_definite,
    relative,
)
from pellucid.options import one_of


@dataclass(frozen=True, kw_only=True)
class Exact(Solver):
    """Influence functions with the curvature as a matrix, which is factored once.

        value = 1/n  g_test^T (H + damping I)^-1 g_i

    The cost is one product of the curvature for each parameter, and memory for their square.
    Source: Koh and Liang (2017), Understanding Black-box Predictions via Influence Functions.
    """

    curvature: Curvature = "hessian"

    def __post_init__(self) -> None:
        one_of(self.curvature, "`curvature`", ("hessian", "gauss_newton"))

    def bytes(self, fitted: Fitted) -> dict[str, int]:
        """The matrix in double precision, its factor, and a copy while that is made."""
        return {"the matrix of the curvature": matrix_bytes(fitted)}

    def solving(self, fitted: Fitted) -> int:
        """A vector, and some in double precision."""
        return solving_bytes(fitted)

    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> "Factored":
        """The curvature, and its Cholesky factor in double precision."""
        return factored(objective, self.curvature, damping, keep)


@dataclass(frozen=True, kw_only=True)
class Newton(Solver):
    """What one Newton step without an example changes; for squared losses that is exact.

        value = 1/n  g_test^T (H + damping I - H_i / n)^-1 g_i

    Of a linear head, H_i = J_i^T A_i J_i is that of one example alone, whose inverse comes from
    that of all: its leverage is taken into account, which influence functions leave out.
    Source: Rad and Maleki (2020), A scalable estimate of the out-of-sample prediction error via
    approximate leave-one-out cross-validation.
    """

    curvature: Curvature = "hessian"

    def __post_init__(self) -> None:
        one_of(self.curvature, "`curvature`", ("hessian", "gauss_newton"))

    def bytes(self, fitted: Fitted) -> dict[str, int]:
        """The matrix in double precision, its factor, and a copy while that is made."""
        return {"the matrix of the curvature": matrix_bytes(fitted)}

    def solving(self, fitted: Fitted) -> int:
        """A vector, and some in double precision."""
        return solving_bytes(fitted)

    def solves(self, *, own: bool) -> bool:
        """For each example, to leave it out."""
        return True

    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> "Without":
        """The curvature of all examples, and its factor; those of one alone come later."""
        made = factored(objective, self.curvature, damping, keep)
        return Without(objective=objective, damping=made.damping, whole=made)


@dataclass(frozen=True, kw_only=True, eq=False)
class Factored(Inverse):
    """The damped curvature, and its factor."""

    damped: Tensor
    factor: Tensor

    def solve(self, vectors: Tensor) -> Solved:
        """Solve by the factor, and say what is left."""
        given = vectors.to(self.damped)
        found = self.undone(given)
        left = relative(given - found @ self.damped, given)
        return Solved(found.to(vectors), left.to(vectors), 1)

    def undone(self, vectors: Tensor) -> Tensor:
        """The inverse times vectors (row, parameter) in double precision."""
        return torch.cholesky_solve(vectors.T, self.factor).T


@dataclass(frozen=True, kw_only=True, eq=False)
class Without(Inverse):
    """The inverse of the `whole`, for gradients by which the example itself is taken out."""

    whole: Factored

    def solve(self, vectors: Tensor) -> Solved:
        """As of the whole curvature."""
        return self.whole.solve(vectors)

    def without(self, batch: Batch, gradients: Gradients) -> Gradients:
        """J^T (I - A K / n)^-1 r, with the leverage K = J (H + damping)^-1 J^T of the example."""
        return Rows(matrix=torch.cat([self._of(each) for each in self._parts(batch)]))

    def _of(self, batch: Batch) -> Tensor:
        moved = self.objective.jacobians(batch)
        scores_ = self.objective.scores(self.objective.theta, batch.inputs)
        slope, curved = self.objective.bends(scores_, batch.labels)
        rows, scores, count = moved.shape
        wide = moved.to(self.whole.damped)
        solved = self.whole.undone(wide.reshape(rows * scores, count)).reshape(wide.shape)
        leverage = wide @ solved.mT  # (sample, score, score)
        system = torch.eye(scores).to(wide) - curved.to(wide) @ leverage / self.objective.data.rows
        right = torch.linalg.solve(system, slope.to(wide).unsqueeze(2))
        return (wide.mT @ right).squeeze(2).to(moved)

    def _parts(self, batch: Batch) -> list[Batch]:
        """A few examples at a time: Jacobians are larger than gradients."""
        first = self.objective.batch(batch.rows[:1])
        scores = self.objective.scores(self.objective.theta, first.inputs).numel()
        size = max(1, self.objective.rows // scores)
        starts = range(0, len(batch.labels), size)
        return [
            Batch(
                batch.rows[k : k + size],
                batch.inputs.select(slice(k, k + size)),
                batch.labels[k : k + size],
            )
            for k in starts
        ]


def factored(
    objective: Objective, curvature: Curvature, damping: float | None, keep: Keep
) -> Factored:
    """The curvature, damped, and its Cholesky factor in double precision."""
    found = keep("curvature", lambda: {"matrix": matrix(objective, curvature)})["matrix"]
    found = found.to(objective.theta.device, torch.float64)
    size = len(found)
    amount = checked_damping(damping, float(found.diagonal().mean()))
    damped = found + amount * torch.eye(size, dtype=found.dtype, device=found.device)
    factor, failed = torch.linalg.cholesky_ex(damped)
    pivots = factor.diagonal().square()
    precision = torch.finfo(objective.theta.dtype).eps * math.sqrt(size)
    if int(failed) or float(pivots.min()) <= precision * float(pivots.max()):
        ends = torch.linalg.eigvalsh(found)
        if float(ends[0]) + amount <= precision * float(ends[-1]):
            raise not_definite(float(ends[0]), float(ends[-1]), amount)
    return Factored(objective=objective, damping=amount, damped=damped, factor=factor)


def matrix_bytes(fitted: Fitted) -> int:
    """A matrix of all parameters in double precision, its factor, and a copy on the way."""
    return 3 * 8 * fitted.count**2


def solving_bytes(fitted: Fitted) -> int:
    """Vectors to solve for and solved, six of them in double precision on the way."""
    return (3 * fitted.theta.element_size() + 6 * 8) * fitted.count


def matrix(objective: Objective, curvature: Curvature) -> Tensor:
    """The curvature of the mean loss (parameter, parameter), in double precision."""
    count = objective.fitted.count

    def work(batch: Batch) -> Tensor:
        made = objective.theta.new_empty((count, count), dtype=torch.float64)
        for start in range(0, count, VECTORS):
            part = range(start, min(start + VECTORS, count))
            units = torch.zeros(len(part), count).to(objective.theta)
            units[torch.arange(len(part)), torch.tensor(part)] = 1
            made[part.start : part.stop] = objective.product(units, curvature, batch)
        return made

    parts = objective.over(work, "curvature")
    found = next(parts)
    for each in parts:
        found += each
    return (found + found.T) / (2 * objective.data.rows)
