"""What the model must say of a counterfactual: another class, or a score past a threshold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError, TargetError, show
from pellucid.options import number, one_of
from pellucid.target import Target, TargetLike

Side: TypeAlias = Literal["above", "below"]
SIDES = ("above", "below")
# Of the rounding errors of a score, so many are too little to be a decision: two batches that
# differ in size may differ by as much.
ROUNDINGS = 32
MOST_SLACK = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal:
    """What is wanted of each chain, as a *gain* that must be above zero.

        a class c:    s_c - max of the others - margin
        any other:    max of the others - s_c - margin, for the class c of the input
        a threshold:  sign (s - threshold) - margin

    `wanted` (chain,) is a class or -1 for any other, `before` (chain,) the class of the input; of a
    threshold `sign` (chain,) says on which side of it the score must be.
    `caution` is the share of what rounding may do that a gain has to be above: a search goes
    further than a check asks for, which may have batches of another size.
    """

    aim: Target
    margin: float
    wanted: Tensor | None = None
    before: Tensor | None = None
    threshold: float = 0.0
    sign: Tensor | None = None
    caution: float = 0.5

    def select(self, index: Tensor) -> "Goal":
        """The goal of some chains, or of the same several times."""
        if self.sign is not None:
            return replace(self, aim=self.aim.select(index), sign=self.sign[index])
        if self.wanted is None or self.before is None:
            return self
        return replace(self, wanted=self.wanted[index], before=self.before[index])

    def gain(self, raw: Any, scores: Any, chain: Tensor) -> Tensor:
        """How far rows are beyond what is wanted, of shape (row,), in units of the score."""
        if self.sign is not None:
            score = read(self.aim.select(chain), raw, scores)
            gain = self.sign[chain].to(score) * (score - self.threshold)
            return gain - self.margin - self.caution * _slack(score.detach())
        table = table_of(self.aim, raw, scores)
        wanted, before = self._of(chain, table.device)
        one = torch.where(wanted >= 0, wanted, before)[:, None]
        own = table.gather(1, one).squeeze(1)
        others = table.scatter(1, one, -torch.inf).amax(1)
        gain = torch.where(wanted >= 0, own - others, others - own)
        return gain - self.margin - self.caution * _slack(table.detach().abs().amax(1))

    def answer(self, raw: Any, scores: Any, chain: Tensor) -> Tensor:
        """The class that the model says, or the score that is held against the threshold."""
        if self.sign is not None:
            return read(self.aim.select(chain), raw, scores).detach().double().cpu()
        return table_of(self.aim, raw, scores).detach().argmax(1).cpu()

    def wants(self, answers: Tensor, chain: Tensor) -> Tensor:
        """Whether answers (row,) are what is wanted of each chain, of shape (chain, row)."""
        if self.sign is not None:
            return self.sign[chain][:, None] * (answers - self.threshold) > 0
        wanted, before = (each[:, None] for each in self._of(chain, answers.device))
        return torch.where(wanted >= 0, answers == wanted, answers != before)

    def _of(self, chain: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        if self.wanted is None or self.before is None:
            raise RuntimeError("a goal of classes has both")  # never by the functions below
        return self.wanted[chain].to(device), self.before[chain].to(device)


def goal_of(
    raw: Any,
    scores: Any,
    rows: int,
    target: TargetLike,
    threshold: float | None,
    side: Side | None,
    margin: float,
) -> Goal:
    """What is wanted of the inputs, given what the model says of them now."""
    aim = Target.of(target).check_rows(rows)
    margin = number(margin, "margin", "a number of at least 0", least=0)
    if threshold is None:
        if side is not None:
            raise InputError("`side` must be given with a `threshold`", got=side)
        return _of_classes(aim, raw, scores, rows, margin)
    level = number(threshold, "threshold", "a finite number")
    if side is not None:
        one_of(side, "`side`", SIDES)
    resolved = aim.resolve(aim.before_softmax(raw, scores), rows)
    score = read(resolved, raw, scores).detach().cpu()
    sign = torch.where(score > level, -1.0, 1.0).double()
    if side is not None:
        sign = torch.full_like(sign, 1.0 if side == "above" else -1.0)
    return Goal(aim=resolved, margin=margin, threshold=level, sign=sign)


def joined(goals: Sequence[Goal], aim: Target) -> Goal:
    """The goals of consecutive batches as one; `aim` is the target that all of them are of."""
    first = goals[0]
    if first.sign is not None:
        signs = [goal.sign for goal in goals if goal.sign is not None]
        whole = aim.join([goal.aim for goal in goals], [len(each) for each in signs])
        return replace(first, aim=whole, sign=torch.cat(signs))
    wanted = [goal.wanted for goal in goals if goal.wanted is not None]
    before = [goal.before for goal in goals if goal.before is not None]
    return replace(first, wanted=torch.cat(wanted), before=torch.cat(before))


def _of_classes(aim: Target, raw: Any, scores: Any, rows: int, margin: float) -> Goal:
    found = aim.before_softmax(raw, scores)
    if aim.kind not in ("predicted", "index"):
        raise TargetError(
            "A target that is a score must come with a `threshold` that it has to pass",
            got=aim,
            hint="For example target=Target.probability(1), threshold=0.8, side='above'.",
        )
    resolved = aim.resolve(found, rows)
    table = aim.table(found)
    if table is None or table.shape[1] < 2:
        raise TargetError(
            "`threshold` must be given where the model returns one score",
            found="an output without classes" if table is None else show(table),
            hint="For the score before a sigmoid it is threshold=0; side='above' or 'below' says "
            "where to, without it it is the other side.",
        )
    before, width = table.detach().argmax(1).cpu(), table.shape[1]
    wanted = torch.full_like(before, -1)
    if aim.kind == "index":
        wanted = torch.tensor([k % width for k in resolved.classes]).expand(rows).clone()
    plain = replace(aim, kind="predicted", classes=())
    return Goal(aim=plain, margin=margin, wanted=wanted, before=before)


def table_of(aim: Target, raw: Any, scores: Any) -> Tensor:
    """The scores of all classes, of shape (row, class)."""
    table = aim.table(aim.before_softmax(raw, scores))
    if table is None:
        raise TargetError("The model must return scores of classes", found="none")
    return table


def read(aim: Target, raw: Any, scores: Any) -> Tensor:
    """The score of a target, of shape (row,)."""
    return aim.score(aim.before_softmax(raw, scores), raw)


def _slack(size: Tensor) -> Tensor:
    """What rounding may make of a score of this size."""
    share = min(ROUNDINGS * torch.finfo(size.dtype).eps, MOST_SLACK)
    return share * size.abs().clamp(min=1e-6)
