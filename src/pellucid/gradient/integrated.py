"""Gradients on the straight line from a baseline to the input."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.method import Attribution, Method, register
from pellucid.structure import Inputs

FIRST_STEPS = 9
MOST_STEPS = 729


@register("integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(Method):
    """The average gradient on the line from a baseline, times the distance walked.

        R = (x - x0) * mean over a in (0, 1) of grad f(x0 + a (x - x0))

    Axes: values have the axes of the input. The integral is a midpoint sum of `steps` nodes. With
    `steps=None` the number is tripled, for the samples that need it, until the values sum to
    f(x) - f(x0) within `tolerance` of it; every node of the coarser sum is a node of the finer
    one, so nothing is computed twice. A background of several baselines is averaged over.
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

    baseline: BaselineLike = field(default_factory=Baseline)
    steps: int | None = None
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        if self.steps is not None and not (isinstance(self.steps, int) and self.steps > 0):
            raise InputError("`steps` must be a positive whole number or None", got=self.steps)
        if not self.tolerance > 0:
            raise InputError("`tolerance` must be positive", got=self.tolerance)

    def attribute(self, case: Case) -> Attribution:
        """Integrate from every reference, and average."""
        start = case.outcome.score
        parts, expected, leaks, notes = [], [], [], []
        for reference in case.background(self.baseline):
            whole = start - case.score_at(reference)
            values, steps = self._from(case, reference, whole)
            parts.append(values)
            expected.append(whole)
            notes.append(f"The integral took {_span(steps)} steps.")
            leaks.append(self._leak(values, whole))
        values = [torch.stack(column).mean(0) for column in zip(*parts, strict=True)]
        return Attribution(
            values=[v.to(leaf) for v, leaf in zip(values, case.inputs.leaves, strict=True)],
            expected=torch.stack(expected).mean(0),
            notes=tuple(dict.fromkeys(notes)),
            leak=next((leak for leak in leaks if leak), ""),
        )

    def _from(self, case: Case, reference: Inputs, whole: Tensor) -> tuple[list[Tensor], Tensor]:
        """Values from one reference, and the steps that each sample took."""
        steps = torch.full((len(case),), self.steps or FIRST_STEPS)
        nodes = midpoints(int(steps[0]))
        totals = gradient_sum(case, reference, nodes)
        values = _scaled(totals, case.inputs, reference, steps)
        while self.steps is None:
            open_rows = self._unfinished(values, whole) & (steps < MOST_STEPS)
            rows = open_rows.nonzero().squeeze(1).cpu()
            if len(rows) == 0:
                break
            count = int(steps[rows[0]])
            more = gradient_sum(case.select(rows), reference.select(rows), added_nodes(count))
            for total, extra in zip(totals, more, strict=True):
                total[rows] += extra
            steps[rows] = 3 * count
            values = _scaled(totals, case.inputs, reference, steps)
        return values, steps

    def _unfinished(self, values: list[Tensor], whole: Tensor) -> Tensor:
        """Which samples do not add up within the tolerance, shape (sample,)."""
        explained = sum(v.flatten(1).sum(1) for v in values)
        return (explained - whole).abs() > self.tolerance * whole.abs()

    def _leak(self, values: list[Tensor], whole: Tensor) -> str:
        unfinished = self._unfinished(values, whole)
        if self.steps is not None or not unfinished.any():
            return ""
        return (
            f"Integrated gradients must sum to f(x) - f(baseline) within {self.tolerance:.3g} of "
            f"it; {int(unfinished.sum())} samples did not after {MOST_STEPS} steps. "
            "Choose a nearer baseline, a larger tolerance, or a fixed number of steps."
        )


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

    alpha: float | Sequence[float] = 0.1

    def __post_init__(self) -> None:
        given = self.alpha if isinstance(self.alpha, Sequence) else (self.alpha,)
        if not given or not all(0 < a <= 1 for a in given):
            raise InputError("`alpha` must be in (0, 1], or several that are", got=self.alpha)
        if isinstance(self.alpha, Sequence):
            object.__setattr__(self, "alpha", tuple(self.alpha))

    def attribute(self, case: Case) -> Attribution:
        """One forward and one backward pass for each alpha."""
        alphas = self.alpha if isinstance(self.alpha, Sequence) else (self.alpha,)
        zero = case.inputs.replace([torch.zeros_like(leaf) for leaf in case.inputs.leaves])
        totals = gradient_sum(case, zero, torch.tensor(alphas, dtype=torch.float64))
        pairs = zip(totals, case.inputs.leaves, strict=True)
        return Attribution(values=[(total / len(alphas)).to(leaf) for total, leaf in pairs])


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


def gradient_sum(case: Case, reference: Inputs, alphas: Tensor) -> list[Tensor]:
    """Sum the gradients at x0 + a (x - x0) over all a, streamed, one tensor for each input."""
    totals = [torch.zeros_like(leaf, dtype=wide(leaf)) for leaf in case.inputs.leaves]

    def point(draw: int, rows: Tensor) -> Inputs:
        alpha = float(alphas[draw])
        return case.inputs.replace([
            torch.lerp(start[rows], end[rows], alpha) if end.is_floating_point() else end[rows]
            for start, end in zip(reference.leaves, case.inputs.leaves, strict=True)
        ])  # fmt: skip

    for part, rows, _ in case.stream(len(alphas), point, "gradients"):
        for total, gradient in zip(totals, part.gradient, strict=True):
            total.index_add_(0, rows.to(total.device), gradient.to(total.dtype))
    return totals


def _scaled(totals: list[Tensor], inputs: Inputs, reference: Inputs, steps: Tensor) -> list[Tensor]:
    """Turn sums of gradients into values: divide by the steps, multiply by the distance."""
    scaled = []
    for total, end, start in zip(totals, inputs.leaves, reference.leaves, strict=True):
        count = steps.to(total).reshape(-1, *[1] * (total.ndim - 1))
        scaled.append(total / count * (end - start).to(total.dtype))
    return scaled


def _span(steps: Tensor) -> str:
    low, high = int(steps.min()), int(steps.max())
    return str(low) if low == high else f"{low} to {high}"
