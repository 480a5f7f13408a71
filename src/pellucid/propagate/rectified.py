"""Back-propagation with another step at rectifiers: deconvnet and guided back-propagation.

A method is a table: what it does at each form of operation that `pellucid.propagate.forms` tells
apart. What its table leaves out is passed by the adjoint.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from pellucid.at import At, Site, check_at, layer_value, ones
from pellucid.case import Case
from pellucid.method import Attribution, Method, register
from pellucid.propagate.forms import Form, FormName, bends, form_of
from pellucid.propagate.regions import regions
from pellucid.tape.adjoints import Signals, adjoint
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import walk

aten = torch.ops.aten

Table: TypeAlias = Mapping[FormName, Callable[[Operation, Form, Tensor], Signals]]

BEND_NOTE = "`{}` in `{}` is not known as a rectifier; the gradient passes it."


def project(
    tape: Tape,
    start: dict[Value, Tensor],
    until: Collection[Value],
    table: Table,
    *,
    consume: bool = False,
) -> tuple[dict[Value, Tensor], list[str]]:
    """Walk signals back by a table; also return notes on operations that may be rectifiers.

    A score starts from one. A unit or a whole map starts from its activations, with all others
    zero (Zeiler and Fergus): `{value: value.tensor * mask}`.
    """
    notes: dict[str, None] = {}
    of_regions = regions(tape, {*start, *until})

    def step(operation: Operation, signals: Signals) -> Signals:
        form, signal = of_regions.get(operation.number) or form_of(operation), signals[0]
        if bends(operation) if form is None else form.doubtful:
            notes[BEND_NOTE.format(operation.name, operation.path or "the model itself")] = None
        if form is not None and form.name in table and signal is not None:
            return table[form.name](operation, form, signal)
        return adjoint(operation, signals)

    with torch.no_grad():
        found = walk(tape, start, until, step, consume=consume)
    return found, list(notes)


def _gate(operation: Operation, form: Form, signal: Tensor) -> Tensor:
    """What is positive in the signal, where the activation is positive and not clipped."""
    activation = operation.output.tensor
    if form.bound is None:
        return aten.threshold_backward(signal, activation, 0).clamp_(min=0)
    return aten.hardtanh_backward(signal, activation, 0.0, form.bound).clamp_(min=0)


def _guided_rectifier(operation: Operation, form: Form, signal: Tensor) -> Signals:
    if form.shape is None:
        return form.place(operation, _gate(operation, form, signal))
    return _guided_activation(operation, form, signal)


def _guided_activation(operation: Operation, form: Form, signal: Tensor) -> Signals:
    """What the gate lets pass, by the adjoint; a rectifier with a minus has a mirrored gate."""
    rest: Signals = [None] * (len(operation.outputs) - 1)
    if form.scale > 0:
        return adjoint(operation, [_gate(operation, form, signal), *rest])
    active = operation.output.tensor < 0
    return adjoint(operation, [signal.clamp(max=0) * active, *rest])


def _positive(operation: Operation, form: Form, signal: Tensor) -> Signals:
    kept = signal.clamp(min=0) if form.scale > 0 else signal.clamp(max=0)
    return form.place(operation, kept if abs(form.scale) == 1 else kept * abs(form.scale))


def _unchanged(operation: Operation, form: Form, signal: Tensor) -> Signals:
    return form.place(operation, signal)


GUIDED: Table = {"rectifier": _guided_rectifier, "activation": _guided_activation}
# The signal of a rectifier goes to the value it starts from as it is, whatever is in between.
DECONVNET: Table = {"rectifier": _positive, "bound": _unchanged, "route": _unchanged}


def beginning(tape: Tape, rows: int) -> dict[Value, Tensor]:
    """What a projection starts from: one at a score, or the activations that a layer's unit has.

    Of what the layer returned, all that the target does not read is zero.
    """
    begin, layer = ones(tape), tape.outcome.target.layer
    if not layer or not begin:
        return begin
    value = layer_value(tape, layer, rows)
    with torch.no_grad():
        read = walk(tape, begin, [value])
    return {value: value.tensor * read[value]}


def _attribute(case: Case, at: At, table: Table) -> Attribution:
    """One recorded forward pass, and one walk back from the score or from a unit."""
    tape, site = case.tape, Site(case=case, path=at)
    ends = site.values
    found, notes = project(tape, beginning(tape, len(case)), ends, table, consume=not case.shared)
    case.count(backward=len(case))
    return Attribution(values=site.read(found), at=site.label, notes=tuple(notes))


@register("guided_backprop")
@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(Method):
    """The gradient, of which rectifiers pass only what is positive on the way there and back.

        S_in = S_out * (S_out > 0) * (y > 0)             at a rectifier y = max(x, 0)
        S_in = S_out * (S_out > 0) * (y > 0) * dy/dx     at any other activation

    Axes: values have the axes of the input, or with `at` those of what that layer returned. The
    signal S starts from one at the score, or from its activation at a unit of a layer
    (`Target.unit`), with all other units zero. An activation is an elementwise function of one
    value, and a rectifier is one that answers as a rectifier, as however many operations either is
    written; notes name what may be one and is not known. A rectifier that is clipped above
    (ReLU6) passes nothing where it is clipped.
    Laws: an ignored input gets zero; equal functions get equal answers, as far as their
    rectifiers are the same. It does not sum to the score.
    Source: Springenberg, Dosovitskiy, Brox, Riedmiller (2015), Striving for Simplicity: The All
    Convolutional Net.

    >>> net = lambda x: (x.relu() * torch.tensor([2.0, 2.0, -1.0])).sum(1, keepdim=True)
    >>> GuidedBackprop()(net, torch.tensor([[1.0, -1.0, 1.0]])).values
    tensor([[2., 0., 0.]])
    """

    answers: ClassVar[str] = "Which fine details excite the units that speak for the score?"
    weakness: ClassVar[str] = (
        "Mostly redraws the edges of the input, whatever the class and however random the weights."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"dummy", "invariant"})

    at: At = None

    def __post_init__(self) -> None:
        check_at(self.at)

    @property
    def is_slope(self) -> bool:
        """Values are slopes of the score."""
        return True

    def attribute(self, case: Case) -> Attribution:
        """One forward pass and one walk."""
        return _attribute(case, self.at, GUIDED)


@register("deconvnet")
@dataclass(frozen=True, kw_only=True)
class Deconvnet(Method):
    """The score projected back to the input, rectified wherever the network rectifies.

        S_in = max(S_out, 0)      at a rectifier, whatever its activation was

    Axes: values have the axes of the input, or with `at` those of what that layer returned. The
    signal S starts from one at the score. To see what excites a unit of a layer, as the paper does,
    take `Target.unit("features.5")` or `Target.channel`: then S starts from the activations there,
    with all others zero, by default from the strongest of each sample. Max-pooling is undone by
    its switches, which is its adjoint, and so does the adjoint pass all else, other activations
    too. A rectifier that is clipped above (ReLU6) rectifies the signal and nothing else, and a
    bound from above alone changes nothing.
    Laws: an ignored input gets zero; equal functions get equal answers, as far as their
    rectifiers are the same. It does not sum to the score.
    Source: Zeiler, Fergus (2014), Visualizing and Understanding Convolutional Networks.

    >>> net = lambda x: (x.relu() * torch.tensor([2.0, 2.0, -1.0])).sum(1, keepdim=True)
    >>> Deconvnet()(net, torch.tensor([[1.0, -1.0, 1.0]])).values
    tensor([[2., 2., 0.]])
    """

    answers: ClassVar[str] = "Which pattern in the input would the network draw for this score?"
    weakness: ClassVar[str] = (
        "Knows the input only through the switches of max-pooling; without them all inputs get "
        "much the same picture."
    )
    laws: ClassVar[frozenset[str]] = frozenset({"dummy", "invariant"})

    at: At = None

    def __post_init__(self) -> None:
        check_at(self.at)

    @property
    def is_slope(self) -> bool:
        """Values are slopes of the score."""
        return True

    def attribute(self, case: Case) -> Attribution:
        """One forward pass and one walk."""
        return _attribute(case, self.at, DECONVNET)
