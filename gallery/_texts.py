"""Texts side by side, and their strongest words in a line."""

from matplotlib.figure import Figure

import pellucid as pl


def draw_texts(*rows):
    """Draw texts below one another, each a dict of title: explanation, side by side."""
    figure = Figure(figsize=(5 * max(map(len, rows)), 2.6 * len(rows)), dpi=100)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(len(rows), max(map(len, rows)), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for ax, (title, found) in zip(line, row.items(), strict=True):
            pl.plot.draw(found, ax, title=title)
    return figure


def told(frame, most=4):
    """The first words of a table, as `explanation.top` gives it, with their values."""
    return ", ".join(f"{row.text} {row.value:+.2f}" for row in frame.head(most).itertuples())
