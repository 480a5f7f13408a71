"""What the model says of a data set: one row of answers a sample, asked for in full batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import Batcher, BatchSize, auto_rows
from pellucid.errors import InputError, ModelError
from pellucid.explanation import Evaluations
from pellucid.inspect.surrogate.columns import Floats
from pellucid.program import Program, untouched
from pellucid.structure import Inputs
from pellucid.target import Target, TargetLike

ANSWERS = ("scores", "probabilities", "classes")
# Samples of a batch at least, however large they are.
FEWEST = 32


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the model said, of shape (sample, output), and what it cost to ask.

    `classes` says that the outputs are classes, of which the largest is the prediction.
    """

    values: Floats
    classes: bool
    evaluations: Evaluations


def ask(
    model: Callable[..., Any],
    inputs: Inputs,
    target: TargetLike,
    answers: str,
    batch_size: BatchSize,
) -> Answers:
    """Run the model on every sample once."""
    program, aim = Program(model), Target.of(target).check_rows(inputs.rows)
    start = auto_rows(inputs.leaves[0], FEWEST)
    batcher = Batcher(batch_size, start=start, budget=program.budget)

    def work(start: int, stop: int) -> Tensor:
        part = inputs.select(slice(start, stop))
        raw, scores = program.run(part)
        rows = torch.arange(start, stop)
        return _read(aim.select(rows), raw, scores, part.rows)

    with untouched(model) as program.states, torch.no_grad():
        parts = list(batcher.run(inputs.rows, work, "model"))
    table = torch.cat(parts)
    if not table.isfinite().all():
        raise ModelError(
            "The model must return finite answers to be imitated",
            found=f"{int((~table.isfinite()).sum())} that are NaN or infinite",
            hint="Leave out the rows that it cannot answer.",
        )
    classes = table.shape[1] > 1
    return Answers(
        values=_as(table, answers).numpy(),
        classes=classes,
        evaluations=Evaluations(inputs.rows, 0, len(parts)),
    )


def _read(aim: Target, raw: Any, scores: Any, rows: int) -> Tensor:
    """The scores of all classes, or the one that a target names, of shape (sample, output)."""
    found = aim.before_softmax(raw, scores)
    resolved = aim.resolve(found, rows)
    table = resolved.table(found) if aim.kind == "predicted" else None
    if table is None:
        table = resolved.score(found, raw).unsqueeze(1)
    return table.detach().cpu().double()


def _as(table: Tensor, answers: str) -> Tensor:
    """Scores as they are, or as probabilities, or one for the predicted class and else zero."""
    if answers == "scores":
        return table
    if table.shape[1] == 1:
        raise InputError(
            f"`answers` must be 'scores' where the model gives one score; it is {answers!r}",
            found="an answer of one number a sample",
            hint="Leave out `target`, or wrap the model to return one score for each class.",
        )
    if answers == "classes":
        return torch.nn.functional.one_hot(table.argmax(1), table.shape[1]).double()
    shares = bool((table >= 0).all()) and bool(((table.sum(1) - 1).abs() < 1e-4).all())
    return table if shares else table.softmax(1)
