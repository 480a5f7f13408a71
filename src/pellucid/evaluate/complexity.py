"""How simple an explanation is: on how few features it rests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.evaluate.metric import Found, Metric, register_metric
from pellucid.evaluate.trial import Trial
from pellucid.features import FeaturesLike


@register_metric("effective_features")
@dataclass(frozen=True, kw_only=True)
class EffectiveFeatures(Metric):
    """How many players carry the explanation: the exponential of its entropy.

        N = exp(-sum_p q_p log q_p),  q_p = |R_p| / sum |R|

    From 1, where one player has all, to the number of players, where all have the same. A map of
    zeros is not a number.
    Source: Bhatt, Weller and Moura (2020), Evaluating and Aggregating Feature-based Model
    Explanations, for the entropy; its exponential counts.
    """

    features: FeaturesLike = None

    answers: ClassVar[str] = "On how many features does the explanation rest?"
    weakness: ClassVar[str] = "A simple explanation may still be wrong."
    better: ClassVar = "lower"
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "sign"})

    def judge(self, trial: Trial) -> Sequence[Found]:
        """The exponential of the entropy of each sample's shares."""
        sizes = trial.relevance(self.features).abs()
        return [Found(values=_entropy(size).exp()) for size in sizes]


def _entropy(size: Tensor) -> Tensor:
    """The entropy of each row, of shape (sample,)."""
    shares = size / size.sum(1, keepdim=True)
    return -torch.special.xlogy(shares, shares).sum(1)
