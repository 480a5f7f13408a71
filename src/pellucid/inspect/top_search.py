"""The search for top examples: what of each batch is measured, and the best that were seen."""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.inspect.passes import Pass, taken
from pellucid.method import Method, explain
from pellucid.run.samples import Samples
from pellucid.structure import Inputs
from pellucid.target import Target, TargetLike
from pellucid.target.unit import channel_axis, check_channels, check_returned

By: TypeAlias = Literal["relevance", "activation"]
# Inputs that can be read again are held on the way where they are no more than this.
BYTES = 2**28
# Of a candidate whose place is looked for only if it is among the best.
LATER = -2
# A channel, or one unit of it.
Wanted: TypeAlias = int | tuple[int, ...]
# What is measured of a batch: (sample, channel, *position).
Measure: TypeAlias = Callable[[Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is looked for: units of a layer, or classes; how many, and what makes them the best.

    With `patches` each position of a channel competes for itself, `per_image` of one sample at the
    most; otherwise each sample has one amount, and its strongest position.
    """

    layer: str
    wanted: "tuple[Wanted, ...] | None"
    by: By
    k: int
    axis: int | None = None
    patches: bool = False
    per_image: int | None = 1

    def layout(self, maps: Tensor) -> Tensor:
        """What was measured with the channels on axis 1: (sample, channel, *position)."""
        return maps.movedim(channel_axis(maps.shape, self.axis), 1)

    def units(self, maps: Tensor) -> "tuple[tuple[int, tuple[int, ...] | None], ...]":
        """Each wanted unit as a channel and its place, which is `None` for any."""
        shape = maps.shape
        each = range(shape[1]) if self.wanted is None else self.wanted
        if not self.layer:
            return tuple((_class(one, shape[1]), None) for one in each)
        return tuple(_unit(one, shape) for one in each)


def _class(one: Wanted, count: int) -> int:
    if not isinstance(one, int) or not -count <= one < count:
        raise InputError(f"A class must be from 0 to {count - 1}", got=one)
    return range(count)[one]


def _unit(one: Wanted, shape: torch.Size) -> tuple[int, tuple[int, ...] | None]:
    given = (one,) if isinstance(one, int) else one
    check_channels([given[0]], shape, 1)
    channel = range(shape[1])[given[0]]
    if isinstance(one, int):
        return channel, None
    lengths = shape[2:]
    fits = len(given) == len(lengths) + 1
    if not fits or not all(-n <= i < n for i, n in zip(given[1:], lengths, strict=True)):
        raise InputError(
            f"A unit of the layer must be a channel, or (channel, *place) with a place among "
            f"{list(lengths)}",
            got=one,
        )
    return channel, tuple(range(n)[i] for i, n in zip(given[1:], lengths, strict=True))


def score_target(given: TargetLike) -> Target:
    """Where the scores of classes are in the output: the target of class 0 of them."""
    made = Target.of(given)
    if made.kind not in ("predicted", "index"):
        raise InputError(
            "`target` must lead to the scores of classes, or be None, to look for `classes`",
            got=given,
            hint='For example target=("logits",).',
        )
    return replace(made, kind="index", classes=(0,))


def activations(ask: Ask, given: TargetLike = None) -> Callable[[Pass], Tensor]:
    """What a layer returned, or the scores of all classes."""
    target = None if ask.layer else score_target(given)

    def measure(part: Pass) -> Tensor:
        if target is None:
            return ask.layout(check_returned(part.returned[ask.layer], ask.layer, len(part)))
        scores = target.before_softmax(part.output, part.scores)
        target.resolve(scores, len(part))
        table: Any = target.table(scores)  # there is one, as was just resolved
        return cast(Tensor, table)

    return measure


def relevances(
    ask: Ask,
    model: Callable[..., Any],
    method: Method,
    target: TargetLike,
    batch_size: BatchSize = "auto",
) -> Callable[[Inputs], Tensor]:
    """Relevance at the layer, position by position."""

    def measure(inputs: Inputs) -> Tensor:
        found = explain(
            model, inputs, method, target=target, on_incomplete="ignore", batch_size=batch_size
        )
        return ask.layout(found.values)

    return measure


@dataclass
class Best:
    """The k largest amounts of each unit so far, and where they were; of equals the first.

    Tensors have the shape (unit, rank); the number of a sample is -1 where there is none yet.
    """

    ask: Ask
    units: "tuple[tuple[int, tuple[int, ...] | None], ...]" = ()
    channels: int = 0
    lengths: tuple[int, ...] = ()
    amounts: Tensor = field(default_factory=lambda: torch.zeros(0))
    numbers: Tensor = field(default_factory=lambda: torch.zeros(0))
    places: Tensor = field(default_factory=lambda: torch.zeros(0))
    seen: int = 0

    def look(self, maps: Tensor, start: int) -> None:
        """Take what is among the best of a batch whose first sample has this number."""
        self.begin(maps)
        flat = self._flat(maps)
        amounts, places = self._candidates(flat)
        self._check_finite(amounts, start)
        self.seen = start + len(maps)
        numbers = torch.arange(start, self.seen).view(-1, 1, 1).expand(amounts.shape)
        new = [each.movedim(1, 0).flatten(1).cpu() for each in (amounts.double(), numbers, places)]
        if not bool((new[0] > self.amounts[:, -1:]).any()):
            return
        old = (self.amounts, self.numbers, self.places)
        merged = [torch.cat(pair, 1) for pair in zip(old, new, strict=True)]
        order = first_of(merged[0], self.ask.k)
        self.amounts, self.numbers, self.places = (each.gather(1, order) for each in merged)
        unit, rank = ((self.places == LATER) & (self.numbers >= start)).nonzero(as_tuple=True)
        rows = (self.numbers[unit, rank] - start).to(flat.device)
        self.places[unit, rank] = flat[rows, unit.to(flat.device)].argmax(1).cpu()

    def begin(self, maps: Tensor) -> None:
        """Find out which units there are, and at which places, from the first batch."""
        if self.units:
            return
        self.units = self.ask.units(maps)
        self.channels, self.lengths = maps.shape[1], tuple(maps.shape[2:])
        shape = (len(self.units), self.ask.k)
        if self.amounts.shape != shape:
            self.amounts = torch.full(shape, -torch.inf, dtype=torch.float64)
            self.numbers, self.places = (torch.full(shape, -1) for _ in range(2))

    def _flat(self, maps: Tensor) -> Tensor:
        """The maps of the units, (sample, unit, position); one that was named has its own place."""
        channels = [channel for channel, _ in self.units]
        if channels != list(range(maps.shape[1])):
            maps = maps.index_select(1, torch.tensor(channels, device=maps.device))
        flat = maps.reshape(*maps.shape[:2], -1)
        if all(place is None for _, place in self.units):
            return flat
        alone = torch.full_like(flat, -torch.inf)
        steps = strides_of(self.lengths)
        for unit, (_, place) in enumerate(self.units):
            where = slice(None) if place is None else sum(map(operator.mul, place, steps))
            alone[:, unit, where] = flat[:, unit, where]
        return alone

    def _candidates(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Amounts and places of each sample, (sample, unit, candidate); some places come later."""
        ask = self.ask
        most = flat.shape[2] if ask.per_image is None else ask.per_image
        count = min(most, ask.k, flat.shape[2]) if ask.patches else 1
        if count > 1:
            places = first_of(flat.flatten(0, 1), count).unflatten(0, flat.shape[:2])
            return flat.gather(2, places), places
        amounts = flat.amax(2, keepdim=True)
        if ask.by == "relevance" and not ask.patches:
            free = torch.tensor([place is None for _, place in self.units], device=flat.device)
            amounts = torch.where(free.view(1, -1, 1), flat.sum(2, keepdim=True), amounts)
        return amounts, torch.full((1, 1, 1), LATER, device=flat.device).expand(amounts.shape)

    def _check_finite(self, amounts: Tensor, start: int) -> None:
        first = amounts[..., 0]
        if not bool(first.isfinite().all()):
            row = int((~first.isfinite()).nonzero()[0, 0])
            raise InputError(
                "The relevance or activation of a channel must be finite",
                found=f"{float(first[row][~first[row].isfinite()][0])} in sample {start + row}",
            )

    def found(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Amounts, numbers of samples and places (example, axis), of each unit."""
        steps = zip(strides_of(self.lengths), self.lengths, strict=True)
        axes = [self.places // step % n for step, n in steps]
        places = torch.stack(axes, 2) if axes else self.places.new_zeros(*self.places.shape, 0)
        there = (self.numbers >= 0).sum(1).tolist()
        tables = zip(self.amounts, self.numbers, places, there, strict=True)
        return [(a[:count], n[:count], p[:count]) for a, n, p, count in tables]

    def state(self) -> dict[str, Tensor]:
        """What a run goes on from."""
        return {
            "amounts": self.amounts,
            "numbers": self.numbers,
            "places": self.places,
            "seen": torch.tensor(self.seen),
        }

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go on from what was found before."""
        self.amounts, self.numbers = state["amounts"], state["numbers"]
        self.places, self.seen = state["places"], int(state["seen"])


def state_of(bests: Sequence[Best]) -> dict[str, Tensor]:
    """What a run for several goes on from."""
    return {
        f"{n} {key}": each for n, best in enumerate(bests) for key, each in best.state().items()
    }


def resume(bests: Sequence[Best], state: dict[str, Tensor]) -> None:
    """Go on from what `state_of` wrote down."""
    for n, best in enumerate(bests):
        best.resume({key: state[f"{n} {key}"] for key in best.state()})


@dataclass
class Held:
    """The inputs of the best examples of all layers; those of a run that goes on are read again.

    So are those of `samples`, which can be, where they are too large to be held on the way.
    """

    samples: Samples | None
    rows: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    like: Inputs | None = None

    def look(self, bests: Sequence[Best], inputs: Inputs, start: int) -> None:
        """Keep from a batch what is among the best, and let go of what is so no longer."""
        self.like = inputs  # for its structure; inputs hold what the user passed, the whole batch
        one = sum(leaf[0].numel() * leaf.element_size() for leaf in inputs.leaves)
        most = sum(best.numbers.numel() for best in bests)
        if self.samples is not None and most * one > BYTES:
            return
        numbers = torch.cat([best.numbers.flatten() for best in bests])
        wanted = {number for number in numbers.tolist() if number >= 0}
        self.rows = {number: row for number, row in self.rows.items() if number in wanted}
        new = sorted(number for number in wanted if number >= start)
        if new:
            found = inputs.select([number - start for number in new]).leaves
            self.rows |= zip(new, zip(*(leaf.split(1) for leaf in found), strict=True), strict=True)

    def of(self, numbers: Sequence[int]) -> Inputs:
        """The inputs of some samples as one batch."""
        read = {number: self._row(number) for number in dict.fromkeys(numbers)}
        columns = list(zip(*(read[number] for number in numbers), strict=True))
        if any(leaf.shape != column[0].shape for column in columns for leaf in column):
            raise InputError(
                "The inputs of all batches must have one shape, to be shown together",
                got=[leaf for column in columns for leaf in column],
                hint="Pad or crop them, or take batches of one shape.",
            )
        if self.like is None:
            raise RuntimeError("A batch must have been looked at.")
        made = self.like.replace([torch.cat(column) for column in columns])
        return replace(made, tree=made.pack(made.leaves))  # and not the whole of the last batch

    def _row(self, number: int) -> tuple[Tensor, ...]:
        if self.samples is None or number in self.rows:
            return self.rows[number]
        part = self.samples.read(number, number + 1)
        self.like = taken(part, self.samples.batch_axis)[0].copied()
        return self.like.leaves


def first_of(table: Tensor, k: int) -> Tensor:
    """The places of the k largest of each row, (row, rank); of equals the first.

    >>> first_of(torch.tensor([[1.0, 3, 2, 3]]), 2)
    tensor([[1, 3]])
    """
    if table.shape[1] <= k + 1:
        return table.sort(dim=1, descending=True, stable=True).indices[:, :k]
    values, order = table.topk(k + 1, dim=1)  # many times as fast, and in any order among equals
    order, tied = order[:, :k], (values[:, 1:] == values[:, :-1]).any(1)
    if bool(tied.any()):
        order[tied] = table[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return order


def strides_of(lengths: Sequence[int]) -> list[int]:
    """How far apart in a flat table neighbours on each axis are.

    >>> strides_of([2, 3, 4])
    [12, 4, 1]
    """
    return [prod(lengths[axis + 1 :]) for axis in range(len(lengths))]


def wanted_of(channels: Any) -> "tuple[Wanted, ...] | None":
    """Take one channel or unit, several, or `None` for all channels."""
    if channels is None:
        return None
    listed = channels.tolist() if hasattr(channels, "tolist") else channels
    if isinstance(listed, int) or (isinstance(listed, tuple) and listed and _are_whole(listed)):
        listed = [listed]
    several = isinstance(listed, Sequence | range) and not isinstance(listed, str)
    if not several or not listed or not all(_is_wanted(each) for each in listed):
        raise InputError(
            "`channels` must be one or more channels of the layer, as whole numbers, or units "
            "(channel, *place)",
            got=channels,
        )
    return tuple(tuple(map(int, each)) if isinstance(each, tuple) else int(each) for each in listed)


def _is_wanted(value: Any) -> bool:
    return _are_whole(value) if isinstance(value, tuple) else _are_whole([value])


def _are_whole(values: Iterable[Any]) -> bool:
    return all(hasattr(v, "__index__") and not isinstance(v, bool) for v in values)
