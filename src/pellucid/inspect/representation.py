"""Samples as rows of features: as they are, or as a layer of a model sees them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.batching import BatchSize
from pellucid.border import models
from pellucid.border.asked import asked
from pellucid.errors import InputError, ModelError, UnknownNameError, show
from pellucid.inspect.endings import ends_in_sigmoid
from pellucid.inspect.labels import column_names, label_list
from pellucid.inspect.passes import passes, stream
from pellucid.inspect.shown import is_shuffled, is_table, unpaired
from pellucid.run.samples import Samples
from pellucid.structure import Inputs, leaves

Pool: TypeAlias = "str | Callable[[Tensor], Tensor]"

# What is not a torch model is asked for so many rows at a time.
ROWS = 4096
# A probability is at least so far from 0 and 1 where its log-odds are taken.
LEAST = 1e-12
# Features are smaller than this, so that squares of their distances are numbers.
LARGEST = 1e100
# How what a layer returned, (sample, ...), becomes (sample, feature).
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda v: v.flatten(2).mean(2) if v.ndim > 2 else v,
    "max": lambda v: v.flatten(2).amax(2) if v.ndim > 2 else v,
    "tokens": lambda v: v.mean(1) if v.ndim > 2 else v,
    "first": lambda v: v[:, 0] if v.ndim > 2 else v,
    "flatten": lambda v: v.flatten(1) if v.ndim > 1 else v.unsqueeze(1),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Represented:
    """Features (sample, feature), and what came with them, if there is such.

    The scores of the model, (sample, class), before a softmax or a sigmoid at its end, what an
    estimator calls the `classes`, and the labels of the data, one for each sample.
    """

    features: Tensor
    scores: Tensor | None = None
    labels: list[Any] | None = None
    classes: list[Any] | None = None

    @property
    def predicted(self) -> Tensor | None:
        """The class with the largest score, of shape (sample,)."""
        if self.scores is None:
            return None
        if self.scores.shape[1] == 1:
            return (self.scores[:, 0] > 0).long()
        return self.scores.argmax(1)


def known_labels(labels: Any, seen: Represented, data: Any) -> list[Any] | None:
    """The labels of the data, as they are given or as the data bring them, if they are known."""
    if labels is None:
        return None if seen.labels is None else label_list(seen.labels, len(seen.features))
    if is_shuffled(data):
        raise InputError(
            "`labels` must be in the order in which the data come",
            found="a loader that shuffles",
            hint="Let the loader bring the labels with the inputs, or shuffle nothing.",
        )
    return label_list(labels, len(seen.features))


def predicted_labels(seen: Represented, labels: list[Any] | None) -> tuple[Any, ...] | None:
    """What the model says of each sample, in the words of labels; `None` where that is not known.

    Which column is which label, is told by `column_names`.
    """
    if seen.predicted is None or seen.scores is None or labels is None:
        return None
    names = column_names(labels, seen.scores.shape[1], seen.classes)
    return None if names is None else tuple(names[i] for i in seen.predicted.tolist())


def represent(
    model: Any,
    data: Any,
    layer: str | None = None,
    pool: Pool = "auto",
    *,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Features of all samples at a layer, of shape (sample, feature).

    Without a model they are the elements of the inputs; without a layer, what the model returns.
    `pool` makes one row of what a layer returns for a sample:

    | pool | what it does |
    |---|---|
    | `"auto"` | maps (sample, channel, height, width) by "mean", tokens by "tokens" |
    | `"mean"`, `"max"` | over all positions of each channel, (sample, channel, ...) |
    | `"tokens"` | mean over tokens, (sample, token, feature); without those that are padding |
    | `"first"` | the first token |
    | `"flatten"` | every element a feature |
    | a function | (sample, ...) to (sample, feature) |

    `data` are tensors, `Samples`, or batches of them, which may bring labels; for an estimator, or
    without a model, also an array or a data frame, and for an estimator texts. What is less precise
    than 32 bits is returned in 32.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    >>> represent(net, torch.rand(6, 1, 5, 5), "1").shape
    torch.Size([6, 4])
    """
    return represented(model, data, layer, pool, batch_size=batch_size).features


