"""Draw a data set as points of the plane, or as small pictures at their places."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import Normal, Stroke

from pellucid.errors import InputError
from pellucid.inspect.labels import are_amounts, in_order
from pellucid.inspect.shown import taken
from pellucid.options import whole
from pellucid.plot.axes import LETTER, axes_for, finish, new_axes, short
from pellucid.plot.color import Floats
from pellucid.plot.leaderboard import BESIDE, SHAPES
from pellucid.plot.legend import INK, PAPER, ink
from pellucid.plot.swarm import sequence
from pellucid.plot.sweep import COLORS, FAINT
from pellucid.plot.thumbnails import Pictures, cut, samples_of, thumbnail

if TYPE_CHECKING:
    from pellucid.inspect.embedding import Embedding

# Inches of a picture, and of the axes.
PICTURE, WIDE, HIGH = 0.22, 7.6, 6.4
# The key names so many classes, and a name in its middle has so many letters and inches of height.
KEYS, LETTERS, HEIGHT = 24, 16, 0.16
# Errors are ringed in a color that no class has.
WRONG = "#c1121f"


def draw_embedding(
    found: "Embedding",
    ax: Axes | None = None,
    *,
    images: int = 0,
    pictures: Pictures = None,
    names: Sequence[str] | None = None,
    dark: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw every sample as a point in the color and shape of its class; errors have a red ring.

    `images` is how many samples are shown as pictures, as far as they do not hide each other,
    errors first, with the color of the class around them. `pictures` makes an array of an input of
    shape (1, ...); images need none. `names` are those of classes: by number, or in their order.

    >>> import torch
    >>> import pellucid as pl
    >>> found = pl.inspect.embed(None, torch.rand(30, 1, 4, 4), labels=[0, 1] * 15)
    >>> found.plot(images=10).get_title()
    'PCA of 30 samples'
    """
    whole(images, "images", least=0)
    ax = axes_for(ax) or new_axes(WIDE, HIGH, dark)
    points = found.points.detach().cpu().double().numpy()
    colors = _points(found, points, names, ax, dark, faint=images > 0)
    wrong = np.zeros(len(points), bool) if found.errors is None else found.errors.numpy()
    if images:
        _images(found, points, wrong, images, pictures, colors, ax)
    elif wrong.any():
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": WRONG, "linewidths": 1.2}
        ax.scatter(points[wrong, 0], points[wrong, 1], s=50, **ring)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal", adjustable="datalim")
    said = {"pca": "PCA", "tsne": "t-SNE", "opentsne": "t-SNE (openTSNE)"}[found.how]
    caption = [found.evidence]
    if found.errors is not None:
        caption.append(f"red: {int(wrong.sum())} of {len(wrong)} that the model gets wrong")
    title = f"{said} of {len(points)} samples" if title is None else title
    return finish(ax, dark, title=title, caption=caption)


