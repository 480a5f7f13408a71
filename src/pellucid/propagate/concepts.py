"""What the channels of a layer stand for: which of them carry the score, and what excites each.

A channel's relevance in one sample is the sum of its map at the layer, R_c = sum over p of R[c, p].
The examples of a data set in which a channel has the most of it show what it stands for, and its
own map (relevance that passes only through it) where that is.
"""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.answer import OnIncomplete
from pellucid.batching import BatchSize
from pellucid.errors import InputError, ModelError
from pellucid.explanation import Explanation
from pellucid.inside import inside
from pellucid.method import Method, explain, named
from pellucid.options import one_of, whole
from pellucid.program import Program, untouched
from pellucid.propagate.lrp import LRP
from pellucid.structure import Inputs
from pellucid.target import Target, TargetLike
from pellucid.target.unit import (
    INSIDE,
    channel_axis,
    channel_sums,
    check_axis,
    check_channels,
    check_returned,
)

if TYPE_CHECKING:
    import pandas as pd

By: TypeAlias = Literal["relevance", "activation"]


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
        model, inputs, _at(method, layer), target=target, batch_axis=batch_axis,
        batch_size=batch_size, on_incomplete=on_incomplete,
    )  # fmt: skip
    return ChannelRanking(
        layer=layer, relevance=channel_sums(found.values, axis), explanation=found
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TopExamples:
    """The examples of a data set that give a channel the most, strongest first.

    `amounts` are their relevances or activations and `index` their places in the data set of `seen`
    samples, both of shape (example,). `explanation` has the examples themselves as its inputs, and
    as values where in them the channel sees what it stands for.
    """

    layer: str
    channel: int
    by: By
    amounts: Tensor
    index: Tensor
    seen: int
    explanation: Explanation

    def __len__(self) -> int:
        return len(self.amounts)

    def to_frame(self) -> "pd.DataFrame":
        """One row an example."""
        import pandas as pd

        return pd.DataFrame({
            "rank": range(1, len(self) + 1),
            "index": self.index.tolist(),
            self.by: self.amounts.tolist(),
        })  # fmt: skip

    def __repr__(self) -> str:
        head = f"TopExamples of channel {self.channel} of `{self.layer}` by {self.by}"
        return f"{head}, of {self.seen} samples\n{self.to_frame().to_string(index=False)}"


def top_examples(
    model: Callable[..., Any],
    batches: Iterable[Any],
    layer: str,
    channels: "int | Sequence[int]",
    *,
    by: By = "relevance",
    k: int = 9,
    method: "str | Method" = "lrp",
    target: TargetLike = None,
    axis: int | None = None,
    batch_axis: Any = 0,
) -> list[TopExamples]:
    """Find the examples that give channels of a layer the most relevance or activation.

        relevance   R_c(x) = sum over positions p of R[c, p] when `target` is explained
        activation  a_c(x) = max over positions p of what the layer returned

    One pass over `batches`, each of which is what `explain` takes as inputs, keeps the inputs of k
    examples a channel and no others; so a loader of pairs is passed as `(x for x, _ in loader)`.
    Of equals the first wins. The answer has one entry a channel, and there the map of each example:
    by relevance, what of it passes through that channel alone, so that the method must be `LRP`; by
    activation, the map of the channel's strongest unit, by any method. `axis` as for
    `rank_channels`.
    Source: Zeiler, Fergus (2014), Visualizing and Understanding Convolutional Networks; Achtibat
    et al. (2023), From Attribution Maps to Human-Understandable Explanations through Concept
    Relevance Propagation.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> batches = [torch.rand(4, 2), torch.rand(3, 2)]
    >>> first, second = top_examples(net, batches, "1", [0, 1], by="activation", k=2)
    >>> first.seen, first.index.shape, second.explanation.values.shape
    (7, torch.Size([2]), torch.Size([2, 2]))
    """
    one_of(by, "`by` of top examples", ("relevance", "activation"))
    check_axis(axis)
    chosen, best = named(method), [_Best(channel, whole(k, "k")) for channel in _wanted(channels)]
    if len(Target.of(target).classes) > 1:
        raise InputError("`target` must be one for all samples of a data set, or None", got=target)
    if by == "activation":
        _check_returns(layer)
        measure = _activations(model, layer, axis)
    else:
        chosen = _lrp(chosen)
        measure = _relevances(model, _at(chosen, layer), target, axis)
    seen = _look(best, measure, (Inputs.of(batch, batch_axis).copied() for batch in batches))
    made = []
    for each in best:
        way, aim = _alone(chosen, target, layer, each.channel, axis, by)
        maps = explain(model, each.inputs(), way, target=aim, on_incomplete="ignore")
        made.append(TopExamples(
            layer=layer, channel=each.channel, by=by, amounts=each.amounts(), index=each.index(),
            seen=seen, explanation=maps,
        ))  # fmt: skip
    return made


def _alone(
    method: Method, target: TargetLike, layer: str, channel: int, axis: int | None, by: By
) -> tuple[Method, TargetLike]:
    """The method and the target that show where in an example one channel sees what it does."""
    if by == "relevance" and isinstance(method, LRP):
        through = (*(method.through or ()), (layer, (channel,)))
        return replace(method, through=through, axis=axis), target
    return method, Target.unit(layer, channel, axis=axis)


def _look(best: "list[_Best]", measure: "Measure", batches: Iterable[Inputs]) -> int:
    """Let every channel look at every batch, once; return how many samples there were."""
    seen = 0
    for inputs in batches:
        table = _measured(measure, inputs)
        check_channels([each.channel for each in best], table.shape, 1)
        for each in best:
            each.channel %= table.shape[1]
            each.look(table[:, each.channel], seen, inputs)
        seen += inputs.rows
    if not seen:
        raise InputError("`batches` must hold at least one batch of inputs", found="none")
    return seen


def _measured(measure: "Measure", inputs: Inputs) -> Tensor:
    """What is measured of a batch; or what a loader of pairs is to be made."""
    try:
        return measure(inputs)
    except ModelError as error:
        if len(inputs.leaves) < 2 or not isinstance(error.__cause__, TypeError):
            raise
        got, hint = inputs.pack(inputs.leaves), "Of a loader of pairs, pass (x for x, _ in loader)."
        must = f"Each of `batches` must be what the model takes ({error.__cause__})"
        raise InputError(must, got=got, hint=hint) from error


@dataclass
class _Best:
    """The inputs of the k samples with the largest amounts of a channel; of equals the first."""

    channel: int
    k: int
    heap: list[tuple[float, int, tuple[Tensor, ...]]] = field(default_factory=list)
    like: Inputs | None = None

    def look(self, amounts: Tensor, start: int, inputs: Inputs) -> None:
        """Take from a batch, whose first sample is number `start`, those that are among the k."""
        for row, amount in enumerate(amounts.tolist()):
            if not math.isfinite(amount):
                raise InputError(
                    "The relevance or activation of a channel must be finite",
                    found=f"{amount} in sample {start + row}",
                )
            if len(self.heap) < self.k or amount > self.heap[0][0]:
                push = heapq.heappush if len(self.heap) < self.k else heapq.heapreplace
                push(self.heap, (amount, -start - row, inputs.select([row]).leaves))
        self.like = inputs  # for its structure; inputs hold what the user passed, the whole batch

    @property
    def _ordered(self) -> list[tuple[float, int, tuple[Tensor, ...]]]:
        return sorted(self.heap, reverse=True)

    def amounts(self) -> Tensor:
        """The amounts, strongest first, of shape (example,)."""
        return torch.tensor([amount for amount, _, _ in self._ordered], dtype=torch.float64)

    def index(self) -> Tensor:
        """The places in the data set, of shape (example,)."""
        return torch.tensor([-number for _, number, _ in self._ordered])

    def inputs(self) -> Inputs:
        """The inputs of all of them as one batch."""
        if self.like is None:
            raise RuntimeError("A batch must have been looked at.")
        columns = list(zip(*(leaves for _, _, leaves in self._ordered), strict=True))
        if any(leaf.shape != column[0].shape for column in columns for leaf in column):
            raise InputError(
                "The inputs of all batches must have one shape, to be shown together",
                got=[leaf for column in columns for leaf in column],
                hint="Pad or crop them, or take batches of one shape.",
            )
        return self.like.replace([torch.cat(column) for column in columns])


# What of a batch is measured: shape (sample, channel).
Measure: TypeAlias = Callable[[Inputs], Tensor]


def _relevances(
    model: Callable[..., Any], method: Method, target: TargetLike, axis: int | None
) -> Measure:
    def measure(inputs: Inputs) -> Tensor:
        found = explain(model, inputs, method, target=target, on_incomplete="ignore")
        return channel_sums(found.values, axis)

    return measure


def _activations(model: Callable[..., Any], layer: str, axis: int | None) -> Measure:
    def measure(inputs: Inputs) -> Tensor:
        program = Program(inside(model, layer))
        with untouched(model) as program.states, torch.no_grad():
            returned, _ = program.run(inputs)
        found = check_returned(returned[INSIDE], layer, inputs.rows)
        maps = found.movedim(channel_axis(found.shape, axis), 1)
        return maps.reshape(*maps.shape[:2], -1).amax(2)

    return measure


def _at(method: "str | Method", layer: str) -> Method:
    """The method with its values at a layer."""
    made = named(method)
    if not hasattr(made, "at"):
        raise InputError(
            "`method` must have values at a layer: one that takes at=",
            got=made,
            hint="For example lrp, gradient_x_input or saliency.",
        )
    return replace(made, at=layer)  # type: ignore[call-arg]  # as was just asked


def _check_returns(layer: str) -> None:
    """Raise if an operation is named, of which a target has no units."""
    if isinstance(layer, str) and ":" in layer:
        raise InputError(
            "`layer` must be the path of a module for examples by activation",
            got=layer,
            hint='An operation of the tape can be named with by="relevance".',
        )


def _lrp(method: Method) -> LRP:
    """The method, if it can pass relevance through single channels, with values at the inputs."""
    if not isinstance(method, LRP):
        raise InputError(
            "`method` must be LRP for examples by relevance, which passes single channels",
            got=method,
            hint='Take by="activation", or method=pellucid.LRP(...).',
        )
    return replace(method, at=None)


def _wanted(channels: Any) -> list[int]:
    """Take one channel, or several."""
    listed = channels.tolist() if hasattr(channels, "tolist") else channels
    listed = [listed] if isinstance(listed, int) else listed
    whole_ = isinstance(listed, Sequence | range) and not isinstance(listed, str)
    if not whole_ or not listed or not all(_is_channel(each) for each in listed):
        raise InputError(
            "`channels` must be one or more channels of the layer, as whole numbers", got=channels
        )
    return [int(each) for each in listed]


def _is_channel(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _count(k: int | None) -> int | None:
    return None if k is None else whole(k, "k")
