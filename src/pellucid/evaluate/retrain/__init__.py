"""Retrain on what methods leave of the data: ROAR and KAR, and the trainers they use."""

from pellucid.evaluate.retrain.chance import chance
from pellucid.evaluate.retrain.curves import RetrainCurves
from pellucid.evaluate.retrain.data import Examples, Split
from pellucid.evaluate.retrain.protocol import roar
from pellucid.evaluate.retrain.trainer import EstimatorFit, Fit, Trainer

__all__ = [
    "EstimatorFit",
    "Examples",
    "Fit",
    "RetrainCurves",
    "Split",
    "Trainer",
    "chance",
    "roar",
]
