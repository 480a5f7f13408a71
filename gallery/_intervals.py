"""Means with their intervals, in words and drawn: how the scripts tell what they measured."""

import torch

COLOR = "#31688e"


def interval(values, draws=2000):
    """The ends of a 95 % bootstrap interval of the mean over samples that have a number."""
    values = values[values.isfinite()]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(values), (draws, len(values)), generator=generator)
    ends = torch.tensor([0.025, 0.975], dtype=values.dtype)
    return values[rows].mean(1).quantile(ends).tolist()


def told(values, form="{:+.2f}"):
    """A mean with its interval: "+0.45 (+0.40 to +0.51)"."""
    low, high = interval(values)
    return f"{form.format(values.nanmean())} ({form.format(low)} to {form.format(high)})"


def bars(axes, values_by_name, zero=0.0):
    """A point for each mean on a bar that is its interval, one line a name, the first on top."""
    axes.axvline(zero, color="#888888", linewidth=1)
    for line, values in enumerate(values_by_name.values()):
        axes.plot(interval(values), [line, line], color=COLOR, linewidth=6, alpha=0.4)
        axes.plot(values.mean(), line, "o", color=COLOR)
    axes.set_yticks(range(len(values_by_name)), list(values_by_name))
    axes.set_ylim(len(values_by_name) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