def _points(
    found: "Embedding",
    points: Floats,
    names: Sequence[str] | None,
    ax: Axes,
    dark: bool,
    *,
    faint: bool,
) -> list[str]:
    """Draw the points class by class, with a key; return the color of each."""
    look: dict[str, Any] = {"s": 14, "linewidths": 0, "alpha": 0.35 if faint else 0.85}
    if found.labels is None:
        ax.scatter(points[:, 0], points[:, 1], color=COLORS[0], **look)
        return [FAINT] * len(points)
    if are_amounts(found.labels):
        return _amounts(np.array(found.labels, dtype=float), points, ax, dark, look)
    labels = np.array(found.labels, dtype=object)
    colors = [FAINT] * len(points)
    middles: dict[str, Floats] = {}
    for place, (label, said) in enumerate(_named(in_order(found.labels), names).items()):
        rows = np.flatnonzero(labels == label)
        color = COLORS[place % len(COLORS)]
        shape = SHAPES[place // len(COLORS) % len(SHAPES)]
        ax.scatter(points[rows, 0], points[rows, 1], color=color, marker=shape, label=said, **look)
        for row in rows:
            colors[row] = color
        middles[said] = np.median(points[rows], axis=0)
    _key(ax, dark)
    if not faint:
        _name_middles(ax, middles, points, dark)
    return colors


def _named(classes: Sequence[Any], names: Sequence[str] | None) -> dict[Any, str]:
    """What each class is called: by its number, or else by its place."""
    if names is None:
        return {label: str(label) for label in classes}
    numbers = all(not isinstance(label, str) and label in range(len(names)) for label in classes)
    if not numbers and len(names) != len(classes):
        raise InputError(
            f"`names` must be one for each of the {len(classes)} classes",
            got=list(names),
            hint="They are in the order of the classes; classes from 0 on take theirs by number.",
        )
    return {label: names[int(label) if numbers else i] for i, label in enumerate(classes)}


def _key(ax: Axes, dark: bool) -> None:
    """Name the classes beside the axes, as far as there is room."""
    handles, said = ax.get_legend_handles_labels()
    shown = [short(each) for each in said[:KEYS]]
    if len(said) > KEYS:
        shown[-1] = f"and {len(said) - KEYS + 1} more"
    look: dict[str, Any] = {"fontsize": 8, "frameon": False, "labelcolor": INK[dark]}
    key = ax.legend(handles[:KEYS], shown, **look, **BESIDE)
    for place, handle in enumerate(key.legend_handles):
        if handle is not None:
            handle.set_alpha(1)
            handle.set_visible(place < KEYS - 1 or len(said) <= KEYS)
    for word in key.get_texts():
        word.set_parse_math(False)


def _amounts(
    values: Floats, points: Floats, ax: Axes, dark: bool, look: dict[str, Any]
) -> list[str]:
    """Draw the points in colors from low to high, with a scale; return the color of each."""
    drawn = ax.scatter(points[:, 0], points[:, 1], c=values, cmap=sequence(dark), **look)
    figure = ax.get_figure(root=True)
    if figure is not None:
        scale = figure.colorbar(drawn, ax=ax, shrink=0.6, label="label")
        if scale.solids is not None:
            scale.solids.set_alpha(1)
        ink(scale.ax, dark)
    return [to_hex(each) for each in drawn.to_rgba(values)]


def _name_middles(ax: Axes, middles: dict[str, Floats], points: Floats, dark: bool) -> None:
    """Name the classes in their middles, as far as names do not hide each other."""
    names = [cut(each, LETTERS) for each in middles]
    size = np.array([LETTER * max(map(len, names)), HEIGHT])
    places = np.array(list(middles.values()))
    for row in apart(places, len(names), first=[], cells=size * _inch(ax, points)):
        _name(ax, places[row], names[row], dark)


def _name(ax: Axes, place: Floats, name: str, dark: bool) -> None:
    """Write the name of a class in its middle, with paper around it."""
    words = ax.text(
        float(place[0]), float(place[1]), name,
        ha="center", va="center", fontsize=9, color=INK[dark], parse_math=False,
    )  # fmt: skip
    words.set_path_effects([Stroke(linewidth=2.5, foreground=PAPER[dark]), Normal()])


def _images(
    found: "Embedding",
    points: Floats,
    wrong: Any,
    most: int,
    pictures: Pictures,
    colors: list[str],
    ax: Axes,
) -> None:
    """Draw pictures of samples that do not hide each other, errors first."""
    cells = np.full(2, 1.2 * PICTURE * _inch(ax, points))
    rows = apart(points, most, first=np.flatnonzero(wrong), cells=cells)
    shown = samples_of(taken(found.data, torch.tensor(rows)), len(rows), "samples")
    for row, sample in zip(rows, shown, strict=True):
        picture = thumbnail(sample, pictures)
        if picture is None:
            raise InputError(
                "Samples must be images to be drawn at their points",
                got=sample,
                hint="pictures=lambda inputs: ... makes an array of one, (height, width) or with "
                "colors.",
            )
        zoom = 72 * PICTURE / max(picture.shape[:2])
        edge = WRONG if wrong[row] else colors[row]
        box = AnnotationBbox(
            OffsetImage(picture, zoom=zoom, interpolation="bilinear"),
            (float(points[row, 0]), float(points[row, 1])),
            pad=0.1,
            bboxprops={"edgecolor": edge, "linewidth": 1.6 if wrong[row] else 0.9},
        )
        ax.add_artist(box)


def _inch(ax: Axes, points: Floats) -> float:
    """An inch in the units of the points."""
    figure = ax.get_figure(root=True)
    size = figure.get_size_inches() if figure is not None else (WIDE, HIGH)
    if figure is not None:
        figure.draw_without_rendering()  # so that the axes have the place they will have
    box = ax.get_position()
    inches = min(size[0] * box.width, size[1] * box.height)
    return float(np.ptp(points, axis=0).max() or 1.0) / inches


def apart(points: Floats, most: int, *, first: Any, cells: Floats) -> list[int]:
    """Points that are at least a cell apart on one axis: some come first, then by their order.

    >>> apart(np.array([[0.0, 0], [0.1, 0], [5, 0]]), 3, first=[1], cells=np.ones(2))
    [1, 2]
    """
    kept: list[int] = []
    for row in [*first, *range(len(points))]:
        near = np.abs(points[kept] - points[row]) < cells
        if len(kept) < most and not near.all(1).any():
            kept.append(int(row))
    return kept
