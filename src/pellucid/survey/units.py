"""Channels in a survey: the patches that excite them most, what of these does, and their dreams."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.inspect.dreaming.dream import dream
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.recipe import recipe_of
from pellucid.inspect.dreaming.terms import Range, Term, terms_of
from pellucid.inspect.filters import filters
from pellucid.inspect.receptive import ReceptiveField, receptive_field
from pellucid.inspect.top_layers import TopOfLayers
from pellucid.run.samples import Samples
from pellucid.run.stages import Found, Stages
from pellucid.survey.choice import channel_axis_of, shapes_of, spread
from pellucid.survey.views import LayerView, UnitView
from pellucid.target import Target

# The recipe that goes with how much of an image a unit sees: above a part of it, one with motion.
AUTO, PART = "auto", 8
# What filters amount to in the input is as large as what they see, each; more is not held.
MOST_PATTERNS = 2**25
NOT_RISEN = "The dream does not excite it more than its start: it is dead there, or hard to excite."

# A channel whose strongest activation is so small a part of that of another is told of.
QUIET = 1e-3
IS_QUIET = "It hardly answers to any of the samples, beside the other channels."


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """What is asked of layers: of so many channels of each, so many examples, and a dream."""

    model: Callable[..., Any]
    samples: Samples | None
    example: Tensor
    units: int
    k: int
    recipe: str
    steps: int
    limits: tuple[Tensor, Tensor] | None
    seed: int
    batch_size: BatchSize

    def views(self, layers: Sequence[str], stages: Stages) -> list[LayerView]:
        """Layers, one after the other; what excites them in data is found in one pass for all."""
        shapes = shapes_of(self.model, self.example, layers)
        each = [_Layer(ask=self, layer=layer, shape=shapes[layer]) for layer in layers]
        tops = self._tops(each, stages.inner("run-top"))
        return [self._view(number, one, tops, stages) for number, one in enumerate(each)]

    def _tops(self, each: "Sequence[_Layer]", folder: Any) -> TopOfLayers:
        """The search for the strongest examples, which begins when the first of them is read."""
        return TopOfLayers(
            model=self.model, data=self.samples, channels={one.layer: one.chosen for one in each},
            axes={one.layer: one.axis for one in each}, k=self.k, batch_size=self.batch_size,
            folder=folder,
        )  # fmt: skip

    def _view(self, number: int, one: "_Layer", tops: TopOfLayers, stages: Stages) -> LayerView:
        """One layer, in three stages: what excites its channels in data, dreams, filters."""
        layer = one.layer
        top = {} if self.samples is None else stages.find(
            f"top-{number}", f"patches of {layer}", lambda: one.top(tops)
        )  # fmt: skip
        dreams = stages.find(f"dreams-{number}", f"dreams of {layer}", one.dreams)
        own = stages.find(f"filters-{number}", f"filters of {layer}", one.filters)
        return LayerView(
            layer=layer,
            channels=one.channels,
            facts=one.facts(),
            units=[one.unit(place, top, dreams, own) for place in range(len(one.chosen))],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """The work at one layer; `shape` is that of what it returns of one sample, batch first."""

    ask: Layers
    layer: str
    shape: torch.Size

    @property
    def axis(self) -> int:
        """Where the channels are."""
        return channel_axis_of(self.shape)

    @property
    def channels(self) -> int:
        """How many channels the layer has."""
        return self.shape[self.axis]

    @cached_property
    def chosen(self) -> list[int]:
        """Some channels, evenly by number."""
        return spread(range(self.channels), self.ask.units)

    @cached_property
    def field(self) -> ReceptiveField:
        """What a unit in the middle sees of an image."""
        return receptive_field(self.ask.model, self.ask.example, self.layer, axis=self.axis)

    @property
    def recipe(self) -> str:
        """How dreams are made: plainly where a unit sees so little that motion would blur it."""
        little = PART * max(self.field.size) <= max(self.ask.example.shape[2:])
        usual = "plain" if little else "fourier"
        return usual if self.ask.recipe == AUTO else self.ask.recipe

    def facts(self) -> list[tuple[str, str]]:
        """What is known of the layer, in words."""
        field, size = self.field, " x ".join(map(str, self.field.size))
        large = [("Filters", "not shown: too large")] if self.has_large_filters else []
        return [
            ("Output of one sample", " x ".join(map(str, self.shape[1:]))),
            ("Receptive field", f"{size} pixels{', cut by the border' if field.is_cut else ''}"),
            *large,
        ]

    def top(self, tops: TopOfLayers) -> Found:
        """The strongest examples of each channel, and in them what its strongest unit sees."""
        kept: Found = {}
        for place, each in enumerate(tops.of(self.layer)):
            kept |= {f"{place} amounts": each.amounts, f"{place} index": each.index}
            kept |= _numbered(f"{place} patch", each.patches)
            kept |= _numbered(f"{place} reconstruction", each.reconstructions)
        return kept

    def dreams(self) -> Found:
        """The dream of each channel, at the size of what its unit in the middle sees."""
        ask = self.ask
        found = dream(
            ask.model,
            [Target.unit(self.layer, channel, axis=self.axis) for channel in self.chosen],
            like=ask.example,
            recipe=self.recipe,
            terms=self._terms(),
            start="noise",
            steps=ask.steps,
            seed=ask.seed,
            batch_size=ask.batch_size,
            what=f"dreams of {self.layer}",
        )
        return {"rose": found.rose} | _numbered("dream", found.patches)

    @property
    def has_large_filters(self) -> bool:
        """Whether what the channels amount to in the input is more than can be held."""
        numbers = len(self.chosen) * self.ask.example.shape[1] * prod(self.field.size)
        return numbers > MOST_PATTERNS

    def filters(self) -> Found:
        """What each channel is made of, or amounts to in the input, if that can be held."""
        example = self.ask.example
        if len(self.shape) != 4 or self.has_large_filters:
            return {}
        found = filters(self.ask.model, self.layer, example, channels=self.chosen)
        plain = found.weights is not None and found.weights.shape[1] == example.shape[1]
        made = found.weights if plain else found.patterns
        return {} if made is None else _numbered("filter", list(made))

    def _terms(self) -> list[Term] | None:
        """Those of the recipe, and what keeps a dream among the values that images can have."""
        if self.ask.limits is None:
            return None
        low, high = self.ask.limits
        own = recipe_of(self.recipe, Layout(shape=tuple(self.ask.example.shape[1:]))).terms
        return [*terms_of(own), Range(low=low, high=high)]

    def unit(self, place: int, top: Found, dreams: Found, filters: Found) -> UnitView:
        """What was found of one channel."""
        strongest = [float(top[f"{n} amounts"][0]) for n in range(len(self.chosen)) if top]
        quiet = bool(top) and strongest[place] < QUIET * max(strongest)
        said = ((NOT_RISEN, not bool(dreams["rose"][place])), (IS_QUIET, quiet))
        return UnitView(
            number=self.chosen[place],
            amounts=top.get(f"{place} amounts"),
            index=top.get(f"{place} index"),
            patches=_all_of(top, f"{place} patch"),
            reconstructions=_all_of(top, f"{place} reconstruction"),
            dream=dreams[f"dream {place}"],
            filter=filters.get(f"filter {place}"),
            notes=tuple(text for text, holds in said if holds),
        )


def _numbered(name: str, tensors: Sequence[Tensor]) -> Found:
    return {f"{name} {number}": each for number, each in enumerate(tensors)}


def _all_of(found: Found, name: str) -> list[Tensor]:
    """What `_numbered` put in, in order."""
    taken: list[Tensor] = []
    while f"{name} {len(taken)}" in found:
        taken.append(found[f"{name} {len(taken)}"])
    return taken
