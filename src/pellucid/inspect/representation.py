"""Samples as rows of features: as they are, or as a layer of a model sees them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.batching import BatchSize
from pellucid.border import models
from pellucid.border.asked import asked
from pellucid.errors import InputError, ModelError, show
from pellucid.inspect.endings import ends_in_sigmoid
from pellucid.inspect.labels import column_names, label_list
from pellucid.inspect.passes import Pass, passes, stream
from pellucid.inspect.pools import Pool, check_pool, of_layer, pooled
from pellucid.inspect.shown import is_shuffled, is_table, unpaired
from pellucid.run.samples import Samples
from pellucid.structure import Inputs, leaves

# What is not a torch model is asked for so many rows at a time.
ROWS = 4096
# A probability is at least so far from 0 and 1 where its log-odds are taken.
LEAST = 1e-12
# Features are smaller than this, so that squares of their distances are numbers.
LARGEST = 1e100


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
    Of a layer that runs several times they are what it returns last. `pool` makes one row of what
    a layer returns for a sample:

    | pool | what it does |
    |---|---|
    | `"auto"` | maps by "mean"; by "tokens" those whose channels come last, tokens of ids and of \
patches, and what dense, recurrent and attention layers of torch return |
    | `"mean"`, `"max"` | over all positions of each channel, (sample, channel, ...) |
    | `"tokens"` | mean over tokens, (sample, token, ..., feature); without those that are padding |
    | `"first"` | the first token |
    | `"flatten"` | every element a feature |
    | a function | (sample, ...) to (sample, feature) |

    Padding is what an argument of the model, `attention_mask` or one that ends in `padding_mask`,
    says; other masks need a `pool` of yours.

    `data` are tensors, `Samples`, or batches of them, which may bring labels; for an estimator, or
    without a model, also an array or a data frame, and for an estimator texts. What is less precise
    than 32 bits is returned in 32.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    >>> represent(net, torch.rand(6, 1, 5, 5), "1").shape
    torch.Size([6, 4])
    """
    return represented(model, data, layer, pool, batch_size=batch_size).features


def represented(
    model: Any,
    data: Any,
    layer: str | None,
    pool: Pool,
    *,
    batch_size: BatchSize = "auto",
    of_inputs: bool = False,
) -> Represented:
    """The features of samples and, in the same pass, the scores of the model.

    With `of_inputs` the features are the elements of the inputs, beside the scores.
    """
    check_pool(pool)
    data, labels = unpaired(data)
    if model is None:
        found = _of_inputs(data, layer, batch_size)
    elif models.is_estimator(model) or (not isinstance(model, nn.Module) and is_table(data)):
        found = _of_table(model, data, layer)
        if of_inputs:
            found = replace(found, features=_of_inputs(data, None, batch_size).features)
    else:
        made = _elements if of_inputs else partial(_of_pass, model, layer, pool)
        found = _of_model(model, data, layer, made, batch_size)
    return found if labels is None else replace(found, labels=np.asarray(labels).tolist())


def _of_model(
    model: Any,
    data: Any,
    layer: str | None,
    made: Callable[[Pass], Tensor],
    batch_size: BatchSize,
) -> Represented:
    """What is made of each pass of a torch model, and its scores."""
    features, scores, labels = [], [], []
    first: Inputs | None = None
    what = "model" if layer is None else f"layer {layer}"
    wanted = () if layer is None else (layer,)
    for part in passes(model, data, wanted, batch_size=batch_size, what=what):
        first = first or part.taken.select(slice(0, 2))
        features.append(_rows(made(part)))
        scores.append(scores_of(part.scores))
        labels.append(_listed(part.labels))
    known = _joined(scores)
    if known is not None and first and _are_shares(known) and ends_in_sigmoid(model, first):
        known = torch.logit(known.double(), eps=LEAST)
    return Represented(features=torch.cat(features), scores=known, labels=_together(labels))


def _of_pass(model: Any, layer: str | None, pool: Pool, part: Pass) -> Tensor:
    """What a layer returned in one pass, or the model, as rows of features."""
    if layer is None:
        return pooled(_main(part.scores), pool, part.taken)
    return of_layer(model, layer, pool, part.returned[layer], part.taken)


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
    """What a model answers, or else the first floating-point tensor with samples in its output."""
    listed = [_answer(output), *(leaf for _, leaf in leaves(output))]
    for each in listed:
        if isinstance(each, Tensor) and each.is_floating_point() and each.ndim:
            return each
    raise ModelError(
        "The model must return a floating-point tensor with a row for each sample to have features",
        got=output,
        hint="Name a layer, or wrap the model.",
    )


def _answer(output: Any) -> Any:
    """What a model answers: all that it returns, or its `logits`."""
    if isinstance(output, Mapping):
        return output.get("logits")
    return output if isinstance(output, Tensor) else getattr(output, "logits", None)


def scores_of(output: Any) -> Tensor | None:
    """Scores (sample, class), if that is what a model answers."""
    found = _answer(output)
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
        features.append(_rows(_side_by_side(inputs)))
        labels.append(_listed(known))
    return Represented(features=torch.cat(features), labels=_together(labels))


def _elements(part: Pass) -> Tensor:
    return _side_by_side(part.taken)


def _side_by_side(inputs: Inputs) -> Tensor:
    """All elements of each sample in a row, (sample, feature), of floating point."""
    columns = [each.reshape(inputs.rows, -1) for each in inputs.leaves]
    kinds = [each.dtype for each in columns if each.is_floating_point()]
    dtype = kinds[0] if kinds else torch.float32
    return torch.cat([each.to(dtype) for each in columns], 1)


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
        scores = scores_of(found) if classes else None  # what regression predicts is no score
        return Represented(features=_rows(found), scores=scores, classes=classes or None)
    scores = scores_of(found)
    if scores is not None and scores.shape[1] == 1 and _are_shares(scores):
        scores = torch.logit(scores.double(), eps=LEAST)
    return Represented(features=_rows(found), scores=scores)
