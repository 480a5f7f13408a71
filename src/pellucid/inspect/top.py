"""The examples of a data set that a unit, a channel or a class answers most, and where in them."""

import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.inspect.passes import Runner, source_of, stream
from pellucid.inspect.receptive import Boxes, inside, unit_boxes
from pellucid.inspect.top_ask import layer_of, method_of, target_of
from pellucid.inspect.top_search import (
    Ask,
    Best,
    By,
    Held,
    activations,
    relevances,
    resume,
    score_target,
    state_of,
    strides_of,
    wanted_of,
)
from pellucid.method import Method, explain
from pellucid.options import one_of, whole
from pellucid.propagate.concepts import at_layer
from pellucid.run.described import described
from pellucid.run.folder import RunFolder, run_folder
from pellucid.run.samples import Samples, mark_of
from pellucid.structure import Inputs
from pellucid.target import Target, TargetLike
from pellucid.target.unit import channel_axis, check_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# The file of a run, and how often it is written, in seconds.
STATE, EVERY = "best.safetensors", 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TopExamples:
    """The examples of a data set that give a unit, a channel or a class the most, strongest first.

    `amounts` are their relevances, activations or scores and `index` their places in the data set
    of `seen` samples, both of shape (example,). `place` (example, axis) is where in the layer the
    strongest unit of the channel is, and for patches `box` (example, axis, 2) the part of the input
    that it can see. `explanation` has as values where in the `inputs` the channel sees what it
    stands for: by activation a projection from that unit. A class has the layer `None`. The samples
    that are shown are held once for all channels, and `rows` of them are those of this one.
    """

    layer: str | None
    channel: int
    by: str
    amounts: Tensor
    index: Tensor
    place: Tensor
    box: Tensor | None
    seen: int
    held: Inputs
    rows: tuple[int, ...]
    explanation: Explanation | None
    axis: int | None = 0

    def __len__(self) -> int:
        return len(self.amounts)

    @property
    def what(self) -> str:
        """What is answered: a class or a channel, by its number."""
        return f"class {self.channel}" if self.layer is None else f"channel {self.channel}"

    @property
    def inputs(self) -> Any:
        """The examples, strongest first, as the model takes them."""
        own = self.held.select([*self.rows])
        return own.pack(own.leaves)

    @property
    def patches(self) -> list[Tensor]:
        """What of each example the unit can see, cut out: each (channel, height, width)."""
        return self._cut(self.inputs)

    @property
    def reconstructions(self) -> list[Tensor]:
        """The values of the explanation in each patch: of a deconvnet, what it draws there."""
        if self.explanation is None:
            raise InputError("Examples must have an explanation", found="a search with method=None")
        return self._cut(self.explanation.values)

    def first(self, given: Any) -> list[Tensor]:
        """Of the inputs, or of values in their structure, the first tensor of each example."""
        for key in self.held.paths[0]:
            given = given[key]
        return list(given.movedim(self.held.axes[0], 0))

    def _cut(self, given: Any) -> list[Tensor]:
        """A part of the first tensor of each example."""
        first = self.first(given)
        if self.box is None:
            return first
        return [
            each[inside(box, each.ndim, self.axis)]
            for each, box in zip(first, self.box.tolist(), strict=True)
        ]

    def to_frame(self) -> "pd.DataFrame":
        """One row an example; of patches, with the box of each."""
        import pandas as pd

        columns = {
            "rank": range(1, len(self) + 1),
            "index": self.index.tolist(),
            self.by: self.amounts.tolist(),
        }
        if self.box is not None:
            for axis in range(self.box.shape[1]):
                columns[f"start_{axis}"] = self.box[:, axis, 0].tolist()
                columns[f"stop_{axis}"] = self.box[:, axis, 1].tolist()
        return pd.DataFrame(columns)

    def plot(self, **options: Any) -> "Figure":
        """Draw the patches of images, if there are, or whole examples, and below what is seen."""
        from pellucid.plot.examples import examples
        from pellucid.plot.units import patches

        of_images = self.box is not None and self.box.shape[1] == 2
        return patches(self, **options) if of_images else examples(self, **options)

    def __repr__(self) -> str:
        of = "" if self.layer is None else f" of `{self.layer}`"
        head = f"TopExamples of {self.what}{of} by {self.by}, of {self.seen} samples"
        return f"{head}\n{self.to_frame().to_string(index=False)}"


