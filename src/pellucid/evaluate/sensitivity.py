"""Class sensitivity: does the map of another class look different, and fall on its own object?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.errors import InputError, TargetError
from pellucid.evaluate.elsewhere import here, own_values, values_at
from pellucid.evaluate.measurement import Curve
from pellucid.evaluate.metric import Better, Found, Metric, register_metric
from pellucid.evaluate.similarity import (
    Similarity,
    SimilarityLike,
    maps,
    similarities_of,
)
from pellucid.evaluate.trial import Trial
from pellucid.explanation import Explanation
from pellucid.options import one_of
from pellucid.pooling import channels_last
from pellucid.remarks import Share
from pellucid.structure import outline
from pellucid.target import Target

AGAINST = ("both", "runner_up", "least_likely")
TITLES = {"runner_up": "runner-up", "least_likely": "least likely"}
CONSTANT_NOTE = "Maps of {} cannot be compared: one is constant."
NOWHERE_NOTE = "Maps of {} have nothing on any of the objects, for some class."
CLASSES = ("index", "probability", "log_odds", "predicted")


@register_metric("class_sensitivity")
@dataclass(frozen=True, kw_only=True)
class ClassSensitivity(Metric):
    """How alike the maps of the explained class and of other classes are.

        S = mean over other classes k of similarity(R of k, R)

    Other classes are the runner-up (of those that are not explained, the one with the highest
    score), the least likely (with the lowest), or both. `similarity` is one or several names (see
    `pellucid.evaluate.similarity`): the first is counted, and of each there is a curve
    (sample, class).
    Law: a map that does not depend on the class has S = 1; where the scores of two classes are
    opposite, gradients have the rank correlation -1.
    Source: the classes and rank correlation of Adebayo et al. (2018) and of Selvaraju et al.
    (2017), Grad-CAM, who ask for class-discriminative maps.
    """

    answers: ClassVar[str] = "Does the map change with the class that is explained?"
    weakness: ClassVar[str] = "Classes may well rest on the same features; noise is sensitive too."
    better: ClassVar[Better] = "lower"
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    against: Literal["both", "runner_up", "least_likely"] = "both"
    similarity: SimilarityLike | Sequence[SimilarityLike] = ("spearman", "ssim")

    def __post_init__(self) -> None:
        one_of(self.against, "`against` of class sensitivity", AGAINST)
        similarities_of(self.similarity)
        if not isinstance(self.similarity, str | Similarity):
            object.__setattr__(self, "similarity", tuple(self.similarity))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Explain the other classes, all on one recording, and compare."""
        ways = similarities_of(self.similarity)
        chosen = list(TITLES) if self.against == "both" else [self.against]
        targets = other_classes(trial)
        own = own_values(trial)
        shape = (len(own), len(ways), len(chosen), len(trial))
        found = torch.zeros(shape, dtype=torch.float64)
        columns = values_at(trial, here(trial), [targets[name] for name in chosen])
        for rival, values in enumerate(own):
            for number, similarity in enumerate(ways.values()):
                before = similarity.prepare(maps(values))
                for place, column in enumerate(columns):
                    there = similarity.prepare(maps(column[rival]))
                    found[rival, number, place] = similarity.compare(before, there)
        return [self._found(each, ways, chosen) for each in found]

    def _found(self, numbers: Tensor, ways: dict[str, Similarity], chosen: Sequence[str]) -> Found:
        """Means over the classes, and the curves, of (similarity, class, sample)."""
        lost = numbers[0].isnan().any(0)
        curves = {
            name: Curve(
                x=torch.arange(len(chosen), dtype=torch.float64),
                y=part.T,
                xlabel="other class",
                ylabel=way.words,
                ticks=tuple(TITLES[each] for each in chosen),
            )
            for (name, way), part in zip(ways.items(), numbers, strict=True)
        }
        share = Share(text=CONSTANT_NOTE, some=int(lost.sum()), of=len(lost))
        return Found(values=numbers[0].nanmean(0), curves=curves, notes=(share,))


def other_classes(trial: Trial) -> dict[str, Target]:
    """The target of the runner-up and that of the least likely class of each sample."""
    target, output = trial.case.outcome.target, trial.case.outcome.output
    table = target.table(output) if target.kind in CLASSES and not target.layer else None
    if table is None or table.shape[1] < 2:
        raise TargetError(
            "The target must be one of at least two classes for others to be explained",
            found=repr(target),
        )
    rows, own = torch.arange(len(table)), _classes(target, len(table))
    scores = table.double().cpu()
    best, worst = scores.clone(), scores.clone()
    best[rows, own], worst[rows, own] = -torch.inf, torch.inf
    picked = {"runner_up": best.argmax(1), "least_likely": worst.argmin(1)}
    return {
        name: replace(target, classes=tuple(classes.tolist())) for name, classes in picked.items()
    }


