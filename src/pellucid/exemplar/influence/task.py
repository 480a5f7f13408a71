"""What is asked of influence: checked before any work, with its memory planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.batching import BatchSize, check_batch_size
from pellucid.errors import InputError, PellucidWarning, UnknownNameError, warn
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.ekfac import EKFAC
from pellucid.exemplar.influence.exact import Exact, Newton
from pellucid.exemplar.influence.fitted import Chosen, check_model, fitted
from pellucid.exemplar.influence.gradients import VECTORS
from pellucid.exemplar.influence.iterative import CG, LiSSA
from pellucid.exemplar.influence.objective import Objective, loss_named
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
# At most so many examples have gradients of their own at once, and the parts of memory for them.
ROWS, PARTS = 512, 8
# A sample of the training set, by which one that is not the model's is noticed.
LOOKED_AT = 256
# A mean gradient as large as this, beside single ones, is not that of a minimum.
STEEP = 0.1
# A loss of so many times that of a guess is far off.
FAR = 1.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is asked, checked and planned."""

    solver: Solver
    name: str
    objective: Objective
    tested: Labelled | None
    target: Target | None
    damping: float | None
    memory: int
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
            tests = 0 if tested is None else tested.rows
            rows, needed = plan(solver, name, objective, tests, memory)
            objective = replace(objective, rows=rows)
            first = tuple(each for each in (note, _warned(objective)) if each)
        return cls(
            solver=solver, name=name, objective=objective, tested=tested, target=target,
            damping=damping, memory=needed, first=first,
        )  # fmt: skip

    @property
    def said(self) -> dict[str, Any]:
        """What results say of how they were found."""
        return {
            "how": self.name,
            "parameters": self.objective.fitted.names,
            "memory": self.memory,
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
            what=f"influence by {self.name}, about {size_of(self.memory)}",
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
        tolerance = getattr(self.solver, "tolerance", None)
        if tolerance is not None and found.worst > tolerance:
            made.append(
                f"Conjugate gradients have not converged: a residual of {found.worst:.2g} is left "
                f"after {found.steps} steps. Take CG(steps=...) more of them, or more damping."
            )
        if isinstance(self.solver, LiSSA) and found.worst > 0.1:
            made.append(
                f"LiSSA has left a residual of {found.worst:.2g}: take LiSSA(repeats=4), larger "
                "batches or more steps."
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
    name = next(key for key, each in SOLVERS.items() if each is type(made))
    if len(checkpoints):
        if not isinstance(made, TracIn):
            raise InputError(
                "`checkpoints` must be given for how='tracin' alone", found=f"how={name!r}"
            )
        made = replace(made, checkpoints=tuple(checkpoints))
    for each in getattr(made, "checkpoints", ()):
        Checkpoint.of(each)
    return made, name


def plan(
    solver: Solver, name: str, objective: Objective, tests: int, memory: int
) -> tuple[int, int]:
    """How many examples have a gradient of their own at once, and the bytes of all that is held."""
    chosen = objective.fitted
    item = chosen.theta.element_size()
    held = solver.bytes(chosen) | {
        f"what is solved for {tests} test examples": 5 * item * tests * chosen.count,
        "the parameters": 5 * item * chosen.count,  # as they run, and sums of gradients
    }
    each = 3 * item * chosen.count  # of one example, with what is made on the way
    if objective.blocks and not solver.written:
        each = min(each, objective.flowing(min(tests, VECTORS)))
    fixed = sum(held.values())
    if fixed + each > memory:
        most = max(held, key=lambda key: held[key])
        raise InputError(
            f"What how={name!r} holds must be at most `memory`, {size_of(memory)}",
            found=f"{size_of(fixed + each)}, of which {size_of(held[most])} for {most} "
            f"({chosen.count:,} parameters)",
            hint="Ask about fewer parameters (parameters=[...], of the last layers), fewer test "
            "examples at once, or another way; or allow more: memory=...",
        )
    rows = max(1, min(ROWS, (memory - fixed) // each, max(1, memory // PARTS // each)))
    return rows, fixed + rows * each


def size_of(count: int) -> str:
    """Bytes in words."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"


def _warned(objective: Objective) -> str:
    """Warn of a training set on which the model is worse than a guess, and say so."""
    total = objective.data.rows
    rows = sorted({k * total // LOOKED_AT for k in range(LOOKED_AT)})
    batch = objective.batch(rows)
    with torch.no_grad():
        mean = float(objective.losses(objective.theta, batch.inputs, batch.labels).mean())
    guess = _guess(objective, batch.labels)
    if guess is None or not mean > FAR * guess:
        return ""
    text = (
        f"The model is worse than a guess on `train`: its mean loss is {mean:.3g}, that of "
        f"one answer for all {guess:.3g}. Is it what the model was trained on, with inputs scaled "
        "and labels numbered as then?"
    )
    warn(text, PellucidWarning)
    return text


def _guess(objective: Objective, labels: Tensor) -> float | None:
    """The mean loss of the best answer that is the same for all examples, if that is known."""
    if objective.of_classes:
        counts = labels.flatten().unique(return_counts=True)[1].double()
        return float(-(counts / counts.sum() * (counts / counts.sum()).log()).sum())
    if objective.loss == "mse":
        return float(labels.double().reshape(len(labels), -1).var(0, correction=0).mean())
    return None