def top_examples(
    model: Callable[..., Any],
    data: Any,
    layer: str | None = None,
    channels: "int | tuple[int, ...] | Sequence[int | tuple[int, ...]] | None" = None,
    *,
    classes: "int | Sequence[int] | None" = None,
    by: By = "relevance",
    k: int = 9,
    patches: bool = False,
    per_image: int | None = 1,
    method: "str | Method | None" = "auto",
    target: TargetLike = None,
    axis: int | None = None,
    batch_axis: Any = 0,
    batch_size: BatchSize = "auto",
    folder: "str | os.PathLike[str] | None" = None,
) -> list[TopExamples]:
    """Find the examples that give channels of a layer, or classes, the most.

        relevance   R_c(x) = sum over positions p of R[c, p] when `target` is explained
        activation  a_c(x) = max over positions p of what the layer returned
        patches     R[c, p] or a[c, p] of each position for itself, `per_image` of an image at most
        classes     the score of the class, before a softmax

    One pass over `data`, which is what `passes` takes: tensors, `Samples`, or an iterable of
    batches, of which the inputs of k examples a channel are kept and no others. Of equals the first
    wins. `channels` are one or several, by default all; (channel, row, column) is a single unit.
    `patches` also finds the part of the input that the strongest unit of each example can see.
    The answer has one entry a channel, and there the map of each example by `method`: by relevance,
    what of it passes through that channel alone, which takes LRP; by activation, a projection from
    the strongest unit, by default that of a deconvnet, which knows an input by the windows that
    max-pooling chose: without any it draws the same for each. With `None` there is none, and the
    search alone costs little more than the forward passes. `batch_size` bounds the rows of a model
    call; "auto" takes as many as fit in memory, as for `explain`. `folder` keeps what was found so
    far, and a run that was stopped goes on there; it takes data that can be read at any place.
    `target` is what is explained by relevance; of classes it leads to the scores, where the model
    returns more than these: `target=("logits",)`. `axis` as for `rank_channels`.
    Source: Zeiler, Fergus (2014), Visualizing and Understanding Convolutional Networks; Yosinski,
    Clune, Nguyen, Fuchs, Lipson (2015), Understanding Neural Networks Through Deep Visualization;
    Achtibat et al. (2023), From Attribution Maps to Human-Understandable Explanations through
    Concept Relevance Propagation.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> batches = [torch.rand(4, 2), torch.rand(3, 2)]
    >>> first, second = top_examples(net, batches, "1", [0, 1], by="activation", k=2)
    >>> first.seen, first.index.shape, second.explanation.values.shape
    (7, torch.Size([2]), torch.Size([2, 2]))
    """
    one_of(by, "`by` of top examples", ("relevance", "activation"))
    check_axis(axis)
    ask = Ask(
        layer=layer_of(layer, channels, classes, patches),
        wanted=wanted_of(channels if classes is None else classes),
        by=by,
        k=whole(k, "k"),
        axis=axis,
        patches=patches,
        per_image=None if per_image is None else whole(per_image, "per_image"),
    )
    search = Search(
        model=model, asks=(ask,), method=method_of(method, ask), target=target_of(target, ask),
        batch_axis=batch_axis, batch_size=batch_size,
    )  # fmt: skip
    (best,), held = search.run(data, folder)
    return search.made(best, held)


