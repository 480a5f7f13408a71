"""Shapley values: by all coalitions, by samples of them, by a regression, over a tree, of pairs.

`GradientSHAP` and `DeepSHAP`, which are faster and need gradients, are in this room as well.
"""

from pellucid.gradient.shap import GradientSHAP
from pellucid.propagate.deeplift import DeepSHAP
from pellucid.shapley.exact import ExactShapley
from pellucid.shapley.interactions import Interactions, shapley_interactions
from pellucid.shapley.kernel import KernelSHAP
from pellucid.shapley.partition import PartitionShapley
from pellucid.shapley.sampling import ShapleySampling

__all__ = [
    "DeepSHAP",
    "ExactShapley",
    "GradientSHAP",
    "Interactions",
    "KernelSHAP",
    "PartitionShapley",
    "ShapleySampling",
    "shapley_interactions",
]
