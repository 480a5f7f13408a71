"""Channels side by side: the examples that show what each stands for, and where in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.errors import InputError
from pellucid.plot.axes import canvas
from pellucid.plot.color import DEFAULT_PERCENTILE, number
from pellucid.plot.draw import draw_map, draw_picture
from pellucid.plot.map import Map
from pellucid.pooling import Pooling

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.inspect.top import TopExamples

# Between a picture and its map, in inches.
GAP = 0.08


def examples(
    found: TopExamples | Sequence[TopExamples],
    *,
    pictures: Callable[[Tensor], Any] | None = None,
    overlay: float | None = None,
    pool: Pooling | None = None,
    percentile: float = DEFAULT_PERCENTILE,
    dark: bool = False,
) -> Figure:
    """Draw the top examples of channels, a channel on each line, and return the figure.

    Of images there are two lines: the examples, with the relevance or activation of the channel,
    and below them its maps; with an `overlay`, an opacity, the maps lie on the pictures instead.
    `pictures` makes an array of an input of shape (1, channel, height, width), as `entry.inverse`
    of the zoo does. The other options are those of `draw`.

    >>> import torch
    >>> import pellucid as pl
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                             torch.nn.Linear(18, 2))
    >>> found = pl.top_examples(model, [torch.rand(4, 1, 5, 5)], "1", [0, 1], k=3)
    >>> len(examples(found).axes)                              # of 2 channels: 3 pictures, 3 maps
    12
    """
    channels: list[Any] = [found] if hasattr(found, "explanation") else list(found)
    if not channels or any(getattr(each, "explanation", None) is None for each in channels):
        raise InputError(
            "`found` must be what pellucid.top_examples returns, or a part of it, with its maps",
            got=found,
        )
    several = len({each.layer for each in channels}) > 1
    drawn = [_panels(each, pictures, pool, percentile, several) for each in channels]
    maps = [panels for panels, _ in drawn]
    pairs = overlay is None and all(each.picture is not None for line in maps for each in line)
    columns = max(map(len, maps))
    figure = canvas(maps[0][0], len(maps), columns, dark)
    if pairs:
        _make_room(figure, len(maps))
    for y, (panels, titles) in enumerate(drawn):
        for x, (panel, title) in enumerate(zip(panels, titles, strict=True)):
            ax = figure.add_subplot(len(maps), columns, y * columns + x + 1)
            if pairs and panel.picture is not None:
                draw_picture(panel.picture, _above(ax, figure), dark=dark, title=title)
            draw_map(panel, ax, overlay, dark, "" if pairs else title)
    return figure


def _panels(
    found: TopExamples,
    pictures: Callable[[Tensor], Any] | None,
    pool: Pooling | None,
    percentile: float,
    several: bool,
) -> tuple[list[Map], list[str]]:
    """The maps of one channel, each with its picture, and titles: with the layer, of several."""
    explanation: Any = found.explanation
    below = [None if pictures is None else pictures(each.inputs) for each in explanation]
    maps = [
        Map.of(explanation, row=row, pool=pool, percentile=percentile, picture=below[row])
        for row in range(len(found))
    ]
    amounts = [number(amount) for amount in found.amounts.tolist()]
    name = f"{found.layer}, {found.channel}" if several else found.what
    return maps, [f"{name}: {amount}" for amount in amounts]


def _make_room(figure: Figure, lines: int) -> None:
    """Make a figure taller, with room for a picture above each of its lines of maps."""
    old = figure.subplotpars
    width, height = figure.get_size_inches()
    side = height * (old.top - old.bottom) / (lines + (lines - 1) * old.hspace)
    between, above, below = old.hspace * side, height * (1 - old.top), height * old.bottom
    more = side + GAP
    tall = height + lines * more
    figure.set_size_inches(width, tall)
    figure.subplots_adjust(
        top=1 - (above + more) / tall, bottom=below / tall, hspace=(between + more) / side
    )


def _above(ax: Axes, figure: Figure) -> Axes:
    """Axes for the picture, as large as those of the map below them."""
    place, gap = ax.get_position(), GAP / float(figure.get_size_inches()[1])
    return figure.add_axes((place.x0, place.y1 + gap, place.width, place.height))
