"""Expected gradients: the gradient averaged over lines from many baselines to the input."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.gradient.references import scores_of
from pellucid.gradient.smooth import NOISE, add_powers, noise_like, standard_error, value_range
from pellucid.method import Attribution, Method, register
from pellucid.options import number, whole
from pellucid.remarks import Remark, Share
from pellucid.seeding import seeded
from pellucid.structure import Inputs

# Sums further from what they should be than this many standard errors are no accident.
SIGMAS = 6
# So many roundings of what is added up are no sign of anything, where draws hardly differ.
ROUNDINGS = 16


@register("gradient_shap")
@dataclass(frozen=True, kw_only=True)
class GradientSHAP(Method):
    """The gradient times the distance walked, at random points between baselines and the input.

        R = mean over draws of (x' - x0) * grad f(x0 + a (x' - x0)),
        x0 a random row of the baseline, a ~ U(0, 1), x' = x + noise * (max x - min x) * N(0, 1)

    Axes: values have the axes of the input. `samples` counts draws; every sample of the batch gets
    the same ones, drawn from `seed`, so that answers depend neither on the batch size nor on the
    order of the batch. `noise` smooths around the input. `error` is the standard error of each
    value. One forward pass for each row of the baseline finds what the values should sum to.
    Laws: in expectation the values sum to f(x) - mean f(x0), without noise; `completeness` says
    how far they do, and a warning follows more than 6 standard errors. Exact on an affine score
    with one baseline; an ignored input gets zero.
    Source: Lundberg, Lee (2017), A Unified Approach to Interpreting Model Predictions; Erion,
    Janizek, Sturmfels, Lundberg, Lee (2021), Improving Performance of Deep Learning Models with
    Axiomatic Attribution Priors and Expected Gradients.

    >>> line = lambda x: (x * torch.tensor([2.0, -1.0])).sum(1, keepdim=True)
    >>> GradientSHAP(samples=4)(line, torch.tensor([[1.0, 3.0]])).values
    tensor([[ 2., -3.]])
    """

    answers: ClassVar[str] = "What does each pixel add, compared with typical other inputs?"
    weakness: ClassVar[str] = (
        "Depends on the baselines, and what it samples has to be averaged over many draws."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant"})
    reads: ClassVar[frozenset[str]] = frozenset()

    baseline: BaselineLike = field(default_factory=Baseline)
    samples: int = 50
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "samples", whole(self.samples, "samples"))
        object.__setattr__(self, "noise", number(self.noise, "noise", NOISE, least=0))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def attribute(self, case: Case) -> Attribution:
        """Stream the points through the gradient, keeping running sums and sums of squares."""
        draws = Draws(case, case.background(self.baseline), self.noise, self.seed)
        score = case.outcome.score
        sums = [_zeros(leaf.shape, leaf) for leaf in case.inputs.leaves]
        totals = _zeros(score.shape, score)
        for part, rows, numbers in case.stream(self.samples, draws.points, "gradient_shap"):
            moves = draws.moves(rows, numbers)
            found = [g.to(wide(g)) * m for g, m in zip(part.gradient, moves, strict=True)]
            for powers, values in zip(sums, found, strict=True):
                add_powers(powers, values, rows)
            whole = [v.reshape(len(v), -1).sum(1).to(totals[0]) for v in found]
            add_powers(totals, torch.stack(whole).sum(0), rows)
        pairs = [_mean_and_error(powers, self.samples) for powers in sums]
        starts = scores_of(case, draws.references)
        expected = score - starts.mean(0)
        likes = list(zip(pairs, case.inputs.leaves, strict=True))
        added = [mean.to(totals[0]).reshape(len(mean), -1).abs().sum(1) for mean, _ in pairs]
        size = torch.stack([score.abs(), starts.abs().mean(0), *added]).sum(0)
        rounding = ROUNDINGS * torch.finfo(score.dtype).eps * size
        return Attribution(
            values=[mean.to(leaf) for (mean, _), leaf in likes],
            error=[error.to(leaf) for (_, error), leaf in likes],
            expected=expected,
            leak=self._leak(*_mean_and_error(totals, self.samples), expected, rounding),
        )

    def _leak(self, total: Tensor, error: Tensor, expected: Tensor, rounding: Tensor) -> Remark:
        """Say which sums are further off than chance explains; noise moves them for a reason."""
        if self.noise > 0 or self.samples < 2:
            return ""
        off = int(((total - expected).abs() > SIGMAS * error + rounding).sum())
        text = (
            "Expected gradients must sum to f(x) - mean f(baseline) within chance; {} are more "
            f"than {SIGMAS} standard errors off after {self.samples} draws. Take more samples."
        )
        return Share(text=text, some=off, of=len(expected))


@dataclass(frozen=True)
class Draws:
    """Random points on the lines from references to noisy copies of the input.

    Draw number d is the same for every sample, whatever the batch.
    """

    case: Case
    references: list[Inputs]
    noise: float
    seed: int

    def points(self, draw: int, rows: Tensor) -> Inputs:
        """The points of one draw for some samples."""
        alpha, starts, moves = self._drawn(draw, rows)
        return self.case.inputs.replace([
            start + alpha * move if start.is_floating_point() else start
            for start, move in zip(starts, moves, strict=True)
        ])  # fmt: skip

    def moves(self, rows: Tensor, draws: Tensor) -> list[Tensor]:
        """How far the line of each row goes: x' - x0, for every input."""
        parts = [self._drawn(int(d), rows[draws == d])[2] for d in draws.unique()]
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    def _drawn(self, draw: int, rows: Tensor) -> tuple[float, list[Tensor], list[Tensor]]:
        """Alpha, the references and how far it is from there to the noisy input."""
        generator = seeded(self.seed, draw)
        number = int(torch.randint(len(self.references), (), generator=generator))
        alpha = float(torch.rand((), generator=generator, dtype=torch.float64))
        starts = list(self.references[number].select(rows).leaves)
        ends = [self._noisy(leaf, rows, generator) for leaf in self.case.inputs.leaves]
        moves = [
            end - start if end.is_floating_point() else torch.zeros_like(end)
            for end, start in zip(ends, starts, strict=True)
        ]
        return alpha, starts, moves

    def _noisy(self, leaf: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        chosen = leaf[rows]
        if self.noise == 0 or not leaf.is_floating_point():
            return chosen
        return chosen + self.noise * value_range(chosen) * noise_like(leaf, generator)


def _zeros(shape: torch.Size, like: Tensor) -> list[Tensor]:
    """Room for the sums of first and second powers."""
    return [torch.zeros(shape, dtype=wide(like), device=like.device) for _ in range(2)]


def _mean_and_error(powers: list[Tensor], samples: int) -> tuple[Tensor, Tensor]:
    first, second = (power / samples for power in powers)
    return first, standard_error(second - first**2, samples)
