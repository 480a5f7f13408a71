"""Draw a text: each token or word on a ground of its color."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.textpath import TextPath

from pellucid.plot.color import Floats, colorize, ink_on
from pellucid.plot.legend import legend
from pellucid.plot.map import Map
from pellucid.words.pieces import Piece

# Letters in a line, and the height of a line in widths of a letter.
COLUMNS = 44
LEADING = 2.6
# A letter of the font that matplotlib brings is this much of its size wide.
ADVANCE = 0.602
# Inches of a line, of the title and the strip, and of each line of words below the strip.
LINE, AROUND, CAPTION = 0.24, 0.86, 0.15
TIMES = "\N{MULTIPLICATION SIGN}"


class Part(NamedTuple):
    """What of a piece is in one place: a word of a sentence, or all of a token.

    `piece` is the number of the piece; `joined` parts follow another of the same piece, on the
    same line, after a space.
    """

    piece: int
    text: str
    line: int
    column: int
    joined: bool = False


def draw_text(shown: Map, ax: Axes, dark: bool) -> None:
    """Draw the pieces in lines; as shapes, not words, so that they keep inside their grounds."""
    found, values = _without_repeats(shown)
    parts = lay_out(found)
    grounds = colorize(values, shown.scale, dark=dark) / 255
    for part in parts:
        ground, y = grounds[part.piece], -LEADING * part.line
        left, wide = part.column - part.joined, len(part.text) + part.joined
        ax.add_patch(Rectangle((left, y - 0.75), wide, 2.3, facecolor=ground, linewidth=0))
        # A dollar sign would start a formula.
        text, font = part.text.replace("$", r"\$"), _font(found[part.piece])
        path = TextPath((part.column, y), text, 1 / ADVANCE, prop=font)
        # Letters of straight lines alone would be moved to whole pixels, and look bold.
        ax.add_patch(PathPatch(path, facecolor=ink_on(ground * 255), linewidth=0, snap=False))
    lines = parts[-1].line + 1
    # The strip hangs on the axes: a place of its own keeps it off the text.
    ax.set_xlim(-0.3, COLUMNS)
    ax.set_ylim(-LEADING * (lines - 1) - 1.2, 2)
    ax.set_aspect("equal", anchor="N")
    ax.set_axis_off()
    legend(shown, ax, dark, below=-0.3 / (LINE * lines), tall=0.1 / (LINE * lines))


def text_height(shown: Map) -> float:
    """The inches that a drawing of this text needs, with its title and its legend."""
    lines = lay_out(_without_repeats(shown)[0])[-1].line + 1
    return LINE * lines + AROUND + CAPTION * len(shown.caption())


def runs(found: Sequence[Piece], values: Floats) -> Iterator[tuple[int, int]]:
    """Where each mark starts and how many tokens it stands for: equal, special, and zero."""
    start = 0
    while start < len(found):
        stop = start + 1
        while found[start].special and values[start] == 0 and stop < len(found):
            if found[stop] != found[start] or values[stop] != 0:
                break
            stop += 1
        yield start, stop - start
        start = stop


def lay_out(found: Sequence[Piece], columns: int = COLUMNS) -> list[Part]:
    """Where each piece is; one of several words, or one longer than a line, is cut where needed.

    >>> from pellucid.words.pieces import pieces
    >>> [(p.line, p.column) for p in lay_out(pieces(["a", "long", "##er", "line"]), columns=8)]
    [(0, 0), (0, 2), (0, 6), (1, 0)]
    """
    parts: list[Part] = []
    line = column = 0
    for number, piece in enumerate(found):
        for i, (text, spaced) in enumerate(_cut(piece, columns)):
            start = column + (1 if spaced and column else 0)
            if start and start + len(text) > columns:
                line, start = line + 1, 0
            parts.append(Part(number, text, line, start, i > 0 and spaced and start > 0))
            column = start + len(text)
    return parts


def _cut(piece: Piece, columns: int) -> Iterator[tuple[str, bool]]:
    """The words of a piece, none longer than a line, and whether a space is before each."""
    spaced = piece.spaced
    for word in piece.text.split(" "):
        for start in range(0, len(word), columns):
            yield word[start : start + columns], spaced
            spaced = False
        spaced = True


def _without_repeats(shown: Map) -> tuple[list[Piece], Floats]:
    """The pieces, of which a run of padding is one, and their values."""
    found = shown.pieces
    kept = list(runs(found, shown.values))
    drawn = [
        replace(found[at], text=f"{found[at].text} {TIMES} {count}") if count > 1 else found[at]
        for at, count in kept
    ]
    return drawn, shown.values[[at for at, _ in kept]]


def _font(piece: Piece) -> FontProperties:
    return FontProperties(family="DejaVu Sans Mono", style="italic" if piece.special else "normal")
