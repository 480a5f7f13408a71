"""The one way to ask: explanations are judged by metrics, batch by batch."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.answer import batches
from pellucid.baseline import Baseline
from pellucid.batching import BatchSize
from pellucid.border import asked
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.evaluate.localization.masks import Masks
from pellucid.evaluate.measurement import Measurement
from pellucid.evaluate.metric import Found, Metric, named_metric
from pellucid.evaluate.trial import Trial
from pellucid.explanation import Evaluations, Explanation
from pellucid.inside import inside
from pellucid.method import Method
from pellucid.program import Program, untouched
from pellucid.structure import leaves


def measure(
    model: Callable[..., Any],
    explanations: Explanation | Sequence[Explanation],
    metrics: "str | Metric | Sequence[str | Metric]",
    *,
    masks: Any = None,
    labels: Any = None,
    batch_size: BatchSize = "auto",
) -> list[Measurement]:
    """Judge explanations of the same scores, by one or many metrics.

    `model` is what was explained; `explanations` are those of several methods, for the same inputs
    and target (as `compare` gives them). `masks` are true at what is important, of shape (sample,
    height, width) for images or that of the inputs, or boxes around objects, (sample, 4) or
    (sample, object, 4) as x0, y0, x1, y1; `labels` the true classes (sample,): for metrics that
    need them. What the methods share (first and last step of every curve, say) is
    computed once. The answers are ordered by method, then by metric.

    >>> import pellucid as pl
    >>> model, x = torch.nn.Linear(3, 2), torch.ones(4, 3)
    >>> found = pl.explain(model, x, "gradient_x_input", target=0)
    >>> [measurement] = measure(model, found, "effective_features")
    >>> len(measurement)
    4
    """
    rivals = _rivals(explanations)
    chosen = _chosen(metrics)
    options = cast("list[Method]", chosen)  # what the border reads of both: fields with data
    on = asked(model, _given(rivals[0]), options, [rivals[0].target], rivals[0].batch_axis)
    judges = cast("list[Metric]", on.methods)
    found_masks = None if masks is None else Masks.of(masks, rivals[0])
    truth = found_masks, _labels(labels, len(rivals[0]))
    _check_needs(judges, *truth)
    for metric in judges:
        metric.check(on.inputs)
    target = rivals[0].target
    program = Program(inside(on.model, target.layer))
    judged = [each.batch_first() for each in rivals]

    def ask(case: Case, _: Any) -> list[tuple[Found, ...]]:
        trial = _trial(case, model, judged, *truth)
        return [_judged(metric, trial) for metric in judges]

    with untouched(on.model) as program.states, torch.no_grad():
        columns = batches(ask, program, on.inputs, [target], batch_size)
    found = [
        metric.compute(tuple(column), rivals)
        for metric, column in zip(judges, columns, strict=True)
    ]
    return [each[number] for number in range(len(rivals)) for each in found]


def _rivals(given: Any) -> list[Explanation]:
    """The explanations in a list, of the same inputs and scores, with values at the inputs."""
    found = [given] if isinstance(given, Explanation) else given
    if not isinstance(found, Iterable):
        raise InputError("`explanations` must be an Explanation, or a list of them", got=given)
    rivals = list(found)
    if not rivals or not all(isinstance(each, Explanation) for each in rivals):
        raise InputError("`explanations` must be an Explanation, or a list of them", got=given)
    first = rivals[0]
    for each in rivals:
        _check_rival(each)
        if each.target != first.target or not same_inputs(each, first):
            raise InputError(
                "Explanations that are judged together must be of the same inputs and target",
                found=f"{first.method.name} of {first.target!r} and {each.method.name} of "
                f"{each.target!r}",
                hint="compare(model, inputs, methods, target=...) makes such.",
            )
    return rivals


def _check_rival(each: Explanation) -> None:
    """Raise unless its values are those of the inputs, and numbers."""
    if each.at is not None:
        raise InputError(
            "Values must be those of the inputs to be judged",
            found=f"{each.method.name} at `{each.at}`",
            hint="Explain without `at`.",
        )
    if each.grouping is not None:
        raise InputError(
            "Values must be those of the inputs to be judged",
            found=f"those of a {each.grouping.unit}",
            hint="Judge the explanation before group(), with features=Features.words(tokens).",
        )
    rows = len(each)
    for path, leaf in leaves(each.batch_first().values):
        if len(leaf) != rows:
            raise InputError(
                f"Values must be those of {rows} samples, as the scores are",
                found=f"{len(leaf)} samples, by {each.method.name}",
            )
        if not bool(leaf.isfinite().all()):
            where = f" for {path[-1]}" if path else ""
            bad = int((~leaf.isfinite()).sum())
            raise InputError(
                "Values must be finite to be judged",
                found=f"{bad} that are not, by {each.method.name}{where}",
            )


def same_inputs(a: Explanation, b: Explanation) -> bool:
    """Whether two explanations are of equal inputs, wherever these are; gaps equal each other."""
    if a.inputs is b.inputs:
        return True
    pairs = [[leaf for _, leaf in leaves(each.inputs)] for each in (a, b)]
    return len(pairs[0]) == len(pairs[1]) and all(
        x.shape == y.shape and _equal(x, y.to(x.device)) for x, y in zip(*pairs, strict=True)
    )


def _equal(x: Tensor, y: Tensor) -> bool:
    return bool(((x == y) | (x != x) & (y != y)).all())


def _given(explanation: Explanation) -> Any:
    """The inputs as the user gave them."""
    schema = explanation.schema
    return explanation.inputs if schema is None else schema.decode(explanation.inputs)


def _chosen(metrics: Any) -> list[Metric]:
    one = isinstance(metrics, str | Metric | type)
    found: list[Any] = [metrics] if one else list(metrics) if isinstance(metrics, Iterable) else []
    if not found:
        raise InputError("`metrics` must hold at least one metric", got=metrics)
    return [named_metric(each) for each in found]


def _check_needs(metrics: Sequence[Any], masks: Masks | None, labels: Tensor | None) -> None:
    given = {"masks": masks, "labels": labels}
    for metric in metrics:
        for need in sorted(metric.needs):
            if given[need] is None:
                raise InputError(f"{metric.name} must have `{need}`", found="none")


def _labels(given: Any, rows: int) -> Tensor | None:
    if given is None:
        return None
    must = f"`labels` must be {rows} whole numbers, one a sample"
    try:
        made = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    except (TypeError, ValueError) as error:
        raise InputError(must, got=given, hint="The class of a name is its place.") from error
    if made.shape != (rows,) or made.is_floating_point() or made.is_complex():
        raise InputError(must, got=given)
    return made.cpu().long()


def _trial(
    case: Case,
    model: Callable[..., Any],
    rivals: Sequence[Explanation],
    masks: Masks | None,
    labels: Tensor | None,
) -> Trial:
    rows = slice(int(case.rows[0]), int(case.rows[-1]) + 1)
    own = case.inputs
    packed = own.pack(own.leaves) if own.schema is None else own.schema.decode(own.leaves[0])
    return Trial(
        case=case,
        plain=case,
        model=model,
        inputs=packed,
        rivals=tuple(each[rows] for each in rivals),
        masks=None if masks is None else masks.masks[rows],
        boxes=None if masks is None or masks.boxes is None else masks.boxes[rows],
        labels=None if labels is None else labels[rows],
    )


def _judged(metric: Metric, trial: Trial) -> tuple[Found, ...]:
    """What a metric finds on one batch, with what it cost: shared evenly by the rivals."""
    counter = trial.case.counter
    before, started = counter.spent(), time.perf_counter()
    found = metric.judge(_suited(metric, trial))
    seconds = (time.perf_counter() - started) / len(found)
    spent = [b - a for a, b in zip(before, counter.spent(), strict=True)]
    return tuple(
        replace(each, seconds=seconds, evaluations=_part(spent, number, len(found)))
        for number, each in enumerate(found)
    )


def _part(spent: Sequence[int], number: int, parts: int) -> Evaluations:
    """One of so many equal parts of what was spent; the first have what cannot be shared."""
    return Evaluations(*((each + parts - 1 - number) // parts for each in spent))


def _suited(metric: Metric, trial: Trial) -> Trial:
    """The trial of embeddings, unless a metric says which ids stand for absence."""
    if trial.case.inputs.schema is not None:
        return trial
    if Baseline.of(getattr(metric, "baseline", None)).is_integer:
        return trial
    if "embedded" not in trial.store:
        trial.store["embedded"] = trial.case.of_embeddings()
    return replace(trial, case=trial.store["embedded"])
