"""Simple Taylor decomposition: the score as its first-order terms around a root point."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError, TargetError, show
from pellucid.method import Attribution, Method, register
from pellucid.options import one_of, whole
from pellucid.remarks import Remark, Share
from pellucid.structure import Inputs

RootLike: TypeAlias = "str | Tensor | tuple[Tensor, ...] | dict[str, Tensor] | Baseline"

SEARCHES = ("boundary", "zero")
# A step goes this much too far, so that it ends behind the root, between which and the point
# before it the root is then enclosed, in at most so many rounds.
OVERSHOOT = 0.02
ROUNDS = 24
# How near to zero a root has to come, as a share of the score before it.
CLOSE = 1e-6
# Residuals above this share of f(x) - f(root) are worth a note.
SHARE = 0.1
BENT = (
    f"{{}} have terms of higher order that make up more than {SHARE:.0%} of f(x) - f(root): their "
    "scores bend between the root and the input."
)
ROOT = '`root` must be "boundary", "zero", a number, or finite tensors in the structure of inputs'
NO_ROOT = (
    "Simple Taylor decomposition must start from a root; none was found for {{}} in {} steps. "
    "Give a root, a different search, or more steps."
)


@register("taylor")
@dataclass(frozen=True, kw_only=True)
class SimpleTaylor(Method):
    """The first-order terms of the score around a root point near the input.

        R = (x - root) * grad f(root),   sum of R = f(x) - f(root) + terms of higher order

    Axes: values have the axes of the input. `root` says where to expand:

    | `root` | the point |
    |---|---|
    | `"boundary"` | where the decision changes: the class scores as much as the best other one; \
