"""Backgrounds: crops of real photographs that come with scikit-learn or scikit-image."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pellucid.errors import InputError, MissingExtraError, UnknownNameError

Photos: TypeAlias = Literal["sklearn", "skimage"] | Sequence[Any]

# A crop is so many times as wide as the picture that is made of it.
ZOOM = 2
SKIMAGE = ("chelsea", "coffee", "astronaut", "rocket")


def photographs(photos: Photos) -> list[Tensor]:
    """Photographs (3, height, width) from 0 to 1: by the name of their package, or given so."""
    if photos == "sklearn":
        from sklearn.datasets import load_sample_images

        return [_channels_first(each) for each in load_sample_images().images]
    if photos == "skimage":
        try:
            from skimage import data
        except ImportError as error:
            raise MissingExtraError("photos='skimage'", extra="superpixels") from error
        return [_channels_first(getattr(data, name)()) for name in SKIMAGE]
    if isinstance(photos, str):
        raise UnknownNameError("`photos`", photos, ["sklearn", "skimage"])
    return [_given(each) for each in photos]


def crops(found: Sequence[Tensor], count: int, side: int, generator: torch.Generator) -> Tensor:
    """Random crops (sample, 3, side, side), each of one of the photographs, at half their size."""
    wide = ZOOM * side
    for each in found:
        if min(each.shape[1:]) < wide:
            raise InputError(f"Photos must be at least {wide} pixels wide and high", got=each)
    made = torch.empty(count, 3, side, side)
    which = torch.randint(len(found), (count,), generator=generator).tolist()
    at = torch.rand(count, 2, generator=generator)
    for row, number in enumerate(which):
        photo = found[number]
        room = torch.tensor(photo.shape[1:]) - wide
        y, x = (at[row] * (room + 1)).long().minimum(room).tolist()
        made[row] = avg_pool2d(photo[:, y : y + wide, x : x + wide], ZOOM)
    return made


def _channels_first(photo: Any) -> Tensor:
    return torch.tensor(photo).movedim(-1, 0).float() / 255


def _given(photo: Any) -> Tensor:
    made = torch.as_tensor(photo)
    if made.ndim != 3 or len(made) != 3 or not made.is_floating_point():
        raise InputError("A photo must be of shape (3, height, width), from 0 to 1", got=made)
    return made.float()
