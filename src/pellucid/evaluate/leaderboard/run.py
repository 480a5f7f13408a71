"""Which explanation can be trusted here? Methods judged side by side on the data of a user."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pellucid.batching import BatchSize, check_batch_size
from pellucid.errors import InputError, ModelError
from pellucid.evaluate.ground_truth.truth import Truth
from pellucid.evaluate.leaderboard.board import Leaderboard, Standing, told_apart
from pellucid.evaluate.leaderboard.contest import Contest
from pellucid.evaluate.leaderboard.learned import learned
from pellucid.evaluate.leaderboard.pieces import Cell, Piece, joined, keep, kept, merged, total
from pellucid.evaluate.leaderboard.pieces import Share as Part
from pellucid.evaluate.measure import _check_needs, _chosen
from pellucid.evaluate.measurement import Measurement
from pellucid.evaluate.metric import Metric
from pellucid.evaluate.random_ranking import RandomRanking
from pellucid.method import BatchAxis, Method, all_named
from pellucid.options import whole
from pellucid.remarks import Share, sentences
from pellucid.run.described import described
from pellucid.run.folder import RunFolder, run_folder
from pellucid.run.samples import Samples, aim_of, mark_of, part_of
from pellucid.target import TargetLike

# So many samples are explained and judged, and then kept and let go.
CHUNK = 32


def leaderboard(
    model: Callable[..., Any],
    data: Any,
    methods: "Sequence[str | Method]",
    metrics: Any,
    *,
    target: TargetLike = None,
    masks: Any = None,
    labels: Any = None,
    batch_axis: BatchAxis = 0,
    folder: str | Path | None = None,
    chunk: int = CHUNK,
    batch_size: BatchSize = "auto",
    seed: int = 0,
) -> Leaderboard:
    """Judge methods by metrics on data, beside a random ranking: numbers, intervals, ranks, tests.

    `data` is what `explain` takes as inputs: tensors, an array, a data frame or texts with a row
    for each sample, or `Samples` that are read when their turn comes. `methods` and `metrics` are
    names, or made of their classes. `target`, `masks` and `labels` are those of `explain` and
    `measure`, for all samples; a `Truth` of `ground_truth` has its own masks and labels. The random
    ranking, drawn from `seed`, is judged like a method.

    Data are taken `chunk` samples at a time, so that no more of maps and inputs is held; what
    methods share (a recording) and rivals share (the ends of curves) is computed once for each. A
    `folder` keeps what was found: a run that was interrupted, asked again, goes on where it was.
    A method or metric that fails is reported with its reason and asked no more; the others go on.

    >>> import torch
    >>> import pellucid as pl
    >>> model, x = torch.nn.Linear(3, 2), torch.rand(20, 3)
    >>> board = leaderboard(model, x, ["saliency", "gradient_x_input"], ["effective_features"])
    >>> [each.title for each in board.standings]
    ['saliency', 'gradient_x_input', 'random']
    """
    if isinstance(data, Truth):
        masks = data.masks if masks is None else masks
        labels = data.labels if labels is None else labels
        data = data.inputs
    contest = _contest(
        model=model,
        samples=Samples.of(data, batch_axis),
        methods=[*all_named(methods, "methods"), RandomRanking(seed=seed)],
        metrics=_chosen(metrics),
        target=target,
        masks=masks,
        labels=labels,
        batch_size=batch_size,
    )
    size = whole(chunk, "chunk")
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise InputError("`folder` must be a path", got=folder)
    with nullcontext() if folder is None else run_folder(folder, _settings(contest, size)) as place:
        pieces = _pieces(contest, size, place)
    return Leaderboard(
        standings=tuple(_standing(contest, pieces, number) for number in _numbers(contest)),
        metrics=dict(zip(told_apart(contest.metrics), contest.metrics, strict=True)),
        samples=contest.samples.rows,
    )


def _contest(**asked: Any) -> Contest:
    """What is asked, after all that can be wrong with it was looked for."""
    contest = Contest(**asked)
    check_batch_size(contest.batch_size)
    _check_needs(contest.metrics, contest.masks, contest.labels)
    rows = contest.samples.rows
    for what in ("masks", "labels"):
        part_of(getattr(contest, what), 0, 1, rows, what)
    aim_of(contest.target, 0, 1, rows)
    return contest


def _numbers(contest: Contest) -> range:
    return range(len(contest.methods))


def _settings(contest: Contest, chunk: int) -> dict[str, Any]:
    """What must be the same for a run to go on, as JSON."""
    model, samples = contest.model, contest.samples
    return {
        "methods": [_name(each) for each in contest.methods],
        "metrics": [_name(each) for each in contest.metrics],
        "options of methods": [described(each) for each in contest.methods],
        "options of metrics": [described(each) for each in contest.metrics],
        "model": described(model),
        "learned": learned(model),
        "data": f"{samples.rows} samples, {samples.mark}",
        "target": described(contest.target),
        "masks": None if contest.masks is None else mark_of(contest.masks),
        "labels": None if contest.labels is None else mark_of(contest.labels),
        "chunk": chunk,
    }


def _name(thing: Method | Metric) -> str:
    return thing.name or type(thing).__name__


def _pieces(contest: Contest, chunk: int, folder: RunFolder | None) -> list[Piece]:
    """What is found on all data, some of which a folder may have."""
    pieces: list[Piece] = []
    dead: set[tuple[int, int]] = set()
    for start in _progress(range(0, contest.samples.rows, chunk)):
        stop = min(start + chunk, contest.samples.rows)
        piece = kept(folder, start) if folder else None
        if piece is None:
            piece = contest.piece(start, stop, dead)
            _check_some(piece)
            if folder:
                keep(folder, piece)
        dead |= piece.dead
        pieces.append(piece)
    return pieces


def _check_some(piece: Piece) -> None:
    """Raise if nothing at all could be judged in the first samples: then the request is wrong."""
    reasons = [cell.failure for cell in piece.cells.values()]
    if piece.start == 0 and all(reasons):
        raise ModelError(
            "At least one metric must be able to judge one method", found=reasons[-1].rstrip(".")
        )


def _progress(starts: range) -> Any:
    """Show progress with the time that is left, on a terminal."""
    from tqdm import tqdm

    hidden = True if len(starts) == 1 else None
    return tqdm(starts, desc="judged", unit="part", leave=False, disable=hidden)


def _standing(contest: Contest, pieces: list[Piece], number: int) -> Standing:
    """What was found for one method on all data."""
    shares = [piece.shares[number] for piece in pieces if number in piece.shares]
    titles = told_apart(contest.metrics)
    cells = {
        title: joined([piece.cells[number, k] for piece in pieces if (number, k) in piece.cells])
        for k, title in enumerate(titles)
    }
    failed = next((each.failure for each in shares if each.failure), "")
    return Standing(
        title=told_apart(contest.methods)[number],
        method=contest.methods[number],
        measurements={
            title: _measurement(contest, number, k, cells[title])
            for k, title in enumerate(titles)
            if not cells[title].failure
        },
        failures={title: cell.failure for title, cell in cells.items() if cell.failure},
        failure=failed,
        evaluations=total([each.evaluations for each in shares]),
        seconds=sum(each.seconds for each in shares),
        notes=_notes(
            [(piece.rows, piece.shares[number]) for piece in pieces if number in piece.shares]
        ),
    )


def _measurement(contest: Contest, method: int, metric: int, cell: Cell) -> Measurement:
    return Measurement(
        metric=contest.metrics[metric],
        method=contest.methods[method],
        values=cell.values,
        curves=cell.curves,
        evaluations=cell.evaluations,
        seconds=cell.seconds,
        notes=cell.notes,
    )


def _notes(shares: list[tuple[int, Part]]) -> tuple[str, ...]:
    """What the explanations said, and how many of them say nothing."""
    constant = Share(
        text="{} have a map that is the same everywhere, which ranks nothing.",
        some=sum(each.constant for _, each in shares),
        of=sum(rows for rows, _ in shares),
    )
    return (*merged([(rows, each.notes) for rows, each in shares]), *sentences([constant]))