def _classes(target: Target, rows: int) -> Tensor:
    """The explained class of each sample."""
    return torch.tensor(target.classes).expand(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectSensitivity(Metric):
    """Whether the map of each class falls on its own object, in pictures with several.

        S = mean over objects c of sum of R_c^+ in mask c / sum of R_c^+ in all masks

    R_c is the map of the class of object c, R^+ its positive part, of which each channel counts
    by itself (for a slope its size). `classes` (sample, object) are those of the objects, `masks`
    (sample, object, height, width) are true on each; for a signal (sample, object, position). What
    was explained for players is shared out evenly to the elements of each.
    From 0 to 1; a map that does not depend on the class has the mean share of the objects, which
    is 1/2 for two. Not a number where a map has nothing on any object.
    Law: where each class reads its own object alone, gradient x input has S = 1.
    Source: the two-object pictures of Selvaraju et al. (2017), Grad-CAM; the share is the energy
    of Wang et al. (2020), Score-CAM.
    """

    name: ClassVar[str] = "object_sensitivity"
    answers: ClassVar[str] = "Does the map of each class fall on its own object?"
    weakness: ClassVar[str] = "Needs pictures whose objects are known; context counts for nothing."
    better: ClassVar[Better] = "higher"
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    classes: Any
    masks: Any = field(repr=False)

    def __post_init__(self) -> None:
        classes, masks = torch.as_tensor(self.classes), torch.as_tensor(self.masks)
        if classes.ndim != 2 or classes.is_floating_point() or classes.shape[1] < 2:
            raise InputError(
                "`classes` must be whole numbers of shape (sample, object), two objects at least",
                got=self.classes,
            )
        if masks.shape[:2] != classes.shape or not bool(((masks == 0) | (masks == 1)).all()):
            raise InputError(
                f"`masks` must be true or false, one for each of {list(classes.shape)} objects",
                got=self.masks,
            )
        object.__setattr__(self, "classes", classes.long())
        object.__setattr__(self, "masks", masks.bool())

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Explain the class of each object, all on one recording."""
        target, rows = trial.case.outcome.target, trial.case.rows
        if trial.case.total != len(self.classes):
            raise InputError(
                f"`classes` and `masks` must be those of all {trial.case.total} samples",
                got=self.classes,
            )
        if target.kind not in CLASSES:
            raise TargetError(
                "The target must be a class where objects have one", found=repr(target)
            )
        if len(trial.plain.inputs.leaves) != 1:
            raise InputError("Objects must be those of one input", found=outline(trial.inputs))
        aims = [replace(target, classes=tuple(each.tolist())) for each in self.classes[rows].T]
        columns = values_at(trial, here(trial), aims)
        found = []
        for number, rival in enumerate(trial.rivals):
            shares = []
            for place, column in enumerate(columns):
                values = _shared_out(rival, column[number][0])
                shares.append(_share(values, self.masks[rows], place, slope=rival.method.is_slope))
            values = torch.stack(shares).mean(0)
            lost = Share(text=NOWHERE_NOTE, some=int(values.isnan().sum()), of=len(values))
            found.append(Found(values=values, notes=(lost,)))
        return found


def _shared_out(rival: Explanation, values: Tensor) -> Tensor:
    """Values of elements; what a player has, all of its elements share evenly."""
    if rival.features is None or rival.players is None:
        return values
    labels = rival.features.labels[0].to(values.device)
    flat = labels.reshape(len(labels), -1)
    places = torch.where(flat < 0, rival.features.count, flat)
    sizes = values.new_zeros(len(flat), rival.features.count + 1, dtype=wide(values))
    sizes = sizes.scatter_add_(1, places, torch.ones_like(places, dtype=sizes.dtype))
    return values / sizes.gather(1, places).reshape(labels.shape)


def _share(values: Tensor, masks: Tensor, place: int, *, slope: bool) -> Tensor:
    """Of what a map has on all objects, the part on one of them, (sample,)."""
    size = values.abs() if slope else values.clamp(min=0)
    pixels = size.double().cpu()
    axis = -1 if channels_last(values.shape[1:]) else 1
    pixels = pixels.sum(axis) if pixels.ndim > 2 else pixels
    if pixels.shape[1:] != masks.shape[2:]:
        raise InputError(
            f"`masks` must be of the size of the map, {list(pixels.shape[1:])}", got=masks
        )
    every = (pixels * masks.any(1)).flatten(1).sum(1)
    return (pixels * masks[:, place]).flatten(1).sum(1) / every
