"""How simple an explanation is: on how few features it rests, and in how little it can be told."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pellucid.evaluate.elsewhere import empty, own_values
from pellucid.evaluate.metric import Better, Found, Metric, register_metric
from pellucid.evaluate.similarity import maps
from pellucid.evaluate.trial import Trial
from pellucid.features import FeaturesLike

# Levels on either side of zero in the 8-bit map, whose zero is 128.
LEVELS = 127


@dataclass(frozen=True, kw_only=True)
class OfShares(ABC):
    """What the metrics share that read how the sizes of players are shared out."""

    features: FeaturesLike = None

    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "sign"})

    def judge(self, trial: Trial) -> Sequence[Found]:
        """What is made of the shares q_p = |R_p| / sum |R| of each sample."""
        alive = trial.players(self.features).alive.cpu()
        found = []
        for sizes in trial.relevance(self.features).abs():
            shares = sizes / sizes.sum(1, keepdim=True)
            counts = alive.sum(1).expand(len(shares))
            found.append(Found(values=self.of(shares, counts), notes=(empty(sizes.sum(1)),)))
        return found

    @abstractmethod
    def of(self, shares: Tensor, counts: Tensor) -> Tensor:
        """One number for each sample, of shares (sample, player) among so many players."""


@register_metric("entropy")
@dataclass(frozen=True, kw_only=True)
class Entropy(OfShares, Metric):
    """The entropy of how the explanation is shared out among the players, in nats.

        H = -sum_p q_p log q_p,  q_p = |R_p| / sum |R|

    From 0, where one player has all, to the logarithm of their number, where all have the same. A
    map of zeros is not a number.
    Source: Bhatt, Weller and Moura (2020), Evaluating and Aggregating Feature-based Model
    Explanations.
    """

    answers: ClassVar[str] = "How evenly is the explanation spread over the features?"
    weakness: ClassVar[str] = "A simple explanation may still be wrong."
    better: ClassVar[Better] = "lower"

    def of(self, shares: Tensor, counts: Tensor) -> Tensor:
        """The entropy."""
        return _entropy(shares)


@register_metric("effective_features")
@dataclass(frozen=True, kw_only=True)
class EffectiveFeatures(OfShares, Metric):
    """How many players carry the explanation: the exponential of its entropy.

        N = exp(-sum_p q_p log q_p),  q_p = |R_p| / sum |R|

    From 1, where one player has all, to the number of players, where all have the same. A map of
    zeros is not a number.
    Source: Bhatt, Weller and Moura (2020), Evaluating and Aggregating Feature-based Model
    Explanations, for the entropy; its exponential counts.
    """

    answers: ClassVar[str] = "On how many features does the explanation rest?"
    weakness: ClassVar[str] = "A simple explanation may still be wrong."
    better: ClassVar[Better] = "lower"

    def of(self, shares: Tensor, counts: Tensor) -> Tensor:
        """The exponential of the entropy."""
        return _entropy(shares).exp()


@register_metric("sparseness")
@dataclass(frozen=True, kw_only=True)
class Sparseness(OfShares, Metric):
    """How unevenly the explanation is shared out among n players: the Gini index.

        G = 1 - 2 sum_k q_(k) (n - k + 1/2) / n,  q_(1) <= ... <= q_(n),  q_p = |R_p| / sum |R|

    From 0, where all players have the same, to 1 - 1/n, where one has all. A map of zeros is not a
    number.
    Source: Hurley and Rickard (2009), Comparing Measures of Sparsity; of explanations Chalasani
    et al. (2020), Concise Explanations of Neural Networks using Adversarial Training.
    """

    answers: ClassVar[str] = "Does the explanation single out a few features?"
    weakness: ClassVar[str] = "A sparse explanation may still be wrong."
    better: ClassVar[Better] = "higher"

    def of(self, shares: Tensor, counts: Tensor) -> Tensor:
        """The Gini index; players that a sample has not are zeros in front of its own."""
        n = counts.unsqueeze(1).to(shares)
        places = torch.arange(shares.shape[1], 0, -1).to(shares) - 0.5  # n - k + 1/2
        ordered = shares.sort(dim=1).values
        return 1 - 2 * (ordered * places / n).sum(1)


@register_metric("compressed_size")
@dataclass(frozen=True, kw_only=True)
class CompressedSize(Metric):
    """How many bytes the map takes, as a losslessly compressed picture.

        8-bit grays 128 + round(127 R_i / max |R|), in PNG

    Channels of an image are added up. Volumes are laid out slice below slice, channels of a signal
    row below row; a table or a text is one row. A map without structure compresses badly; of
    several inputs, the bytes are added up.
    Source: Samek et al. (2017), Evaluating the Visualization of What a Deep Neural Network Has
    Learned, for the size of the compressed heatmap as its complexity.
    """

    answers: ClassVar[str] = "How much is there to be told in the map?"
    weakness: ClassVar[str] = "Counts noise and fine detail alike; grows with the size of the map."
    better: ClassVar[Better] = "lower"
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Write each map of each sample, and count."""
        found = []
        for values in own_values(trial):
            laid = maps(values)
            sizes = [sum(_bytes(leaf[row]) for leaf in laid) for row in range(len(trial))]
            found.append(Found(values=torch.tensor(sizes, dtype=torch.float64)))
        return found


@register_metric("incompleteness")
@dataclass(frozen=True, kw_only=True)
class Incompleteness(Metric):
    """How far the values are from adding up to what they explain.

        S = |expected - sum_i R_i| / |expected|,  0/0 = 0

    What is expected is what the method claims (the score, or its difference to that of the
    baseline), and what every explanation carries as `completeness`. It is not a number for methods
    that claim no such law.
    Source: Sundararajan, Taly and Yan (2017), Axiomatic Attribution for Deep Networks, for the law.
    """

    answers: ClassVar[str] = "Do the values add up to what they explain?"
    weakness: ClassVar[str] = "Values that add up may still be in the wrong places."
    better: ClassVar[Better] = "lower"

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Read what the explanations carry."""
        found = []
        for rival in trial.rivals:
            if rival.completeness is None:
                lost = torch.full((len(trial),), torch.nan, dtype=torch.float64)
                note = f"{rival.method.name} does not claim to add up to anything."
                found.append(Found(values=lost, notes=(note,)))
            else:
                found.append(Found(values=rival.completeness.relative.double().cpu()))
        return found


def _entropy(shares: Tensor) -> Tensor:
    """The entropy of each row, of shape (sample,)."""
    return -torch.special.xlogy(shares, shares).sum(1)


def _bytes(grid: Tensor) -> int:
    """The size of one map (channel, ...) as a picture."""
    from PIL import Image

    flat = grid.reshape(-1, grid.shape[-1]).double().cpu()
    top = flat.abs().max()
    grays = 128 + (LEVELS * flat / top.where(top > 0, torch.ones_like(top))).round()
    file = io.BytesIO()
    Image.fromarray(grays.numpy().astype(np.uint8)).save(file, "PNG", optimize=True)
    return file.tell()
