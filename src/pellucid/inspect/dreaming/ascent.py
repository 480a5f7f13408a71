"""The engine of dreams: many of them climb their objectives together, each by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from tqdm import tqdm

from pellucid.errors import DisconnectedError, InputError, ModelError
from pellucid.inspect.dreaming.adam import direction as adam
from pellucid.inspect.dreaming.adam import moments_of
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.terms.term import Correction, Cost, Motion, Term
from pellucid.options import one_of
from pellucid.seeding import seeded

Climb: TypeAlias = Literal["adam", "gradient", "normalized"]
CLIMBS = ("adam", "gradient", "normalized")
# What is said of dreams (dream, ...): one number for each, of shape (dream,).
Judge: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ascent:
    """Where a climb led.

    `inputs` (dream, ...) are what the `numbers` that moved stand for: the same, unless there is a
    generator or a parameterization. `scores` are those of the objective alone, and `path` is what
    was climbed, with what terms, expert and prior say: (dream, step), at the start, after each step
    but the last as the model saw it, moved, and at the end. `felt` says of which dreams (dream,)
    the score had a slope at any step.
    """

    inputs: Tensor
    numbers: Tensor
    scores: Tensor
    path: Tensor
    felt: Tensor


def ascend(
    objective: Judge,
    numbers: Tensor,
    *,
    dream: Callable[[Tensor], Tensor] | None = None,
    undo: Callable[[Tensor], Tensor] | None = None,
    terms: Sequence[Term] = (),
    layout: Layout | None = None,
    expert: Judge | None = None,
    expert_weight: float = 1.0,
    prior_weight: float = 0.0,
    climb: Climb = "adam",
    steps: int = 128,
    rate: float = 0.05,
    seeds: Sequence[int] = (0,),
    what: str = "",
) -> Ascent:
    """Move numbers (dream, ...) up the objective of the dreams that they stand for.

        J(z) = objective(moved x) + expert_weight expert(x) - sum of costs(x) - prior_weight |z|^2

    `dream` makes the inputs x of the numbers z, a generator or parameterization; without it they
    are the same. `undo` finds the numbers of inputs, which corrections need where there is a
    `dream`. `seeds` are one for all, or one for each dream; dreams of the same seed are moved
    alike, and no dream depends on the others.

    | climb | step, of the slope g = dJ/dz |
    |---|---|
    | `adam` | by Adam; `rate` is the length of a step in every number, falling to zero |
    | `gradient` | rate g: textbook ascent; with a small rate no step lowers J |
    | `normalized` | rate g / root mean square of g; falling to zero. A score that depends on a |
    | | part of the input has the mean over so large a part: as if the rest were not there |

    >>> peak = lambda x: -(x - 3).square().sum(1)
    >>> ascend(peak, torch.zeros(1, 2), climb="gradient", rate=0.25, steps=20).inputs
    tensor([[3.0000, 3.0000]])
    """
    one_of(climb, "`climb` of a dream", CLIMBS)
    layout = layout or Layout(shape=tuple(numbers.shape[1:]))
    for term in terms:
        term.check(layout)
    course = _Course(
        objective, dream, terms, layout, expert, expert_weight, prior_weight, seeds, undo
    )
    return _climbed(course, numbers, climb, steps, rate, what)


def _climbed(
    course: "_Course", numbers: Tensor, climb: Climb, steps: int, rate: float, what: str
) -> Ascent:
    """Go so many steps up a course."""
    z, moments = numbers.detach().clone(), moments_of(numbers)
    points: list[_Point] = []
    hidden = None if what else True
    for step in tqdm(range(1, steps + 1), desc=what, leave=False, disable=hidden, delay=1):
        point = course.at(z, step)
        points.append(point.without_slopes())
        length = rate * (1 if climb == "gradient" else 1 - (step - 1) / steps)
        z = z + length * _direction(climb, point, moments, step)
        z = course.corrected(z, point, step)
    with torch.no_grad():
        x, score, value = course.end(z, steps + 1)
    return Ascent(
        inputs=x,
        numbers=z,
        scores=torch.stack([*(point.score for point in points), score], 1),
        path=torch.stack([*(point.value for point in points), value], 1),
        felt=torch.stack([point.felt for point in points]).any(0),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Point:
    """A place on the way: objective and score (dream,), and slopes at the numbers and inputs.

    `felt` (dream,) is the share of the inputs at which the score has a slope; of codes, whose
    numbers have no place in them, one or zero.
    """

    score: Tensor
    value: Tensor
    slope: Tensor
    at_inputs: Tensor
    felt: Tensor

    def without_slopes(self) -> "_Point":
        """What is remembered of the way: numbers, of which a long one has few."""
        return replace(self, slope=self.score, at_inputs=self.score)


def _direction(climb: str, point: _Point, moments: list[Tensor], step: int) -> Tensor:
    """Where a step goes, of length one in some sense; the moments of Adam are brought up to date.

    >>> slope = torch.tensor([[3.0, -3.0, 0.0]])
    >>> point = _Point(score=slope, value=slope, slope=slope, at_inputs=slope, felt=torch.ones(1))
    >>> _direction("gradient", point, [], 1)
    tensor([[ 3., -3.,  0.]])
    """
    if climb == "gradient":
        return point.slope
    if climb == "normalized":
        share = point.felt.where(point.felt > 0, 1)  # of a score without slopes, terms have theirs
        size = (point.slope.flatten(1).square().mean(1) / share).sqrt()
        size = size.where(size > 0, 1)
        return point.slope / size.reshape(-1, *[1] * (point.slope.ndim - 1))
    return adam(point.slope, moments, step)


@dataclass(frozen=True, eq=False)
class _Course:
    """What is climbed."""

    objective: Judge
    dream: Callable[[Tensor], Tensor] | None
    terms: Sequence[Term]
    layout: Layout
    expert: Judge | None
    expert_weight: float
    prior_weight: float
    seeds: Sequence[int]
    undo: Callable[[Tensor], Tensor] | None

    def at(self, z: Tensor, step: int) -> _Point:
        """Look at one place; the graph of the generator is kept while the model runs."""
        with torch.enable_grad():
            free = z.detach().requires_grad_()
            x = free if self.dream is None else self.dream(free)
            leaf = x.detach().requires_grad_()
            score = judged(self.objective(self._moved(leaf, step)), leaf, "The objective")
            judgement = self._judgement(leaf)
        _check_finite(score, judgement, step)
        felt, more = _slope(score, leaf, of="The objective"), _slope(judgement, leaf)
        slope = felt + more
        if self.dream is not None:
            slope = _slope(x, free, slope, of="What is dreamed")
        return _Point(
            score=score.detach(),
            value=(score + judgement).detach() - self._prior(z),
            slope=slope - 2 * self.prior_weight * z,
            at_inputs=felt + more,
            felt=self._share(felt != 0),
        )

    def _share(self, felt: Tensor) -> Tensor:
        """How much of the inputs is felt, (dream,); of codes, which have no place, all or none."""
        share = felt.flatten(1).float().mean(1)
        return (share > 0).to(share) if self.dream is not None and self.undo is None else share

    def end(self, z: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, score and objective where nothing is moved."""
        x = z if self.dream is None else self.dream(z)
        score, judgement = judged(self.objective(x), x, "The objective"), self._judgement(x)
        _check_finite(score, judgement, step)
        return x, score, score + judgement - self._prior(z)

    def corrected(self, z: Tensor, point: _Point, step: int) -> Tensor:
        """The numbers after what is undone of the inputs."""
        corrections = [term for term in self.terms if isinstance(term, Correction)]
        if not corrections:
            return z
        if self.dream is not None and self.undo is None:
            raise InputError(
                "Terms that correct the inputs must be able to find the numbers they are made of",
                found=f"{type(corrections[0]).__name__} on what a generator makes",
                hint="Leave it out; the prior_weight of the code does for a generator what it "
                "does for pixels.",
            )
        x = z if self.dream is None else self.dream(z)
        for term in corrections:
            x = term.corrected(x, point.at_inputs, step, self.layout)
        return x if self.undo is None else self.undo(x)

    def _moved(self, x: Tensor, step: int) -> Tensor:
        """What the model is shown: dreams of the same seed are moved alike."""
        motions = [term for term in self.terms if isinstance(term, Motion)]
        seeds = list(self.seeds) * (len(x) if len(self.seeds) == 1 else 1)
        if not motions:
            return x
        found: dict[int, Tensor] = {}
        for seed in dict.fromkeys(seeds):
            rows = [row for row, each in enumerate(seeds) if each == seed]
            moved = x if len(rows) == len(x) else x[rows]
            for place, term in enumerate(motions):
                moved = term.moved(moved, self.layout, seeded(seed, step, place))
            if len(rows) == len(x):
                return moved
            found |= dict(zip(rows, moved, strict=True))
        return torch.stack([found[row] for row in range(len(x))])

    def _judgement(self, x: Tensor) -> Tensor:
        """What expert and terms say of dreams, (dream,)."""
        found = x.new_zeros(len(x))
        if self.expert is not None:
            said = judged(self.expert(x), x, "The expert")
            found = found + self.expert_weight * said.to(found)
        costs = [term.cost(x, self.layout) for term in self.terms if isinstance(term, Cost)]
        return found - sum(costs, torch.zeros_like(found))

    def _prior(self, z: Tensor) -> Tensor:
        return self.prior_weight * z.detach().square().flatten(1).sum(1)


