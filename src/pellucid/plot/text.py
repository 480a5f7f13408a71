"""Draw a text: each token on a ground of its color."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.textpath import TextPath

from pellucid.plot.color import colorize, ink_on
from pellucid.plot.legend import legend
from pellucid.plot.map import Map
from pellucid.plot.tokens import Piece, pieces

# Letters in a line, and the height of a line in widths of a letter.
COLUMNS = 44
LEADING = 2.6
# A letter of the font that matplotlib brings is this much of its size wide.
ADVANCE = 0.602
# Inches of a line, and of the strip and its words below the text.
LINE, BELOW = 0.24, 0.9


def draw_text(shown: Map, ax: Axes, dark: bool) -> None:
    """Draw the tokens in lines; as shapes, not words, so that they keep inside their grounds."""
    found = pieces(shown.labels)
    places = lay_out(found)
    grounds = colorize(shown.values, shown.scale, dark=dark) / 255
    for piece, (line, column), ground in zip(found, places, grounds, strict=True):
        y = -LEADING * line
        wide = len(piece.text)
        ax.add_patch(Rectangle((column, y - 0.75), wide, 2.3, facecolor=ground, linewidth=0))
        # A dollar sign would start a formula.
        path = TextPath((column, y), piece.text.replace("$", r"\$"), 1 / ADVANCE, prop=_font(piece))
        ax.add_patch(PathPatch(path, facecolor=ink_on(ground * 255), linewidth=0))
    lines = places[-1][0] + 1
    # The strip hangs on the axes: a place of its own keeps it off the text.
    ends = [c + len(piece.text) for piece, (_, c) in zip(found, places, strict=True)]
    ax.set_xlim(-0.3, max([COLUMNS, *ends]))
    ax.set_ylim(-LEADING * (lines - 1) - 1.2, 2)
    ax.set_aspect("equal", anchor="N")
    ax.set_axis_off()
    legend(shown, ax, dark, below=-0.3 / (LINE * lines), tall=0.1 / (LINE * lines))


def text_height(shown: Map) -> float:
    """The inches that a drawing of this text needs, with its title and its legend."""
    return LINE * (lay_out(pieces(shown.labels))[-1][0] + 1) + BELOW


def lay_out(found: Sequence[Piece], columns: int = COLUMNS) -> list[tuple[int, int]]:
    """The line and column at which each token starts.

    >>> lay_out(pieces(["a", "long", "##er", "line"]), columns=8)
    [(0, 0), (0, 2), (0, 6), (1, 0)]
    """
    places, line, column = [], 0, 0
    for piece in found:
        start = column + (1 if piece.spaced and column else 0)
        if start and start + len(piece.text) > columns:
            line, start = line + 1, 0
        places.append((line, start))
        column = start + len(piece.text)
    return places


def _font(piece: Piece) -> FontProperties:
    return FontProperties(family="DejaVu Sans Mono", style="italic" if piece.special else "normal")
