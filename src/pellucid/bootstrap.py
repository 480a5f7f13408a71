"""How far a mean can be trusted: where it lies if the samples are drawn again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Resamples of a bootstrap: the ends of an interval then move by a fiftieth of its width.
RESAMPLES = 2000
# So many numbers of draws are held at a time.
HELD = 2**22


def mean_interval(values: Any, level: float = 0.95, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Where means over samples lie, at this level: both ends, by a bootstrap (percentiles).

        m*_k = sum_i n_ki x_i / sum_i n_ki,   n_k ~ multinomial(samples; 1 / samples each)

    `values` are of shape (sample, ...), and the ends of shape (...): all places are drawn together.
    What is not a number is left out where it is so; ends are not numbers for fewer than two.
    Source: Efron (1979), Bootstrap Methods: Another Look at the Jackknife.

    >>> low, high = mean_interval(np.arange(100.0))
    >>> bool(40 < low < 49.5 < high < 59)
    True
    """
    given = np.asarray(values, dtype=np.float64)
    flat = given.reshape(len(given), int(np.prod(given.shape[1:])))
    known = np.isfinite(flat)
    ends = np.full((2, flat.shape[1]), np.nan)
    told = known.sum(0) > 1
    if told.any():
        means = _means(np.where(known, flat, 0)[:, told], known[:, told].astype(float), seed)
        ends[:, told] = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    low, high = ends.reshape(2, *given.shape[1:])
    return low, high


def _means(values: Floats, known: Floats, seed: int) -> Floats:
    """Means (draw, place) over samples that are drawn again, of those that are known."""
    rng, count = np.random.default_rng(seed), len(values)
    size = max(1, HELD // count)
    found = []
    for start in range(0, RESAMPLES, size):
        draws = min(size, RESAMPLES - start)
        times = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)
        weight = times @ known
        found.append(np.where(weight > 0, times @ values / np.maximum(weight, 1), np.nan))
    return np.concatenate(found)
