"""Gradients on the straight line from a baseline to the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.gradient.references import scores_of
from pellucid.method import Attribution, Method, register
from pellucid.options import number, whole
from pellucid.remarks import Share, Span
from pellucid.structure import Inputs

# A refined integral begins with this many steps, and is tripled at most this often.
CELLS = 27
LEVELS = 3
# Forward passes that find where the score changes: at equal distances first, then so many rounds
# of as many more. What counts for the length itself keeps the steps from growing without bound.
PROBES = 8
PROBE_ROUNDS = 3
# A score that jumps (at a zero embedding under a layer norm, say) is probed for longer: as long as
# one step holds more than so many cells' share of the change.
MOST_PROBE_ROUNDS = 16
ROUGH = 3.0
LENGTH_SHARE = 0.5
# Values cannot add up better than their rounding; where f(x) = f(x0) nothing else is allowed.
ROUNDING = 1e-6
LEAK = (
    "Integrated gradients must sum to f(x) - f(baseline) within {:.3g} of it; {{}} did not after "
    f"{CELLS * 3**LEVELS} steps. Choose a nearer baseline, a larger tolerance, or a fixed number "
    "of steps."
)


@register("integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(Method):
    """The average gradient on the line from a baseline, times the distance walked.

        R = (x - x0) * mean over a in (0, 1) of grad f(x0 + a (x - x0))

    Axes: values have the axes of the input. The integral is a midpoint sum of `steps` equal steps.
    With `steps=None` the steps are short where the score changes fast, which a few forward passes
    find, and their number is tripled, for the samples that need it, until the values sum to
    f(x) - f(x0) within `tolerance` of it; every node of the coarser sum is a node of the finer
    one, so no gradient is computed twice. A background of several baselines is averaged over.
    Laws: complete up to the quadrature; exact on a linear model; an ignored input gets zero.
    Source: Sundararajan, Taly, Yan (2017), Axiomatic Attribution for Deep Networks.

    >>> product = lambda x: (x[:, 0] * x[:, 1]).unsqueeze(1)
    >>> IntegratedGradients(steps=4)(product, torch.tensor([[2.0, 3.0]])).values
    tensor([[3., 3.]])
    """

    answers: ClassVar[str] = "What did each pixel add on the way from the baseline to the input?"
    weakness: ClassVar[str] = (
        "Depends on the baseline: what looks like the baseline (black, say) cannot count."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant", "complete"})
    reads: ClassVar[frozenset[str]] = frozenset()
    differentiable: ClassVar[bool] = True

    baseline: BaselineLike = field(default_factory=Baseline)
    steps: int | None = None
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        if self.steps is not None:
            object.__setattr__(self, "steps", whole(self.steps, "steps"))
        tolerance = number(self.tolerance, "tolerance", "a positive number", above=0)
        object.__setattr__(self, "tolerance", tolerance)

    def attribute(self, case: Case) -> Attribution:
        """Integrate from every reference, and average."""
        end = case.outcome.score
        references = case.background(self.baseline)
        parts, expected, steps = [], [], []
        off = torch.zeros(len(case), dtype=torch.bool)
        for reference, start in zip(references, scores_of(case, references), strict=True):
            path = Path(case, reference, start.to(end), end)
            totals, taken = self._fixed(path) if self.steps else self._refined(path)
            parts.append(path.scaled(totals))
            expected.append(path.whole)
            steps.append(taken)
            if not self.steps:
                off |= self._open(path, totals).cpu()
        values = [torch.stack(column).mean(0) for column in zip(*parts, strict=True)]
        return Attribution(
            values=[v.to(leaf) for v, leaf in zip(values, case.inputs.leaves, strict=True)],
            expected=torch.stack(expected).mean(0),
            notes=(_span(torch.cat(steps)),),
            leak=Share(text=LEAK.format(self.tolerance), some=int(off.sum()), of=len(off)),
        )

    def _fixed(self, path: Path) -> tuple[list[Tensor], Tensor]:
        """The mean gradient at the middles of equal steps, and how many there were."""
        count = self.steps or 1
        nodes = midpoints(count).expand(len(path.case), count)
        return path.gradient_sum(nodes, torch.full_like(nodes, 1 / count)), torch.tensor([count])

    def _refined(self, path: Path) -> tuple[list[Tensor], Tensor]:
        """The mean gradient on a graded mesh, its nodes tripled where the values do not add up.

        The middle third of a step has the middle of the step: with a third of its weight, and
        with the middles of the other thirds, a finer sum contains the coarser one.
        """
        edges = path.mesh(CELLS)
        widths = edges.diff()
        totals = path.gradient_sum(edges[:, :-1] + widths / 2, widths)
        steps = torch.full((len(path.case),), CELLS)
        for level in range(LEVELS):
            rows = self._open(path, totals).nonzero().squeeze(1).cpu()
            if len(rows) == 0:
                break
            offsets = added_nodes(3**level)
            nodes = edges[rows, :-1, None] + widths[rows, :, None] * offsets
            weights = (widths[rows, :, None] / 3 ** (level + 1)).expand_as(nodes)
            more = path.select(rows).gradient_sum(nodes.flatten(1), weights.flatten(1))
            for total, extra in zip(totals, more, strict=True):
                total[rows] = total[rows] / 3 + extra
            steps[rows] = CELLS * 3 ** (level + 1)
        return totals, steps

    def _open(self, path: Path, totals: list[Tensor]) -> Tensor:
        """Which samples do not add up within the tolerance, shape (sample,)."""
        values = [v.reshape(len(v), -1) for v in path.scaled(totals)]
        explained = sum(v.sum(1) for v in values)
        rounding = ROUNDING * sum(v.abs().sum(1) for v in values)
        return (explained - path.whole).abs() > self.tolerance * path.whole.abs() + rounding


@register("interior_gradient")
@dataclass(frozen=True, kw_only=True)
class InteriorGradient(Method):
    """The gradient at a point between zero and the input, where the score is not saturated.

        R = grad f(a x), or the mean over several a

    Axes: values have the axes of the input; they are not multiplied by it.
    Laws: with a = 1 it is saliency; an ignored input gets zero.
    Source: Sundararajan, Taly, Yan (2016), Gradients of Counterfactuals.

    >>> cube = lambda x: (x ** 3).sum(1, keepdim=True)
    >>> InteriorGradient(alpha=0.5)(cube, torch.tensor([[2.0]])).values
    tensor([[3.]])
    """

    answers: ClassVar[str] = "Which pixels move the score while the evidence is still weak?"
    weakness: ClassVar[str] = "A dimmed input is not one the model was trained on."
    laws: ClassVar[frozenset[str]] = frozenset({"dummy", "invariant"})
    reads: ClassVar[frozenset[str]] = frozenset()
    differentiable: ClassVar[bool] = True

    alpha: float | Sequence[float] = 0.1

    def __post_init__(self) -> None:
        must = "a number in (0, 1], or several that are"
        given = self.alpha.tolist() if hasattr(self.alpha, "tolist") else self.alpha
        several = given if isinstance(given, list | tuple) else [given]
        made = tuple(number(each, "alpha", must, above=0, most=1) for each in several)
        if not made:
            raise InputError(f"`alpha` must be {must}", got=given)
        object.__setattr__(self, "alpha", made if isinstance(given, list | tuple) else made[0])

    @property
    def is_slope(self) -> bool:
        """Values are slopes of the score."""
        return True

    def attribute(self, case: Case) -> Attribution:
        """One forward and one backward pass for each alpha."""
        alphas = self.alpha if isinstance(self.alpha, Sequence) else (self.alpha,)
        zero = case.reference(Baseline())
        path = Path(case, zero, case.outcome.score, case.outcome.score)
        nodes = torch.tensor(alphas, dtype=torch.float64).expand(len(case), len(alphas))
        totals = path.gradient_sum(nodes, torch.full_like(nodes, 1 / len(alphas)))
        pairs = zip(totals, case.inputs.leaves, strict=True)
        return Attribution(values=[total.to(leaf) for total, leaf in pairs])


@dataclass(frozen=True)
class Path:
    """The straight line from a reference to the input of each sample, with the scores at its ends.

    Points on it are given by alpha, 0 at the reference and 1 at the input, shape (sample, step).
    """

    case: Case
    reference: Inputs
    start: Tensor
    end: Tensor

    @property
    def whole(self) -> Tensor:
        """f(x) - f(x0), shape (sample,)."""
        return self.end - self.start

    def select(self, rows: Tensor) -> Path:
        """The paths of some samples."""
        ends = (self.start[rows], self.end[rows])
        return Path(self.case.select(rows), self.reference.select(rows), *ends)

    def gradient_sum(self, alphas: Tensor, weights: Tensor) -> list[Tensor]:
        """Sum the gradients at alphas, times weights (sample, step); streamed, for each input."""
        leaves = self.case.inputs.leaves
        totals = [torch.zeros_like(leaf, dtype=wide(leaf)) for leaf in leaves]
        for part, rows, draws in self._stream(alphas, "gradients"):
            for total, gradient in zip(totals, part.gradient, strict=True):
                shape = (-1, *[1] * (gradient.ndim - 1))
                weight = weights[rows, draws].to(total).reshape(shape)
                total.index_add_(0, rows.to(total.device), gradient.to(total.dtype) * weight)
        return totals

    def scores(self, alphas: Tensor) -> Tensor:
        """The scores at alphas, shape (sample, step), from forward passes alone."""
        found = torch.zeros(alphas.shape, dtype=torch.float64)
        for part, rows, draws in self._stream(alphas, "scores"):
            with torch.no_grad():
                found[rows, draws] = part.outcome.score.detach().double().cpu()
        return found

    def mesh(self, cells: int) -> Tensor:
        """Edges (sample, cells + 1) of steps in each of which the score changes about alike.

        Scores saturate: most of the change lies on a short part of the line, and steps of equal
        length would waste most gradients on the rest. Forward passes find that part.
        """
        rows = len(self.case)
        alphas = torch.linspace(0, 1, PROBES + 1, dtype=torch.float64).repeat(rows, 1)
        ends = [end.detach().double().cpu().unsqueeze(1) for end in (self.start, self.end)]
        scores = torch.cat([ends[0], self.scores(alphas[:, 1:-1]), ends[1]], 1)
        edges = torch.zeros(rows, cells + 1, dtype=torch.float64)
        left = torch.arange(rows)
        for done in range(MOST_PROBE_ROUNDS + 1):
            edges[left] = _equal_change(alphas, scores, cells)
            keep = _is_rough(scores, cells) | (done < PROBE_ROUNDS)
            if done == MOST_PROBE_ROUNDS or not keep.any():
                break
            left, alphas, scores = left[keep], alphas[keep], scores[keep]
            alphas, scores = self.select(left)._halved(alphas, scores)
        return edges

    def _halved(self, alphas: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Probe the middles of the steps in which the score changes most."""
        largest = scores.diff().abs().topk(PROBES, 1).indices
        middles = (alphas.gather(1, largest) + alphas.gather(1, largest + 1)) / 2
        alphas, order = torch.cat([alphas, middles], 1).sort(1)
        return alphas, torch.cat([scores, self.scores(middles)], 1).gather(1, order)

    def scaled(self, totals: list[Tensor]) -> list[Tensor]:
        """Mean gradients times the distance walked."""
        triples = zip(totals, self.case.inputs.leaves, self.reference.leaves, strict=True)
        return [
            total * (end.to(total.dtype) - start.to(total.dtype)) for total, end, start in triples
        ]

    def _stream(self, alphas: Tensor, what: str) -> Iterator[tuple[Case, Tensor, Tensor]]:
        inputs = self.case.inputs

        def point(draw: int, rows: Tensor) -> Inputs:
            alpha = alphas[rows, draw]
            return inputs.replace([
                _between(start[rows], end[rows], alpha)
                for start, end in zip(self.reference.leaves, inputs.leaves, strict=True)
            ])  # fmt: skip

        return self.case.stream(alphas.shape[1], point, what)