def represented(
    model: Any, data: Any, layer: str | None, pool: Pool, *, batch_size: BatchSize = "auto"
) -> Represented:
    """The features of samples and, in the same pass, the scores of the model."""
    check_pool(pool)
    data, labels = unpaired(data)
    if model is None:
        found = _of_inputs(data, layer, batch_size)
    elif models.is_estimator(model) or (not isinstance(model, nn.Module) and is_table(data)):
        found = _of_table(model, data, layer)
    else:
        found = _of_model(model, data, layer, pool, batch_size)
    return found if labels is None else replace(found, labels=np.asarray(labels).tolist())


def _of_model(
    model: Any, data: Any, layer: str | None, pool: Pool, batch_size: BatchSize
) -> Represented:
    """What a layer of a torch model returns, or the model."""
    features, scores, labels = [], [], []
    first: Inputs | None = None
    what = "model" if layer is None else f"layer {layer}"
    wanted = () if layer is None else (layer,)
    for part in passes(model, data, wanted, batch_size=batch_size, what=what):
        first = first or part.taken.select(slice(0, 2))
        found = _main(part.scores) if layer is None else part.returned[layer]
        features.append(_rows(pooled(found, pool, part.taken)))
        scores.append(_scores(part.scores))
        labels.append(_listed(part.labels))
    known = _joined(scores)
    if known is not None and first and _are_shares(known) and ends_in_sigmoid(model, first):
        known = torch.logit(known.double(), eps=LEAST)
    return Represented(features=torch.cat(features), scores=known, labels=_together(labels))


def check_pool(pool: Pool) -> None:
    """Raise unless a way to pool is known."""
    if not callable(pool) and pool not in ("auto", *POOLS):
        raise UnknownNameError("`pool`", pool, ["auto", *POOLS], hint="Or pass a function.")


def pooled(found: Tensor, pool: Pool, inputs: Inputs) -> Tensor:
    """What a layer returned for some samples as rows of features."""
    if callable(pool):
        made = pool(found)
        if not isinstance(made, Tensor) or made.shape[:1] != found.shape[:1] or made.ndim != 2:
            raise InputError(
                "`pool` must make (sample, feature) of what the layer returns",
                found=f"{show(made)} of {show(found)}",
            )
        return made
    if len(found) != inputs.rows:
        raise InputError(
            "A layer must return one row for each sample to have features of samples",
            found=f"{show(found)} for {inputs.rows} samples",
        )
    how = _auto(found, inputs) if pool == "auto" else pool
    mask = _mask(found, inputs) if how == "tokens" else None
    if mask is not None:
        weight = mask.to(found).unsqueeze(2)
        return (found * weight).sum(1) / weight.sum(1).clamp(min=1)
    return POOLS[how](found)


def _auto(found: Tensor, inputs: Inputs) -> str:
    """The way to pool that what went in shows to be right."""
    if found.ndim != 3:
        return "flatten" if found.ndim < 3 else "mean"
    if any(not leaf.is_floating_point() or leaf.ndim == 4 for leaf in inputs.leaves):
        return "tokens"  # of ids, or of patches of an image
    raise InputError(
        "`pool` must say what the three axes of a layer are",
        got=found,
        hint='pool="mean" for a signal (sample, channel, position); pool="tokens" for a sequence '
        '(sample, step, feature); pool="flatten" for all elements.',
    )


def _mask(found: Tensor, inputs: Inputs) -> Tensor | None:
    """Which tokens are no padding, where the inputs say so."""
    for path, leaf in zip(inputs.paths, inputs.leaves, strict=True):
        if path and "attention_mask" in str(path[-1]) and leaf.shape == found.shape[:2]:
            return leaf
    return None


def _rows(found: Tensor) -> Tensor:
    """Finite features of one row a sample, detached, in 32 bits at least."""
    made = found.detach().flatten(1) if found.ndim > 1 else found.detach().unsqueeze(1)
    made = made.to(torch.promote_types(made.dtype, torch.float32))
    fine = made.abs().double() < LARGEST  # which NaN is not
    if not bool(fine.all()):
        bad = int((~fine).any(1).sum())
        raise InputError(
            f"Features of samples must be finite, and smaller than {LARGEST:g}",
            found=f"NaN, infinity or larger numbers in {bad} of {len(made)} samples",
            hint="Fill missing values in, or leave these samples out.",
        )
    return made


