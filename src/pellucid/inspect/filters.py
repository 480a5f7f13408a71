"""The weights of convolutions as pictures, and what deeper ones amount to in the input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.at import value_at
from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.receptive import seeds_at
from pellucid.inspect.receptive_axes import entry_channels
from pellucid.inspect.receptive_walk import (
    Signals,
    derivative,
    is_strided,
    pooling,
    pull,
    strided,
    windows,
)
from pellucid.inspect.results import recorded, unit_axis
from pellucid.program import untouched
from pellucid.structure import Inputs
from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.expand import expanded
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.target.unit import channel_axis, check_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Elements of signals that are walked together.
ELEMENTS = 2**23


@dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """The filters of one layer.

    `weights` have the shape (filter, channel, *kernel), and `patterns` are what each filter amounts
    to in the input, (filter, input channel, *place), cut to what it can see; `None` where no inputs
    were given, and for the weights of what has none. `numbers` are those of the filters among all
    that the layer has, which are `total`.
    """

    layer: str
    numbers: tuple[int, ...]
    total: int
    weights: Tensor | None
    patterns: Tensor | None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def _any(self) -> Tensor:
        found = self.weights if self.patterns is None else self.patterns
        if found is None:
            raise RuntimeError("Filters have weights or patterns.")
        return found

    @property
    def norms(self) -> Tensor:
        """The length of each filter, of shape (filter,)."""
        found = self._any if self.weights is None else self.weights
        return found.flatten(1).norm(dim=1)

    def pictures(self, what: str = "auto", *, scale: str = "own") -> Tensor:
        """Pictures in [0, 1] in which zero is gray: (filter, height, width, 3 or 1).

        `what` is "patterns" or "weights", by default the first that has colors or one channel. With
        the scale "own" each filter uses the whole range, with "shared" all use one. Weights of
        other numbers of channels have a picture for each: see `channels`.
        """
        shown = self._shown(what)
        if shown.shape[1] not in (1, 3):
            raise InputError(
                "A picture must be of one channel, or of three for colors",
                found=f"{shown.shape[1]} channels of `{self.layer}`",
                hint="channels(filter) has one picture for each of them; with inputs= there are "
                "patterns in the input.",
            )
        return _gray(shown, scale).movedim(1, -1)

    def channels(self, number: int, *, scale: str = "own") -> Tensor:
        """One filter, channel by channel: (channel, height, width, 1), zero is gray."""
        if self.weights is None:
            raise InputError("Channels must be those of weights", found=f"none in `{self.layer}`")
        row = self._row(number)
        if scale == "own":
            return _gray(_flat_space(self.weights[row].unsqueeze(0)), scale)[0].unsqueeze(-1)
        return _gray(_flat_space(self.weights), scale)[row].unsqueeze(-1)

    def _row(self, number: int) -> int:
        """Where a filter is among those that were asked for; a negative one counts from the end."""
        found = self.numbers[number] if -len(self) <= number < 0 else number
        if found not in self.numbers:
            whole = self.numbers == tuple(range(self.total))
            known = f"from 0 to {len(self) - 1}" if whole else f"one of {list(self.numbers)}"
            raise InputError(f"A filter of `{self.layer}` must be {known}", got=number)
        return self.numbers.index(found)

    def _shown(self, what: str) -> Tensor:
        named = {"weights": self.weights, "patterns": self.patterns}
        if what not in ("auto", *named):
            raise UnknownNameError("What is shown of filters", what, ["auto", *named])
        if what == "auto":
            plain = self.weights is not None and self.weights.shape[1] in (1, 3)
            what = "weights" if self.patterns is None or plain else "patterns"
        found = named[what]
        if found is None:
            hint = "Take filters(model, layer, inputs=x)." if what == "patterns" else ""
            raise InputError(f"There must be {what} of `{self.layer}`", found="none", hint=hint)
        return _flat_space(found)

    def plot(self, filter: int | None = None, **options: Any) -> "Figure":
        """Draw all filters, or one of them channel by channel."""
        from pellucid.plot.units import filters as draw

        return draw(self, filter, **options)

    def __repr__(self) -> str:
        sizes = [
            f"{name} {' x '.join(map(str, each.shape[1:]))}"
            for name, each in (("weights", self.weights), ("patterns", self.patterns))
            if each is not None
        ]
        count = f"{len(self)}" if len(self) == self.total else f"{len(self)} of {self.total}"
        return f"{count} Filters of `{self.layer}`: {', '.join(sizes)}"


def filters(
    model: Callable[..., Any],
    layer: str | None = None,
    inputs: Any = None,
    *,
    channels: "int | Sequence[int] | None" = None,
    axis: int | None = None,
    batch_axis: Any = 0,
) -> Filters:
    """The filters of a convolution, by default of the first; with inputs, also what they amount to.

        pattern_f = sum over ways from the filter f to the input of the product of all weights

    where an activation counts as the identity, the largest of a window as its mean, and any other
    product (a gate, an attention) as it is in the first of the `inputs`. So the pattern of a filter
    of the first layer is its weights; of a deeper layer it is what its weights would answer to if
    nothing bent in between, and is to be read as that. `inputs` also make a `layer` of what has no
    convolution, as a dense layer on an image, and find convolutions that are functions; of integers
    a pattern is in their embeddings, and of several inputs in the first that is seen. `channels`
    are the filters that are wanted, by default all: the patterns of a late layer are as large as
    the input, each. `axis` says where they are at the layer, if it is not plain.
    Law: of a linear model the pattern is the gradient of the filter's unit.
    Source: Zeiler, Fergus (2014), Visualizing and Understanding Convolutional Networks (first
    layer); Erhan, Bengio, Courville, Vincent (2009), Visualizing Higher-Layer Features of a Deep
    Network (linear combination of filters).

    >>> first, last = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 8, 3)
    >>> net = torch.nn.Sequential(first, torch.nn.ReLU(), last)
    >>> filters(net), filters(net).pictures().shape
    (4 Filters of `0`: weights 3 x 3 x 3, torch.Size([4, 3, 3, 3]))
    >>> filters(net, "2", torch.zeros(1, 3, 9, 9))
    8 Filters of `2`: weights 4 x 3 x 3, patterns 3 x 5 x 5
    """
    check_axis(axis)
    if inputs is None:
        name, weights = _of_module(model, layer)
        numbers = _numbers(channels, len(weights), name)
        return Filters(
            layer=name, numbers=numbers, total=len(weights), weights=weights[[*numbers]],
            patterns=None,
        )  # fmt: skip
    taken = Inputs.of(inputs, batch_axis).select(slice(1))
    with untouched(model), torch.no_grad():
        tape = expanded(recorded(model, taken))
        found = [each for each in tape.operations if each.name in CONVOLUTIONS]
        name = _first(found) if layer is None else layer
        value = value_at(tape, name, 1)
        where = unit_axis(value) if axis is None else channel_axis(value.shape, axis)
        numbers = _numbers(channels, value.shape[where], name)
        made = _recorded_weights(tape, found, name)
        return Filters(
            layer=name,
            numbers=numbers,
            total=value.shape[where],
            weights=None if made is None else made[[*numbers]],
            patterns=_patterns(tape, value, where, numbers),
        )


def _numbers(channels: Any, count: int, layer: str) -> tuple[int, ...]:
    """The filters that are wanted, of so many."""
    if channels is None:
        return tuple(range(count))
    listed = channels.tolist() if hasattr(channels, "tolist") else channels
    listed = [listed] if isinstance(listed, int) else listed
    fits = isinstance(listed, Sequence) and bool(listed)
    if not fits or not all(isinstance(i, int) and -count <= i < count for i in listed):
        raise InputError(
            f"`channels` must be one or more filters of `{layer}`, from 0 to {count - 1}",
            got=channels,
        )
    return tuple(range(count)[i] for i in listed)


def _of_module(model: Any, layer: str | None) -> tuple[str, Tensor]:
    """A convolution among the modules of a model, and its weights."""
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    known = {name: m for name, m in modules.items() if isinstance(m, nn.modules.conv._ConvNd)}
    hint = "With inputs= all that runs is looked at, functions and dense layers too."
    if not known:
        raise InputError("The model must have a convolution", found="none", hint=hint)
    name = next(iter(known)) if layer is None else layer
    if name not in known:
        raise UnknownNameError("A convolution", name, known, hint=hint)
    found = known[name]
    if nn.parameter.is_lazy(found.weight):
        raise InputError(
            f"The weights of `{name}` must be there to be shown",
            found="a layer whose first run makes them",
            hint="Run the model once before, or pass inputs=.",
        )
    return name, _by_filter(found.weight, found.transposed, found.groups)


def _by_filter(weight: Tensor, transposed: bool, groups: int) -> Tensor:
    """Weights with the filters first, and the channels that each of them reads."""
    weight = weight.detach().clone()
    if not transposed:
        return weight
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def _first(convolutions: list[Operation]) -> str:
    if not convolutions:
        raise InputError(
            "The model must have a convolution, or a `layer` must be named", found="none"
        )
    return convolutions[0].path or "convolution:0"


def _recorded_weights(tape: Tape, convolutions: list[Operation], name: str) -> Tensor | None:
    """The weights of the convolution that gave what is at this place; `None` for what is none."""
    value = value_at(tape, name, 1)
    made = value.producer
    if made is not None and made not in convolutions:
        made = next((each for each in convolutions if each.path == name), None)
    if made is None or made.slots[1].depends:
        return None
    return _by_filter(made.slots[1].tensor, made.argument(6), made.argument(8))


def _patterns(tape: Tape, value: Value, where: int, numbers: Sequence[int]) -> Tensor:
    """What some channels amount to in an input, in the middle: (filter, channel, *place)."""
    lengths = [n for axis, n in enumerate(value.shape) if axis not in (0, where)]
    middle = tuple(n // 2 for n in lengths)
    sizes = [prod(out.shape) for op in tape.operations for out in op.outputs if out is not None]
    step = max(1, ELEMENTS // max(sizes, default=1))
    entry, parts = None, []
    for first in range(0, len(numbers), step):
        units = [(number, middle) for number in numbers[first : first + step]]
        seeds = seeds_at(value, where, units).to(value.dtype)
        found = pull(tape, value, seeds, tape.entries, linear)
        if entry is None:
            entry = next((i for i, pattern in enumerate(found) if pattern is not None), None)
        pattern = None if entry is None else found[entry]
        if pattern is None:
            raise InputError(
                "A pattern must lead to an input", found="a layer that depends on none of them"
            )
        parts.append(pattern[:, 0])
    entered = None if entry is None else entry_channels(tape, tape.entries[entry])
    return _cut(_channels_first(torch.cat(parts), entered))


def _channels_first(patterns: Tensor, entered: "tuple[int | None] | None") -> Tensor:
    """Patterns with the channels on axis 1, if it is known where an input has them."""
    if entered is None:
        return patterns
    return patterns.unsqueeze(1) if entered[0] is None else patterns.movedim(entered[0], 1)


def _cut(patterns: Tensor) -> Tensor:
    """Without the borders in which no pattern has anything."""
    for axis in range(2, patterns.ndim):
        others = [each for each in range(patterns.ndim) if each != axis]
        there = (patterns != 0).any(others).nonzero().flatten()
        if len(there):
            patterns = patterns.narrow(axis, int(there[0]), int(there[-1] - there[0]) + 1)
    return patterns


def linear(operation: Operation, signals: Signals) -> Signals:
    """The adjoint of an operation as if it did not bend."""
    name, first, what = operation.name, signals[0], kind(operation)
    if what == "stop":
        return [None] * len(operation.slots)
    if first is not None and name.startswith("max_pool"):
        return [windows(operation, first) / prod(pooling(operation)[0])]
    if first is not None and is_strided(operation):
        return strided(operation, first)
    if first is not None and what == "pass":
        return [first if value.carries else None for value in operation.slots]
    return derivative(operation, signals, lambda value: value.tensor)


def _flat_space(weights: Tensor) -> Tensor:
    """Kernels of one axis as one row, of three as slices in a row: (filter, channel, h, w)."""
    if weights.ndim < 4:
        return weights.reshape(*weights.shape[:2], 1, -1)
    return weights if weights.ndim == 4 else weights.movedim(2, -2).flatten(-2)


def _gray(weights: Tensor, scale: str) -> Tensor:
    """In [0, 1], with zero in the middle."""
    if scale not in ("own", "shared"):
        raise UnknownNameError("A scale of filters", scale, ["own", "shared"])
    sizes = weights.abs()
    most = sizes.amax() if scale == "shared" else sizes.flatten(1).amax(1).view(-1, 1, 1, 1)
    return 0.5 + weights / (2 * most).clamp(min=torch.finfo(weights.dtype).tiny)