def _between(start: Tensor, end: Tensor, alpha: Tensor) -> Tensor:
    """Start + alpha (end - start), with one alpha a row; integers stay those of the end."""
    if not end.is_floating_point():
        return end
    return torch.lerp(start, end, alpha.to(end).reshape(-1, *[1] * (end.ndim - 1)))


def _is_rough(scores: Tensor, cells: int) -> Tensor:
    """Whether the score changes in one step by more than several cells are to share, (sample,)."""
    change = scores.diff().abs()
    return change.amax(1) > ROUGH / cells * change.sum(1)


def _equal_change(alphas: Tensor, scores: Tensor, cells: int) -> Tensor:
    """Where the change of the score, plus a share of the length, reaches k / cells of its sum."""
    change = scores.diff().abs()
    share = change / change.sum(1, keepdim=True).clamp(min=1e-300) + LENGTH_SHARE * alphas.diff()
    reached = torch.cat([torch.zeros(len(share), 1), share.cumsum(1)], 1)
    edges = [
        np.interp(np.linspace(0, row[-1], cells + 1), row, alpha)
        for row, alpha in zip(reached.numpy(), alphas.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(edges))


def midpoints(count: int) -> Tensor:
    """The middles of `count` equal parts of (0, 1), shape (step,).

    >>> midpoints(2).tolist()
    [0.25, 0.75]
    """
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def added_nodes(count: int) -> Tensor:
    """The midpoints of 3 * count parts that are not midpoints of `count` parts, shape (step,)."""
    fine = midpoints(3 * count)
    return fine[torch.arange(3 * count) % 3 != 1]


def _span(steps: Tensor) -> Span:
    """Say how many steps the samples took."""
    return Span(text="The integral took {} steps.", low=int(steps.min()), high=int(steps.max()))