def _main(output: Any) -> Tensor:
    """The first floating-point tensor of an output."""
    found = next((leaf for _, leaf in leaves(output) if leaf.is_floating_point()), None)
    if found is None:
        raise ModelError("The model must return a tensor to have features", got=output)
    return found


def _scores(output: Any) -> Tensor | None:
    """Scores (sample, class), if that is what a model returns: all of it, or its `logits`."""
    inner = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    found = output if isinstance(output, Tensor) else inner
    if not isinstance(found, Tensor) or found.ndim not in (1, 2) or not found.is_floating_point():
        return None
    return found.detach().reshape(len(found), -1)


def _are_shares(scores: Tensor) -> bool:
    """Whether all scores lie between 0 and 1, as those of a sigmoid do."""
    return bool(((scores >= 0) & (scores <= 1)).all())


def _joined(scores: list[Tensor | None]) -> Tensor | None:
    known = [each for each in scores if each is not None]
    return torch.cat(known) if known and len(known) == len(scores) else None


def _listed(labels: Any) -> list[Any] | None:
    return labels.tolist() if isinstance(labels, Tensor) else labels


def _together(labels: list[list[Any] | None]) -> list[Any] | None:
    known = [each for each in labels if each is not None]
    return [label for each in known for label in each] if len(known) == len(labels) else None


def _of_inputs(data: Any, layer: str | None, batch_size: BatchSize) -> Represented:
    """The inputs themselves, all their elements side by side."""
    if layer is not None:
        raise InputError("A layer must be one of a model", found=f"no model, and {layer!r}")
    features, labels = [], []
    parts = stream(
        _numbers(data), lambda start, inputs, known: (inputs, known), batch_size=batch_size
    )
    for inputs, known in parts:
        columns = [each.reshape(inputs.rows, -1) for each in inputs.leaves]
        kinds = [each.dtype for each in columns if each.is_floating_point()]
        dtype = kinds[0] if kinds else torch.float32
        features.append(_rows(torch.cat([each.to(dtype) for each in columns], 1)))
        labels.append(_listed(known))
    return Represented(features=torch.cat(features), labels=_together(labels))


def _numbers(data: Any) -> Any:
    """Tables as tensors of their numbers; tensors and batches of them as they are."""
    if not is_table(data):
        return data
    samples = Samples.of(data)
    try:
        rows = [np.asarray(part, dtype=np.float64) for part in _parts(samples)]
    except (TypeError, ValueError) as error:
        raise InputError(
            "Data without a model must be numbers to have features",
            found=show(error),
            hint="Pass the model whose answers or layers are the features, or encode the columns.",
        ) from error
    found = np.concatenate(rows)
    single = getattr(data, "dtype", None) == np.float32
    return torch.from_numpy(found.astype(np.float32) if single else found)


def _parts(samples: Samples) -> Iterator[Any]:
    for start in range(0, samples.rows, ROWS):
        yield samples.read(start, min(start + ROWS, samples.rows))


def _of_table(model: Any, data: Any, layer: str | None) -> Represented:
    """What an estimator, or a function on tables or texts, says of each sample."""
    if layer is not None:
        raise InputError(
            "`layer` must be one of a torch model",
            found=f"{layer!r} for {type(model).__name__}",
            hint="Without a layer its answers are the features; or transform the data first.",
        )
    answers = []
    for part in _parts(Samples.of(data)):
        made = asked(model, part, [], [], 0)
        with torch.no_grad():
            answers.append(_main(made.inputs.call(made.model)))
    found = torch.cat(answers)
    if models.is_estimator(model):
        classes = models.labels(model)
        scores = _scores(found) if classes else None  # what regression predicts is no score
        return Represented(features=_rows(found), scores=scores, classes=classes or None)
    scores = _scores(found)
    if scores is not None and scores.shape[1] == 1 and _are_shares(scores):
        scores = torch.logit(scores.double(), eps=LEAST)
    return Represented(features=_rows(found), scores=scores)
