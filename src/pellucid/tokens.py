"""Integer inputs, such as token ids, are explained where the model embeds them.

An integer cannot be moved a little. So the embeddings that a model reads for it become inputs of
their own: the model is run on the same ids with these put in the place of what it looked up, and
every method treats them like any other input. Their values are summed to one for each integer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.baseline import Baseline
from pellucid.dispatch import DispatchMode, called
from pellucid.errors import ModelError
from pellucid.features import NOBODY, Players
from pellucid.structure import Inputs
from pellucid.tape.lookups import BAGS, embedding_bag, looked_up, looks_up_rows
from pellucid.tape.operations import Operation, Value
from pellucid.tape.origins import NOWHERE, origins, touched
from pellucid.tape.record import Tape, record_run

# Sums over an embedding that are this much smaller than what they are sums of are rounding.
CANCELLED = 1e-4
CANCEL_NOTE = (
    "The values of an embedding cancel: the model subtracts its mean first. Take "
    "gradient_x_input, or saliency with reduce='absolute'."
)

UNREAD_NOTE = (
    "Integers also reach an embedding in a way that is not followed; what it adds is not in the "
    "values."
)

if TYPE_CHECKING:
    from pellucid.method import Attribution


@dataclass(frozen=True, eq=False)
class Reading:
    """What one call embeds of an integer input.

    `leaf` is the position of the input, `call` the number of the call among all that embed, `path`
    the layer. `within` says for each embedding of one sample which element of the sample it is
    read for, or `NOWHERE`; its two axes are what is before and after the batch in memory.
    """

    leaf: int
    call: int
    path: str
    within: Tensor

    def places(self, rows: int, size: int) -> Tensor:
        """For every embedding of a batch the element, counted over all samples of `size`.

        It is the first of its sample for an embedding that no element is read for.
        """
        starts = torch.arange(rows, device=self.within.device) * size
        return (self.within.clamp(min=0).unsqueeze(1) + starts.reshape(1, -1, 1)).flatten()

    def is_read(self, rows: int) -> Tensor | None:
        """Whether any element is read for each embedding of a batch; `None` if for all."""
        read = self.within != NOWHERE
        return None if bool(read.all()) else read.unsqueeze(1).expand(-1, rows, -1).flatten()

    def gather(self, found: Tensor, shape: torch.Size) -> Tensor:
        """Embeddings as an input, of shape (batch, token, feature), from those of the call."""
        rows, size = shape[0], shape[1:].numel()
        places, flat = self.places(rows, size), found.reshape(-1, found.shape[-1])
        read = self.is_read(rows)
        made = flat.new_zeros(rows * size, flat.shape[1])
        made[places if read is None else places[read]] = flat if read is None else flat[read]
        return made.reshape(*shape, -1)

    def scatter(self, given: Tensor, found: Tensor) -> Tensor:
        """The embeddings of the call, from those given as an input."""
        rows, size = len(given), given.shape[1:-1].numel()
        places, flat = self.places(rows, size), given.reshape(-1, given.shape[-1])
        if not torch.equal(places, torch.arange(len(flat), device=places.device)):
            flat = flat.index_select(0, places)
        made, read = flat.reshape(found.shape).to(found.dtype), self.is_read(rows)
        return (
            made if read is None else torch.where(read.reshape(*found.shape[:-1], 1), made, found)
        )


class Substitution(DispatchMode):
    """Puts other embeddings in the place of those that a model looks up."""

    def __init__(self, given: list[tuple[Reading, Tensor]]) -> None:
        super().__init__()
        self.given = given
        self.calls = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in BAGS:
            with self:
                return embedding_bag(*args, **(kwargs or {}))
        result = called(function, args, kwargs or {})
        if looks_up_rows(function, args):
            self.calls += 1
            for reading, tensor in self.given:
                result = reading.scatter(tensor, result) if reading.call == self.calls else result
        return result


@dataclass(frozen=True, eq=False)
class Embedded:
    """A model as a function of its own inputs, followed by the embeddings it reads for them.

    `notes` say what of the integers is not read.
    """

    model: Callable[..., Any]
    inputs: Inputs
    readings: tuple[Reading, ...]
    notes: tuple[str, ...] = ()

    def __call__(self, **tensors: Tensor) -> Any:
        """Run the model on the inputs, with these embeddings."""
        given = list(tensors.values())
        count = len(self.inputs.leaves)
        with Substitution(list(zip(self.readings, given[count:], strict=True))):
            return self.inputs.replace(given[:count]).call(self.model)

    def buffers(self) -> Iterator[Tensor]:
        """The buffers of the model, if it is a module."""
        yield from getattr(self.model, "buffers", tuple)()

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules of the model, if it is one."""
        yield from getattr(self.model, "named_modules", tuple)()

    @property
    def read(self) -> frozenset[int]:
        """Positions of the integer inputs that are read."""
        return frozenset(reading.leaf for reading in self.readings)

    def lift(self, inputs: Inputs, embeddings: list[Tensor]) -> Inputs:
        """Inputs and embeddings as the inputs of this function."""
        labels = inputs.labels()
        names = [
            f"{labels[reading.leaf]} in {reading.path or 'the model'} ({number})"
            for number, reading in enumerate(self.readings, 1)
        ]
        leaves = (*inputs.leaves, *embeddings)
        return Inputs.by_name((*labels, *names), leaves)

    def lift_players(self, players: Players) -> Players:
        """The players of the model's own inputs, as players of the inputs of this function.

        An integer is absent where its embedding is; the integer itself stays.
        """
        nobody = [
            torch.full_like(t, NOBODY) if i in self.read else t
            for i, t in enumerate(players.labels)
        ]
        embedded = [players.labels[reading.leaf].unsqueeze(-1) for reading in self.readings]
        return replace(players, labels=(*nobody, *embedded))

    def own(self, lifted: Inputs) -> Inputs:
        """The model's own inputs, from those of this function."""
        return self.inputs.replace(lifted.leaves[: len(self.inputs.leaves)])

    def background(self, baseline: Baseline, lifted: Inputs) -> list[Inputs]:
        """The references of a baseline, with their embeddings.

        Ids given as a baseline are embedded; any other baseline is one of the embeddings. The ids
        themselves stay as they are.
        """
        own = self.own(lifted)
        if baseline.kind not in ("tensor", "per_sample"):
            return baseline.background(lifted)
        found = []
        for reference in baseline.background(own):
            pairs = zip(own.leaves, reference.leaves, strict=True)
            kept = [b if a.is_floating_point() else a for a, b in pairs]
            found.append(lifted.replace([*kept, *self.embed(reference)]))
        return found

    def embed(self, inputs: Inputs) -> list[Tensor]:
        """The embeddings of other ids, by one more run of the model."""
        operations = _embeddings(record_run(self.model, inputs))
        if any(reading.call not in operations for reading in self.readings):
            raise ModelError(
                "A baseline of integers must take the same way through the model as the inputs",
                found="a run that embeds fewer times",
                hint="Take another baseline: a number is one of the embeddings.",
            )
        shapes = [inputs.leaves[reading.leaf].shape for reading in self.readings]
        return [
            reading.gather(operations[reading.call].output.tensor, shape)
            for reading, shape in zip(self.readings, shapes, strict=True)
        ]

    def lower(self, attribution: "Attribution") -> "Attribution":
        """Sum the values of embeddings to one for each integer."""
        if attribution.players is not None and attribution.features is not None:
            return self._lower_players(attribution, attribution.features, attribution.players)
        error = attribution.error
        cancelled = CANCEL_NOTE if self._cancels(attribution.values) else ""
        return replace(
            attribution,
            notes=(*attribution.notes, *filter(None, [cancelled])),
            values=self._lowered(attribution.values),
            # Errors of features of one embedding are correlated: their sum is a bound.
            error=None if error is None else self._lowered(error),
        )

    def _lower_players(
        self, attribution: "Attribution", features: Players, players: Tensor
    ) -> "Attribution":
        """Give every integer the value of its player, however often it is embedded."""
        lowered, like = self._lowered_players(features), attribution.values[-1]
        error = attribution.player_error
        return replace(
            attribution,
            features=lowered,
            values=[value.to(like) for value in lowered.spread(players)],
            error=None if error is None else [e.to(like) for e in lowered.spread(error)],
        )

    def _lowered_players(self, players: Players) -> Players:
        """The players of the model's own inputs, from those of the inputs of this function."""
        count = len(self.inputs.leaves)
        found = list(players.labels[:count])
        for reading, labels in zip(self.readings, players.labels[count:], strict=True):
            found[reading.leaf] = labels.squeeze(-1)
        return replace(players, labels=tuple(found))

    def _cancels(self, values: list[Tensor]) -> bool:
        """Whether the values of every embedding sum to nothing, though they are not zero."""
        found = values[len(self.inputs.leaves) :]
        size = sum(value.abs().sum() for value in found)
        return bool(sum(value.sum(-1).abs().sum() for value in found) < CANCELLED * size)

    def _lowered(self, values: list[Tensor]) -> list[Tensor]:
        count = len(self.inputs.leaves)
        found = list(values[:count])
        for reading, value in zip(self.readings, values[count:], strict=True):
            summed = value.sum(-1)
            held = found[reading.leaf]
            found[reading.leaf] = held.to(summed) + summed if held.is_floating_point() else summed
        return found


