"""Sanity checks: does the map change when what the model has learned is destroyed?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from pellucid.errors import InputError, show
from pellucid.evaluate.elsewhere import (
    copied,
    first_sample,
    here,
    module_of,
    own_values,
    values_at,
    with_model,
)
from pellucid.evaluate.measurement import Curve
from pellucid.evaluate.metric import Better, Found, Metric, register_metric
from pellucid.evaluate.randomization.layers import Randomizer, Step, steps_of
from pellucid.evaluate.similarity import (
    Prepared,
    Similarity,
    SimilarityLike,
    maps,
    similarities_of,
    similarity_of,
)
from pellucid.evaluate.trial import Trial
from pellucid.options import one_of, whole
from pellucid.remarks import Remark, Share
from pellucid.seeding import seeded
from pellucid.structure import Inputs

ORDERS = ("cascading", "independent")
WAYS = ("initialize", "permute", "normal")
WHY = "for its parameters to be randomized"
NOTHING_LEFT = (
    "Maps of {} cannot be compared with those of some randomized model, which are left out: one is "
    "constant."
)
BINS = 100
# Of a batch of training data whose labels are checked.
ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Randomization:
    """What the metrics share that randomize the parameters of a copy of the model.

    `how` a layer is randomized: by its own initializer (its `reset_parameters`, or numbers of the
    same mean and deviation where it has none, of which a note says so), by a permutation of its
    parameters, or by normal numbers of their mean and deviation. `draws` times, from `seed`.
    """

    how: Literal["initialize", "permute", "normal"] = "initialize"
    draws: int = 1
    seed: int = 0

    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    def __post_init__(self) -> None:
        one_of(self.how, "`how` to randomize", WAYS)
        object.__setattr__(self, "draws", whole(self.draws, "draws"))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))


@register_metric("model_randomization")
@dataclass(frozen=True, kw_only=True)
class ModelRandomization(Randomization, Metric):
    """How alike the map stays while the model's parameters are randomized, layer by layer.

        S = mean over layers l and draws of similarity(R of f_l, R of f)

    In f_l all layers from the output down to l are random ("cascading"), or l alone
    ("independent"). A layer is a module with weights of its own, with the norms and scales that
    run between it and the next; layers are ordered by when they run. `layers` are those that are
    randomized, by their paths, or so many from the output on. `similarity` is one or several names
    (see `pellucid.evaluate.similarity`): the first is counted, and of each there is a curve
    (sample, step), which of a cascade starts with the model as it is, at 1. The explained class
    stays. One copy of the model is made, and no other is held.
    Law: a map that does not read the model has S = 1; of a linear model, the gradient with the one
    layer permuted is the permuted gradient.
    Source: Adebayo et al. (2018), Sanity Checks for Saliency Maps.
    """

    answers: ClassVar[str] = "Does the map depend on what the model has learned, layer by layer?"
    weakness: ClassVar[str] = "A map of noise passes; similarity counts what the input alone gives."
    better: ClassVar[Better] = "lower"

    order: Literal["cascading", "independent"] = "cascading"
    layers: int | Sequence[str] | None = None
    similarity: SimilarityLike | Sequence[SimilarityLike] = "absolute_spearman"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self.order, "`order` of randomization", ORDERS)
        if isinstance(self.layers, int):
            object.__setattr__(self, "layers", whole(self.layers, "layers"))
        elif self.layers is not None:
            paths = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
            object.__setattr__(self, "layers", paths)
        similarities_of(self.similarity)
        if not isinstance(self.similarity, str | Similarity):
            object.__setattr__(self, "similarity", tuple(self.similarity))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Explain the samples for every state of the copy; compare maps as they come."""
        ways = similarities_of(self.similarity)
        original = module_of(trial, WHY)
        model = copied(original)
        steps = steps_of(model, first_sample(trial), self.layers)
        random = Randomizer(how=self.how, seed=self.seed)
        own = _prepared(ways.values(), own_values(trial))
        shape = (len(own), len(ways), self.draws, len(steps), len(trial))
        found = torch.zeros(shape, dtype=torch.float64)
        for draw, number in self._states(original, steps, random):
            case = with_model(here(trial), model)
            for rival, values in enumerate(values_at(trial, case)[0]):
                for way, similarity in enumerate(ways.values()):
                    there = similarity.prepare(maps(values))
                    found[rival, way, draw, number] = similarity.compare(own[rival][way], there)
        names = [step.name for step in steps]
        return [self._found(each, list(ways.items()), names, random.notes) for each in found]

    def _states(
        self, original: nn.Module, steps: Sequence[Step], random: Randomizer
    ) -> Iterator[tuple[int, int]]:
        """Randomize the copy step by step, and say for which draw and step it stands ready."""
        for draw in range(self.draws):
            for number, step in enumerate(steps):
                random(step, draw)
                yield draw, number
                if self.order == "independent":
                    step.restore(original)
            for step in steps:
                step.restore(original)

    def _found(
        self,
        numbers: Tensor,
        ways: Sequence[tuple[str, Similarity]],
        names: Sequence[str],
        notes: Sequence[str],
    ) -> Found:
        """Means over draws and steps, and the curves, of (similarity, draw, step, sample)."""
        whole_, lost = numbers[0].nanmean((0, 1)), numbers[0].isnan().any(0).any(0)
        share = Share(text=NOTHING_LEFT, some=int(lost.sum()), of=len(lost))
        start = 1 if self.order == "cascading" else 0
        curves = {}
        for (name, way), part in zip(ways, numbers, strict=True):
            y = part.nanmean(0).T
            y = torch.cat([torch.ones(len(y), start, dtype=y.dtype), y], 1)
            curves[name] = Curve(
                x=torch.arange(1 - start, len(names) + 1, dtype=torch.float64),
                y=y,
                xlabel="randomized down to" if start else "randomized layer",
                ylabel=way.words,
                ticks=("none", *names) if start else tuple(names),
            )
        remarks: tuple[Remark, ...] = (*notes, share)
        return Found(values=whole_, curves=curves, notes=remarks)


