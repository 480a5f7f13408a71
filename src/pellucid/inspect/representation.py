"""Samples as rows of features: as they are, or as a layer of a model sees them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.batching import BatchSize
from pellucid.border.asked import asked
from pellucid.border.models import is_estimator
from pellucid.errors import InputError, ModelError, UnknownNameError, show
from pellucid.inspect.passes import passes, source_of
from pellucid.run.samples import Samples
from pellucid.structure import Inputs, leaves

Pool: TypeAlias = "str | Callable[[Tensor], Tensor]"

# What is not a torch model is asked for so many rows at a time.
ROWS = 4096
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

    The scores of the model, (sample, class), and the labels of the data, one for each sample.
    """

    features: Tensor
    scores: Tensor | None = None
    labels: list[Any] | None = None

    @property
    def predicted(self) -> Tensor | None:
        """The class with the largest score, of shape (sample,)."""
        if self.scores is None:
            return None
        if self.scores.shape[1] == 1:
            return (self.scores[:, 0] > 0).long()
        return self.scores.argmax(1)


def predicted_labels(seen: Represented, labels: list[Any] | None) -> tuple[Any, ...] | None:
    """What the model says of each sample, among these labels; `None` where that cannot be told.

    Whole numbers are columns of the scores; other labels are classes in the order of the alphabet,
    if there is a score for each.
    """
    if seen.predicted is None or seen.scores is None or labels is None:
        return None
    predicted = seen.predicted.tolist()
    if all(isinstance(label, int) for label in labels):
        return tuple(predicted)
    names = sorted(set(labels))
    if len(names) != max(2, seen.scores.shape[1]):
        return None
    return tuple(names[i] for i in predicted)


def label_list(labels: Any, total: int, what: str = "labels") -> list[Any]:
    """Labels as plain values, one for each sample."""
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.shape != (total,):
        raise InputError(f"`{what}` must be one for each of the {total} samples", got=array)
    found: list[Any] = array.tolist()
    return found


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
    if model is None:
        return _of_inputs(data, layer, batch_size)
    if is_estimator(model) or (not isinstance(model, nn.Module) and _is_border(data)):
        return _of_border(model, data, layer)
    features, scores, labels = [], [], []
    what = "model" if layer is None else f"layer {layer}"
    wanted = () if layer is None else (layer,)
    for part in passes(model, data, wanted, batch_size=batch_size, what=what):
        found = _main(part.scores) if layer is None else part.returned[layer]
        features.append(_rows(pooled(found, pool, part.taken)))
        scores.append(_scores(part.scores))
        labels.append(_listed(part.labels))
    return Represented(
        features=torch.cat(features), scores=_joined(scores), labels=_together(labels)
    )


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
    if not bool(made.isfinite().all()):
        bad = int((~made.isfinite()).any(1).sum())
        raise InputError(
            "Features of samples must be finite", found=f"NaN or infinity in {bad} of {len(made)}"
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
    for part in passes(_nothing, _numbers(data), batch_size=batch_size):
        columns = [each.reshape(len(part), -1) for each in part.taken.leaves]
        kinds = [each.dtype for each in columns if each.is_floating_point()]
        dtype = kinds[0] if kinds else torch.float32
        features.append(_rows(torch.cat([each.to(dtype) for each in columns], 1)))
        labels.append(_listed(part.labels))
    return Represented(features=torch.cat(features), labels=_together(labels))


def _nothing(*args: Any, **kwargs: Any) -> Any:
    """A model that returns what it is given."""
    return args or kwargs


def _numbers(data: Any) -> Any:
    """Tables as tensors of their numbers; tensors and batches of them as they are."""
    if not _is_border(data):
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


def _is_border(data: Any) -> bool:
    """Whether data are none that torch knows: a frame, an array or texts."""
    part = data.read(0, 1) if isinstance(data, Samples) else data
    texts = isinstance(part, list | tuple) and bool(part) and isinstance(part[0], str)
    return texts or isinstance(part, np.ndarray) or hasattr(part, "iloc")


def _of_border(model: Any, data: Any, layer: str | None) -> Represented:
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
    return Represented(features=_rows(found), scores=_scores(found))


def taken(data: Any, rows: Tensor) -> Any:
    """Some samples of the data, to be shown; `None` of batches, which are not read twice.

    >>> taken((torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0])), torch.tensor([2]))
    tensor([[4., 5.]])
    """
    source = data if _is_border(data) else source_of(data)
    if not (isinstance(source, Samples) or _is_border(source)) or not len(rows):
        return None
    samples, places = Samples.of(source), rows.tolist()
    parts = [samples.read(place, place + 1) for place in places]
    if hasattr(parts[0], "iloc"):
        import pandas as pd

        return pd.concat(parts)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if isinstance(parts[0], list):
        return [text for part in parts for text in part]
    kept = [part.inputs for each in parts for part in passes(_nothing, each)]
    return torch.cat(kept) if all(isinstance(each, Tensor) for each in kept) else None