@dataclass(frozen=True, kw_only=True)
class Search:
    """One pass over a data set for all that is asked; several layers are asked by activation."""

    model: Callable[..., Any]
    asks: tuple[Ask, ...]
    method: Method | None
    target: TargetLike
    batch_axis: Any
    batch_size: BatchSize

    @property
    def by_relevance(self) -> bool:
        """Whether batches are explained; classes have scores."""
        return self.asks[0].by == "relevance" and bool(self.asks[0].layer)

    def run(self, data: Any, folder: Any) -> tuple[list[Best], Held]:
        """Look at all of the data once: the best of each ask, and the inputs of these."""
        source = source_of(data, self.batch_axis)
        samples = source if isinstance(source, Samples) else None
        bests, held = [Best(ask=ask) for ask in self.asks], Held(samples=samples)
        with self._folder(samples, data, folder) if folder is not None else nullcontext() as run:
            self._look(source, bests, held, run)
        return bests, held

    def _folder(self, samples: Samples | None, data: Any, folder: Any) -> Any:
        """The folder of this search; the data and the weights of the model are part of it."""
        if samples is None:
            raise InputError(
                "With a `folder`, `data` must be tensors or Samples, which are read again",
                found="batches that come one after the other",
                hint="pellucid.run.samples.Samples(rows=, mark=, read=) reads from files.",
            )
        state: Mapping[str, Any] = getattr(self.model, "state_dict", dict)()
        return run_folder(folder, {
            "data": samples.mark or mark_of(data),
            "model": [described(self.model), described(dict(state))],
            "ask": described(list(self.asks)),
            "method": described(self.method) if self.by_relevance else None,
            "target": described(self.target) if self.by_relevance else None,
        })  # fmt: skip

    def _look(self, source: Any, bests: list[Best], held: Held, run: RunFolder | None) -> None:
        if run is not None and run.has(STATE):
            resume(bests, run.tensors(STATE))
        last, news = monotonic(), False
        try:
            for start, inputs, maps in self._maps(source, bests[0].seen):
                for best, own in zip(bests, maps, strict=True):
                    best.look(own, start)
                held.look(bests, inputs, start)
                news = True
                del inputs, maps, own
                if run is not None and monotonic() - last > EVERY:
                    run.write_tensors(STATE, state_of(bests))
                    last, news = monotonic(), False
        finally:
            if run is not None and news:
                run.write_tensors(STATE, state_of(bests))
        if not bests[0].units:  # a run that had ended
            self._begin(source, bests, held)

    def _begin(self, samples: Samples, bests: list[Best], held: Held) -> None:
        """Learn from one sample what layers are like, where all of them were looked at before."""
        for _, inputs, maps in self._maps(replace(samples, rows=1), 0):
            for best, own in zip(bests, maps, strict=True):
                best.begin(own)
            held.like = inputs

    def _maps(self, source: Any, start: int) -> Iterator[tuple[int, Inputs, list[Tensor]]]:
        """The number of the first sample of each batch, its inputs, and a map for each ask."""
        options: Any = {
            "batch_size": self.batch_size, "batch_axis": self.batch_axis, "what": "top examples",
            "start": start,
        }  # fmt: skip
        if self.by_relevance:
            (ask,) = self.asks
            lrp: Any = self.method
            method = at_layer(lrp, ask.layer)
            measured = relevances(ask, self.model, method, self.target, self.batch_size)

            def work(first: int, inputs: Inputs, labels: Any) -> tuple[int, Inputs, list[Tensor]]:
                return first, inputs, [measured(inputs)]

            return stream(source, work, **options)
        measures = [activations(ask, self.target) for ask in self.asks]
        layers = tuple(dict.fromkeys(ask.layer for ask in self.asks if ask.layer))
        parts = stream(source, Runner(self.model, layers, lent=True), **options)
        return ((part.start, part.taken, [measure(part) for measure in measures]) for part in parts)

    def made(self, best: Best, held: Held) -> list[TopExamples]:
        """The examples of one ask, with what is seen of them and the maps of what is."""
        found = best.found()
        numbers = [each[1].tolist() for each in found]
        places = {number: row for row, number in enumerate(sorted(set().union(*numbers)))}
        inputs = held.of([*places])
        rows = [tuple(places[number] for number in each) for each in numbers]
        ends = [0, *accumulate(map(len, numbers))]
        seen = self._boxes(best, found, inputs) if best.ask.patches else None
        maps = self._explained(best, found, inputs, rows)
        return [
            TopExamples(
                layer=best.ask.layer or None,
                channel=best.units[unit][0],
                by=best.ask.by if best.ask.layer else "score",
                amounts=amounts,
                index=index,
                place=place,
                box=None if seen is None else seen.boxes[ends[unit] : ends[unit + 1]],
                seen=best.seen,
                held=inputs,
                rows=rows[unit],
                explanation=maps[unit],
                axis=0 if seen is None else seen.axis,
            )
            for unit, (amounts, index, place) in enumerate(found)
        ]

    def _boxes(self, best: Best, found: list[Any], inputs: Inputs) -> Boxes:
        units = [
            (channel, tuple(place))
            for (channel, _), (_, _, places) in zip(best.units, found, strict=True)
            for place in places.tolist()
        ]
        return unit_boxes(self.model, inputs, best.ask.layer, units, best.ask.axis)

    def _explained(
        self, best: Best, found: list[Any], inputs: Inputs, rows: "list[tuple[int, ...]]"
    ) -> "list[Explanation | None]":
        """The maps of all examples, a unit after the other."""
        if self.method is None:
            return [None] * len(found)
        if self.by_relevance:
            pairs = zip(best.units, rows, strict=True)
            return [
                self._alone(best.ask, channel, inputs.select([*each]))
                for (channel, _), each in pairs
            ]
        shown = inputs.select([row for each in rows for row in each])
        whole_ = explain(
            self.model, shown, self.method, target=self._targets(best, found),
            on_incomplete="ignore", batch_size=self.batch_size,
        )  # fmt: skip
        ends = [0, *accumulate(map(len, rows))]
        return [whole_[slice(a, b)] for a, b in pairwise(ends)]

    def _targets(self, best: Best, found: list[Any]) -> Target:
        """The unit of each example, by its number among all of the layer; or the class of each."""
        units = [
            (channel, *place)
            for (channel, _), (_, _, places) in zip(best.units, found, strict=True)
            for place in places.tolist()
        ]
        if not best.ask.layer:
            classes = tuple(channel for channel, *_ in units)
            return replace(score_target(self.target), classes=classes)
        where = channel_axis((0,) * (len(best.lengths) + 2), best.ask.axis) - 1
        strides = strides_of([*best.lengths[:where], best.channels, *best.lengths[where:]])
        order = [strides[where], *strides[:where], *strides[where + 1 :]]
        classes = tuple(sum(map(operator.mul, unit, order)) for unit in units)
        unit = Target.unit(best.ask.layer, axis=best.ask.axis)
        return replace(unit, kind="index", classes=classes)

    def _alone(self, ask: Ask, channel: int, inputs: Inputs) -> Explanation:
        """What passes through one channel alone."""
        lrp: Any = self.method
        through = (*(lrp.through or ()), (ask.layer, (channel,)))
        way = replace(lrp, through=through, axis=ask.axis)
        return explain(
            self.model, inputs, way, target=self.target, on_incomplete="ignore",
            batch_size=self.batch_size,
        )  # fmt: skip
