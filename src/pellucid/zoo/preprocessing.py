"""From a photograph to the tensor a model takes, and back."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid.errors import InputError
from pellucid.zoo.photo import Photo, open_photo


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Shrink the shorter side to `resize`, cut out the middle square, and normalize the channels.

    The tensor is (value - mean) / std for values from 0 to 1, of shape (1, 3, size, size) and the
    `dtype` of the model. The defaults are those of most ImageNet models.
    """

    resize: int = 256
    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resample: Image.Resampling = Image.Resampling.BILINEAR
    dtype: torch.dtype = torch.float32

    def __call__(self, photo: Photo) -> Tensor:
        """Make a tensor of shape (1, 3, size, size) of a PIL image or a path."""
        cut = np.asarray(self.crop(open_photo(photo)), dtype=np.float32) / 255
        tensor = torch.from_numpy(cut.transpose(2, 0, 1).copy())[None]
        made = (tensor - self._channels(self.mean)) / self._channels(self.std)
        return made.to(self.dtype)

    def crop(self, photo: Image.Image) -> Image.Image:
        """The square that the model sees, in size x size pixels.

        Cut and shrunk in one step: shrinking first would make a huge image of a long thin one.
        """
        width, height = photo.size
        side = min(width, height) * self.size / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return photo.resize((self.size, self.size), self.resample, box=box)

    def inverse(self, inputs: Tensor) -> NDArray[np.uint8]:
        """The picture of a tensor of shape (1, 3, h, w) or (3, h, w): (h, w, 3), 8 bits."""
        one = inputs[0] if inputs.ndim == 4 and len(inputs) == 1 else inputs
        if one.ndim != 3 or one.shape[0] != 3:
            raise InputError(
                "`inputs` must have shape (1, 3, height, width) or (3, height, width)",
                got=inputs,
                hint="Take one sample of a batch: inputs[0].",
            )
        pixels = one.detach().float().cpu() * self._channels(self.std)[0]
        shown = (pixels + self._channels(self.mean)[0]).clamp(0, 1) * 255
        return shown.round().byte().permute(1, 2, 0).numpy()

    def _channels(self, values: tuple[float, float, float]) -> Tensor:
        return torch.tensor(values).reshape(1, 3, 1, 1)