def embedded(model: Callable[..., Any], inputs: Inputs) -> tuple[Embedded, Inputs] | None:
    """The model as a function of the embeddings it reads; `None` if it reads none.

    It runs once, on two samples at least, so that the batch can be told from other axes.
    """
    tape = _recorded(model, inputs)
    readings, unread = [], False
    places = _origins(tape)
    reached = {value for leaf in places for value in touched(tape, tape.entries[leaf])}
    for call, operation in _embeddings(tape).items():
        rows = looked_up(operation.function, operation.arguments)
        found = (
            [] if operation.arguments[0].carries else list(_readings(tape, call, operation, places))
        )
        readings += found
        unread = unread or (not found and rows in reached)
    if not readings:
        return None
    function = Embedded(model, inputs, tuple(readings), (UNREAD_NOTE,) if unread else ())
    calls = _embeddings(tape)
    tensors = [
        reading.gather(calls[reading.call].output.tensor, tape.entries[reading.leaf].shape)
        for reading in readings
    ]
    return function, function.lift(inputs, [tensor[: inputs.rows] for tensor in tensors])


def _recorded(model: Callable[..., Any], inputs: Inputs) -> Tape:
    """A run on two samples at least; on one, where the model takes no more."""
    if inputs.rows > 1:
        return record_run(model, inputs)
    try:
        return record_run(model, inputs.select(torch.tensor([0, 0])))
    except ModelError:
        return record_run(model, inputs)


