"""One run of a program for the tape and for autograd at once.

The tape is written below autograd, so that a run which autograd follows can be recorded as well.
The gradient is taken as soon as the model has run; then all that is on the tape is detached, and
the graph is gone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.batching import is_out_of_memory
from pellucid.program import CUTS, DETACH, READ, Program
from pellucid.structure import Inputs, transform
from pellucid.tape.operations import Value
from pellucid.tape.record import Aim, Tape, record_run
from pellucid.target import Target


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recorded run with a target on it, and the gradient that autograd gave on the same run.

    `gradient` has one tensor for each input, `None` for one that holds integers. It is `None`
    itself where autograd was not asked, refused, or did not come to every input.
    """

    tape: Tape
    gradient: list[Tensor | None] | None = None


def run_once(
    program: Program,
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    followed: bool,
    keep: bool = False,
) -> list[Run]:
    """Record one run for several targets; with `followed`, autograd follows it as well.

    A target that writes to the output has it for itself: it is the last one of this run.
    """
    points = inputs
    if followed:
        points = inputs.replace([differentiable(leaf) for leaf in inputs.leaves])
    with program.repeatable():
        live = record_run(program.model, points, followed=followed, keep=keep)
        program.budget.learn(live.made, inputs.rows)
        live = replace(live, inputs=inputs, memory={} if len(targets) > 1 else None)
        tapes = list(_aimed(live, targets))
    if not followed:
        return [Run(tape=tape) for tape in tapes]
    found = [_gradient(tape, points, last=tape is tapes[-1]) for tape in tapes]
    settled = _settled(tapes)
    return [Run(tape=t, gradient=g) for t, g in zip(settled, found, strict=True)]


def differentiable(leaf: Tensor) -> Tensor:
    """A copy that autograd follows; a copy also of tensors made in inference mode."""
    return leaf.detach().clone().requires_grad_(leaf.is_floating_point())


def cuts_path(tape: Tape) -> bool:
    """Whether a number of the run was read, or what was detached in it went into a call."""
    return any(
        (operation.function is READ and operation.slots[0].carries)
        or any(map(_is_detached, operation.arguments))
        for operation in tape.operations
    )


def cuts(tape: Tape) -> Iterator[tuple[str, str]]:
    """What cuts a path from the input, and the layer where it does."""
    for operation in tape.operations:
        if operation.name in CUTS and operation.slots[0].carries:
            yield CUTS[operation.name], operation.path


def _is_detached(argument: object) -> bool:
    made = argument.producer if isinstance(argument, Value) else None
    return made is not None and made.function is DETACH and made.slots[0].carries


def _aimed(tape: Tape, targets: Sequence[Target]) -> Iterator[Tape]:
    """The tape with each target on it, up to one that wrote to the output."""
    for target in targets:
        before = tape.versions()
        yield tape.aim(target)
        if tape.versions() != before:
            return


def _gradient(tape: Tape, points: Inputs, *, last: bool) -> list[Tensor | None] | None:
    """What autograd says of a run that it has followed."""
    score = tape.outcome.score
    free = [leaf for leaf in points.leaves if leaf.requires_grad]
    if not free or not score.requires_grad:
        return None
    try:
        with torch.enable_grad():  # the sum too is followed, whatever the caller has switched off
            total = score.sum()
        found = torch.autograd.grad(total, free, allow_unused=True, retain_graph=not last)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return None  # it says why when it is asked again, for this alone
    if any(signal is None for signal in found):
        return None
    by_leaf = dict(zip(map(id, free), found, strict=True))
    return [by_leaf.get(id(leaf)) for leaf in points.leaves]


def _settled(tapes: list[Tape]) -> list[Tape]:
    """The tapes of one run without the graph: every value of it is plain data."""
    first = tapes[0]
    values = dict.fromkeys(_values(tapes))
    for value in values:
        if value.kept and value.tensor.grad_fn is not None:
            value.keep(value.tensor.detach())
    recorder, known = first.recorder, dict(first.recorder.known)
    recorder.known.clear()
    recorder.known.update((id(value.tensor), value) for value in values if value.kept)
    for storage in recorder.storages.values():
        storage.objects = [value.tensor for value in storage.values if value.kept]

    def plain(leaf: Tensor) -> Tensor:
        value, found = known.get(id(leaf)), leaf.detach()
        if value is not None:
            recorder.known[id(found)] = value
        return found

    output = transform(plain, first.output)
    return [replace(t, output=output, followed=False, aimed=_plain_aim(t)) for t in tapes]


def _values(tapes: list[Tape]) -> Iterator[Value]:
    """All values of one run, and of the targets on it."""
    recorder = tapes[0].recorder
    yield from tapes[0].entries
    for operation in (*recorder.operations, *(op for tape in tapes for op in tape.extra)):
        yield from operation.slots
        yield from (value for value in operation.outputs if value is not None)
    for storage in recorder.storages.values():
        yield from storage.values
    yield from (value for found in recorder.layers.values() for value in found)
    yield from (tape.score_value for tape in tapes)


def _plain_aim(tape: Tape) -> Aim:
    outcome = tape.outcome
    return Aim(
        tape.score_value, replace(outcome, score=outcome.score.detach()), tape.softmax_removed
    )
