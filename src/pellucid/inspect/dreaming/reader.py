"""Scores of many objectives, read from one run of a model for all dreams of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pellucid.errors import InputError
from pellucid.inside import check_layers, run_inside, run_until
from pellucid.inspect.dreaming.objective import Objective, Piece
from pellucid.outputs import select_rows
from pellucid.program import Program, State
from pellucid.structure import Inputs
from pellucid.target import Target
from pellucid.target.unit import INSIDE, OUTPUT, Unit, channel_axis, check_channels, check_returned


@dataclass(kw_only=True, eq=False)
class Group:
    """Pieces of the same kind, which are read together: `rows` are the dreams they are of."""

    target: Target
    rows: Tensor
    weights: Tensor
    log: bool
    resolved: bool = False
    leaves_softmax: bool = False

    def read(self, raw: Any, scores: Any, count: int) -> Tensor:
        """Their weighted scores, of shape (piece,); the first run says which unit is meant."""
        if not self._is_all(count):
            axis, same = self.target.batch_axis, scores is raw
            raw = select_rows(raw, self.rows, count, axis)
            scores = raw if same else select_rows(scores, self.rows, count, axis)
        scores = self.target.before_softmax(raw, scores)
        asked = self.target.kind not in ("probability", "log_odds")
        self.leaves_softmax = asked and self.target.reads_softmax(raw, scores)
        if not self.resolved:
            self.target = in_the_middle(self.target, scores, len(self.rows))
            self.target = self.target.resolve(scores, len(self.rows))
            self.resolved = True
        found = self.target.score(scores, raw)
        if found.shape != (len(self.rows),):
            must = f"A target must give one score for each of the {len(self.rows)} dreams"
            raise InputError(must, got=found)
        found = logsigmoid(found) if self.log else found
        return found * self.weights.to(found)

    def _is_all(self, count: int) -> bool:
        return len(self.rows) == count and bool((self.rows == torch.arange(count)).all())


class _Watched:
    """The model as a function that returns what is read of it: its output, what layers did.

    Every run begins with the model as it was before the first: what a run left in it is put back
    when the next begins, for in between autograd needs it as it is. Where only layers are read, and
    the first run shows that each of them runs once, those after it end there.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        layers: tuple[str, ...],
        states: list[State],
        *,
        to_the_end: bool,
    ) -> None:
        self.model, self.layers, self.states = model, layers, states
        self.to_the_end = to_the_end
        self._once = False
        self._kept: list[State] | None = None
        self._runs = 0

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._put_back()
        self._runs += 1
        if not self.layers:
            return {OUTPUT: self.model(*args, **kwargs), INSIDE: {}}
        if self.to_the_end:
            output, found = run_inside(self.model, self.layers, args, kwargs)
            return {OUTPUT: output, INSIDE: found}
        found, once = run_until(self.model, self.layers, args, kwargs, once=self._once)
        self._once = once and (self._once or self._runs == 1)
        return {INSIDE: found}

    def _put_back(self) -> None:
        """Undo the last run; one that ends early may leave what one to the end does not."""
        if self._runs and (self._kept is None or (self._runs == 2 and not self.to_the_end)):
            self._kept = [state for state in self.states if state.is_changed()]
        for state in self._kept or []:
            state.restore()


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """A program that returns all that objectives ask for, and how each is read from it."""

    program: Program
    groups: tuple[Group, ...]
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        model: Callable[..., Any],
        objectives: Sequence[Objective],
        dtype: torch.dtype,
        states: list[State] | None = None,
    ) -> "Reader":
        """Sort the pieces of all objectives by what can be read together.

        `dtype` is the type that the model is called with, `states` what its modules were before.
        """
        pieces = [(row, piece) for row, each in enumerate(objectives) for piece in each.pieces]
        kinds: list[tuple[Any, list[tuple[int, Piece]]]] = []
        for row, piece in pieces:
            kind = _kind(piece)
            held = next((held for known, held in kinds if known == kind), None)
            if held is None:
                kinds.append((kind, held := []))
            held.append((row, piece))
        layers = tuple(dict.fromkeys(p.target.layer for _, p in pieces if p.target.layer))
        check_layers(model, layers)
        read = _Watched(
            model, layers, states or [], to_the_end=not all(p.target.layer for _, p in pieces)
        )
        program = Program(read, states=[])
        return cls(program=program, groups=tuple(_group(held) for _, held in kinds), dtype=dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """The scores of all dreams, of shape (dream,); one pass of the model."""
        raw, scores = self.program.run(Inputs.of(x.to(self.dtype)))
        total = x.new_zeros(len(x), dtype=torch.promote_types(x.dtype, torch.float32))
        for group in self.groups:
            seen = _seen(raw, group.target.layer)
            before = seen if scores is raw else _seen(scores, group.target.layer)
            found = group.read(seen, before, len(x)).to(total)
            total = total.index_add(0, group.rows.to(total.device), found)
        return total

    @property
    def leaves_softmax(self) -> bool:
        """Whether a softmax at the end of the model was left out, in what was read last."""
        return any(group.leaves_softmax for group in self.groups)

    def targets(self) -> dict[int, Target]:
        """What dreams of one piece turned out to be of, by their number: which unit is meant."""
        found: dict[int, Target] = {}
        for group in self.groups:
            for place, row in enumerate(group.rows.tolist()):
                found[row] = group.target.select(torch.tensor([place]))
        return found


def in_the_middle(target: Target, output: Any, rows: int) -> Target:
    """Of the units of a channel, the one in the middle of the layer."""
    place = target.place
    if not isinstance(place, Unit) or place.indices or place.among is None:
        return target
    found = check_returned(output[INSIDE], target.layer, rows)
    check_channels([place.among], found.shape, place.axis)
    axis = channel_axis(found.shape, place.axis)
    middle = [size // 2 for size in found.shape]
    middle[axis] = place.among % found.shape[axis]
    return replace(target, place=replace(place, among=None, indices=tuple(middle[1:])))


def _kind(piece: Piece) -> Any:
    """What two pieces must share to be read together: all but the class and the dream."""
    target = piece.target
    try:
        hash(target)
    except TypeError:  # a place with a mask of its own
        return id(target)
    return replace(target, classes=()), id(target.function) * bool(target.function), piece.log


def _group(held: list[tuple[int, Piece]]) -> Group:
    """The pieces of one kind as one target, with a class for each."""
    first = held[0][1]
    classes = tuple(k for _, piece in held for k in piece.target.classes)
    return Group(
        target=replace(first.target, classes=classes),
        rows=torch.tensor([row for row, _ in held]),
        weights=torch.tensor([piece.weight for _, piece in held], dtype=torch.float64),
        log=first.log,
    )


def _seen(found: Any, layer: str) -> Any:
    """What the model returned, or what one layer did, in the form that targets read."""
    return {INSIDE: found[INSIDE][layer]} if layer else found[OUTPUT]
