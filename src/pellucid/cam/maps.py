"""Which activation a class activation map is made of: a layer that is named, or found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Size, Tensor

from pellucid.cam.choice import Choice
from pellucid.cam.frame import Frame, fitting, frames, traced
from pellucid.cam.layout import Layout, choose
from pellucid.cam.lineage import Layouts, layouts, resizes
from pellucid.cam.paths import Motions, around, descendants
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.program import untouched
from pellucid.structure import Inputs, leaves
from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape, record_run
from pellucid.tape.walk import carriers, walk

# Operations that only move elements; what joins maps (`cat`) makes maps of its own.
JOINS = {"cat", "stack", "index_put", "select_scatter", "slice_scatter", "as_strided_scatter"}
POOLS = ("mean", "sum", "amax", "max", "constant_pad_nd", "expand")
SQUASHING = {"sigmoid", "_softmax", "_log_softmax", "tanh"}
FOLDED_HINT = "Maps of parts of a sample, as of the frames of a film, are not put together."
NO_LAYER_HINT = "A layer of a model without such maps has no CAM."
DENSE = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "linear", "matmul"}


@dataclass(frozen=True, eq=False)
class Maps:
    """The activation for one input or several: its layer, its value, how to read it.

    `gradient` is that of the score at the value, where finding the maps has computed it.
    """

    path: str
    value: Value
    layout: Layout
    gradient: Tensor | None = None

    @property
    def activations(self) -> Tensor:
        """The maps, shape (batch, channel, *grid)."""
        return self.layout.maps(self.value.tensor)


@dataclass(frozen=True, eq=False)
class Spot:
    """Maps, and the axes of one input that they stand for.

    `around` names a path from the input to the score that does not pass the maps, `moved` an
    operation that puts positions elsewhere, in a way that the frame does not undo.
    """

    maps: Maps
    frame: Frame
    around: str = ""
    moved: str = ""


Spots = list[Spot | None]


def distinct(spots: Spots) -> list[Maps]:
    """The maps of several inputs, each once."""
    return list(dict.fromkeys(spot.maps for spot in spots if spot is not None))


def suggest_layers(model: Callable[..., Any], inputs: Any) -> list[str]:
    """The layers whose output has a grid of positions, in the order they ran.

    Each may be the `layer` of a CAM; the last ones are the coarsest and mean the most. Sources of
    grids are convolutions, and tokens whose number fits the size of an input.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten())
    >>> suggest_layers(net, torch.ones(1, 1, 8, 8))
    ['0', '1']
    """
    with untouched(model):
        tape = record_run(model, Inputs.of(inputs))
    return _suggested(_Search(tape, Choice()))


def find_maps(case: Case, choice: Choice) -> Spots:
    """The maps for each input, `None` for one without; the same object where inputs share them."""
    tape = case.tape
    own = len(case.inputs.leaves if case.embedded is None else case.embedded.inputs.leaves)
    if not any(entry.carries for entry in tape.entries[:own]):
        raise InputError(
            "A class activation map must have an input of floating-point numbers with positions",
            got=case.inputs.leaves[:own],
            hint="For tokens use integrated_gradients or lrp, which give one value a token.",
        )
    search = _Search(tape, choice)
    made: dict[tuple[Value, Layout], Maps] = {}
    found: Spots = []
    for entry in tape.entries[:own]:
        spot = search.named(entry) if choice.layer is not None else search.default(entry)
        if spot is not None:
            maps = made.setdefault((spot.maps.value, spot.maps.layout), spot.maps)
            frame, moved = Motions(tape, search.layouts, entry, spot.frame).placed(maps.value)
            spot = Spot(maps, frame, around(tape, entry, maps.value), moved)
        found.append(spot)
    found += [None] * (len(tape.entries) - own)  # embeddings that are read for integers
    case.count(backward=search.walks * len(case))
    if not made:
        raise _nothing(search)
    return found


def gradient_at(tape: Tape, value: Value) -> Tensor | None:
    """The gradient of the score at a value; `None` if the score does not depend on it."""
    return _carried(tape, _start(tape), value)


def _start(tape: Tape) -> dict[Value, Tensor]:
    return {tape.score_value: torch.ones_like(tape.score_value.tensor)}


def _carried(tape: Tape, start: dict[Value, Tensor], value: Value) -> Tensor | None:
    with torch.no_grad():
        return walk(tape, start, [value]).get(value)


class _Search:
    """One look through a tape: the layouts it tells, and what was found so far."""

    def __init__(self, tape: Tape, choice: Choice) -> None:
        self.tape, self.choice = tape, choice
        self.rows = tape.inputs.rows
        self.layouts: Layouts = layouts(tape)
        self.known = {
            layout: layout.count(value.shape)
            for value, layout in self.layouts.items()
            if layout.fits(value.shape, self.rows)
        }
        self.walks = 0
        self._gradients: dict[Value, Tensor] = {}  # where the walk for one input has come to
        self._frames: dict[Value, list[Frame]] = {}

    def read(self, value: Value, entry: Value) -> tuple[Layout, Frame] | None:
        """How to read a value as maps, and an input with them; `None` if they cannot be."""
        known, wish = self.layouts.get(value), self.choice.wish
        if known is not None and known.fits(value.shape, self.rows) and wish.grants(known):
            frame = fitting(self.frames(entry), known.grid)
            return None if frame is None else (known, frame)
        if not 3 <= len(value.shape) <= 5 or not value.carries:
            return None
        return choose(value.shape, self.rows, self.frames(entry), self.known, wish)

    def frames(self, entry: Value) -> list[Frame]:
        """How to read an input: as its first convolution does, or else all ways there are."""
        if entry not in self._frames:
            told = traced(self.tape, entry)
            every = frames(Size(entry.shape))
            size = 0 if told is None else len(told.size)
            other = [frame for frame in every if len(frame.size) != size]
            self._frames[entry] = every if told is None else [told, *other]
        return self._frames[entry]

    def named(self, entry: Value) -> Spot | None:
        """The last output of the named layer that depends on an input."""
        path = self.choice.layer or ""
        returned = self.tape.returned(path)  # raises, with the nearest name, where there is none
        below = descendants(self.tape, entry)
        values = [value for value in returned if value in below]
        found = self.read(values[-1], entry) if values and entry.carries else None
        return None if found is None else Spot(Maps(path, values[-1], found[0]), found[1])

    def default(self, entry: Value) -> Spot | None:
        """The last maps that all of an input passes, or else those of the last convolution.

        Of tokens, the last of which a patch counts: if only the class token is read, behind the
        last attention the patches no longer do.
        """
        if not entry.carries or len(entry.shape) < 2:
            return None
        self._gradients = {}
        below = descendants(self.tape, entry)
        leading = [op for op in carriers(self.tape) if any(value in below for value in op.slots)]
        last = self._last_convolution(leading, entry)
        for value in self._cuts(leading, below):
            found = None if self._moved(value) else self.read(value, entry)
            if found is None:
                continue
            if last is not None and last.output.number > value.number:
                break
            reached, gradient = self._reached(value, found[0])
            if reached:
                return self._spot(value, found, gradient)
        if last is None:
            return None
        value = _after(leading[::-1], last.output, self.layouts)
        found = self.read(value, entry)
        return None if found is None else self._spot(value, found)

    def _spot(
        self, value: Value, found: tuple[Layout, Frame], gradient: Tensor | None = None
    ) -> Spot:
        path = self._name(value) or "the model"
        return Spot(Maps(path, value, found[0], gradient), found[1])

    def _cuts(self, leading: list[Operation], below: set[Value]) -> Iterator[Value]:
        """The values through which all signals to an input pass, from the score on.

        They are those that are alone in being waited for. What a model returns is none, nor what
        comes before its first operation with weights.
        """
        returned = self._shown
        weighted = [op.number for op in leading if _is_weighted(op)]
        waiting = {self.tape.score_value}
        for operation in leading:
            if not weighted or operation.number <= weighted[-1]:
                return
            waiting.difference_update(value for value in operation.outputs if value is not None)
            waiting.update(v for v in operation.slots if v.carries and v in below)
            if len(waiting) == 1 and not waiting <= returned:
                yield next(iter(waiting))

    def _last_convolution(self, leading: list[Operation], entry: Value) -> Operation | None:
        """The last convolution with more than one position, whose result is not returned.

        One whose maps lie as the input does comes before those that are mirrored.
        """
        returned, first = self._shown, None
        for op in leading:
            if op.name in CONVOLUTIONS and op.output not in returned:
                layout = self.layouts[op.output]
                fits = layout.fits(op.output.shape, self.rows)
                found = self.read(op.output, entry) if fits else None
                if found is not None:
                    motions = Motions(self.tape, self.layouts, entry, found[1])
                    if motions.placed(op.output) == (found[1], ""):
                        return op
                    first = first or op
        return first

    @cached_property
    def _shown(self) -> set[Value | None]:
        """What the model returns; and of maps that it returns, what is nearly the same.

        That is what becomes them by being added, resized, cut or squashed.
        """
        found = {self.tape.recorder.value_of(leaf) for _, leaf in leaves(self.tape.output)}
        found.discard(None)
        for op in reversed(self.tape.operations):
            if op.outputs[:1] and op.outputs[0] in found and _is_map(op.output) and _shows(op):
                found.update(value for value in op.slots if value.carries)
        return found

    def _moved(self, value: Value) -> bool:
        """Whether a value only holds, pooled or in other places, what an earlier value has."""
        made = value.producer
        if made is None:
            return True
        if resizes(made) or made.name in POOLS:
            return not (self.choice.pooled and "max_pool" in made.name)
        return kind(made) == "route" and made.name not in JOINS and not _ends_instance_norm(made)

    def _reached(self, value: Value, layout: Layout) -> tuple[bool, Tensor | None]:
        """Whether the score reads positions of a grid, and not only tokens beside it.

        Nor only the last step of a recurrence, which is unrolled on the tape and joined again.
        """
        made = value.producer
        unrolled = made is not None and len(made.slots) == prod(layout.grid)
        if layout.count(value.shape) == prod(layout.grid) and not unrolled:
            return True, None
        # What an input passes later is on all paths from what it passes earlier: the walk goes on.
        self.walks += not self._gradients
        gradient = _carried(self.tape, self._gradients or _start(self.tape), value)
        if gradient is not None:
            self._gradients = {value: gradient}
        if gradient is None or not gradient.any():
            return True, gradient
        places = layout.maps(gradient).flatten(2).any(1).any(0)
        return int(places.sum()) > unrolled, gradient

    def _name(self, value: Value) -> str:
        """The layer in which a value was made, if it returned it; or else one that returned it."""
        paths = [path for path, values in self.tape.recorder.layers.items() if value in values]
        made = "" if value.producer is None else value.producer.path
        return made if made in paths or not paths else paths[0]


def _ends_instance_norm(operation: Operation) -> bool:
    """Whether samples come back that an instance norm has as channels of one: its maps are new."""
    before = operation.slots[0]
    made = before.producer
    normed = made is not None and made.name == "native_batch_norm"
    return normed and before.shape[0] != operation.output.shape[0]


def _after(following: list[Operation], maps: Value, known: Layouts) -> Value:
    """Follow maps through norms, residual sums and activations, as long as the shape stays."""
    reached, last = {maps}, maps
    for operation in following:
        if any(value in reached for value in operation.slots):
            for value in operation.outputs[:1]:
                same = value is not None and value.shape == maps.shape and value in known
                if value is not None and same and not resizes(operation):
                    reached.add(value)
                    last = value
    return last


def _suggested(search: _Search) -> list[str]:
    found = []
    for path, values in search.tape.recorder.layers.items():
        entries = [entry for entry in search.tape.entries if entry.carries]
        if any(_clear(search, values[-1], entry) for entry in entries):
            found.append(path)
    return found


def _clear(search: _Search, value: Value, entry: Value) -> bool:
    try:
        return search.read(value, entry) is not None
    except InputError:  # ambiguous: it may be named with `layout` or `grid`
        return True


def _nothing(search: _Search) -> InputError:
    """Say why there are no maps, and what to try."""
    layers = _suggested(_Search(search.tape, Choice()))
    layer, wish = search.choice.layer, search.choice.wish
    hint = f"Layers that do: {', '.join(layers[-5:])}." if layers else ""
    words = [str(part) for part in (wish.layout, wish.grid) if part is not None]
    asked = f" as {' '.join(words)}" if words else ""
    folded = _folded(search, layer)
    if layer is not None:
        return InputError(
            f"The layer `{layer}` must return maps of a grid of positions{asked}",
            found=folded or str(list(search.tape.layer(layer).shape)),
            hint=hint or (FOLDED_HINT if folded else NO_LAYER_HINT),
        )
    return InputError(
        f"A CAM must find feature maps: an activation with a grid of positions{asked}",
        found=folded or "a model without one that the score reads",
        hint=FOLDED_HINT if folded else f"Name a layer by `layer=`. {hint}".rstrip(),
    )


def _folded(search: _Search, layer: str | None) -> str:
    """Say that maps have other axes folded into their batch, as frames of a film; "" if none."""
    rows, values = (
        search.rows,
        [op.output for op in search.tape.operations if op.name in CONVOLUTIONS],
    )
    if layer is not None:
        values = search.tape.returned(layer)[-1:]
    for value in values[::-1]:
        count = value.shape[0] if len(value.shape) > 3 and value.carries else 0
        if count > rows and count % rows == 0:
            several = f"{count // rows} for each of {rows} samples"
            return f"maps of shape {list(value.shape)}, with {several}"
    return ""


def _is_map(value: Value) -> bool:
    return len(value.shape) > 2 and prod(value.shape[2:]) > 1


def _shows(operation: Operation) -> bool:
    """Whether an operation returns the maps that it reads, and no features of them."""
    if operation.name in SQUASHING:
        return True
    pools = operation.name in ("mean", "sum", "amax", "max") or "pool" in operation.name
    return kind(operation) in ("linear", "route", "scale") and not pools


def _is_weighted(operation: Operation) -> bool:
    return operation.name in CONVOLUTIONS or operation.name in DENSE
