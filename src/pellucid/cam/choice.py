"""The options that say where a class activation map looks: layer, layout and grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from pellucid.cam.layout import LAYOUTS, Wish
from pellucid.errors import InputError, UnknownNameError


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Where a method looks: the options `layer`, `layout` and `grid`.

    `pooled` takes the last maps even where a max-pooling made them.
    """

    layer: str | None = None
    wish: Wish = field(default_factory=Wish)
    pooled: bool = False

    @classmethod
    def of(cls, method: Any, *, pooled: bool = False) -> "Choice":
        """Read the options of a method, which are settled."""
        wish = Wish(layout=method.layout, grid=method.grid)
        return cls(layer=method.layer, wish=wish, pooled=pooled)


def settle(method: Any) -> None:
    """Check the options that all CAMs have, and make a tuple of the grid."""
    _check_layer(method.layer)
    for name in ("relu", "upsample"):
        if not isinstance(getattr(method, name), bool):
            raise InputError(f"`{name}` must be True or False", got=getattr(method, name))
    layout, grid = method.layout, method.grid
    if layout is not None and not (isinstance(layout, str) and layout in LAYOUTS):
        raise UnknownNameError(f"`layout` of {method.name}", layout, LAYOUTS)
    if _is_size(grid):
        grid = (grid,)
    whole = isinstance(grid, Sequence) and 1 <= len(grid) <= 3 and all(map(_is_size, grid))
    if grid is not None and not whole:
        raise InputError(
            "`grid` must be one to three positive whole numbers",
            got=grid,
            hint="For example grid=(14, 14).",
        )
    object.__setattr__(method, "grid", None if grid is None else tuple(grid))


def _check_layer(layer: object) -> None:
    if layer is None or isinstance(layer, str):
        return
    hint = "Give the path of one layer, as model.named_modules() names it."
    if isinstance(layer, nn.Module):
        hint = "Find its path: [path for path, m in model.named_modules() if m is layer]."
    raise InputError("`layer` must be the path of a layer, a string", got=layer, hint=hint)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
