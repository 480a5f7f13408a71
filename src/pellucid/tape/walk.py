"""Walk a tape backwards, with any rule at any operation."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from pellucid.tape.adjoints import Signals, adjoint, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

Step = Callable[[Operation, Signals], Signals]


def walk(
    tape: Tape,
    start: dict[Value, Tensor],
    until: Collection[Value],
    step: Step = adjoint,
    *,
    consume: bool = False,
) -> dict[Value, Tensor]:
    """Carry signals from where they start to the values in `until`, and return them there.

    At each operation `step` turns the signals at its outputs into one for each of its slots;
    signals add up where paths join. With the adjoint as step this is back-propagation. The walk
    visits nothing below the earliest value of `until`. `consume` frees the tape on the way, so
    that it can be walked only once.
    """
    signals = dict(start)
    wanted = set(until)
    found: dict[Value, Tensor] = {}
    last = min((value.number for value in wanted), default=0)
    for operation in tape.consume() if consume else reversed(tape.operations):
        if operation.number <= last:
            break
        arriving = [_take(value, signals, wanted, found) for value in operation.outputs]
        for signal in arriving:
            if signal is not None:
                _pass_on(signals, operation, step(operation, arriving))
                break
    for value in wanted:
        if value in signals:
            found[value] = signals[value]
    return found


def carriers(
    tape: Tape, stops: Callable[[Operation], bool] = lambda operation: kind(operation) == "stop"
) -> list[Operation]:
    """The operations that a signal from the score passes, in the order it does.

    A signal does not pass an operation of which `stops` is true.
    """
    reached = {tape.score_value}
    found = []
    for operation in reversed(tape.operations):
        if any(value in reached for value in operation.outputs) and not stops(operation):
            found.append(operation)
            reached.update(value for value in operation.slots if value.carries)
    return found


def gradient(tape: Tape) -> list[Tensor | None]:
    """The gradient of the score for each input, as autograd gives it; `None` where unused."""
    score = tape.score_value
    start = {score: torch.ones_like(score.tensor)} if score.depends else {}
    with torch.no_grad():
        found = walk(tape, start, tape.entries)
    return [found.get(entry) for entry in tape.entries]


def _pass_on(signals: dict[Value, Tensor], operation: Operation, leaving: Signals) -> None:
    """Add what leaves an operation to what waits at its slots, each in the type of its value."""
    for value, signal in zip(operation.slots, leaving, strict=True):
        if signal is None or not value.carries:
            continue
        if signal.dtype != value.dtype:
            signal = _as(signal, value.dtype)
        held = signals.get(value)
        signals[value] = signal if held is None else held + signal


def _as(signal: Tensor, dtype: torch.dtype) -> Tensor:
    """In another type: of mixed precision, or the real part where a real number became complex."""
    if signal.is_complex() and not dtype.is_complex:
        signal = signal.real
    return signal.to(dtype)


def _take(
    value: Value | None,
    signals: dict[Value, Tensor],
    wanted: set[Value],
    found: dict[Value, Tensor],
) -> Tensor | None:
    """The signal at an output, complete now that all that read it was visited."""
    if value is None:
        return None
    signal = signals.pop(value, None)
    if signal is not None and value in wanted:
        found[value] = signal
    return signal
