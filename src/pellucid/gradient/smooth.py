"""Average any method over noisy copies of the input."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.case import Case
from pellucid.gradient.saliency import Saliency
from pellucid.method import Attribution, Method, named, register
from pellucid.options import number, one_of, whole
from pellucid.remarks import Remark, Share, joined
from pellucid.seeding import seeded
from pellucid.structure import Inputs

if TYPE_CHECKING:
    from pellucid.tape.ledger import Ledger

NOISE = "a fraction of the range of the input"
REDUCTIONS = ("mean", "squared", "variance")


@register("smoothgrad")
@dataclass(frozen=True, kw_only=True)
class SmoothGrad(Method):
    """Average a method's values over copies of the input with Gaussian noise.

        R = mean of m(x + e), of m(x + e)^2, or variance of m(x + e);  e ~ N(0, s^2),
        s = noise * (max x - min x) of each sample

    Axes: values have those of the smoothed method, which is the gradient unless `method` says
    otherwise. `samples` counts noisy copies. Every sample of the batch sees the same noise, drawn
    from `seed`, so that answers depend neither on the batch size nor on the order of the batch.
    `error` is the standard error of each value. What the smoothed method has to say of the noisy
    copies, and that its values do not add up there, is passed on.
    Laws: on a quadratic form, its gradient in expectation; an ignored input gets zero.
    Source: Smilkov et al. (2017), SmoothGrad: removing noise by adding noise; for `squared`
    Hooker et al. (2019); for `variance` Adebayo et al. (2018).

    >>> line = lambda x: (x * torch.tensor([2.0, -1.0])).sum(1, keepdim=True)
    >>> SmoothGrad(samples=4)(line, torch.tensor([[1.0, 3.0]])).values
    tensor([[ 2., -1.]])
    """

    answers: ClassVar[str] = "Which pixels move the score, on average over inputs that look alike?"
    weakness: ClassVar[str] = "Costs as many passes as samples, and blurs what depends on detail."
    laws: ClassVar[frozenset[str]] = frozenset({"dummy", "invariant"})
    reads: ClassVar[frozenset[str]] = frozenset()
    differentiable: ClassVar[bool] = True

    samples: int = 50
    noise: float = 0.15
    reduce: Literal["mean", "squared", "variance"] = "mean"
    method: Method = field(default_factory=Saliency)
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self.reduce, "`reduce` of smoothgrad", REDUCTIONS)
        least = 2 if self.reduce == "variance" else 1
        object.__setattr__(self, "samples", whole(self.samples, "samples", least=least))
        object.__setattr__(self, "noise", number(self.noise, "noise", NOISE, least=0))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))
        object.__setattr__(self, "method", named(self.method))

    def check(self, inputs: Inputs) -> None:
        """Raise unless the options of the smoothed method fit the inputs."""
        self.method.check(inputs)

    @property
    def is_slope(self) -> bool:
        """Whether what is smoothed is; a variance has no sign."""
        return self.method.is_slope

    def attribute(self, case: Case) -> Attribution:
        """Stream the noisy copies through the method, keeping running sums of powers."""
        spreads = [self.noise * value_range(leaf) for leaf in case.inputs.leaves]

        def point(draw: int, rows: Tensor) -> Inputs:
            generator = seeded(self.seed, draw)
            return case.inputs.replace([
                leaf[rows] + spread[rows] * noise_like(leaf, generator)
                if leaf.is_floating_point() else leaf[rows]
                for leaf, spread in zip(case.inputs.leaves, spreads, strict=True)
            ])  # fmt: skip

        sums: list[list[Tensor]] = []
        notes: tuple[Remark, ...] = ()
        leaks: tuple[Remark, ...] = ()
        ledgers: list[Ledger] = []
        for part, rows, _ in case.stream(self.samples, point, "smoothgrad"):
            inner = self.method.attribute(part)
            sums = sums or [self._zeros(v, len(case)) for v in inner.values]
            for powers, values in zip(sums, inner.values, strict=True):
                add_powers(powers, values, rows)
            said, leak = self._said(inner, part.outcome.score.dtype)
            notes, leaks = joined([*notes, *said]), joined([*leaks, leak])
            ledgers += [inner.ledger] if inner.ledger is not None else []
        if ledgers:
            judged, leak = self._judged(ledgers, case.outcome.score.dtype)
            notes, leaks = (*notes, *judged), (*leaks, leak)
        moments = [[power / self.samples for power in powers] for powers in sums]
        pairs = [self._reduced(m) for m in moments]
        likes = [leaf.dtype for leaf in (case.inputs.leaves if inner.at is None else inner.values)]
        return Attribution(
            values=[value.to(dtype) for (value, _), dtype in zip(pairs, likes, strict=True)],
            error=[error.to(dtype) for (_, error), dtype in zip(pairs, likes, strict=True)],
            at=inner.at,
            notes=tuple(_of_copies(note) for note in notes),
            leak=next((_of_copies(leak) for leak in leaks if leak), ""),
        )

    def _said(self, inner: Attribution, dtype: torch.dtype) -> tuple[list[Remark], Remark]:
        """The notes and the leak of some noisy copies, but for what its ledger says of them."""
        if inner.ledger is None:
            return list(inner.notes), inner.leak
        notes, leak = self.method.judge(inner.ledger, dtype)
        return [note for note in inner.notes if note not in notes], (
            "" if inner.leak == leak else inner.leak
        )

    def _judged(self, ledgers: "list[Ledger]", dtype: torch.dtype) -> tuple[list[str], str]:
        """What the ledgers of all noisy copies say, which count them as samples."""
        notes, leak = self.method.judge(ledgers[0].join(ledgers), dtype)
        said = [
            text.replace("in sample ", "in noisy copy ").replace(" samples", " noisy copies")
            for text in (*notes, leak)
        ]
        return said[:-1], said[-1]

    def _zeros(self, values: Tensor, rows: int) -> list[Tensor]:
        """Room for the sums of the powers that the reduction and its error need."""
        powers = 2 if self.reduce == "mean" else 4
        shape = (rows, *values.shape[1:])
        return [torch.zeros(shape, dtype=wide(values), device=values.device) for _ in range(powers)]

    def _reduced(self, moments: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The reduction and its standard error, from the mean powers of the values."""
        n = self.samples
        if self.reduce == "mean":
            first, second = moments
            return first, standard_error(second - first**2, n)
        first, second, third, fourth = moments
        if self.reduce == "squared":
            return second, standard_error(fourth - second**2, n)
        variance = second - first**2
        central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        unbiased = variance.clamp(min=0) * n / (n - 1)
        return unbiased, standard_error(central - variance**2, n)


