"""All numbers of a diagnosis as one table, a number a row."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd
import torch
from torch import Tensor

if TYPE_CHECKING:
    from pellucid.diagnose.noise import NoiseDiagnosis

Axes: TypeAlias = dict[str, Sequence[Any]]

COLUMNS = ["sample", "measure", "method", "layer", "draw", "at", "value"]


def frame(found: "NoiseDiagnosis") -> pd.DataFrame:
    """One row a number; axes that a measure does not have are empty."""
    tables = list(_tables(found))
    return pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS)


def _tables(found: "NoiseDiagnosis") -> Iterator[pd.DataFrame]:
    methods: Axes = {"method": found.names}
    draws: Axes = {"draw": range(found.questions.draws)}
    cut: Axes = {"at": found.removal.fractions.tolist()}
    yield _table("drop, strongest", found.removal.strongest, methods | cut)
    yield _table("drop, smoothed", found.removal.smoothed, methods | cut)
    yield _table("drop, moved", found.removal.moved, methods | draws | cut)
    orders: Axes = {"draw": range(found.removal.random.shape[1])}
    yield _table("drop, random", found.removal.random, orders | cut)
    far: Axes = {"at": found.decay.distances.tolist()}
    layers: Axes = {"layer": [path or "input" for path in found.decay.layers]}
    yield _table("correlation, noise", found.decay.correlation, methods | layers | draws | far)
    yield _table("change of score, noise", found.decay.change, draws | far)
    yield _table("regions", found.regions.count, draws | far)
    yield _table("regions are exact", found.regions.exact, draws)
    yield _table("switches", found.regions.switches, draws | far)
    line: Axes = {"at": found.saturation.alphas.tolist()}
    yield _table("score, line", found.saturation.scores, line)
    yield _table("slope, line", found.saturation.slopes, line)
    yield _table("size, line", found.saturation.sizes, methods | line)
    yield _table("correlation, line", found.saturation.correlation, methods | line)
    yield _table("sum, line", found.saturation.sums, methods | line)


def _table(measure: str, numbers: Tensor, axes: Axes) -> pd.DataFrame:
    """A measure of shape (sample, *axes); what is not a number is left out."""
    named = {"sample": range(len(numbers)), **axes}
    index = pd.MultiIndex.from_product(list(named.values()), names=list(named))
    values = numbers.to(torch.float64).reshape(-1).numpy()
    made = pd.DataFrame({"value": values}, index=index).reset_index().dropna(subset=["value"])
    return made.assign(measure=measure)