def judged(said: object, x: Tensor, who: str) -> Tensor:
    """One number for each dream, if that is what was said of them."""
    if isinstance(said, Tensor) and said.shape == (len(x),) and said.is_floating_point():
        return said.to(torch.promote_types(said.dtype, torch.float32))
    raise InputError(
        f"{who} must return one number for each of the {len(x)} dreams, of shape ({len(x)},)",
        got=said,
        hint="An expert is log p(x): for a distribution over pixels, its sum over them.",
    )


def _slope(values: Tensor, leaf: Tensor, along: Tensor | None = None, *, of: str = "") -> Tensor:
    """The gradient of values, summed or `along` a slope; zeros, or an error, if not of the leaf."""
    found = None
    if values.requires_grad:
        weights = torch.ones_like(values) if along is None else along
        (found,) = torch.autograd.grad(values, leaf, weights, allow_unused=True)
    if found is None and of:
        what = "the input" if along is None else "the numbers it is made of"
        raise DisconnectedError(
            f"{of} must depend on {what} through torch operations",
            found="one that autograd cannot follow back to it",
            hint="Look for .detach(), .numpy(), .item() or torch.no_grad() inside the model"
            + (" or generator." if along is not None else "."),
        )
    return torch.zeros_like(leaf) if found is None else found


def _check_finite(score: Tensor, judgement: Tensor, step: int) -> None:
    """Raise before a climb goes on from nowhere, or ends there."""
    for said, who in ((score, "The objective"), (judgement, "What expert and terms say")):
        wild = (~said.detach().isfinite()).nonzero().flatten().tolist()
        if wild:
            raise ModelError(
                f"{who} must stay finite",
                found=f"{float(said.detach()[wild[0]])} in dream {wild[0]} at step {step}",
                hint="Lower `rate`, or keep the inputs where the model knows them: "
                "terms=[Range(...)].",
            )
