"""Columns that a network gets standardised: the user's units on the outside, its own inside."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InputError, show


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """What a model is called with is (x - shift) / scale, of shape (element,) each."""

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, given: Any, shape: tuple[int, ...], names: tuple[str, ...]) -> "Scaling":
        """Take nothing, a pair (shift, scale), or a fitted scaler with a `transform`."""
        if given is None:
            one = torch.ones(shape, dtype=torch.float64).flatten()
            return cls(shift=0 * one, scale=one)
        if callable(getattr(given, "transform", None)):
            return _of_scaler(given, shape, names)
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise InputError(
                "`scaling` must be a pair (shift, scale), or a scaler with a `transform`",
                got=given,
                hint="For example scaling=StandardScaler().fit(table).",
            )
        shift, scale = (_spread(each, shape) for each in given)
        if not (scale.isfinite() & (scale != 0) & shift.isfinite()).all():
            raise InputError(
                "The scale of `scaling` must be finite, and not zero", found=show(given)
            )
        return cls(shift=shift, scale=scale)

    def apply(self, rows: Tensor) -> Tensor:
        """The rows (row, element) as the model gets them."""
        return (rows - self.shift) / self.scale


def _spread(given: Any, shape: tuple[int, ...]) -> Tensor:
    """A number for each element."""
    try:
        made = torch.from_numpy(np.array(given, dtype=np.float64))
        return made.broadcast_to(shape).flatten().clone()
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"`scaling` must be of numbers that fit the shape of a sample, {list(shape)}",
            found=show(given),
        ) from error


def _of_scaler(scaler: Any, shape: tuple[int, ...], names: tuple[str, ...]) -> Scaling:
    """Find shift and scale of a scaler that treats each column by itself, by asking it."""
    rows = np.stack([np.zeros(shape), np.ones(shape), np.linspace(-2, 3, shape[0])])
    try:
        zero, one, other = _transformed(scaler, rows, names)
    except Exception as error:
        raise _no_scaler(scaler, f"it raised {type(error).__name__}: {error}") from error
    slope = one - zero
    if zero.shape != shape or not np.allclose(rows[2] * slope + zero, other) or (slope == 0).any():
        raise _no_scaler(scaler, "what it makes of a column is no a x + b of that column alone")
    return Scaling(shift=torch.from_numpy(-zero / slope), scale=torch.from_numpy(1 / slope))


def _transformed(scaler: Any, rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    given: Any = rows
    if getattr(scaler, "feature_names_in_", None) is not None:
        import pandas as pd

        given = pd.DataFrame(rows, columns=list(scaler.feature_names_in_))
        if names and set(names) == set(given.columns):
            given = pd.DataFrame(rows, columns=list(names))[list(given.columns)]
    return np.asarray(scaler.transform(given), dtype=np.float64)


def _no_scaler(scaler: Any, why: str) -> InputError:
    return InputError(
        "`scaling` must scale every column of the table by itself, in the same order",
        found=f"{type(scaler).__name__}: {why}",
        hint="Pass a pair (shift, scale), or wrap model and preprocessing in one function of the "
        "table and search with how='growing'.",
    )
