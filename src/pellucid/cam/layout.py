"""How the axes of an activation stand for positions of the input.

A grid of positions is found in three layouts:

    channels first   (batch, channel, *grid), as convolutions make it
    channels last    (batch, *grid, channel)
    tokens           (batch, token, feature), the grid flattened, perhaps with class or register
                     tokens before or after it; also (token, batch, feature)
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, prod

from torch import Size, Tensor

from pellucid.cam.frame import Frame, Sizes, unevenness
from pellucid.errors import InputError

LAYOUTS = ("channels_first", "channels_last", "tokens")
# Tokens beside the grid that are looked for; more than the first number only if nothing else fits.
FEW_EXTRA = 2
MOST_EXTRA = 8
# How far-fetched a candidate is: the grid and tokens of a value whose layout is known, a grid that
# is known, one stride on all axes, the same beside one more token, the same rounded, anything else;
# more for unusual orders.
SAME, SEEN, EXACT, BESIDE, ROUNDED, NEAR = range(6)
UNUSUAL = 10
# How much the strides of the axes may differ where a grid is compared with the input's size.
UNEVEN = 1.25


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which axes of a value are the batch, the channels and the positions.

    Positions have one axis each, or share one, on which the grid begins at `start`.
    """

    channel: int
    positions: Sizes
    grid: Sizes
    batch: int = 0
    start: int = 0

    @classmethod
    def channels_first(cls, shape: Iterable[int]) -> "Layout":
        """The layout of what a convolution returns."""
        grid = tuple(shape)[2:]
        return cls(channel=1, positions=tuple(range(2, 2 + len(grid))), grid=grid)

    @property
    def tokens(self) -> bool:
        """Whether the positions share one axis."""
        return len(self.positions) == 1

    @property
    def names(self) -> tuple[str, ...]:
        """What the option `layout` may call it."""
        if self.channel < self.positions[0]:
            return ("channels_first",)
        if not self.tokens:
            return ("channels_last",)
        return ("tokens", "channels_last") if len(self.grid) == 1 else ("tokens",)

    def maps(self, tensor: Tensor) -> Tensor:
        """A view of a value as maps of shape (batch, channel, *grid)."""
        moved = tensor.permute(self.batch, self.channel, *self.positions)
        if not self.tokens:
            return moved
        return moved.narrow(2, self.start, prod(self.grid)).unflatten(2, self.grid)

    def fits(self, shape: Size, rows: int) -> bool:
        """Whether a value of this shape can be read so, for a batch of so many rows."""
        return shape[self.batch] == rows and prod(self.grid) > 1

    def count(self, shape: Size) -> int:
        """How many positions a value has, and tokens beside them."""
        return shape[self.positions[0]] if self.tokens else prod(self.grid)

    def permuted(self, axes: list[int]) -> "Layout":
        """The layout after the axes were put in another order."""
        return Layout(
            batch=axes.index(self.batch),
            channel=axes.index(self.channel),
            positions=tuple(axes.index(axis) for axis in self.positions),
            grid=self.grid,
            start=self.start,
        )

    def __str__(self) -> str:
        size = " x ".join(map(str, self.grid))
        start = f" from token {self.start}" if self.start else ""
        return f'layout="{self.names[0]}", grid={self.grid} ({size}{start})'


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user says of the layout: its name, its grid, both or nothing."""

    layout: str | None = None
    grid: Sizes | None = None

    def grants(self, layout: Layout) -> bool:
        """Whether a layout is as wished."""
        named = self.layout is None or self.layout in layout.names
        return named and (self.grid is None or self.grid == layout.grid)


def choose(
    shape: Size, rows: int, frames: Iterable[Frame], known: Mapping[Layout, int], wish: Wish
) -> tuple[Layout, Frame] | None:
    """Recognize the layout of a value, and of the input that its positions are of, by their sizes.

    `known` are the layouts of other values of the run, each with its `count`. `None` if no layout
    fits; an error that lists the candidates if several fit equally well.
    """
    ranks: dict[Layout, tuple[int, bool]] = {}
    chosen: dict[Layout, Frame] = {}
    for frame in frames:
        for rank, layout in _candidates(shape, rows, frame.size, known, wish):
            # Of an input that can be read in two ways, channels are where the activation has them.
            turned = (frame.channel == 1) != (layout.channel < layout.positions[0])
            score = (rank + UNUSUAL * frame.rare, turned)
            better = score < ranks.get(layout, (score[0] + 1, True))
            if better and layout.fits(shape, rows) and wish.grants(layout):
                ranks[layout], chosen[layout] = score, frame
    least = min((rank for rank, _ in ranks.values()), default=0)
    best = [layout for layout, (rank, _) in ranks.items() if rank == least]
    if len(best) > 1:
        raise InputError(
            f"The layout of an activation of shape {list(shape)} must be clear",
            found=f"{len(best)} that fit: " + "; ".join(map(str, best)),
            hint="Choose one by these options.",
        )
    return (best[0], chosen[best[0]]) if best else None


def _candidates(
    shape: Size, rows: int, size: Sizes, known: Mapping[Layout, int], wish: Wish
) -> Iterator[tuple[int, Layout]]:
    """Layouts that a shape allows, each with how far-fetched it is."""
    last = len(shape) - 1
    if len(size) > 1 and len(size) == last - 1:
        inner = tuple(range(1, last))
        final = Layout(channel=last, positions=inner, grid=tuple(shape[1:last]))
        for layout in (Layout.channels_first(shape), final):
            rank = _rank(size, layout.grid)
            if rank is not None:
                yield rank, layout
    for batch, token, channel in ((0, 1, 2), (1, 0, 2), (0, 2, 1)) if last == 2 else ():
        # Features before the tokens of an image are known from the tape, or must be asked for.
        asked = wish.layout == "channels_first" or len(size) == 1 or token < channel
        if shape[batch] == rows and asked:
            for rank, grid, start in _grids(shape[token], size, known, wish):
                layout = Layout(
                    batch=batch, channel=channel, positions=(token,), grid=grid, start=start
                )
                # Of as many samples as tokens, the batch is taken to be first.
                yield rank + (UNUSUAL if batch else 0), layout


def _grids(
    total: int, size: Sizes, known: Mapping[Layout, int], wish: Wish
) -> Iterator[tuple[int, Sizes, int]]:
    """Rank, grid and start of the grids that so many tokens may hold."""
    alike = {layout: n for layout, n in known.items() if len(layout.grid) == len(size)}
    same = {(layout.grid, layout.start) for layout, n in alike.items() if n == total}
    if wish.grid is not None and len(wish.grid) == len(size):
        if total >= prod(wish.grid):
            yield SAME, wish.grid, dict(same).get(wish.grid, total - prod(wish.grid))
        return
    for grid, start in same:
        yield SAME, grid, start
    for grid in {layout.grid for layout in alike}:
        if 0 <= total - prod(grid) <= FEW_EXTRA:
            yield SEEN, grid, total - prod(grid)
    for stride in range(1, max(size) + 1):
        for grid in {tuple(n // stride for n in size), tuple(ceil(n / stride) for n in size)}:
            count = prod(grid)
            exact = all(g * stride == n for g, n in zip(grid, size, strict=True))
            if count > 1 and 0 <= total - count <= min(count, MOST_EXTRA if exact else 1):
                yield _rank_of_tokens(total - count, exact=exact), grid, total - count


def _rank_of_tokens(extra: int, *, exact: bool) -> int:
    """One token beside the grid is usual, and two or strides that do not divide are less so."""
    if exact and extra <= 1:
        return BESIDE if extra else EXACT
    return ROUNDED if extra <= FEW_EXTRA else NEAR


def _rank(size: Sizes, grid: Sizes) -> int | None:
    """How well a grid agrees with a size: the same stride on every axis, or nearly so."""
    if any(not 0 < g <= n for g, n in zip(grid, size, strict=True)):
        return None
    stride = size[0] // grid[0]
    if all(g * stride == n for g, n in zip(grid, size, strict=True)):
        return EXACT
    for near in (stride, stride + 1):
        if grid in (tuple(n // near for n in size), tuple(ceil(n / near) for n in size)):
            return ROUNDED
    return NEAR if unevenness(size, grid) <= UNEVEN else None