a target without other classes: where the score is zero |
    | `"zero"` | where the explained score is zero |
    | a tensor | one point for each sample, or one row for all |

    A point is searched from the input along the gradient, by Newton steps that may each be as
    long as the input, until one steps over the root; that is then closed in on along the step. So
    it is a near root, not surely the nearest. The search takes at most `steps` gradients and 24
    scores a sample. Without a root, the last point is taken, and a warning says so. The root is
    `explanation.baseline`.
    Laws: on an affine score exact; an ignored input gets zero.
    Source: Bach et al. (2015), On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
    Layer-Wise Relevance Propagation; Montavon, Samek, Mueller (2018), Methods for Interpreting
    and Understanding Deep Neural Networks.

    >>> line = lambda x: (x * torch.tensor([3.0, -4.0])).sum(1, keepdim=True)
    >>> SimpleTaylor()(line, torch.tensor([[2.0, -1.0]])).values
    tensor([[3.6000, 6.4000]])
    """

    answers: ClassVar[str] = "What sets this input apart from the nearest undecided one?"
    weakness: ClassVar[str] = (
        "The root lies close by and looks like the input, and what the score bends on the way to "
        "it is missing."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant"})
    reads: ClassVar[frozenset[str]] = frozenset()

    root: RootLike = "boundary"
    steps: int = 30

    def __post_init__(self) -> None:
        if isinstance(self.root, str):
            one_of(self.root, "`root` of taylor", SEARCHES)
        else:
            object.__setattr__(self, "root", _point(self.root))
        object.__setattr__(self, "steps", whole(self.steps, "steps"))

    def check(self, inputs: Inputs) -> None:
        """Raise unless a root that is given is one for each sample."""
        if not isinstance(self.root, Baseline):
            return
        root = _one_each(self.root, inputs, inputs.rows)
        try:
            root.check(inputs)
            alone = root.kind != "tensor" or root.single(inputs) is not None
        except InputError:
            alone = False
        if not alone:
            raise InputError(
                "`root` must be one point for each sample, or one for all, as the inputs are",
                found=f"{show(self.root.tensors)} for {show(inputs.leaves)}",
            )

    def attribute(self, case: Case) -> Attribution:
        """Find the root, and take the gradient there."""
        score = case.outcome.score
        root, missing = self._root(case)
        there = case.moved(root, torch.arange(len(case)))
        triples = zip(there.gradient, case.inputs.leaves, root.leaves, strict=True)
        values = [(x - x0) * gradient for gradient, x, x0 in triples]
        expected = score - there.outcome.score
        return Attribution(
            values=values,
            expected=expected,
            notes=_higher_order(values, expected),
            leak=Share(text=NO_ROOT.format(self.steps), some=missing, of=len(case)),
            reference=None if case.embedded is not None else list(root.leaves),
        )

    def _root(self, case: Case) -> tuple[Inputs, int]:
        """The root of each sample, and for how many there is none."""
        if isinstance(self.root, Baseline):
            return case.reference(_one_each(self.root, case.inputs, case.total)), 0
        search = Search(_whose_zero(case) if self.root == "boundary" else case)
        return search.run(self.steps)


def _point(root: RootLike) -> Baseline:
    """A root that is given, as a baseline is."""
    try:
        found = Baseline.of(root)
    except InputError as error:
        raise InputError(ROOT, got=root) from error
    if root is None:
        raise InputError(ROOT, found="None")
    return found


def _one_each(root: Baseline, inputs: Inputs, total: int) -> Baseline:
    """Rows that are as many as the samples are one for each."""
    each = root.kind == "tensor" and all(
        given.ndim == leaf.ndim and given.shape[axis] == total > 1
        for given, leaf, axis in zip(root.tensors, inputs.leaves, inputs.axes, strict=False)
    )
    return replace(root, kind="per_sample") if each else root


def _whose_zero(case: Case) -> Case:
    """The same samples, with a score that is zero where the decision changes."""
    target = case.outcome.target
    if target.kind not in ("index", "probability", "log_odds"):
        return case
    margin = replace(case, target=replace(target, kind="margin"), shared=False)
    try:
        return margin if bool(margin.outcome.score.isfinite().all()) else case
    except TargetError:  # of one score there is no margin: its own sign decides
        return case


def _higher_order(values: Sequence[Tensor], expected: Tensor) -> tuple[Remark, ...]:
    """Say what the terms of first order miss, where that is worth a sentence."""
    explained = sum(v.reshape(len(v), -1).sum(1, dtype=wide(v)) for v in values)
    missed = (expected - explained).abs()
    off = int((missed > SHARE * expected.abs()).sum())
    return (Share(text=BENT, some=off, of=len(expected)),)


@dataclass(frozen=True)
class Search:
    """Looks for a point near each sample at which the score of a case is zero."""

    case: Case

    def run(self, steps: int) -> tuple[Inputs, int]:
        """The root of each sample, or the last point before it; and for how many it is none.

        A sample goes on until its score has changed its sign.
        """
        start = self.case.outcome.score
        near, far = start.clone(), start.clone()
        before = [leaf.clone() for leaf in self.case.inputs.leaves]
        behind = [leaf.clone() for leaf in self.case.inputs.leaves]
        going = torch.ones_like(start, dtype=torch.bool)
        for _ in range(steps):
            rows = self._rows(going)
            at = self._at(behind, rows)
            moves = self._newton(at, rows)
            found = at.outcome.score
            far[rows] = torch.where(going[rows], found, far[rows])
            goes = going[rows] & (found * start[rows] > 0) & _any(moves)
            rows, going = rows[goes], torch.zeros_like(going)
            going[rows], near[rows] = True, found[goes]
            for old, point, move in zip(before, behind, moves, strict=True):
                old[rows] = point[rows]
                point[rows] += move[goes]
            if len(rows) == 0:
                break
        return self._close_in(before, behind, near, far)

    def _newton(self, at: Case, rows: Tensor) -> list[Tensor]:
        """Steps down the gradient, a little further than to the zero of the tangent.

        None is longer than the sample itself, or than one where the sample is zero.
        """
        slopes = at.gradient
        steep = _norms(slopes)
        length = (1 + OVERSHOOT) * at.outcome.score / steep
        most = _norms([leaf[rows] for leaf in self.case.inputs.leaves])
        most = torch.where(most == 0, 1, most)
        scale = -torch.maximum(torch.minimum(length, most), -most) / steep
        scale = torch.where(scale.isfinite(), scale, 0)
        return [_spread(scale, slope) * slope for slope in slopes]

    def _close_in(
        self, before: list[Tensor], behind: list[Tensor], near: Tensor, far: Tensor
    ) -> tuple[Inputs, int]:
        """Find the root between two points, by secants and bisections in turn.

        It is approached from the side of the input, for the score may bend at the root itself:
        behind the root of a rectifier the gradient is zero.
        """
        found = near * far <= 0
        low, high = torch.zeros_like(near), torch.ones_like(near)
        enough = CLOSE * near.abs()
        for turn in range(ROUNDS):
            going = found & (near.abs() > enough)
            if not going.any():
                break
            rows = self._rows(going)
            share = near / (near - far) * (1 - CLOSE / 2) if turn % 2 == 0 else 0.5
            middle = low + (high - low) * share
            score = torch.full_like(near, torch.nan)
            with torch.no_grad():
                score[rows] = self._at(_between(before, behind, middle), rows).outcome.score
            side = torch.where(going, score * near, torch.nan)
            low, near = torch.where(side > 0, middle, low), torch.where(side > 0, score, near)
            high, far = torch.where(side <= 0, middle, high), torch.where(side <= 0, score, far)
        root = self.case.inputs.replace(_between(before, behind, low))
        return root, int((~found).sum())

    def _rows(self, going: Tensor) -> Tensor:
        """The samples to evaluate; in training mode all, for they share the batch's statistics."""
        training = getattr(self.case.program.model, "training", False)
        return (torch.ones_like(going) if training else going).nonzero().squeeze(1)

    def _at(self, points: list[Tensor], rows: Tensor) -> Case:
        return self.case.moved(self.case.inputs.replace([p[rows] for p in points]), rows.cpu())


def _between(start: list[Tensor], end: list[Tensor], share: Tensor) -> list[Tensor]:
    """Points on the lines between two, by one share of the way a sample; integers do not move."""
    return [
        a + _spread(share, a) * (b - a) if a.is_floating_point() else a
        for a, b in zip(start, end, strict=True)
    ]


def _norms(parts: list[Tensor]) -> Tensor:
    """The length of each sample over all its tensors, shape (sample,)."""
    floats = [part.reshape(len(part), -1) for part in parts if part.is_floating_point()]
    return torch.cat([part.to(wide(part)) for part in floats], 1).norm(dim=1)


def _any(moves: list[Tensor]) -> Tensor:
    """Whether a sample moves, shape (sample,)."""
    return torch.stack([move.reshape(len(move), -1).any(1) for move in moves]).any(0)


def _spread(share: Tensor, like: Tensor) -> Tensor:
    """One number a sample, in the type and with the axes of a tensor."""
    return share.to(like).reshape(-1, *[1] * (like.ndim - 1))
