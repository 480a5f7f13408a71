"""Where the names of what lies side by side go, so that none touches another."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

# The inches of a letter of a label, of what is left free beside it, and of a row of two lines.
LETTER, GAP, ROW = 0.078, 0.1, 0.34
# The most rows below each other, and the fewest letters that a name is cut to.
MOST_ROWS, SHORTEST = 4, 8


class Wanted(NamedTuple):
    """A name that is to stand below the place `at`, in inches, and what stands below the name.

    Of several `details` the first that is no wider than the name's room is taken, else the last.
    """

    at: float
    name: str
    details: tuple[str, ...]


class Label(NamedTuple):
    """A label around `x`, in inches, in a row counted from the top, for what lies at `at`."""

    words: str
    at: float
    x: float
    row: int
    width: float

    def meets(self, left: float, right: float) -> bool:
        """Whether it reaches into a stretch of its row."""
        return self.x - self.width / 2 < right and left < self.x + self.width / 2


def placed(wanted: Sequence[Wanted], width: float, rows: int = MOST_ROWS) -> list[Label]:
    """Give each name a place in one of some rows, so many inches wide, the first names first.

    It goes to the first row that has room below what it names; a line leads down to it, and no
    label may be in the way of a line. A name that fits nowhere is cut, or left out.

    >>> [each.row for each in placed([Wanted(1.0, "age = 39", ()), Wanted(1.4, "sex = 1", ())], 9)]
    [0, 1]
    """
    found: list[Label] = []
    for each in wanted:
        tried = (
            label for most in _lengths(each.name) for label in _labels(each, most, rows, width)
        )
        best = next((label for label in tried if _is_free(label, found)), None)
        found += [] if best is None else [best]
    return found


def _lengths(name: str) -> list[int]:
    """To how many letters a name may be cut."""
    return [len(name), *(most for most in range(24, SHORTEST - 1, -8) if most < len(name))]


def _labels(wanted: Wanted, most: int, rows: int, width: float) -> Iterator[Label]:
    """The places for a label of at most so many letters, one in each row."""
    name = wanted.name if len(wanted.name) <= most else f"{wanted.name[: most - 1]}…"
    room = max(most, SHORTEST)
    detail = next((one for one in wanted.details if len(one) <= room), (*wanted.details, "")[-1])
    words = f"{name}\n{detail}" if detail else name
    own = LETTER * max(len(name), len(detail)) + GAP
    if own > width:
        return
    x = min(max(wanted.at, own / 2), width - own / 2)
    yield from (Label(words, wanted.at, x, row, own) for row in range(rows))


def _is_free(label: Label, others: Sequence[Label]) -> bool:
    """Whether a label touches no other, and no line leads through one."""
    left, right = label.x - label.width / 2, label.x + label.width / 2
    return not any(
        (each.row == label.row and each.meets(left, right))
        or (each.row < label.row and each.meets(label.at, label.at))
        or (each.row > label.row and label.meets(each.at, each.at))
        for each in others
    )
