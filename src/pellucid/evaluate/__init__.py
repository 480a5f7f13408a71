"""How good is an explanation? Metrics that judge explanations of any method and any modality."""

from pellucid.evaluate.measure import measure
from pellucid.evaluate.measurement import Curve, Measurement
from pellucid.evaluate.metric import Found, Metric, metrics, named_metric, register_metric
from pellucid.evaluate.trial import Trial

__all__ = [
    "Curve",
    "Found",
    "Measurement",
    "Metric",
    "Trial",
    "measure",
    "metrics",
    "named_metric",
    "register_metric",
]
