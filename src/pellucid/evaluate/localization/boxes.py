"""Boxes and masks cut from maps, as class activation maps localise objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.evaluate.localization.against_masks import EMPTY_NOTE, above, check_share, mask_of
from pellucid.evaluate.localization.heat import channel_axis, heat
from pellucid.evaluate.localization.masks import BOXES_HINT, as_tensor, is_ragged, padded
from pellucid.evaluate.metric import Found, Metric, register_metric
from pellucid.evaluate.trial import Trial
from pellucid.explanation import Explanation
from pellucid.options import number, one_of
from pellucid.remarks import Share
from pellucid.structure import Inputs

if TYPE_CHECKING:
    import pandas as pd

Keep: TypeAlias = Literal["largest", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """What was cut from maps: `corners` (sample, 4) and `masks` (sample, height, width).

    The corners are x0, y0, x1, y1 in pixels, the ends one past the last; all zero where nothing of
    a map was positive. Of a signal, `corners` (sample, 2) are x0, x1, and so on for more axes.
    """

    corners: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.corners)

    def iou(self, given: Any) -> Tensor:
        """Intersection over union with what is given, of shape (sample,), in double precision.

        With boxes (sample, 4), or (sample, object, 4), or a list with the boxes (object, 4) of each
        sample, of which the best counts (0 where there is none); or of the masks with masks
        (sample, height, width) of true and false.

        >>> import pellucid as pl
        >>> x = torch.zeros(1, 1, 6, 6)
        >>> x[..., 2:5, 1:3] = 1
        >>> found = pl.explain(lambda x: x.sum((1, 2, 3))[:, None], x, "gradient_x_input")
        >>> found.boxes().corners, found.boxes().iou([[1, 2, 3, 4]])
        (tensor([[1, 2, 3, 5]]), tensor([0.6667], dtype=torch.float64))
        """
        made = padded(given) if is_ragged(given) else as_tensor(given)
        made = made.to(self.corners.device)
        if made.shape == self.masks.shape and made.dtype is torch.bool:
            both = (made & self.masks).flatten(1).sum(1).double()
            return both / (made | self.masks).flatten(1).sum(1)
        if made.shape[:1] != (len(self),) or made.shape[-1:] != self.corners.shape[1:]:
            raise InputError(
                f"Boxes must be of shape {list(self.corners.shape)}, or masks true or false of "
                f"shape {list(self.masks.shape)}",
                got=made,
                hint=BOXES_HINT,
            )
        return best_iou(self.corners, made.reshape(len(self), -1, made.shape[-1]))

    def to_frame(self) -> "pd.DataFrame":
        """One row for each sample: sample, x0, y0, x1, y1, and the pixels of its mask."""
        import pandas as pd

        axes = self.corners.shape[1] // 2
        names = ["x", "y", "z"][:axes] if axes <= 3 else [f"x{i}_" for i in range(axes)]
        columns = [f"{name}{end}" for end in (0, 1) for name in names]
        frame = pd.DataFrame(self.corners.cpu().numpy(), columns=columns)
        frame.insert(0, "sample", range(len(self)))
        frame["pixels"] = self.masks.flatten(1).sum(1).cpu().numpy()
        return frame

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.masks.shape[1:]))
        return f"Boxes of {len(self)} maps {shape}: {self.corners.tolist()}"


def cut(
    explanation: Explanation, threshold: float = 0.2, *, keep: Keep = "largest", blur: float = 0.0
) -> Boxes:
    """Cut a box and a mask from the map of each sample.

        mask = largest connected part of {R_p >= t max R},  box = the smallest around it

    The map is that of `pool("sum")`, of a slope's size; `threshold` is a share t of its maximum,
    `keep="all"` keeps all parts. `blur` first smooths it by a Gaussian of so many pixels, which
    the grain of pixel maps needs and a class activation map does not. Pixels that touch at a
    corner are connected. Of parts of one size, the first is kept.
    Source: Zhou, Khosla, Lapedriza, Oliva and Torralba (2016), Learning Deep Features for
    Discriminative Localization: a fifth of the maximum, the largest component.
    """
    check_cut(threshold, keep, blur)
    maps = heat(explanation)
    parts = [_part(each, threshold, keep, blur) for each in maps.cpu()]
    masks = torch.stack(parts).to(maps.device)
    return Boxes(corners=around(masks), masks=masks)


def check_cut(threshold: float, keep: Keep, blur: float) -> None:
    """Raise unless a map can be cut so."""
    check_share(threshold)
    one_of(keep, "`keep`", get_args(Keep))
    number(blur, "blur", "a number of pixels, 0 or more", least=0)


def around(masks: Tensor) -> Tensor:
    """The smallest boxes around masks (sample, height, width): (sample, 4), x0, y0, x1, y1."""
    lows, highs = [], []
    for axis in range(masks.ndim - 1, 0, -1):
        others = [a for a in range(1, masks.ndim) if a != axis]
        line = masks.sum(others) > 0 if others else masks
        low = line.int().argmax(1)
        high = line.shape[1] - line.flip(1).int().argmax(1)
        lows.append(low * line.any(1))
        highs.append(high * line.any(1))
    return torch.stack([*lows, *highs], 1)


def best_iou(corners: Tensor, boxes: Tensor) -> Tensor:
    """The IoU of a box (sample, 4) with the best of others (sample, object, 4); (sample,)."""
    given = boxes.double()
    low, high = corners.double().unsqueeze(1).chunk(2, -1)
    low_given, high_given = given.chunk(2, -1)
    both = (torch.minimum(high, high_given) - torch.maximum(low, low_given)).clamp(min=0).prod(-1)
    whole = (high - low).prod(-1) + (high_given - low_given).prod(-1)
    return (both / (whole - both)).nan_to_num(nan=-1).amax(1).clamp(min=0)


def objects(masks: Tensor) -> Tensor:
    """The boxes around the connected parts of masks, (sample, object, 4); NaN where are fewer."""
    from scipy.ndimage import find_objects

    found = []
    for mask in masks:
        spans = find_objects(_parts(mask)[0])
        ends = [[s.start for s in span[::-1]] + [s.stop for s in span[::-1]] for span in spans]
        found.append(torch.tensor(ends, dtype=torch.float64).reshape(-1, 2 * mask.ndim))
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=float("nan"))


@register_metric("box_iou")
@dataclass(frozen=True, kw_only=True)
class BoxIoU(Metric):
    """How well the box that is cut from the map fits the object's: intersection over union.

        |box and object| / |box or object|,  the best of several objects

    The box is that of `explanation.boxes(threshold, keep=..., blur=...)`. Objects are the boxes
    that were given as `masks`, or stand around the connected parts of masks. With `hit`, of 1/2
    say, it is 1 where the IoU is at least that, else 0: the mean is the localisation accuracy.
    Source: Zhou, Khosla, Lapedriza, Oliva and Torralba (2016), Learning Deep Features for
    Discriminative Localization; Russakovsky et al. (2015), ImageNet, for the half.
    """

    threshold: float = 0.2
    keep: Keep = "largest"
    blur: float = 0.0
    hit: float | None = None

    answers: ClassVar[str] = "Does a box cut from the map fit the object?"
    weakness: ClassVar[str] = "It depends on the threshold, and a map may rightly mark a part."
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    ignores: ClassVar[frozenset[str]] = frozenset({"scale"})

    def check(self, inputs: Inputs) -> None:
        """Raise unless the options can cut a box."""
        super().check(inputs)
        check_cut(self.threshold, self.keep, self.blur)
        if self.hit is not None:
            number(self.hit, "hit", "an IoU above 0 and at most 1, or None", above=0, most=1)

    def judge(self, trial: Trial) -> Sequence[Found]:
        """The IoU of each sample; not a number where there is no object."""
        masks = mask_of(trial)
        flat = masks if masks.ndim < 3 else masks.any(channel_axis(masks))
        given = objects(flat) if trial.boxes is None else trial.boxes
        empty = ~flat.flatten(1).any(1) if trial.boxes is None else given.isnan().all(-1).all(1)
        notes = (Share(text=EMPTY_NOTE, some=int(empty.sum()), of=len(empty)),)
        found = []
        for rival in trial.rivals:
            boxes = cut(rival, self.threshold, keep=self.keep, blur=self.blur)
            values = best_iou(boxes.corners.cpu(), given)
            if self.hit is not None:
                values = (values >= self.hit).double()
            found.append(Found(values=values.masked_fill(empty, float("nan")), notes=notes))
        return found


def _part(values: Tensor, threshold: float, keep: Keep, blur: float) -> Tensor:
    """What is kept of one map, of its shape."""
    if blur:
        from scipy.ndimage import gaussian_filter

        values = torch.from_numpy(gaussian_filter(values.numpy(), blur))
    found = above(values.unsqueeze(0), threshold).squeeze(0)
    if keep == "all" or not found.any():
        return found
    labels, _ = _parts(found)
    sizes = torch.from_numpy(labels).flatten().bincount()
    return torch.from_numpy(labels) == 1 + sizes[1:].argmax()


def _parts(mask: Tensor) -> tuple[Any, int]:
    """The connected parts of a mask, numbered from 1, and how many there are."""
    from scipy.ndimage import generate_binary_structure, label

    found: tuple[Any, int] = label(
        mask.cpu().numpy(), generate_binary_structure(mask.ndim, mask.ndim)
    )
    return found