def _of_copies(remark: Remark) -> Remark:
    """A remark on noisy copies of the samples, which counts them as such."""
    if isinstance(remark, Share):
        return replace(remark, what="noisy copies")
    return remark


def value_range(leaf: Tensor) -> Tensor:
    """Max - min of each sample, shape (sample, 1, ...)."""
    if not leaf.is_floating_point():
        return torch.zeros(len(leaf), *[1] * (leaf.ndim - 1), device=leaf.device)
    flat = leaf.reshape(len(leaf), -1)
    return (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (leaf.ndim - 1))


def noise_like(leaf: Tensor, generator: torch.Generator) -> Tensor:
    """Noise for one sample, drawn on the CPU so that every device gets the same."""
    return torch.randn(leaf.shape[1:], generator=generator).to(leaf)


def add_powers(powers: list[Tensor], values: Tensor, rows: Tensor) -> None:
    """Add the first, second, ... powers of values to the sums of the samples they belong to."""
    values = values.to(powers[0].dtype)
    power = values
    for total in powers:
        total.index_add_(0, rows.to(total.device), power)
        power = power * values


def standard_error(variance: Tensor, samples: int) -> Tensor:
    """Of a mean of independent samples; without an estimate from one sample, infinite."""
    if samples == 1:
        return torch.full_like(variance, torch.inf)
    return (variance.clamp(min=0) / (samples - 1)).sqrt()
