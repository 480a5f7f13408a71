"""Is the score saturated? Walk from the baseline to the input, and see where it rises."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.baseline import BaselineLike
from pellucid.diagnose.removal import is_share
from pellucid.diagnose.study import Study, attributions, correlation, flat
from pellucid.method import Attribution
from pellucid.structure import Inputs


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """Score, gradient and maps at x_a = x0 + a (x - x0), for a from 0 to 1.

    `alphas` have shape (step,); `scores` f(x_a) and `slopes`, the gradient along the line
    <grad f(x_a), x - x0>, whose mean over a is f(x) - f(x0), have shape (sample, step). `sizes` are
    the lengths of the maps, `correlation` that with the map at x, and `sums` what the values sum to
    where a method shares the score (else not a number): (sample, method, step). `expected` is what
    they should sum to at x, of shape (sample, method).
    Source: Sundararajan, Taly, Yan (2016), Gradients of Counterfactuals.
    """

    alphas: Tensor
    scores: Tensor
    slopes: Tensor
    sizes: Tensor
    correlation: Tensor
    sums: Tensor
    expected: Tensor

    @property
    def shares(self) -> Tensor:
        """(f(x_a) - f(x0)) / (f(x) - f(x0)): how much of the integral lies before a."""
        start, end = self.scores[:, :1], self.scores[:, -1:]
        return (self.scores - start) / (end - start)

    @property
    def carried(self) -> Tensor:
        """<grad f(x), x - x0> / (f(x) - f(x0)), shape (sample,).

        It is 1 for a linear score, and 0 for one that has stopped to rise.
        """
        return self.slopes[:, -1] / (self.scores[:, -1] - self.scores[:, 0])

    def lengths_before(self) -> Tensor:
        """The share of the lengths of the maps that lies before a, (sample, method, step)."""
        means = (self.sizes[..., 1:] + self.sizes[..., :-1]) / 2
        reached = (means * self.alphas.diff()).cumsum(-1)
        return torch.cat([torch.zeros_like(reached[..., :1]), reached / reached[..., -1:]], -1)

    def reaches(self, share: float) -> Tensor:
        """Where on the line the score has made this share of its way for good, shape (sample,).

        Between two steps it counts as a straight line; not a number if the score does not change.
        """
        return torch.stack([_last_crossing(line, self.alphas, share) for line in self.shares])


def saturation(study: Study, baseline: BaselineLike, alphas: Sequence[float]) -> Saturation:
    """Ask for score, gradient and maps at every step of the line."""
    case, many = study.case, len(alphas)
    reference = case.reference(baseline)
    shape = (len(case), len(study.methods), many)
    scores, slopes = (torch.zeros(len(case), many, dtype=torch.float64) for _ in range(2))
    sizes, found, sums = (torch.full(shape, torch.nan, dtype=torch.float64) for _ in range(3))
    own = [line[0] for line in attributions(study, study.base, (None,))]
    at_input = [flat(each) for each in own if each is not None]

    def point(step: int, rows: Tensor) -> Inputs:
        return _on_line(reference.select(rows), case.inputs.select(rows), alphas[step])

    for moved, rows, steps in case.stream(many, point, "line"):
        part = study.together(moved, "gradient")
        for m, (each,) in enumerate(attributions(study, part, (None,))):
            if each is None:
                continue
            values = flat(each)
            sizes[rows, m, steps] = values.norm(dim=1).double()
            found[rows, m, steps] = correlation(at_input[m][rows], values).double()
            if is_share(study.methods[m]):
                sums[rows, m, steps] = values.sum(1).double()
        slopes[rows, steps] = _along(part.gradient, case.inputs, reference, rows)
        scores[rows, steps] = part.outcome.score.detach().cpu().double()
    return Saturation(
        alphas=torch.tensor(alphas, dtype=torch.float64),
        scores=scores,
        slopes=slopes,
        sizes=sizes,
        correlation=found,
        sums=sums,
        expected=_expected(own, scores),
    )


def _on_line(start: Inputs, end: Inputs, alpha: float) -> Inputs:
    """A point of the line; at its ends exactly those."""
    pairs = zip(start.leaves, end.leaves, strict=True)
    return end.replace([
        torch.lerp(a.to(b), b, alpha) if b.is_floating_point() else b for a, b in pairs
    ])  # fmt: skip


def _along(gradient: list[Tensor], inputs: Inputs, reference: Inputs, rows: Tensor) -> Tensor:
    """The gradient times the way from the reference to the input, shape (row,)."""
    triples = zip(gradient, inputs.leaves, reference.leaves, strict=True)
    total = torch.zeros(len(rows), dtype=torch.float64)
    for slope, end, start in triples:
        if end.is_floating_point():
            product = slope.detach() * (end[rows] - start[rows])
            total += product.reshape(len(rows), -1).cpu().double().sum(1)
    return total


def _expected(own: list[Attribution | None], scores: Tensor) -> Tensor:
    """What the values of each method should sum to at the input, shape (sample, method)."""
    rise = scores[:, -1] - scores[:, 0]
    return torch.stack([
        rise if each is None or each.expected is None else each.expected.cpu().double()
        for each in own
    ], 1)  # fmt: skip


def _last_crossing(line: Tensor, alphas: Tensor, share: float) -> Tensor:
    """After which alpha a line that ends at one stays above a share."""
    below = (line < share).nonzero()
    if not bool(line.isfinite().all()) or len(below) == 0:
        return alphas[0] if bool(line.isfinite().all()) else torch.tensor(torch.nan).to(alphas)
    i = int(below[-1])
    left, right = line[i], line[i + 1]
    return alphas[i] + (alphas[i + 1] - alphas[i]) * (share - left) / (right - left)
