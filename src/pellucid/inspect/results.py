"""A recorded run: what its operations computed, how each is called, and where its units are."""

from collections.abc import Callable
from typing import Any

import torch

from pellucid.errors import ModelError
from pellucid.structure import Inputs
from pellucid.tape.adjoints import CONVOLUTIONS, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape, record_run
from pellucid.tokens import embedded

# Operations that show elements in another order of axes, and dense layers.
VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias"}
PRODUCTS = {"mm", "addmm"}
# Operations that leave all axes but those of their second argument where they are.
ALONG = {"mean", "amax", "cat", "_softmax", "_log_softmax"}
# Parts of the names of such that leave the first axis where it is.
STAYING = ("pool", "batch_norm", "layer_norm", "group_norm")


def recorded(model: Callable[..., Any], inputs: Inputs) -> Tape:
    """The tape of a run; of integers that the model looks up, from their embeddings on."""
    program, given, _ = from_floats(model, inputs)
    return record_run(program, given)


def from_floats(
    model: Callable[..., Any], inputs: Inputs
) -> tuple[Callable[..., Any], Inputs, tuple[Any, ...]]:
    """A model and inputs, or from the embeddings on that it looks integers up in, by readings."""
    are_floats = all(leaf.is_floating_point() for leaf in inputs.leaves)
    found = None if are_floats else embedded(model, inputs)
    return (model, inputs, ()) if found is None else (*found, tuple(found[0].readings))


def names_of(tape: Tape) -> dict[int, str]:
    """The name of each operation by its number: the path of a layer it gave the result of."""
    counts: dict[str, int] = {}
    names = {}
    of_value: dict[int, str] = {}
    for path, values in tape.recorder.layers.items():  # the innermost layer first
        of_value.setdefault(id(values[-1]), path)
    for operation in tape.recorder.operations:
        place = counts.get(operation.name, 0)
        counts[operation.name] = place + 1
        result = next((value for value in operation.outputs if value is not None), None)
        path = of_value.get(id(result), "")
        ran_there = f"{operation.path}.".startswith(f"{path}.")  # not in what passes its input on
        names[operation.number] = path if path and ran_there else f"{operation.name}:{place}"
    return names


def computes(operation: Operation) -> bool:
    """Whether an operation has a result of samples that is computed, and not only moved."""
    value = next((each for each in operation.outputs if each is not None), None)
    there = value is not None and value.carries and len(value.shape) > 1
    return there and kind(operation) not in ("route", "stop") and operation.name != "t"


def results_of(
    model: Callable[..., Any], inputs: Inputs, tape: Tape
) -> list[tuple[Operation, Value]]:
    """The operations of a run that compute something, each with its result of all samples.

    Where another axis of a result may be that of the samples just as well, as of the (token,
    sample, feature) within attention where there are as many tokens as samples, a second run on
    few samples tells: no axis has the length of both but theirs.
    """
    found = with_rows(tape)
    rows = inputs.rows
    unlike = all(n % rows for _, value in found for n in value.shape[1:])
    if rows == 1 or unlike or _stay_first(tape):
        return found
    try:
        few = recorded(model, inputs.select([0] * (2 if rows != 2 else 3)))
    except ModelError:  # of a program for so many samples alone nothing is known
        return found
    names, others = names_of(tape), names_of(few)
    if _computed(tape, names) != _computed(few, others):
        return found  # another program, of which nothing is known
    sure = {others[value.number] for _, value in with_rows(few)}
    return [(each, value) for each, value in found if names[value.number] in sure]


def _stay_first(tape: Tape) -> bool:
    """Whether samples are first in all results, as in the inputs, for nothing moves them."""
    moved = [each for each in tape.recorder.operations if each.carries]
    rows = tape.inputs.rows
    first = all(value is None or value.shape[0] == rows for e in moved for value in e.outputs[:1])
    return first and not any(tape.inputs.axes) and all(map(_keeps_first, moved))


def _keeps_first(operation: Operation) -> bool:
    """Whether the first axis of a result is that of what is read, for certain."""
    name = operation.name
    if name in PRODUCTS:
        return not operation.slots[-1].depends
    if name in ALONG:
        given = operation.argument(1, 0)
        axes = [given] if isinstance(given, int) else given or [0]
        return all(axis % len(operation.slots[0].shape) for axis in axes)
    known = name in CONVOLUTIONS | VIEWS | {"clone"} or any(each in name for each in STAYING)
    return known or torch.Tag.pointwise in operation.function.tags


def _computed(tape: Tape, names: dict[int, str]) -> list[str]:
    return [names[each.number] for each in tape.recorder.operations if computes(each)]


def with_rows(tape: Tape) -> list[tuple[Operation, Value]]:
    """The operations that compute something, each with its result, as long as there are samples.

    A dense layer on tokens works on one long list of them: its result is the view of that which has
    the samples first again, with the bias, where that is added to the view.
    """
    rows = tape.inputs.rows
    views: dict[Value, Value] = {}
    products: dict[tuple[Value, str], Value] = {}  # by the view, and the layer it ran in
    found = []
    for each in tape.recorder.operations:
        value = next((value for value in each.outputs if value is not None), None)
        if value is None:
            continue
        if each.name in VIEWS and value.shape[0] == rows:
            views.setdefault(each.slots[0], value)
            if each.path and _is_product(each.slots[0]):
                products[value, each.path] = each.slots[0]
        elif each.name == "add" and (each.slots[0], each.path) in products and _has_constant(each):
            views[products[each.slots[0], each.path]] = value
        elif computes(each):
            found.append((each, value))
    shown = [(each, v if v.shape[0] == rows else views.get(v, v)) for each, v in found]
    return [(each, value) for each, value in shown if value.shape[0] == rows]


def unit_axis(value: Value) -> int:
    """The axis of the units: 1 of a convolution's result, the last of a dense layer's on tokens.

    Of others it is 1, but the last of three.
    """
    made = value.producer
    while made is not None and made.name not in CONVOLUTIONS:
        if made.name in VIEWS and _is_product(made.slots[0]):
            return len(value.shape) - 1
        like = torch.Tag.pointwise in made.function.tags or "norm" in made.name
        if not like and "pool" not in made.name:
            break
        made = next((v.producer for v in made.slots if v.depends), None)
    convolved = made is not None and made.name in CONVOLUTIONS
    return 2 if len(value.shape) == 3 and not convolved else 1


def _has_constant(operation: Operation) -> bool:
    return any(not value.depends for value in operation.slots)


def _is_product(value: Value) -> bool:
    return len(value.shape) == 2 and value.producer is not None and value.producer.name in PRODUCTS
