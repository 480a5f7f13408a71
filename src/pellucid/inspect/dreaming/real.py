"""Real data beside which dreams are made and judged: one tensor of samples, and their classes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.passes import source_of, stream
from pellucid.run.samples import Samples


def real_pairs(data: Any, labels: Any = None, *, least: int = 2) -> tuple[Tensor, Tensor | None]:
    """Samples of any form as one tensor, and the numbers of their classes, if these are known."""
    data, labels = _together(data, labels)
    found = real_data(data, least=least)
    return found, None if labels is None else real_labels(labels, len(found))


def _together(data: Any, labels: Any = None) -> tuple[Any, Any]:
    """Batches, as of a loader, as one tensor, with their labels if no others are given.

    All else is as it was.
    """
    if isinstance(data, Tensor | np.ndarray):
        return data, labels
    if isinstance(source_of(data), Samples) and not isinstance(data, tuple):
        return data, labels
    parts = list(stream(data, lambda start, inputs, own: (inputs.leaves, own)))
    if any(len(leaves) != 1 for leaves, _ in parts):
        return data, labels
    if labels is None and all(own is not None for _, own in parts):
        labels = np.concatenate([np.asarray(own) for _, own in parts])
    return torch.cat([leaf for (leaf,), _ in parts]), labels


def real_data(data: Any, *, least: int = 2) -> Tensor:
    """Samples of any form as one tensor (sample, ...) of floating-point numbers, all finite."""
    data, _ = _together(data)
    if isinstance(data, Tensor | np.ndarray) and data.ndim < 2:
        raise InputError("`data` must have a row for each sample", got=data)
    samples = Samples.of(data)
    found = samples.read(0, samples.rows)
    found = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
    if not isinstance(found, Tensor) or found.ndim < 2:
        raise InputError(
            "`data` must be one tensor or array of shape (sample, ...)",
            got=data,
            hint="Tables of words and several inputs have no density here: encode them first.",
        )
    found = found.detach()
    found = found if found.is_floating_point() else found.to(torch.get_default_dtype())
    if len(found) < least:
        raise InputError(f"`data` must have at least {least} samples", got=data)
    if not bool(found.isfinite().all()):
        broken = int((~found.flatten(1).isfinite()).any(1).sum())
        raise InputError(
            "`data` must be finite",
            found=f"{broken} samples with values that are NaN or infinite",
            hint="Leave these samples out.",
        )
    return found


def real_labels(labels: Any, rows: int | None = None) -> Tensor:
    """The number of the class of each sample, of so many if that is known."""
    try:
        found = torch.as_tensor(labels).detach().cpu()
        fits = found.ndim == 1 and not (found.is_floating_point() or found.is_complex())
    except (TypeError, ValueError, RuntimeError):  # words, or rows of several lengths
        fits = False
    if not fits or rows not in (None, len(found)):
        each = "each sample" if rows is None else f"each of the {rows} samples"
        raise InputError(
            f"`labels` must be the number of a class for {each}",
            got=labels,
            hint="Words become numbers by numpy.unique(words, return_inverse=True).",
        )
    return found.long()


def check_class(labels: Tensor, wanted: int) -> None:
    """Raise unless there are samples of a class."""
    known = labels.unique().tolist()
    if wanted not in known:
        raise UnknownNameError(
            "A class of which `labels` has samples", str(wanted), map(str, known)
        )
