"""Top examples of several layers, in one pass over the data for all of them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pellucid.batching import BatchSize
from pellucid.inspect.top import Search, TopExamples
from pellucid.inspect.top_ask import layer_of, method_of
from pellucid.inspect.top_search import Ask, Best, Held, wanted_of
from pellucid.method import Method


@dataclass(frozen=True, kw_only=True, eq=False)
class TopOfLayers:
    """A search by activation for patches of several layers, which runs when it is first read.

    `channels` are those that are asked about, by layer, and `axes` where they are. All else is as
    for `top_examples`, and so is what is found: but each sample runs forward once for all layers.
    What is held on the way are the inputs of the best of all of them, within the same bound.

    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3))
    >>> x = torch.rand(5, 1, 8, 8)
    >>> found = TopOfLayers(model=net, data=x, channels={"0": [1], "2": [0]}, k=2)
    >>> found.of("2")[0].patches[0].shape
    torch.Size([1, 5, 5])
    """

    model: Callable[..., Any]
    data: Any
    channels: Mapping[str, Sequence[int]]
    axes: "Mapping[str, int | None] | None" = None
    k: int = 9
    method: "str | Method | None" = "auto"
    batch_size: BatchSize = "auto"
    folder: "str | os.PathLike[str] | None" = None

    def of(self, layer: str) -> list[TopExamples]:
        """What is found of the channels of one layer, with its maps: these are made now."""
        bests, held = self._looked
        return self._search.made(bests[[*self.channels].index(layer)], held)

    @cached_property
    def _search(self) -> Search:
        asks = tuple(self._ask(layer) for layer in self.channels)
        return Search(
            model=self.model, asks=asks, method=method_of(self.method, asks[0]), target=None,
            batch_axis=0, batch_size=self.batch_size,
        )  # fmt: skip

    @cached_property
    def _looked(self) -> tuple[list[Best], Held]:
        """The one pass over the data."""
        return self._search.run(self.data, self.folder)

    def _ask(self, layer: str) -> Ask:
        channels = self.channels[layer]
        return Ask(
            layer=layer_of(layer, channels, None, patches=True),
            wanted=wanted_of(channels),
            by="activation",
            k=self.k,
            axis=(self.axes or {}).get(layer),
            patches=True,
        )
