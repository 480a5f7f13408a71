"""What a metric is asked: one batch of samples, and the explanations of their scores."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.baseline import BaselineLike
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.evaluate.relevance import relevance
from pellucid.explanation import Explanation
from pellucid.features import Features, FeaturesLike, Players
from pellucid.game import Game

Scale: TypeAlias = Literal["score", "probability", "log_odds", "margin"]
# What may be explained of one class: any other of these can be read of it as well.
OF_A_CLASS = ("index", "probability", "log_odds", "margin")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One batch of samples of a model, and the `rivals`: explanations of the same scores.

    `case` is the model with these samples and the explained target; of token ids, which are
    embedded, `plain` is that of the ids. `model` and `inputs` are what the user gave, the inputs
    of this batch. `masks` are true at what is important, of a shape that broadcasts over
    the values; `labels` (sample,) are the true classes.
    """

    case: Case
    plain: Case
    model: Callable[..., Any]
    inputs: Any
    rivals: tuple[Explanation, ...]
    masks: Tensor | None = None
    boxes: Tensor | None = None
    labels: Tensor | None = None
    store: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.case)

    def players(self, features: FeaturesLike) -> Players:
        """The players of each sample, by which elements (or ids) they hold; found once."""
        made = Features.of(features)
        if made not in self.store:
            self.store[made] = self.plain.players(made)
        found: Players = self.store[made]
        return found

    def relevance(self, features: FeaturesLike) -> Tensor:
        """What each rival gives to each player, of shape (rival, sample, player)."""
        players = self.players(features)
        return torch.stack([relevance(each, players).cpu() for each in self.rivals])

    def game(self, features: FeaturesLike, baseline: BaselineLike) -> Game:
        """The scores where players are absent: replaced by the baseline."""
        players = self.players(features) if self.case is self.plain else self.case.players(features)
        return Game(self.case, players, self.case.background(baseline))

    def on_scale(self, scale: Scale) -> "Trial":
        """The same trial, of whose class another number is asked; made once for each."""
        if scale == "score":
            return self
        key = ("scale", scale, self.case is self.plain)
        if key not in self.store:
            self.store[key] = self._scaled(scale)
        case, plain = self.store[key]
        return replace(self, case=case, plain=plain)

    def _scaled(self, scale: Literal["probability", "log_odds", "margin"]) -> tuple[Case, Case]:
        outcome = self.case.outcome
        target, table = outcome.target, outcome.target.table(outcome.output)
        single = table is not None and table.shape[1] == 1
        if target.kind not in OF_A_CLASS or single:
            raise InputError(
                f"The target must be a class where its {scale} is asked",
                found="an output with one score a sample" if single else repr(target),
                hint='Ask for scale="score" of a metric that has a scale, or explain one of '
                "several classes.",
            )
        if target.kind == scale or (scale == "probability" and self._is_probability):
            return self.case, self.plain
        aimed = replace(target, kind=scale)
        case = replace(self.case, target=aimed)
        return case, case if self.case is self.plain else replace(self.plain, target=aimed)

    @property
    def _is_probability(self) -> bool:
        """Whether the score is one already, as of an estimator: those of all classes sum to one."""
        outcome = self.case.outcome
        table = outcome.target.table(outcome.output)
        if table is None or table.shape[1] < 2 or bool((table < 0).any()):
            return False
        if not torch.allclose(table.sum(1), table.new_ones(()), atol=1e-4):
            return False
        return torch.equal(outcome.target.score(outcome.output, outcome.output), outcome.score)
