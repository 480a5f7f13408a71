"""Shapley values by a regression on the scores of coalitions."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.features import FeaturesLike
from pellucid.method import Attribution, Method, register
from pellucid.options import whole
from pellucid.remarks import Share
from pellucid.shapley.play import Coalitions, Play
from pellucid.shapley.regression import Regression
from pellucid.shapley.sampling import checked_tolerance
from pellucid.shapley.strata import LEAST, Stratum, allotted, strata

# Where `samples` are left open: so many, and so many more for each player.
SAMPLES, EACH = 1024, 4
# Coalitions after which `tolerance` is first looked at; then each time there are twice as many.
FIRST = 64
EXACT_NOTE = "All coalitions were scored of {}: there values are exact."


@register("kernel_shap")
@dataclass(frozen=True, kw_only=True)
class KernelSHAP(Method):
    """Shapley values, by weighted least squares on the scores of coalitions.

        R = argmin sum over S of w(|S|) (v(S) - v(nobody) - sum over i in S of R_i)^2,
        w(s) = (n - 1) / ((n over s) s (n - s)),  such that  sum R = v(N) - v(nobody)

    Axes: as for `exact_shapley`. `samples` counts coalitions beside the full and the empty one,
    1024 and 4 a player if left open. They come in pairs of opposites, drawn without replacement,
    so many of each size as its part of the variance asks for; from both ends sizes are complete
    where that is all there are, and with 2^n - 2 coalitions the values are exact. All samples of a
    batch with equally many players see the same coalitions, drawn from `seed`. Of `player_error`,
    the part that each pair has in the values is known, and how well it fits is seen: their variance
    within each size, less what is complete, is that of the values. With a `tolerance` a sample
    takes 64 coalitions, then twice as many, and so on, until its largest standard error is below
    that fraction of its largest value.
    Interactions of three players are fitted as well, by ridge regression where there are few pairs,
    if that makes the errors smaller: it takes their part out (regression adjustment). Values stay
    unbiased in the limit.
    Laws: values sum to f(x) - mean f(baseline) exactly; exact for a game of interactions of two
    players, whatever is drawn.
    Source: Lundberg, Lee (2017), A Unified Approach to Interpreting Model Predictions; Covert, Lee
    (2021), Improving KernelSHAP: Practical Shapley Value Estimation via Linear Regression; Musco,
    Witter (2025), Provably Accurate Shapley Value Estimation via Leverage Score Sampling; Witter,
    Liu, Musco (2025), Regression-Adjusted Monte Carlo Estimators for Shapley Values.

    >>> both = lambda x: (x[:, :1] * x[:, 1:2] + x[:, 2:])
    >>> KernelSHAP()(both, torch.tensor([[2.0, 3.0, 1.0]])).values
    tensor([[3., 3., 1.]])
    """

    answers: ClassVar[str] = "What does each part add, by the sum that fits all coalitions best?"
    weakness: ClassVar[str] = "Its values are estimates, and it asks about mixed inputs."
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "invariant", "complete"})
    agnostic: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    samples: int | None = None
    tolerance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        if self.samples is not None:
            object.__setattr__(self, "samples", whole(self.samples, "samples"))
        object.__setattr__(self, "tolerance", checked_tolerance(self.tolerance))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def attribute(self, case: Case) -> Attribution:
        """Score coalitions, all at once or until the values are good enough, and fit them."""
        play = Play.of(case, self.features, self.baseline)
        fits = {n: Fit(play, rows, self._design(n)) for n, rows in play.groups().items()}
        stage, open_ = 0, list(fits.values())
        while open_:
            asked = [each.ask(stage if self.tolerance is not None else None) for each in open_]
            found = play.scores(asked, "kernel_shap")
            for each, scores in zip(open_, found, strict=True):
                each.take(scores)
                each.stop(self.tolerance)
            stage, open_ = stage + 1, [each for each in open_ if each.unsure]
        values, errors, empty = play.room(), play.room(), play.whole.clone()
        for each in fits.values():
            count = each.design.players
            values[each.rows, :count], errors[each.rows, :count] = each.values, each.errors
            empty[each.rows] = each.empty
        exact = sum(int(each.exact.sum()) for each in fits.values())
        notes = [Share(text=EXACT_NOTE, some=exact, of=len(case))]
        return play.attribution(values, empty, errors, notes)

    def _design(self, players: int) -> "Design":
        """The coalitions of so many players, if there are enough to fit their values."""
        samples = SAMPLES + EACH * players if self.samples is None else self.samples
        least = min(LEAST * players, 2**players - 2)
        if samples < least:
            raise InputError(
                f"`samples` must be at least {least} coalitions for {players} players",
                got=samples,
                hint=f"That is {LEAST} a player; or join players by `features`.",
            )
        return Design(players=players, samples=samples, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Design:
    """Pairs of opposite coalitions, and in which order they are taken."""

    players: int
    samples: int
    seed: int

    @cached_property
    def strata(self) -> list[Stratum]:
        """The sizes of coalitions."""
        return strata(self.players)

    @cached_property
    def members(self) -> Tensor:
        """One coalition of each pair, (pair, player), by size."""
        counts = allotted(self.players, self.samples)
        drawn = [each.drawn(n, self.seed) for each, n in zip(self.strata, counts, strict=True)]
        return torch.cat([torch.zeros(0, self.players, dtype=torch.bool), *drawn])

    def budget(self, stage: int | None) -> int:
        """How many coalitions there may be up to a stage."""
        if stage is None:
            return self.samples
        return min(self.samples, max(FIRST, LEAST * self.players) * 2**stage)

    def taken(self, budget: int) -> Tensor:
        """The numbers of the pairs that are taken within a budget."""
        all_, some = (allotted(self.players, each) for each in (self.samples, budget))
        starts = [0, *accumulate(all_)]
        parts = [torch.arange(s, s + n) for s, n in zip(starts, some, strict=False)]
        return torch.cat([torch.zeros(0, dtype=torch.long), *parts])

    @cached_property
    def _fits(self) -> dict[int, Regression]:
        """Those that were asked for, which samples of a stage share; gone with the batch."""
        return {}

    def regression(self, budget: int) -> Regression:
        """The fit to the pairs within a budget."""
        if budget not in self._fits:
            self._fits[budget] = Regression(
                members=self.members[self.taken(budget)],
                counts=allotted(self.players, budget),
                strata=self.strata,
            )
        return self._fits[budget]


class Fit:
    """The values of samples with equally many players, as far as their coalitions are scored.

    `unsure` are the samples, counted among these, that need more, `exact` those that have all.
    """

    def __init__(self, play: Play, rows: list[int], design: Design) -> None:
        self.rows, self.design, self.whole = rows, design, play.whole[rows]
        self.differences = torch.zeros(len(rows), len(design.members), dtype=torch.float64)
        self.empty = torch.zeros(len(rows), dtype=torch.float64)
        self.values = torch.zeros(len(rows), design.players, dtype=torch.float64)
        self.errors = torch.zeros_like(self.values)
        self.exact = torch.zeros(len(rows), dtype=torch.bool)
        self.unsure = list(range(len(rows)))
        self.spent, self.now = 0, 0
        self.new = torch.zeros(0, dtype=torch.long)

    def ask(self, stage: int | None) -> tuple[list[int], Coalitions]:
        """The coalitions of the next stage, nobody first and opposites one after another."""
        self.spent, self.now = self.now, self.design.budget(stage)
        new = torch.zeros(len(self.design.members), dtype=torch.bool)
        new[self.design.taken(self.now)] = True
        if self.spent:
            new[self.design.taken(self.spent)] = False
        self.new = new.nonzero().flatten()
        one = self.design.members[self.new]
        table = torch.stack([one, ~one], 1).flatten(0, 1)
        nobody = torch.zeros(int(not self.spent), self.design.players, dtype=torch.bool)
        return [self.rows[i] for i in self.unsure], Coalitions.of(torch.cat([nobody, table]))

    def take(self, scores: Tensor) -> None:
        """Fit again with the scores that were asked for, of shape (sample, coalition)."""
        if not self.spent:
            self.empty = scores[:, 0]
            scores = scores[:, 1:]
        chosen, taken = torch.tensor(self.unsure), self.design.taken(self.now)
        self.differences[chosen.unsqueeze(1), self.new] = scores[:, ::2] - scores[:, 1::2]
        known = self.differences[chosen.unsqueeze(1), taken]
        gap = self.whole[chosen] - self.empty[chosen]
        solved = self.design.regression(self.now).solve(known, gap)
        self.values[chosen], self.errors[chosen] = solved
        self.exact[chosen] = self.design.regression(self.now).complete

    def stop(self, tolerance: float | None) -> None:
        """Leave samples whose standard errors are small; all, where no coalition is left."""
        if tolerance is None or self.now >= self.design.samples:
            self.unsure = []
            return
        size = tolerance * self.values.abs().amax(1)
        large = (self.errors.amax(1) > size).tolist()
        self.unsure = [row for row in self.unsure if large[row]]
