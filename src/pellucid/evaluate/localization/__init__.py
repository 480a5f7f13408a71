"""Does an explanation lie where the important is known to be? What is asked of masks and boxes."""

from pellucid.evaluate.localization.against_masks import (
    EnergyInside,
    MaskAUC,
    MaskIoU,
    MaskPrecision,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
)
from pellucid.evaluate.localization.boxes import Boxes, BoxIoU

__all__ = [
    "BoxIoU",
    "Boxes",
    "EnergyInside",
    "MaskAUC",
    "MaskIoU",
    "MaskPrecision",
    "PointingGame",
    "RelevanceMass",
    "RelevanceRank",
    "TopKIntersection",
]
