"""Real data beside which dreams are made and judged: one tensor of samples, and their classes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.run.samples import Samples


def real_data(data: Any, *, least: int = 2) -> Tensor:
    """Samples of any form as one tensor (sample, ...) of floating-point numbers, all finite."""
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


def real_labels(labels: Any, rows: int) -> Tensor:
    """The number of the class of each of so many samples."""
    found = torch.as_tensor(labels).detach().cpu()
    whole = not (found.is_floating_point() or found.is_complex())
    if not whole or tuple(found.shape) != (rows,):
        raise InputError(
            f"`labels` must be the number of a class for each of the {rows} samples", got=labels
        )
    return found.long()


def check_class(labels: Tensor, wanted: int) -> None:
    """Raise unless there are samples of a class."""
    known = labels.unique().tolist()
    if wanted not in known:
        raise UnknownNameError(
            "A class of which `labels` has samples", str(wanted), map(str, known)
        )