def _origins(tape: Tape) -> dict[int, dict[Value, Tensor]]:
    """For each integer input, which of its elements the integers on the tape are."""
    integers = [i for i, entry in enumerate(tape.entries) if _is_integer(entry.dtype)]
    return {leaf: origins(tape, tape.entries[leaf]) for leaf in integers}


def _is_integer(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)


def _readings(
    tape: Tape, call: int, operation: Operation, places: dict[int, dict[Value, Tensor]]
) -> Iterator[Reading]:
    """What one call reads of each input; one reading for every time it reads an element."""
    rows: Any = looked_up(operation.function, operation.arguments)
    claims = {leaf: found[rows] for leaf, found in places.items() if rows in found}
    for leaf, claimed in _without_overlap(tape, rows.tensor, claims).items():
        shape = tape.entries[leaf].shape
        within = _within(claimed, *_rows_and_size(shape))
        if within is None:
            continue
        whole = Reading(leaf=leaf, call=call, path=operation.path, within=within)
        found = operation.output.tensor
        alike = torch.equal(whole.scatter(whole.gather(found, shape), found), found)
        for part in [within] if alike else _by_occurrence(within):
            yield replace(whole, within=part)


def _without_overlap(tape: Tape, rows: Tensor, claims: dict[int, Tensor]) -> dict[int, Tensor]:
    """Give each number of a row to one input: the one that has that number most often.

    Numbers that are made of two inputs (ids times a mask, ids plus an offset for each segment)
    are those of the ids.
    """
    flat = {leaf: tape.entries[leaf].tensor.flatten() for leaf in claims}
    same = {
        leaf: int((flat[leaf][places.clamp(min=0)] == rows).sum())
        for leaf, places in claims.items()
    }
    left: dict[int, Tensor] = {}
    taken = torch.zeros_like(rows, dtype=torch.bool)
    for leaf in sorted(claims, key=lambda leaf: -same[leaf]):
        left[leaf] = claims[leaf].masked_fill(taken, NOWHERE)
        taken = taken | (claims[leaf] != NOWHERE)
    return left


def _by_occurrence(within: Tensor) -> Iterator[Tensor]:
    """The elements read for the first time, those read for the second time, and so on."""
    flat = within.flatten()
    order = flat.argsort(stable=True)
    sorted_ = flat[order]
    starts = torch.searchsorted(sorted_, sorted_)
    times = torch.empty_like(flat)
    times[order] = torch.arange(len(flat), device=flat.device) - starts
    read = flat != NOWHERE
    for time in range(int(times[read].max()) + 1):
        yield within.masked_fill(~(read & (times == time)).reshape(within.shape), NOWHERE)


def _embeddings(tape: Tape) -> dict[int, Operation]:
    """The calls of a run that embed, by their number."""
    return {call: tape.operations[number] for number, call in tape.recorder.embeddings.items()}


def _rows_and_size(shape: torch.Size) -> tuple[int, int]:
    return shape[0], shape[1:].numel()


def _within(places: Tensor, rows: int, size: int) -> Tensor | None:
    """The elements that one sample reads, if all samples read alike; axes as in `Reading`.

    The batch is wherever the sample of an element changes in step, be it a part of an axis.
    """
    if places.numel() % rows or bool((places == NOWHERE).all()):
        return None
    each = places.numel() // rows
    samples = torch.arange(rows, device=places.device).reshape(1, rows, 1)
    for after in (n for n in range(1, each + 1) if each % n == 0):
        shaped = places.reshape(-1, rows, after)
        nowhere = shaped == NOWHERE
        within = (shaped - samples * size).masked_fill(nowhere, NOWHERE)
        inside = nowhere | (within >= 0) & (within < size)
        if bool(inside.all()) and bool((within == within[:, :1]).all()):
            return within[:, 0]
    return None
