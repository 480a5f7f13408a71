"""Class activation maps: where in a grid of features the evidence lies."""

from pellucid.cam.gradcam import GradCAM, GradCAMPlusPlus, LayerCAM
from pellucid.cam.guided import GuidedGradCAM
from pellucid.cam.maps import suggest_layers
from pellucid.cam.pooled import CAM
from pellucid.cam.scorecam import ScoreCAM

__all__ = [
    "CAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedGradCAM",
    "LayerCAM",
    "ScoreCAM",
    "suggest_layers",
]
