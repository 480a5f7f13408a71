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
from pellucid.structure import Inputs

Scale: TypeAlias = Literal["score", "probability", "log_odds"]


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
        """The same trial, of whose class the probability or the log-odds is asked."""
        if scale == "score":
            return self
        target = self.case.outcome.target
        if target.kind != "index":
            raise InputError(
                f"The target must be a class where its {scale} is asked", found=repr(target)
            )
        aimed = replace(target, kind=scale)
        return replace(
            self,
            case=replace(self.case, target=aimed),
            plain=replace(self.plain, target=aimed),
        )

    def again(
        self,
        rival: Explanation,
        inputs: Inputs | None = None,
        *,
        target: Any = None,
        model: Callable[..., Any] | None = None,
    ) -> Explanation:
        """What a rival's method says elsewhere: at other points, of another target or model.

        Points have one row for each sample of the batch; the target is the explained one if none
        is given. Evaluations are booked on the case.
        """
        given = self.inputs if inputs is None else _packed(inputs)
        found = rival.method(
            self.model if model is None else model,
            given,
            target=rival.target if target is None else target,
            on_incomplete="ignore",
        )
        self.case.count(forward=found.evaluations.forward, backward=found.evaluations.backward)
        return found.batch_first()


def _packed(inputs: Inputs) -> Any:
    """Inputs as a user gives them."""
    packed = inputs.pack(inputs.leaves)
    return packed if inputs.schema is None else inputs.schema.decode(inputs.leaves[0])
