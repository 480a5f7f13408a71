"""Sanity checks: does the map change when what the model has learned is destroyed?"""

from pellucid.evaluate.randomization.checks import (
    EfficientRandomization,
    LabelRandomization,
    ModelRandomization,
    histogram_entropy,
)

__all__ = [
    "EfficientRandomization",
    "LabelRandomization",
    "ModelRandomization",
    "histogram_entropy",
]
