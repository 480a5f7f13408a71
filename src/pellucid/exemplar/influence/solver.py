"""What all ways to undo the curvature of the loss share: s = (H + damping I)^-1 v."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.exemplar.influence.gradients import Gradients
from pellucid.exemplar.influence.objective import Batch, Objective

# Unless damping is given, it is this part of the mean eigenvalue (Grosse et al. 2023).
SHARE = 0.1

# What is named here is computed once: a run that goes on finds it in its folder.
Keep: TypeAlias = Callable[[str, Callable[[], Mapping[str, Tensor]]], Mapping[str, Tensor]]


class Solved(NamedTuple):
    """Solutions (row, parameter), what relative residual |v - (H + damping) s| / |v| each has left.

    `steps` is how many it took; a residual is not a number where none is known.
    """

    vectors: Tensor
    residual: Tensor
    steps: int


class Owned(NamedTuple):
    """Self-influence (sample,), the relative residual each has left (sample,), and the steps."""

    values: Tensor
    residual: Tensor
    steps: int


def owned(values: Tensor, residual: float = math.nan) -> Owned:
    """Self-influence found without steps; a residual is not a number where none is known."""
    return Owned(values, torch.full_like(values, residual), 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverse(ABC):
    """The inverse of the damped curvature of an objective."""

    objective: Objective
    damping: float

    @abstractmethod
    def solve(self, vectors: Tensor) -> Solved:
        """The inverse times each of some vectors (row, parameter)."""

    def without(self, batch: Batch, gradients: Gradients) -> Gradients:
        """What leaving each example out pulls at the parameters with: its gradient."""
        return gradients

    def own(self, batch: Batch, gradients: Gradients) -> Owned:
        """g^T (H + damping)^-1 g of each example (sample,), of their gradients g."""
        solved = self.solve(self.without(batch, gradients).rows())
        return Owned((gradients.rows() * solved.vectors).sum(1), solved.residual, solved.steps)


class Solver(ABC):
    """One way to undo the curvature; its fields are its options.

    `last` says that it looks at the parameters of the last layer, unless others are asked for,
    `shrinks` that values are of leaving one of n examples out, which weighs 1/n, and `written` that
    gradients of training examples are written out, each as long as all parameters, and `damps` that
    it makes use of damping.
    """

    last: ClassVar[bool] = True
    shrinks: ClassVar[bool] = True
    written: ClassVar[bool] = True
    damps: ClassVar[bool] = True

    @abstractmethod
    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> Inverse:
        """Do what is done once for all vectors."""

    def choose(self, fitted: Fitted, *, asked: bool) -> tuple[Fitted, str]:
        """The parameters that it knows how to treat, and a note on those that it leaves out."""
        return fitted, ""

    def bytes(self, fitted: Fitted) -> dict[str, int]:
        """What it holds beside vectors and gradients, in bytes, by name."""
        return {}

    def solving(self, fitted: Fitted) -> int:
        """What is held for each vector while it is solved for, in bytes."""
        return 5 * fitted.theta.element_size() * fitted.count

    def solves(self, *, own: bool) -> bool:
        """Whether it solves for each training example: of their `own` influence, or in any case."""
        return own


def checked_damping(damping: float | None, mean: float) -> float:
    """The damping that is given, or a tenth of the mean eigenvalue."""
    if damping is not None:
        return damping
    if not mean > 0:
        raise ModelError(
            "The curvature of the loss must be positive on average for damping to be a share of it",
            found=f"a mean eigenvalue of {mean:.3g}",
            hint="Give a `damping` above zero: the weight decay that the model was trained with. "
            "Where the loss is zero on all examples, nothing can be told apart.",
        )
    return SHARE * mean


def not_definite(low: float, high: float, damping: float) -> ModelError:
    """The error of a curvature that is singular, or bends down somewhere."""
    least = max(-low, 0.0) + 1e-3 * max(high, abs(low))
    return ModelError(
        "The curvature of the loss, with its damping, must be positive definite",
        found=f"one that goes down to {low:.3g} (its largest is {high:.3g}), with a damping of "
        f"{damping:.3g}",
        hint=f"Give the weight decay of the training as `damping`, or at least {least:.2g}; or "
        "take the Gauss-Newton curvature, as `ekfac` does, which never bends down.",
    )


def relative(residual: Tensor, vectors: Tensor) -> Tensor:
    """The length of each residual as a part of that of its vector; zero of zero is zero."""
    length = vectors.norm(dim=1)
    return torch.where(length > 0, residual.norm(dim=1) / length, 0)
