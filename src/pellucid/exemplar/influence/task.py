"""What is asked of influence: checked before any work, with its memory planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch

from pellucid.batching import BatchSize, check_batch_size
from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.ekfac import EKFAC
from pellucid.exemplar.influence.exact import Exact, Newton
from pellucid.exemplar.influence.fitted import Chosen, check_model, fitted
from pellucid.exemplar.influence.iterative import CG, LiSSA
from pellucid.exemplar.influence.looks import one_by_one, worse_than_a_guess
from pellucid.exemplar.influence.objective import Objective, loss_named
from pellucid.exemplar.influence.plan import Plan, size_of
from pellucid.exemplar.influence.result import Convergence
from pellucid.exemplar.influence.simple import Checkpoint, Representer, TracIn
from pellucid.exemplar.influence.solver import Solver
from pellucid.exemplar.influence.stage import Part, Stage
from pellucid.options import number, whole
from pellucid.program import untouched
from pellucid.run.described import described, fingerprint
from pellucid.run.folder import RunFolder, run_folder
from pellucid.target import Target

How: TypeAlias = (
    Literal["exact", "newton", "cg", "lissa", "ekfac", "tracin", "representer"] | Solver
)
SOLVERS: dict[str, type[Solver]] = {
    "exact": Exact,
    "newton": Newton,
    "cg": CG,
    "lissa": LiSSA,
    "ekfac": EKFAC,
    "tracin": TracIn,
    "representer": Representer,
}
MEMORY = 2**31
# A mean gradient as large as this, beside single ones, is not that of a minimum.
STEEP = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is asked, checked and planned."""

    solver: Solver
    name: str
    objective: Objective
    tested: Labelled | None
    target: Target | None
    damping: float | None
    plan: Plan
    first: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: Any,
        train: Any,
        tested: Labelled | None,
        *,
        how: Any,
        loss: Any,
        parameters: Chosen,
        damping: float | None,
        checkpoints: Sequence[Any],
        batch_size: BatchSize,
        memory: int,
        target: Target | None = None,
    ) -> Task:
        """Check everything before any work, and plan its memory."""
        solver, name = solver_of(how, checkpoints)
        check_batch_size(batch_size)
        whole(memory, "memory")
        if damping is not None:
            damping = number(damping, "damping", "a number from 0 on, or None", least=0)
        check_model(model)
        data = Labelled.of(train, "train")
        with untouched(model):
            chosen = fitted(model, parameters, data.read([0])[0], last=solver.last)
            chosen, note = solver.choose(chosen, asked=parameters not in (None, "all"))
            objective = Objective(
                fitted=chosen, loss=loss_named(loss), data=data, rows=1, batch_size=batch_size
            )
            objective.check()
            objective, alone = one_by_one(objective)
            tests, inner = tested.rows if tested else 0, bool(target and target.layer)
            plan = Plan.of(solver, name, objective, tests, memory, inner=inner)
            objective = objective.sized(plan.rows)
            looked = worse_than_a_guess(objective)
        return cls(
            solver=solver, name=name, objective=objective, tested=tested, target=target,
            damping=damping, plan=plan, first=tuple(filter(None, (note, alone, looked))),
        )  # fmt: skip

    @property
    def said(self) -> dict[str, Any]:
        """What results say of how they were found."""
        return {
            "how": self.name,
            "parameters": self.objective.fitted.names,
            "memory": self.plan.memory,
            "train": self.objective.data,
        }

    def stages(self) -> Iterator[Stage]:
        """One for each checkpoint, or one for the model as it is."""
        shrink = self.objective.data.rows if self.solver.shrinks else 1
        stage = Stage(
            solver=self.solver,
            objective=self.objective,
            tested=self.tested,
            target=self.target,
            damping=self.damping,
            scale=1 / shrink,
            head=self.plan.head,
            what=f"influence by {self.name}, about {size_of(self.plan.memory)}",
        )
        checkpoints = getattr(self.solver, "checkpoints", ())
        if not checkpoints:
            yield stage
        for k, each in enumerate(checkpoints):
            taken = Checkpoint.of(each)
            objective = replace(self.objective, fitted=self.objective.fitted.at(taken.load()))
            yield replace(stage, objective=objective, scale=taken.rate, place=f"{k}-")

    def total(
        self, folder: Any, what: str, find: Callable[[Stage, RunFolder | None], Part]
    ) -> Part:
        """What all stages find together, with the values summed by their scales."""
        with untouched(self.objective.fitted.model), self.keeping(folder, what) as store:
            found = [(stage.scale, find(stage, store)) for stage in self.stages()]
        values = torch.stack([scale * part.values for scale, part in found]).sum(0)
        return replace(found[-1][1], values=values)

    @contextmanager
    def keeping(self, folder: Any, what: str) -> Iterator[RunFolder | None]:
        """The folder of the run, if there is one."""
        if folder is None:
            yield None
            return
        state = self.objective.fitted.state
        settings = {
            "what": what,
            "how": described(self.solver),
            "loss": described(self.objective.loss),
            "damping": self.damping,
            "parameters": list(self.objective.fitted.names),
            "model": {name: fingerprint(each) for name, each in state.items()},
            "train": self.objective.data.mark,
            "test": None if self.tested is None else self.tested.mark,
        }
        with run_folder(folder, settings) as opened:
            yield opened

    def notes(self, found: Convergence) -> tuple[str, ...]:
        """What a user should know."""
        made = list(self.first)
        if not self.solver.damps and self.damping is not None:
            made.append(f"There is no curvature to damp: `{self.name}` makes no use of `damping`.")
        tolerance = getattr(self.solver, "tolerance", None)
        if tolerance is not None and found.worst > tolerance:
            made.append(
                f"Conjugate gradients have not converged: a residual of {found.worst:.2g} is left "
                f"after {found.steps} steps. Allow more of them, or take more `damping`."
            )
        if isinstance(self.solver, LiSSA) and found.worst > 0.1:
            made.append(
                f"LiSSA has left a residual of {found.worst:.2g}: more repeats, larger batches or "
                "more steps leave less."
            )
        if isinstance(self.solver, Representer) and found.worst > 0.01:
            made.append(
                f"The last layer is not stationary: {found.worst:.1%} of its weights do not come "
                "from the training examples, and values do not sum to scores."
            )
        if isinstance(self.solver, TracIn) and not self.solver.checkpoints:
            made.append("Without checkpoints: products of gradients of the trained model alone.")
        steep = self.solver.shrinks and not isinstance(self.solver, Representer)
        if steep and found.slope > STEEP:
            made.append(
                f"The mean gradient is {found.slope:.0%} of the length of single ones: the model "
                "is not at a minimum of this loss, which influence functions suppose. Values rank "
                "examples, and are too large as amounts."
            )
        return tuple(made)


def solver_of(how: Any, checkpoints: Sequence[Any]) -> tuple[Solver, str]:
    """The way that is asked for, and its name."""
    if isinstance(how, str):
        if how not in SOLVERS:
            raise UnknownNameError("`how`", how, SOLVERS)
        made = SOLVERS[how]()
    elif isinstance(how, Solver):
        made = how
    else:
        raise InputError(
            f"`how` must be one of {', '.join(SOLVERS)}, or an object of those", got=how
        )
    name = next(
        (key for key, each in SOLVERS.items() if isinstance(made, each)), type(made).__name__
    )
    if len(checkpoints):
        if not isinstance(made, TracIn):
            raise InputError("`checkpoints` must be given for `tracin` alone", found=f"{name!r}")
        made = replace(made, checkpoints=tuple(checkpoints))
    for each in getattr(made, "checkpoints", ()):
        Checkpoint.of(each)
    return made, name
