"""Score-CAM: channels weighted by the score of what they let through."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.cam.choice import Choice, settle
from pellucid.cam.frame import Frame
from pellucid.cam.gradcam import notes_on, summed
from pellucid.cam.maps import Maps, Spots, distinct, find_maps
from pellucid.cam.upsample import enlarge, render
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.method import Attribution, Method, register


@register("scorecam")
@dataclass(frozen=True, kw_only=True)
class ScoreCAM(Method):
    """Weight each map of a layer by the score of the input that is seen through it.

        R = relu(sum over k of w_k A_k),  w = softmax over k of f(x * mask_k)
        mask_k = A_k interpolated to the size of the input and scaled to [0, 1]

    The paper's increase f(x * mask_k) - f(0) gives the same weights: what is the same for all
    channels cancels in the softmax, so the baseline is not run. f is the explained score (before
    a softmax at the end of the model). A map that is the same everywhere shows nothing: its mask
    is zero and it gets no weight. `channels` runs only so many of a sample's maps, those that
    vary most; by default all.
    Axes: values have shape (batch, 1, *spatial), or the layer's grid with `upsample=False`;
    `layer`, `layout` and `grid` are as for Grad-CAM.
    Laws: no gradient is read; one forward pass a channel and one to record.
    Source: Wang et al. (2020), Score-CAM: Score-Weighted Visual Explanations for Convolutional
    Neural Networks.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Flatten(),
    ...                           torch.nn.Linear(2, 1))
    >>> _ = [torch.nn.init.ones_(p) for p in net.parameters()]
    >>> found = ScoreCAM(upsample=False)(net, torch.tensor([[[[1.0, 2.0]]]]))
    >>> found.values, found.evaluations.forward
    (tensor([[[[2., 3.]]]]), 2)
    """

    answers: ClassVar[str] = "Where does the model look, if channels are judged by what they show?"
    weakness: ClassVar[str] = "Costs a forward pass a channel, and masked inputs look unnatural."
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True

    layer: str | None = None
    relu: bool = True
    upsample: bool = True
    channels: int | None = None
    layout: str | None = None
    grid: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        settle(self)
        whole = isinstance(self.channels, int) and not isinstance(self.channels, bool)
        if self.channels is not None and not (whole and self.channels > 0):
            raise InputError(
                "`channels` must be a positive whole number or None", got=self.channels
            )

    def attribute(self, case: Case) -> Attribution:
        """One recorded pass, and one forward pass for each channel of each sample."""
        spots = find_maps(case, Choice.of(self))
        chosen = {maps: self._chosen(maps.activations) for maps in distinct(spots)}
        if not case.shared:  # the passes to come need the memory, and nothing else of the tape
            deque(case.tape.consume(), maxlen=0)
        answers = {maps: self._map(case, spots, maps, chosen[maps]) for maps in chosen}
        values = render(case.inputs.leaves, spots, answers, upsample=self.upsample)
        return Attribution(values=values, notes=notes_on(spots, answers))

    def _map(self, case: Case, spots: Spots, maps: Maps, activations: Tensor) -> Tensor:
        """The map of one activation, (batch, 1, *grid), from its masks on the inputs it is of."""
        frames = [spot.frame if spot is not None and spot.maps is maps else None for spot in spots]
        scores = _scores(case, frames, activations)
        alive = activations.flatten(2).amax(2) > activations.flatten(2).amin(2)
        weights = scores.masked_fill(~alive, -torch.inf).softmax(1)
        weights = torch.where(alive.any(1, keepdim=True), weights, 0)  # with no map there is none
        values = summed(weights.to(activations), activations)
        return values.relu() if self.relu else values

    def _chosen(self, activations: Tensor) -> Tensor:
        """The maps that vary most, (batch, channel, *grid)."""
        if self.channels is None or self.channels >= activations.shape[1]:
            return activations
        spread = activations.flatten(2).std(2)
        chosen = spread.topk(self.channels, 1).indices.sort(1).values
        rows = torch.arange(len(chosen), device=chosen.device).unsqueeze(1)
        return activations[rows, chosen]


def _scores(case: Case, frames: list[Frame | None], activations: Tensor) -> Tensor:
    """The scores of the inputs behind each mask, (batch, channel), a batch of masks at a time."""
    samples, channels = activations.shape[:2]
    _ = case.outcome  # the target is resolved before the first batch

    def work(start: int, stop: int) -> Tensor:
        flat = torch.arange(start, stop)
        rows, picked = flat // channels, flat % channels
        seen = activations[rows, picked].unsqueeze(1)
        points = [
            leaf[rows] if frame is None else leaf[rows] * _mask(seen, leaf, frame)
            for leaf, frame in zip(case.inputs.leaves, frames, strict=True)
        ]
        return case.moved(case.inputs.replace(points), rows).outcome.score

    scores = torch.cat(list(case.batcher.run(samples * channels, work, "scorecam")))
    return scores.reshape(samples, channels).to(wide(scores))


def _mask(seen: Tensor, leaf: Tensor, frame: Frame) -> Tensor:
    """Maps (row, 1, *grid) as large as an input and scaled to [0, 1]; zero where all is alike."""
    large = enlarge(seen, leaf, frame)
    places = tuple(range(1, large.ndim))
    low, high = large.amin(places, keepdim=True), large.amax(places, keepdim=True)
    return (large - low) / torch.where(high > low, high - low, 1)
