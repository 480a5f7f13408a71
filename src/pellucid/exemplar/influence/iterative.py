"""The curvature is only multiplied with: conjugate gradients, and LiSSA on random batches."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.exemplar.influence.objective import Curvature, Objective
from pellucid.exemplar.influence.solver import (
    Inverse,
    Keep,
    Solved,
    Solver,
    checked_damping,
    not_definite,
    relative,
)
from pellucid.options import number, one_of, whole
from pellucid.seeding import seeded

# Random signs z, with which z^T H z is the trace on average; steps to find the largest eigenvalue.
PROBES, POWER = 8, 12
# Random batches whose largest eigenvalue is looked at, and how much larger others may be.
LOOKS, MARGIN = 4, 2.0


@dataclass(frozen=True, kw_only=True)
class CG(Solver):
    """Conjugate gradients: each step runs over the training set, for all test examples at once.

    It ends when the relative residual of each is below `tolerance`, or after `steps` steps; the
    residual is reported either way. A direction in which the loss bends down is an error. Unless
    it is given, the mean eigenvalue of which damping is a tenth is estimated.
    Source: Martens (2010), Deep learning via Hessian-free optimization; Koh and Liang (2017).
    """

    curvature: Curvature = "hessian"
    tolerance: float = 1e-4
    steps: int = 200

    def __post_init__(self) -> None:
        one_of(self.curvature, "`curvature`", ("hessian", "gauss_newton"))
        number(
            self.tolerance, "tolerance", "a part of the vector, between 0 and 1", above=0, most=1
        )
        whole(self.steps, "steps")

    def solving(self, fitted: Fitted) -> int:
        """Solutions, residuals, directions and their products, as they are and as they become."""
        return 8 * fitted.theta.element_size() * fitted.count

    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> "Conjugate":
        """Find the damping; there is nothing else to prepare."""
        amount = _damping(objective, self.curvature, damping, keep)
        return Conjugate(objective=objective, damping=amount, options=self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conjugate(Inverse):
    """Solves by conjugate gradients."""

    options: CG

    def solve(self, vectors: Tensor) -> Solved:
        """Solve for all vectors side by side; one that is done is left as it is."""
        found, left = torch.zeros_like(vectors), vectors.clone()
        direction, size = left.clone(), left.square().sum(1)
        steps = 0
        while steps < self.options.steps and bool(self._open(left, vectors).any()):
            steps += 1
            open_ = self._open(left, vectors)
            direction = torch.where(open_.unsqueeze(1), direction, 0)
            curved = self._times(direction, f"conjugate gradients, step {steps}")
            bend = (direction * curved).sum(1)
            self._check(bend, direction, curved)
            stride = torch.where(open_, size / bend, 0).unsqueeze(1)
            found, left = found + stride * direction, left - stride * curved
            new = left.square().sum(1)
            direction = left + torch.where(open_, new / size, 0).unsqueeze(1) * direction
            size = new
        return Solved(found, relative(left, vectors), steps)

    def _open(self, left: Tensor, vectors: Tensor) -> Tensor:
        """Which vectors (row,) are not solved for yet."""
        return relative(left, vectors) > self.options.tolerance

    def _times(self, vectors: Tensor, what: str) -> Tensor:
        curved = self.objective.curved(vectors, self.options.curvature, what)
        return curved + self.damping * vectors

    def _check(self, bend: Tensor, direction: Tensor, curved: Tensor) -> None:
        """Raise where the damped curvature is not positive, along a direction that is not zero."""
        length = direction.square().sum(1)
        per_length = bend / length.clamp(min=torch.finfo(bend.dtype).tiny)
        if bool(((per_length <= 0) & (length > 0)).any()):
            low = float(per_length[length > 0].min()) - self.damping
            raise not_definite(
                low, float(curved.norm(dim=1).div(length.sqrt()).max()), self.damping
            )


@dataclass(frozen=True, kw_only=True)
class LiSSA(Solver):
    """A series of steps on random batches of `batch` examples, which need not see all of them.

        s <- s + (v - (H_batch + damping) s) / scale

    `scale` must be above the largest eigenvalue of any batch, or it diverges; unless given, it is
    twice the largest of a few batches. `steps` are as many as the damping needs, at most 5,000. The
    second half of the steps is averaged, and `repeats` series are; then the residual is taken on
    the whole training set. A series that diverges is an error.
    Source: Agarwal, Bullins and Hazan (2017), Second-Order Stochastic Optimization for Machine
    Learning in Linear Time.
    """

    curvature: Curvature = "hessian"
    steps: int | None = None
    batch: int = 64
    repeats: int = 1
    scale: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self.curvature, "`curvature`", ("hessian", "gauss_newton"))
        for name in ("batch", "repeats"):
            whole(getattr(self, name), name)
        if self.steps is not None:
            whole(self.steps, "steps")
        if self.scale is not None:
            number(self.scale, "scale", "a number above 0", above=0)
        whole(self.seed, "seed", least=None)

    def solving(self, fitted: Fitted) -> int:
        """Solutions, their means and products, as they are and as they become; those of repeats."""
        return (5 + 2 * self.repeats) * fitted.theta.element_size() * fitted.count

    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> "Series":
        """Find the damping, and a scale at which the series does not diverge."""
        amount = _damping(objective, self.curvature, damping, keep)
        if not amount > 0:
            raise not_definite(0.0, 0.0, amount)
        scale = self.scale
        if scale is None:
            made = keep("scale", lambda: {"largest": self._largest(objective)})
            scale = MARGIN * float(made["largest"]) + amount
        return Series(objective=objective, damping=amount, options=self, scale=scale)

    def _largest(self, objective: Objective) -> Tensor:
        """The largest eigenvalue of a few random batches, by power iteration."""
        found = []
        for look in range(LOOKS):
            data = self.drawn(objective, -1, look)
            vector = torch.randn(objective.fitted.count, generator=seeded(self.seed, look))
            vector = vector.to(objective.theta)
            for _ in range(POWER):
                unit = (vector / vector.norm().clamp(min=1e-30)).unsqueeze(0)
                vector = objective.curved(unit, self.curvature, data=data)[0]
            found.append(vector.norm())
        return torch.stack(found).max()

    def drawn(self, objective: Objective, *numbers: int) -> Labelled:
        """A random batch, with replacement."""
        generator = seeded(self.seed, *numbers)
        rows = torch.randint(objective.data.rows, (self.batch,), generator=generator)
        return objective.data.part(rows.tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class Series(Inverse):
    """Solves by the series."""

    options: LiSSA
    scale: float

    def solve(self, vectors: Tensor) -> Solved:
        """The mean over repeats, and its residual on the whole training set."""
        steps = self.options.steps
        if steps is None:  # until a hundredth is left along the flattest direction
            steps = min(5000, math.ceil(math.log(100) * 2 * self.scale / self.damping))
        repeats = self.options.repeats
        found = torch.stack([self._series(vectors, steps, k) for k in range(repeats)]).mean(0)
        curved = self.objective.curved(found, self.options.curvature, "residual")
        left = vectors - curved - self.damping * found
        return Solved(found, relative(left, vectors), steps * repeats)

    def _series(self, vectors: Tensor, steps: int, repeat: int) -> Tensor:
        from tqdm import tqdm

        found, mean = vectors / self.scale, torch.zeros_like(vectors)
        most = 10 * vectors.norm(dim=1) / self.damping
        for step in tqdm(range(steps), desc="LiSSA", unit="step", leave=False, disable=None):
            data = self.options.drawn(self.objective, repeat, step)
            curved = self.objective.curved(found, self.options.curvature, data=data)
            found = found + (vectors - curved - self.damping * found) / self.scale
            if not bool((found.norm(dim=1) <= most).all()):
                raise self._diverged(step)
            if step >= steps // 2:
                mean += found / (steps - steps // 2)
        return mean

    def _diverged(self, step: int) -> ModelError:
        return ModelError(
            "The series of LiSSA must converge",
            found=f"one that has grown beyond all bounds after {step + 1} steps, with a scale of "
            f"{self.scale:.3g} and a damping of {self.damping:.3g}",
            hint=f"Take a scale of {4 * self.scale:.2g}, or larger batches; where the loss bends "
            "down, more `damping` or the Gauss-Newton curvature; or take `cg`.",
        )


def _damping(
    objective: Objective, curvature: Curvature, damping: float | None, keep: Keep
) -> float:
    """The damping that is given, or a tenth of the mean eigenvalue."""
    if damping is not None:
        return damping
    found = keep("trace", lambda: {"mean": _mean_eigenvalue(objective, curvature)})
    return checked_damping(None, float(found["mean"]))


def _mean_eigenvalue(objective: Objective, curvature: Curvature) -> Tensor:
    """The trace of the curvature over its size, by random signs.

    Source: Hutchinson (1989), A stochastic estimator of the trace of the influence matrix.
    """
    count = objective.fitted.count
    signs = torch.randint(2, (PROBES, count), generator=seeded(0, count)).to(objective.theta)
    probes = 2 * signs - 1
    return (probes * objective.curved(probes, curvature, "damping")).sum(1).mean() / count
