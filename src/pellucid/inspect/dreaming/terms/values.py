"""Numbers of a term that are the same everywhere, or differ by channel or element."""

from typing import Any, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.inspect.dreaming.layout import Layout

# A number, or a tensor that broadcasts against one dream: (channel, 1, 1) for images.
Values: TypeAlias = float | Tensor


def checked_values(values: Any, name: str, layout: Layout) -> None:
    """Raise unless these are numbers for dreams of a layout."""
    try:
        found = torch.as_tensor(values)
        fits = torch.broadcast_shapes(found.shape, layout.shape) == torch.Size(layout.shape)
    except (RuntimeError, TypeError, ValueError):
        fits = False
    if not fits or bool(found.isnan().any()):
        raise InputError(
            f"`{name}` must be a number, or a tensor that broadcasts to {list(layout.shape)}",
            got=values,
            hint="One for each channel of an image has the shape (channel, 1, 1).",
        )


def laid(values: Values, x: Tensor) -> Tensor:
    """The numbers on the device and in the type of dreams."""
    return torch.as_tensor(values, device=x.device, dtype=x.dtype)
