"""Maps side by side, each sample on lines of its own, beside its picture."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.plot.axes import canvas
from pellucid.plot.color import DEFAULT_PERCENTILE, Scale
from pellucid.plot.draw import draw_map, draw_picture
from pellucid.plot.map import GridScale, Map
from pellucid.plot.titles import titles as told_apart
from pellucid.pooling import Pooling

Line = Sequence[Explanation]


def grid(
    explanations: Explanation | Line | Sequence[Line],
    *,
    row: int = 0,
    columns: int = 6,
    pool: Pooling | None = None,
    scale: GridScale = "own",
    percentile: float = DEFAULT_PERCENTILE,
    overlay: float | None = None,
    smooth_overlay: float | None = 0.8,
    pictures: Sequence[Any] | None = None,
    titles: Sequence[str] | None = None,
    tokens: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    rate: float | None = None,
    dark: bool = False,
) -> Figure:
    """Draw many explanations side by side and return the figure.

    `explanations` are those of one sample (its place in the batch is `row`), or one list of them
    for each sample; the sample's picture comes first. `scale="shared"` gives all maps one scale,
    a number does so by hand, and "own" gives each its own. Smooth maps (those of CAMs) and regions
    lie on the picture with the opacity `smooth_overlay`, all others with `overlay`; `None` draws
    the map alone. `pictures` has one array or PIL image for each sample, `titles` one name and
    `tokens` one list of strings. The other options are those of `draw`.

    >>> import torch
    >>> import pellucid as pl
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 2))
    >>> maps = pl.compare(model, torch.rand(1, 3, 3, 3), ["saliency", "gradient_x_input"])
    >>> len(grid(maps).axes)                                   # the picture and two maps
    3
    """
    lines = as_lines(explanations)
    if columns < 1:
        raise InputError("`columns` must be at least 1", got=columns)
    _check_count("pictures", pictures, len(lines))
    _check_count("titles", titles, len(lines))
    _check_count("tokens", tokens, len(lines))
    look: dict[str, Any] = {"row": row, "pool": pool, "percentile": percentile}
    look |= {"scale": "own" if scale == "shared" else scale, "names": names, "rate": rate}
    owned = [
        {"picture": _entry(pictures, i), "tokens": _entry(tokens, i)} for i in range(len(lines))
    ]
    maps = [
        [Map.of(each, **look, **own) for each in line]
        for line, own in zip(lines, owned, strict=True)
    ]
    if scale == "shared":
        maps = share(maps, percentile)
    panels = [_panels(line, lines[i], titles[i] if titles else None) for i, line in enumerate(maps)]
    return _figure(panels, columns, overlay, smooth_overlay, dark)


def as_lines(explanations: Explanation | Line | Sequence[Line]) -> list[list[Explanation]]:
    """Take one explanation, a list of them, or a list of lists; give one list a sample."""
    if isinstance(explanations, Explanation):
        return [[explanations]]
    given: list[Any] = list(explanations) if isinstance(explanations, Iterable) else []
    lines: list[list[Any]] = [
        [each] if isinstance(each, Explanation) or not isinstance(each, Iterable) else list(each)
        for each in given
    ]
    if not lines or not all(lines):
        raise InputError("`explanations` must hold at least one explanation", got=explanations)
    if not all(isinstance(each, Explanation) for line in lines for each in line):
        raise InputError("`explanations` must be explanations, or lists of them", got=explanations)
    if all(isinstance(each, Explanation) for each in given):
        return [[line[0] for line in lines]]
    return lines


def share(lines: list[list[Map]], percentile: float) -> list[list[Map]]:
    """Put all maps on one scale."""
    values = [each.values for line in lines for each in line]
    scale = Scale.of(values, percentile=percentile, shared=True)
    return [[each.on(scale) for each in line] for line in lines]


def _panels(maps: list[Map], line: list[Explanation], title: str | None) -> list[tuple[Any, str]]:
    """The picture of a sample, if it has one, and its maps, each with a title.

    Without a picture the first map also has the title of the sample.
    """
    picture, names = maps[0].picture, told_apart(line)
    if picture is None and title:
        names[0] = f"{title}\n{names[0]}"
    named = list(zip(maps, names, strict=True))
    return named if picture is None else [(picture, title or "input"), *named]


def _figure(
    lines: list[list[tuple[Any, str]]],
    columns: int,
    overlay: float | None,
    smooth_overlay: float | None,
    dark: bool,
) -> Figure:
    most = max(map(len, lines))
    wide = math.ceil(most / math.ceil(most / columns))  # lines of about the same length
    broken = [line[i : i + wide] for line in lines for i in range(0, len(line), wide)]
    first = next(panel for panel, _ in lines[0] if isinstance(panel, Map))
    figure = canvas(first, len(broken), wide, dark)
    for y, line in enumerate(broken):
        for x, (panel, title) in enumerate(line):
            ax = figure.add_subplot(len(broken), wide, y * wide + x + 1)
            if isinstance(panel, Map):
                draw_map(panel, ax, smooth_overlay if panel.covers else overlay, dark, title)
            else:
                draw_picture(panel, ax, dark=dark, title=title)
    return figure


def _entry(given: Sequence[Any] | None, i: int) -> Any:
    return None if given is None else given[i]


def _check_count(name: str, given: Sequence[Any] | None, samples: int) -> None:
    if given is not None and len(given) != samples:
        raise InputError(
            f"`{name}` must have one entry for each of the {samples} samples", got=len(given)
        )