@register_metric("efficient_randomization")
@dataclass(frozen=True, kw_only=True)
class EfficientRandomization(Randomization, Metric):
    """How much more complex the map becomes when all parameters are random: eMPRT.

        S = (H(R of f random) - H(R of f)) / H(R of f),  H = -sum_b q_b log q_b

    H is the entropy of a histogram of the map's values, in 100 bins of equal width from the least
    to the largest. There is one random model for each of `draws`, whose rises are averaged.
    Law: a map that does not read the model has S = 0.
    Source: Hedström, Weber, Lapuschkin and Höhne (2024), A Fresh Look at Sanity Checks for
    Saliency Maps.
    """

    answers: ClassVar[str] = "Does the map become more complex when the model knows nothing?"
    weakness: ClassVar[str] = "A histogram does not see where values lie; a rise may mean noise."
    better: ClassVar[Better] = "higher"

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Explain the samples for each random model; compare entropies."""
        original = module_of(trial, WHY)
        model = copied(original)
        steps = steps_of(model, first_sample(trial), None)
        random = Randomizer(how=self.how, seed=self.seed)
        before = torch.stack([histogram_entropy(maps(each)) for each in own_values(trial)])
        rises = torch.zeros_like(before)
        for draw in range(self.draws):
            for step in steps:
                random(step, draw)
            found = values_at(trial, with_model(here(trial), model))[0]
            after = torch.stack([histogram_entropy(maps(each)) for each in found])
            rises += (after - before) / before / self.draws
            for step in steps:
                step.restore(original)
        lost = [~each.isfinite() for each in rises]
        return [
            Found(
                values=each.masked_fill(gone, torch.nan),
                notes=(
                    *random.notes,
                    Share(text=NOTHING_LEFT, some=int(gone.sum()), of=len(gone)),
                ),
            )
            for each, gone in zip(rises, lost, strict=True)
        ]


def histogram_entropy(found: Sequence[Tensor]) -> Tensor:
    """The entropy of a histogram of all values of each sample, (sample,), in nats.

    It is not a number for values that are not finite.

    >>> histogram_entropy([torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])])
    tensor([0.6931], dtype=torch.float64)
    """
    flat = torch.cat([leaf.reshape(len(leaf), -1).double().cpu() for leaf in found], 1)
    low = flat.amin(1, keepdim=True)
    width = flat.amax(1, keepdim=True) - low
    places = ((flat - low) / width.where(width > 0, torch.ones_like(width)) * BINS).nan_to_num(0)
    counts = torch.zeros(len(flat), BINS, dtype=torch.float64)
    counts.scatter_add_(1, places.long().clamp(0, BINS - 1), torch.ones_like(flat))
    shares = counts / flat.shape[1]
    found_ = -torch.special.xlogy(shares, shares).sum(1)
    return found_.where(flat.isfinite().all(1), torch.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRandomization(Metric):
    """How alike the map is for a model that was trained on shuffled labels.

        S = mean over draws of similarity(R of f_shuffled, R of f)

    `model_factory()` makes an untrained model, `fit(model_factory, data)` a trained one (a
    `Trainer()` if none is given), and `data` are `Examples(inputs, labels)`; labels, which are the
    numbers of classes, are shuffled from `seed`, for each of `draws` anew. What was trained is kept
    for the batches that follow. Notes say how many of the shuffled labels the models got right:
    only one that learned them by heart tells something.
    Law: a map that does not read the model has S = 1.
    Source: Adebayo et al. (2018), Sanity Checks for Saliency Maps.
    """

    name: ClassVar[str] = "label_randomization"
    answers: ClassVar[str] = "Does the map depend on what the labels mean?"
    weakness: ClassVar[str] = "Needs models that learn shuffled labels by heart."
    better: ClassVar[Better] = "lower"
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    model_factory: Callable[[], nn.Module]
    data: Any
    fit: Callable[[Callable[[], nn.Module], Any], Any] | None = None
    similarity: SimilarityLike = "absolute_spearman"
    draws: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.data, tuple | list) and len(self.data) == 2):
            raise InputError("`data` must be Examples(inputs, labels)", got=self.data)
        if not callable(self.model_factory) or not (self.fit is None or callable(self.fit)):
            raise InputError(
                "`model_factory` and `fit` must be functions",
                found=f"{show(self.model_factory)} and {show(self.fit)}",
            )
        similarity_of(self.similarity)
        object.__setattr__(self, "draws", whole(self.draws, "draws"))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))

    def judge(self, trial: Trial) -> Sequence[Found]:
        """Explain the samples for each model of shuffled labels; compare maps."""
        module_of(trial, "to be held against one that was trained on shuffled labels")
        way, own = similarity_of(self.similarity), own_values(trial)
        before = [way.prepare(maps(each)) for each in own]
        found = torch.zeros(len(own), self.draws, len(trial), dtype=torch.float64)
        for draw, (model, _) in enumerate(self.trained):
            for rival, values in enumerate(values_at(trial, with_model(here(trial), model))[0]):
                found[rival, draw] = way.compare(before[rival], way.prepare(maps(values)))
        right = min(share for _, share in self.trained)
        note = f"Models trained on shuffled labels have at least {right:.0%} of these right."
        return [Found(values=each.nanmean(0), notes=(note,)) for each in found]

    @cached_property
    def trained(self) -> list[tuple[Callable[..., Any], float]]:
        """A model for each draw, and the part of the shuffled labels that it gets right."""
        from pellucid.evaluate.retrain import Examples, Trainer

        fit, labels = self.fit or Trainer(), torch.as_tensor(self.data[1])
        found = []
        for draw in range(self.draws):
            order = torch.randperm(len(labels), generator=seeded(self.seed, draw))
            shuffled = labels[order.to(labels.device)]
            with torch.enable_grad():
                model = fit(self.model_factory, Examples(self.data[0], shuffled))
            if not callable(model):
                raise InputError("`fit` must return a model that can be called", got=model)
            found.append((model, _right(model, Inputs.of(self.data[0]), shuffled)))
        return found


def _right(model: Callable[..., Any], inputs: Inputs, labels: Tensor) -> float:
    """The part of labels whose class has the highest score."""
    right = 0
    with torch.no_grad():
        for rows in torch.arange(len(labels)).split(ROWS):
            scores = inputs.select(rows).call(model)
            right += int((scores.argmax(1).cpu() == labels[rows].cpu()).sum())
    return right / len(labels)


def _prepared(ways: Any, values: Sequence[Sequence[Tensor]]) -> list[list[Prepared]]:
    """Each map of each rival, prepared for each similarity."""
    return [[way.prepare(maps(each)) for way in ways] for each in values]
