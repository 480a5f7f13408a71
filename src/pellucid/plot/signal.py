"""What a drawing of a signal needs: lines that fit their lanes, and ticks at round numbers."""

from collections.abc import Iterator

import numpy as np

from pellucid.plot.color import Floats
from pellucid.plot.map import Map


def waves(shown: Map) -> Iterator[tuple[int, Floats]]:
    """The lane and the line of each channel of a signal, moved into 0..1.

    Channels whose map was joined lie in one lane; values at a layer have no line.
    """
    lanes, length = shown.values.shape
    if shown.inputs.ndim == 2 and shown.inputs.shape[1] == length:
        for channel, line in enumerate(shown.inputs):
            yield (channel if lanes == len(shown.inputs) else 0), unit(line)


def unit(line: Floats) -> Floats:
    """A line moved into 0..1; a constant one lies in the middle.

    >>> unit(np.array([-1.0, 1.0, 0.0])).tolist()
    [0.0, 1.0, 0.5]
    """
    clean = np.nan_to_num(line.astype(np.float64))
    low, high = clean.min(), clean.max()
    return (clean - low) / (high - low) if high > low else np.full(len(clean), 0.5)


def ticks(length: int, rate: float | None) -> list[tuple[float, str]]:
    """Positions of an axis to be named, and their names: seconds, or numbers of positions.

    >>> ticks(1000, rate=250)
    [(0.0, '0'), (250.0, '1'), (500.0, '2'), (750.0, '3')]
    """
    from matplotlib.ticker import MaxNLocator

    speed = rate or 1.0
    end = (length - 1) / speed
    steps = [1, 2, 2.5, 5, 10]
    found = MaxNLocator(nbins=5, steps=steps, integer=rate is None).tick_values(0, end)
    return [(float(at * speed), f"{at:g}") for at in found if 0 <= at <= end]
