"""The map of an explanation over the places that masks and boxes speak of."""

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.evaluate.relevance import densities, relevance
from pellucid.explanation import Explanation
from pellucid.features import Players
from pellucid.pooling import POOLINGS, Pooling, channels_last
from pellucid.structure import outline


def heat(explanation: Explanation) -> Tensor:
    """The relevance of every place, (sample, height, width) for images, in double precision.

    Channels are summed: of shares with their signs, of slopes their sizes. What was explained for
    players is shared out evenly to the elements of each. Of a signal it is (sample, position), of
    a table or text as the values are.
    """
    if explanation.at is not None or explanation.grouping is not None:
        raise InputError(
            "Values must be those of the inputs to be placed in them",
            found=f"those of a {explanation.grouping.unit}"
            if explanation.grouping is not None
            else f"{explanation.method.name} at `{explanation.at}`",
            hint="Explain without `at`, and before group().",
        )
    found = densities(explanation.batch_first())
    if len(found) != 1:
        raise InputError("Values must be those of one input", found=outline(explanation.values))
    size = found[0].abs() if explanation.method.is_slope else found[0]
    return size if size.ndim < 3 else size.sum(channel_axis(size))


def heat_on(explanation: Explanation, masks: Tensor) -> Tensor:
    """The same over the places of masks, of shape (sample, place).

    Where the masks tell channels apart, so do the places.
    """
    shape = masks.shape[1:]
    labels = torch.arange(shape.numel()).reshape(1, *shape)
    return relevance(explanation, Players(labels=(labels,), count=shape.numel()))


def pooled_on(explanation: Explanation, masks: Tensor, pooling: Pooling) -> Tensor:
    """How much there is at the places of masks, (sample, place): channels pooled, none below 0."""
    (values,) = densities(explanation.batch_first())
    axis = channel_axis(values) if values.ndim > 2 else 0
    if axis != 0 and masks.shape[axis] == 1:
        joined = POOLINGS[pooling](values.movedim(axis, 1)).movedim(1, axis)
    else:  # every element is a channel of its own
        joined = POOLINGS[pooling](values.unsqueeze(1)).squeeze(1)
        joined = joined.expand(torch.broadcast_shapes(joined.shape, masks.shape))
    if joined.shape[1:] != masks.shape[1:]:
        raise InputError(
            f"Values must have the size of what they are judged on, {list(masks.shape[1:])}",
            found=outline(values),
            hint="Maps of layers must be upsampled: upsample=True.",
        )
    return joined.clamp(min=0).flatten(1)


def channel_axis(values: Tensor) -> int:
    """Where the channels are, in values or masks of at least three axes."""
    return -1 if channels_last(values.shape[1:]) else 1
