"""What is known to be important: masks, or boxes around objects, in one shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.pooling import channels_last
from pellucid.structure import leaves, outline

BOXES_HINT = "A box is x0, y0, x1, y1: the columns x0 to x1 - 1 and the rows y0 to y1 - 1."
# What stands for a sample without objects in a list.
NO_BOX = {(0,), (0, 4)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """Where the important is: `masks`, of a shape that broadcasts over the inputs.

    `boxes` (sample, object, 4), if boxes were given, hold x0, y0, x1, y1 in pixels, the ends one
    past the last; they are not numbers where a sample has fewer objects than others.
    """

    masks: Tensor
    boxes: Tensor | None = None

    @classmethod
    def of(cls, given: Any, explanation: Explanation) -> "Masks":
        """Take masks of one input, or boxes around the objects of images.

        Masks have the shape of the input, with or without its channels, and hold true or false.
        Boxes have shape (sample, 4), or (sample, object, 4), or are a list with the boxes
        (object, 4) of each sample; a pixel is important if its middle is in any of them.
        """
        found = [leaf for _, leaf in leaves(explanation.batch_first().inputs)]
        if len(found) != 1:
            raise InputError("Masks must be those of one input", found=outline(explanation.inputs))
        shape = tuple(found[0].shape)
        if is_ragged(given):
            return cls._of_boxes(padded(given), shape)
        made = as_tensor(given)
        if _fits(made, shape) and _is_binary(made):
            return cls(masks=_spread(made.bool(), shape))
        if len(shape) == 4 and made.shape[-1:] == (4,) and made.ndim in (2, 3):
            boxes = made.double().reshape(len(made), -1, 4)
            return cls._of_boxes(boxes, shape)
        raise InputError(
            f"`masks` must be true or false, of shape {list(_apart(shape))}",
            got=made,
            hint="Boxes have shape [sample, 4] or [sample, object, 4]." if len(shape) == 4 else "",
        )

    @classmethod
    def _of_boxes(cls, boxes: Tensor, shape: tuple[int, ...]) -> "Masks":
        apart = _apart(shape)
        if len(apart) != 3:
            raise InputError("Boxes must be those of images", found=f"inputs {list(shape)}")
        check_boxes(boxes, rows=apart[0], height=apart[1], width=apart[2])
        inside = boxes_to_masks(boxes, apart[1], apart[2])
        return cls(masks=_spread(inside, shape), boxes=boxes)


def check_boxes(boxes: Tensor, *, rows: int, height: int, width: int) -> None:
    """Raise unless there are boxes for so many samples, all of them in the picture."""
    if len(boxes) != rows:
        raise InputError(
            f"Boxes must be given for each of the {rows} samples", found=f"those of {len(boxes)}"
        )
    there = ~boxes.isnan().all(-1)
    x0, y0, x1, y1 = boxes.unbind(-1)
    good = (x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height)
    bad = (there & ~good).nonzero()
    if len(bad):
        row, number = bad[0].tolist()
        raise InputError(
            f"A box must have an area, and lie in a picture {width} wide and {height} high",
            found=f"{boxes[row, number].tolist()} for sample {row}",
            hint=BOXES_HINT,
        )


def boxes_to_masks(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels have their middle in any box of a sample, (sample, height, width)."""
    x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(-2)
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    columns, rows = (x0 <= x) & (x < x1), (y0 <= y) & (y < y1)
    return (rows.unsqueeze(-1) & columns.unsqueeze(-2)).any(1)


def is_ragged(given: Any) -> bool:
    """Whether it is a list with the boxes of each sample, of which some have more than others."""
    if not isinstance(given, list | tuple) or not given:
        return False
    shapes = {tuple(as_tensor(each).shape) for each in given}
    there = shapes - NO_BOX
    return len(shapes) > 1 and all(shape[-1:] == (4,) and len(shape) == 2 for shape in there)


def padded(given: Sequence[Any]) -> Tensor:
    """The boxes of each sample, (sample, object, 4), that are not numbers where there are fewer."""
    parts = [as_tensor(each).double().reshape(-1, 4) for each in given]
    most = max(len(part) for part in parts)
    empty = [part.new_full((most - len(part), 4), float("nan")) for part in parts]
    return torch.stack([torch.cat(pair) for pair in zip(parts, empty, strict=True)])


def as_tensor(given: Any) -> Tensor:
    """Masks or boxes as a tensor."""
    try:
        if isinstance(given, list | tuple) and any(hasattr(each, "shape") for each in given):
            return torch.stack([torch.as_tensor(each).detach().cpu() for each in given])
        return torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("`masks` must be masks or boxes", got=given) from error


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    if len(shape) < 3:
        return None
    return len(shape) - 1 if channels_last(shape[1:]) else 1


def _apart(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without its channels."""
    axis = _channel_axis(shape)
    return shape if axis is None else (*shape[:axis], *shape[axis + 1 :])


def _fits(made: Tensor, shape: tuple[int, ...]) -> bool:
    axis = _channel_axis(shape)
    one = shape if axis is None else (*shape[:axis], 1, *shape[axis + 1 :])
    return made.shape in (shape, one, _apart(shape))


def _is_binary(made: Tensor) -> bool:
    return made.dtype is torch.bool or bool(((made == 0) | (made == 1)).all())


def _spread(made: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A channel axis of length one where the mask has none and the input has."""
    axis = _channel_axis(shape)
    return made if axis is None or made.ndim == len(shape) else made.unsqueeze(axis)
