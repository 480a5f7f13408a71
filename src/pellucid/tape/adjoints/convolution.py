"""The transpose of a convolution, faster than torch's own where the input has few channels."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, pixel_shuffle

aten = torch.ops.aten

# Up to so many input channels, as images have, torch's own transpose works mostly for nothing: it
# fills channels up to the width of a vector.
FEW = 8


def transposed(signal: Tensor, x: Tensor, weight: Tensor, places: Any) -> Tensor:
    """The transpose of a convolution of `x`, applied to a signal at its output.

    `places` are stride, padding, dilation, whether it is itself transposed, output padding and
    groups. Of `x` only the shape counts.
    """
    if _by_phases(weight, places):
        return _phases(signal, x, weight, places)
    return aten.convolution_backward(signal, x, weight, None, *places, [True, False, False])[0]


def _by_phases(weight: Tensor, places: Any) -> bool:
    stride, _, dilation, is_transposed, _, groups = places
    plain = not is_transposed and groups == 1 and list(dilation) == [1, 1]
    few = plain and weight.ndim == 4 and weight.shape[1] <= FEW and weight.device.type == "cpu"
    return few and len({*stride}) == 1 and stride[0] > 1


def _phases(signal: Tensor, x: Tensor, weight: Tensor, places: Any) -> Tensor:
    """One plain convolution, whose output channels are the phases of the stride.

    The element s q + r of the padded input was read with the taps s m + r of the kernel by the
    outputs q - m: for each r that is a convolution of the outputs, with the taps of that phase.
    """
    (step, _), padding = places[0], places[1]
    outputs, channels, *size = weight.shape
    taps = [-(-n // step) for n in size]
    weight = pad(weight, (0, step * taps[1] - size[1], 0, step * taps[0] - size[0]))
    weight = weight.reshape(outputs, channels, taps[0], step, taps[1], step).flip(2, 4)
    weight = weight.permute(1, 3, 5, 0, 2, 4).reshape(channels * step**2, outputs, *taps)
    found = pixel_shuffle(conv2d(signal, weight, padding=[n - 1 for n in taps]), step)
    ends = [n + extra for n, extra in zip(x.shape[2:], padding, strict=True)]
    short = [max(0, end - n) for end, n in zip(ends, found.shape[2:], strict=True)]
    if any(short):  # elements at the end that no output has read
        found = pad(found, (0, short[1], 0, short[0]))
    return found[:, :, padding[0] : ends[0], padding[1] : ends[1]]
