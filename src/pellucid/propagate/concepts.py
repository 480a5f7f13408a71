"""Which channels of a layer carry the score.

A channel's relevance in one sample is the sum of its map at the layer, R_c = sum over p of R[c, p].
The examples of a data set in which a channel has the most of it show what it stands for, see
`pellucid.top_examples`, and its own map (relevance that passes only through it) where that is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pellucid.answer import OnIncomplete
from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.method import Method, explain, named
from pellucid.options import whole
from pellucid.target import TargetLike
from pellucid.target.unit import channel_sums, check_axis

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelRanking:
    """The relevance of every channel of a layer, of shape (sample, channel).

    `explanation` has it position by position, at the layer, with the evidence for it.
    """

    layer: str
    relevance: Tensor
    explanation: Explanation

    @property
    def order(self) -> Tensor:
        """The channels of each sample from the most to the least relevant: (sample, channel)."""
        return self.relevance.argsort(dim=1, descending=True, stable=True)

    @property
    def share(self) -> Tensor:
        """Relevance as a part of the score, of shape (sample, channel); not a number for 0 / 0."""
        score = self.explanation.score.to(self.relevance)
        return self.relevance / score.unsqueeze(1)

    def to_frame(self, k: int | None = None) -> "pd.DataFrame":
        """One row for each of the k first channels of each sample, or for all channels."""
        import pandas as pd

        order = self.order[:, : _count(k)]
        columns = [
            each.gather(1, order).flatten().tolist() for each in (self.relevance, self.share)
        ]
        samples, ranks = order.shape
        return pd.DataFrame({
            "sample": [sample for sample in range(samples) for _ in range(ranks)],
            "rank": list(range(1, ranks + 1)) * samples,
            "channel": order.flatten().tolist(),
            "relevance": columns[0],
            "share": columns[1],
        })  # fmt: skip

    def over_samples(self, k: int | None = None) -> "pd.DataFrame":
        """The ranking over all samples: mean relevance, and its part of the mean score."""
        import pandas as pd

        mean = self.relevance.double().mean(0)
        order = mean.argsort(descending=True, stable=True)[: _count(k)]
        share = mean / self.explanation.score.to(mean).mean()
        positive = (self.relevance > 0).double().mean(0)
        return pd.DataFrame({
            "rank": range(1, len(order) + 1),
            "channel": order.tolist(),
            "relevance": mean[order].tolist(),
            "share": share[order].tolist(),
            "positive_in": positive[order].tolist(),
        })  # fmt: skip

    def __repr__(self) -> str:
        samples, channels = self.relevance.shape
        where = "1 sample" if samples == 1 else f"{samples} samples"
        head = f"ChannelRanking of {channels} channels of `{self.layer}` in {where}"
        return f"{head}\n{self.over_samples(5).to_string(index=False)}"


def rank_channels(
    model: Callable[..., Any],
    inputs: Any,
    layer: str,
    *,
    method: "str | Method" = "lrp",
    target: TargetLike = None,
    axis: int | None = None,
    batch_axis: Any = 0,
    batch_size: BatchSize = "auto",
    on_incomplete: OnIncomplete = "warn",
) -> ChannelRanking:
    """Rank the channels of a layer by the part of the score that passes them.

        R_c = sum over positions p of R[c, p]

    `method` is any that takes `at=`; `axis` says where the channels are, if not on axis 1. The
    other options are those of `explain`. With relevance of which nothing goes around the layer, the
    channels sum to the score less what the layers above kept.
    Source: Achtibat et al. (2023), From Attribution Maps to Human-Understandable Explanations
    through Concept Relevance Propagation.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 1))
    >>> for each, weight in zip(net.parameters(), ([[1.0, 0], [0, 1]], [[2.0, -1]], [0.0])):
    ...     each.data = torch.tensor(weight)
    >>> found = rank_channels(net, torch.tensor([[1.0, 3.0]]), "0", method="gradient_x_input")
    >>> found.to_frame()[["channel", "relevance"]]
       channel  relevance
    0        0        2.0
    1        1       -3.0
    """
    check_axis(axis)
    found = explain(
        model, inputs, at_layer(method, layer), target=target, batch_axis=batch_axis,
        batch_size=batch_size, on_incomplete=on_incomplete,
    )  # fmt: skip
    return ChannelRanking(
        layer=layer, relevance=channel_sums(found.values, axis), explanation=found
    )


def at_layer(method: "str | Method", layer: str) -> Method:
    """The method with its values at a layer."""
    made = named(method)
    if not hasattr(made, "at"):
        raise InputError(
            "`method` must have values at a layer: one that takes at=",
            got=made,
            hint="For example lrp, gradient_x_input or saliency.",
        )
    return replace(made, at=layer)  # type: ignore[call-arg]  # as was just asked


def _count(k: int | None) -> int | None:
    return None if k is None else whole(k, "k")
