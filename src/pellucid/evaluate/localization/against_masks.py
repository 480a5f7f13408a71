"""Does the explanation lie where the important is known to be? Metrics against masks.

The lecture's "coherence", in numbers. Where places are tied, as pixels of one superpixel are, a
metric is its mean over all orders of them, unless it says otherwise.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.evaluate.localization.heat import channel_axis, heat_on, pooled_on
from pellucid.evaluate.metric import Found, Metric, register_metric
from pellucid.evaluate.trial import Trial
from pellucid.explanation import Explanation
from pellucid.options import number, one_of
from pellucid.pooling import POOLINGS, Pooling
from pellucid.remarks import Share
from pellucid.structure import Inputs

EMPTY_NOTE = "{} have an empty mask, for which it is not defined."
FULL_NOTE = "{} have a mask of everything, for which it is not defined."
NOTHING_NOTE = "{} have no relevance of which a part could be inside."
# How far one channel is from the next: no distance in a picture reaches there.
FAR = 1e9


@dataclass(frozen=True, kw_only=True)
class _Localization:
    """What metrics against masks share: one number of a map and a mask, row by row."""

    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})
    # Whether a mask must leave something out.
    two_sided: ClassVar[bool] = False

    def judge(self, trial: Trial) -> Sequence[Found]:
        """The number of each sample; not a number where the mask does not allow one."""
        masks = mask_of(trial)
        flat = masks.flatten(1)
        empty, full = ~flat.any(1), flat.all(1)
        undefined = empty | full if self.two_sided else empty
        seen = masks.clone()
        seen[undefined] = False
        found = []
        for rival in trial.rivals:
            values = self.rate(self.map(rival, masks), seen)
            lost = ~undefined & ~values.isfinite()
            notes = (
                _share(EMPTY_NOTE, empty),
                _share(FULL_NOTE, full & undefined),
                _share(NOTHING_NOTE, lost),
            )
            values = values.masked_fill(undefined, float("nan"))
            found.append(Found(values=values, notes=notes))
        return found

    def map(self, rival: Explanation, masks: Tensor) -> Tensor:
        """The map over the places of the masks, (sample, place)."""
        return heat_on(rival, masks).cpu()

    @abstractmethod
    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """What it is for maps (sample, place) and masks (sample, ...) of these places."""


@register_metric("pointing_game")
@dataclass(frozen=True, kw_only=True)
class PointingGame(_Localization, Metric):
    """Whether the highest place of the map lies on the object, or near it.

        1 if the distance of argmax_p R_p to the mask is at most `tolerance`, else 0

    `tolerance` is in pixels; the paper's is 15, for photographs. Its mean over a data set is the
    pointing accuracy. Law: nothing changes when a map is replaced by its order.
    Source: Zhang, Lin, Brandt, Shen and Sclaroff (2016, 2018), Top-down Neural Attention by
    Excitation Backprop.

    >>> import pellucid as pl
    >>> x = torch.tensor([[[[0.0, 3.0], [1.0, 0.0]]]])
    >>> def model(x):
    ...     return x.flatten(1).sum(1, keepdim=True)
    >>> found = pl.explain(model, x, "gradient_x_input")
    >>> boxes = [[1, 0, 2, 1]]  # x0, y0, x1, y1
    >>> PointingGame()(model, found, masks=boxes).values
    tensor([1.], dtype=torch.float64)
    """

    tolerance: float = 0.0

    answers: ClassVar[str] = "Does the highest point of the map lie on the object?"
    weakness: ClassVar[str] = "It reads one point of the map, and large objects are easy to hit."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "order"})

    def check(self, inputs: Inputs) -> None:
        """Raise unless the tolerance is a distance."""
        super().check(inputs)
        number(self.tolerance, "tolerance", "a distance in pixels, 0 or more", least=0)

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """The share of the highest places (one, but for ties) that hit."""
        highest = heat == heat.amax(1, keepdim=True)
        hit = widened(masks, self.tolerance).flatten(1)
        return (highest & hit).sum(1).double() / highest.sum(1)


@register_metric("energy_inside")
@dataclass(frozen=True, kw_only=True)
class EnergyInside(_Localization, Metric):
    """Which part of the positive relevance lies on the object: the energy-based pointing game.

        sum_(p in mask) max(R_p, 0) / sum_p max(R_p, 0)

    From 0 to 1; a constant map has the object's share of the area. Not a number for a map that is
    nowhere positive.
    Source: Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu (2020), Score-CAM.
    """

    answers: ClassVar[str] = "How much of the positive relevance lies on the object?"
    weakness: ClassVar[str] = "What lies around an object may truly matter to the model."

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """Inside over all."""
        return _inside(heat.clamp(min=0), masks)


@register_metric("relevance_mass")
@dataclass(frozen=True, kw_only=True)
class RelevanceMass(_Localization, Metric):
    """Which part of the pooled relevance lies on the object: relevance mass accuracy.

        sum_(p in mask) S_p / sum_p S_p,  S_p = max(pool_c R_pc, 0)

    The channels c of a place are pooled first: `pooling` is `l2`, `abs_sum`, `max`, `sum`,
    `positive` as in `Explanation.pool`. Law: with `abs_sum` and one channel it is the share of
    |R|. Source: Arras, Osman and Samek (2022), CLEVR-XAI.
    """

    pooling: Pooling = "l2"

    answers: ClassVar[str] = "How much of the relevance, of either sign, lies on the object?"
    weakness: ClassVar[str] = "What lies around an object may truly matter to the model."

    def check(self, inputs: Inputs) -> None:
        """Raise unless the pooling is known, and leaves something of a map."""
        super().check(inputs)
        known = [name for name in POOLINGS if name != "negative"]
        one_of(self.pooling, "`pooling` of relevance_mass", known)

    def map(self, rival: Explanation, masks: Tensor) -> Tensor:
        """The pooled map."""
        return pooled_on(rival, masks, self.pooling).cpu()

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """Inside over all."""
        return _inside(heat, masks)


@register_metric("relevance_rank")
@dataclass(frozen=True, kw_only=True)
class RelevanceRank(_Localization, Metric):
    """Which part of the K highest places lies on the object of K places: rank accuracy.

        |{p_1 ... p_K} and mask| / K,  K = |mask|,  R_(p_1) >= R_(p_2) >= ...

    Law: 1 exactly if every place of the mask is above all others.
    Source: Arras, Osman and Samek (2022), CLEVR-XAI.
    """

    answers: ClassVar[str] = "Are the highest places, as many as the object has, the object's?"
    weakness: ClassVar[str] = "A sparse map that is right is ranked by the noise of all the rest."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "order"})

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """Precision at the size of the mask."""
        size = masks.flatten(1).sum(1)
        return _hits(heat, masks, size.clamp(min=1)) / size


@register_metric("top_k_intersection")
@dataclass(frozen=True, kw_only=True)
class TopKIntersection(_Localization, Metric):
    """Which part of the k highest places lies on the object.

        |{p_1 ... p_k} and mask| / k

    `k` is a number of places, or, below 1, their share of all (at least one). An object of fewer
    places than k cannot reach 1.
    Source: Theiner, Müller-Budack and Ewerth (2022), Interpretable Semantic Photo Geolocation.
    """

    k: float = 0.05

    answers: ClassVar[str] = "Do the highest places lie on the object?"
    weakness: ClassVar[str] = "An object of fewer than k places cannot reach 1."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "order"})

    def check(self, inputs: Inputs) -> None:
        """Raise unless `k` is a count or a share."""
        super().check(inputs)
        must = "a whole number of places, or a share of them between 0 and 1"
        if number(self.k, "k", must, above=0) > 1 and self.k != int(self.k):
            raise InputError(f"`k` must be {must}", found=repr(self.k))

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """Precision at k."""
        places = heat.shape[1]
        count = round(self.k * places) if self.k < 1 else min(int(self.k), places)
        k = torch.full((len(heat),), max(1, count))
        return _hits(heat, masks, k) / k


@register_metric("mask_auc")
@dataclass(frozen=True, kw_only=True)
class MaskAUC(_Localization, Metric):
    """How well the map tells the object's places from all others: area under the ROC curve.

        P(R_p > R_q) + P(R_p = R_q) / 2  for p in the mask, q outside of it

    1/2 for a map that knows nothing. Law: minus the map has one minus the area.
    Source: Fawcett (2006), An Introduction to ROC Analysis.
    """

    answers: ClassVar[str] = "Is a place of the object higher than one outside of it?"
    weakness: ClassVar[str] = "It counts the order of places that have next to no relevance."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "order"})
    two_sided: ClassVar[bool] = True

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """The normalised rank sum of Mann and Whitney."""
        from scipy.stats import rankdata

        flat = masks.flatten(1)
        inside = flat.sum(1).double()
        ranks = torch.from_numpy(rankdata(heat.numpy(), axis=1)).masked_fill(~flat, 0).sum(1)
        outside = flat.shape[1] - inside
        return (ranks - inside * (inside + 1) / 2) / (inside * outside)


@register_metric("mask_precision")
@dataclass(frozen=True, kw_only=True)
class MaskPrecision(_Localization, Metric):
    """How pure the highest places are, from the first to the last of the object's.

        AP = sum_n (recall_n - recall_(n-1)) precision_n  over all thresholds n

    Average precision; unlike the ROC area it is strict about small objects: the object's share of
    the area for a map that knows nothing. Places that are tied share one threshold.
    Source: Davis and Goadrich (2006), The Relationship Between Precision-Recall and ROC Curves.
    """

    answers: ClassVar[str] = "How pure are the highest places, until all of the object is found?"
    weakness: ClassVar[str] = "Its chance level is the object's size: compare on the same masks."
    ignores: ClassVar[frozenset[str]] = frozenset({"scale", "order"})

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """That of scikit-learn, sample by sample."""
        from sklearn.metrics import average_precision_score

        pairs = zip(masks.flatten(1).numpy(), heat.numpy(), strict=True)
        found = [average_precision_score(y, x) if y.any() else float("nan") for y, x in pairs]
        return torch.tensor(found, dtype=torch.float64)


@register_metric("mask_iou")
@dataclass(frozen=True, kw_only=True)
class MaskIoU(_Localization, Metric):
    """How well what is high in the map covers the object: intersection over union.

        |{R_p >= t max R} and mask| / |{R_p >= t max R} or mask|

    `threshold` t is a share of the map's highest value. A map that is nowhere positive finds
    nothing: 0. Source: Jaccard (1901), for the index; Zhou, Khosla, Lapedriza, Oliva and Torralba
    (2016), Learning Deep Features for Discriminative Localization, for the threshold.
    """

    threshold: float = 0.2

    answers: ClassVar[str] = "Does what is high in the map have the shape of the object?"
    weakness: ClassVar[str] = "It depends on the threshold."

    def check(self, inputs: Inputs) -> None:
        """Raise unless the threshold is a share."""
        super().check(inputs)
        check_share(self.threshold)

    def rate(self, heat: Tensor, masks: Tensor) -> Tensor:
        """The Jaccard index."""
        flat, found = masks.flatten(1), above(heat, self.threshold)
        return (flat & found).sum(1).double() / (flat | found).sum(1)


def mask_of(trial: Trial) -> Tensor:
    """The masks of a trial, which `measure` has made sure of."""
    if trial.masks is None:
        raise InputError("A metric against masks must have `masks`", found="none")
    return trial.masks


def check_share(threshold: float) -> None:
    """Raise unless a threshold is a share of the maximum."""
    must = "a share of the maximum, above 0 and at most 1"
    number(threshold, "threshold", must, above=0, most=1)


def above(heat: Tensor, threshold: float) -> Tensor:
    """Where maps (sample, ...) reach a share of their maximum; nowhere, if that is not positive."""
    top = heat.flatten(1).amax(1).reshape(-1, *[1] * (heat.ndim - 1))
    return (heat >= threshold * top) & (top > 0)


def widened(masks: Tensor, tolerance: float) -> Tensor:
    """Masks with all places that are at most so far away; distances run inside of a channel."""
    if tolerance == 0:
        return masks
    from scipy.ndimage import distance_transform_edt

    steps = [1.0] * (masks.ndim - 1)
    if masks.ndim > 2:
        steps[channel_axis(masks) - 1 if channel_axis(masks) > 0 else -1] = FAR
    made = masks.clone()
    for part in made:
        if part.any():
            distance = distance_transform_edt(~part.numpy(), sampling=steps)
            part |= torch.from_numpy(distance) <= tolerance
    return made


def _inside(heat: Tensor, masks: Tensor) -> Tensor:
    return heat.masked_fill(~masks.flatten(1), 0).sum(1) / heat.sum(1)


def _hits(heat: Tensor, masks: Tensor, k: Tensor) -> Tensor:
    """How many of the k (sample,) highest places are in the mask, on average over ties."""
    flat = masks.flatten(1)
    cut = heat.sort(1, descending=True).values.gather(1, k.unsqueeze(1) - 1)
    sure, tied = heat > cut, heat == cut
    open_ = k - sure.sum(1)
    return (sure & flat).sum(1) + open_ * (tied & flat).sum(1).double() / tied.sum(1)


def _share(text: str, which: Tensor) -> Share:
    return Share(text=text, some=int(which.sum()), of=len(which))
