"""Guided Grad-CAM: fine structure where there is evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from pellucid.cam.choice import Choice, settle
from pellucid.cam.gradcam import combined, mean_gradient, notes_on
from pellucid.cam.maps import find_maps
from pellucid.cam.upsample import enlarge
from pellucid.case import Case
from pellucid.method import Attribution, Method, register
from pellucid.propagate.rectified import GuidedBackprop


@register("guided_gradcam")
@dataclass(frozen=True, kw_only=True)
class GuidedGradCAM(Method):
    """Guided back-propagation, weighted at each element by the Grad-CAM of its position.

        R = upsampled(Grad-CAM) * guided gradient

    Axes: values have the axes of the input. With `upsample=False` positions of the map are
    repeated instead of interpolated. `layer`, `relu`, `layout` and `grid` are those of Grad-CAM.
    Laws: where the map is zero, so is the value.
    Source: Selvaraju et al. (2017), Grad-CAM, section 3.2.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU(),
    ...                           torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> _ = [torch.nn.init.ones_(p) for p in net.parameters()]
    >>> GuidedGradCAM()(net, torch.ones(1, 1, 1, 2)).values
    tensor([[[[0.5000, 0.5000]]]])
    """

    answers: ClassVar[str] = "Which fine structures are there, where the class has its evidence?"
    weakness: ClassVar[str] = "The fine structure is nearly the same for every class and model."
    laws: ClassVar[frozenset[str]] = frozenset()
    smooth: ClassVar[bool] = False

    layer: str | None = None
    relu: bool = True
    upsample: bool = True
    layout: str | None = None
    grid: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        settle(self)

    @property
    def is_slope(self) -> bool:
        """Values are slopes of the score."""
        return True

    def attribute(self, case: Case) -> Attribution:
        """One recording; a walk to the layer, and a guided one to the input."""
        spots = find_maps(case, Choice.of(self))
        coarse = combined(case, spots, mean_gradient, relu=self.relu)
        guided = GuidedBackprop().attribute(case)
        values = [
            torch.zeros_like(fine)
            if spot is None
            else fine * enlarge(coarse[spot.maps], fine, spot.frame, smooth=self.upsample)
            for spot, fine in zip(spots, guided.values, strict=True)
        ]
        return Attribution(values=values, notes=(*notes_on(spots, coarse), *guided.notes))
