"""pellucid makes visible what a trained model knows: why it decided so, and how far to trust that.

Everything is loaded when it is first used, so that `import pellucid` and the command's help cost
next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid import cam, errors, evaluate, exemplar, inspect, plot, report, words, zoo
    from pellucid.archive import load
    from pellucid.baseline import Baseline
    from pellucid.cam import (
        CAM,
        GradCAM,
        GradCAMPlusPlus,
        GuidedGradCAM,
        LayerCAM,
        ScoreCAM,
    )
    from pellucid.diagnose import diagnose_noise
    from pellucid.explanation import Completeness, Evaluations, Explanation
    from pellucid.features import Features
    from pellucid.gradient.integrated import IntegratedGradients, InteriorGradient
    from pellucid.gradient.saliency import GradientXInput, Saliency
    from pellucid.gradient.shap import GradientSHAP
    from pellucid.gradient.smooth import SmoothGrad
    from pellucid.gradient.taylor import SimpleTaylor
    from pellucid.inspect.surrogate import Surrogate, fit_surrogate
    from pellucid.inspect.top import top_examples
    from pellucid.lime import LIME, submodular_pick, sweep_width
    from pellucid.method import Method, compare, explain, methods, register
    from pellucid.perturb.extremal import ExtremalPerturbation
    from pellucid.perturb.mask import MeaningfulPerturbation
    from pellucid.perturb.occlusion import Occlusion
    from pellucid.perturb.rise import RISE
    from pellucid.propagate import rules
    from pellucid.propagate.composites import Composite
    from pellucid.propagate.concepts import rank_channels
    from pellucid.propagate.deep_taylor import DeepTaylor
    from pellucid.propagate.deeplift import DeepLIFT, DeepSHAP
    from pellucid.propagate.lrp import LRP
    from pellucid.propagate.patterns import (
        PatternAttribution,
        PatternNet,
        Patterns,
        fit_patterns,
    )
    from pellucid.propagate.rectified import Deconvnet, GuidedBackprop
    from pellucid.propagate.rules import register_rule
    from pellucid.propagate.where import Where
    from pellucid.shapley import (
        ExactShapley,
        Interactions,
        KernelSHAP,
        PartitionShapley,
        ShapleySampling,
        shapley_interactions,
    )
    from pellucid.tape.record import Tape, record
    from pellucid.target import Target

__version__ = "0.1.0"

# Public name -> the module it lives in; the type checker reads the imports above instead.
_HOMES = {
    "Baseline": "baseline",
    "CAM": "cam",
    "Completeness": "explanation",
    "Composite": "propagate.composites",
    "Deconvnet": "propagate.rectified",
    "DeepLIFT": "propagate.deeplift",
    "DeepSHAP": "propagate.deeplift",
    "DeepTaylor": "propagate.deep_taylor",
    "Evaluations": "explanation",
    "ExactShapley": "shapley",
    "Explanation": "explanation",
    "ExtremalPerturbation": "perturb.extremal",
    "Features": "features",
    "GradCAM": "cam",
    "GradCAMPlusPlus": "cam",
    "GradientSHAP": "gradient.shap",
    "GradientXInput": "gradient.saliency",
    "GuidedBackprop": "propagate.rectified",
    "GuidedGradCAM": "cam",
    "IntegratedGradients": "gradient.integrated",
    "Interactions": "shapley",
    "InteriorGradient": "gradient.integrated",
    "KernelSHAP": "shapley",
    "LIME": "lime",
    "LRP": "propagate.lrp",
    "LayerCAM": "cam",
    "MeaningfulPerturbation": "perturb.mask",
    "Method": "method",
    "Occlusion": "perturb.occlusion",
    "PartitionShapley": "shapley",
    "PatternAttribution": "propagate.patterns",
    "PatternNet": "propagate.patterns",
    "Patterns": "propagate.patterns",
    "RISE": "perturb.rise",
    "Saliency": "gradient.saliency",
    "ScoreCAM": "cam",
    "ShapleySampling": "shapley",
    "SimpleTaylor": "gradient.taylor",
    "SmoothGrad": "gradient.smooth",
    "Surrogate": "inspect.surrogate",
    "Tape": "tape.record",
    "Target": "target",
    "Where": "propagate.where",
    "compare": "method",
    "diagnose_noise": "diagnose",
    "explain": "method",
    "fit_patterns": "propagate.patterns",
    "fit_surrogate": "inspect.surrogate",
    "load": "archive",
    "methods": "method",
    "rank_channels": "propagate.concepts",
    "record": "tape.record",
    "register": "method",
    "register_rule": "propagate.rules",
    "shapley_interactions": "shapley",
    "submodular_pick": "lime",
    "sweep_width": "lime",
    "top_examples": "inspect.top",
}
_MODULES = {
    "cam": "cam",
    "errors": "errors",
    "evaluate": "evaluate",
    "exemplar": "exemplar",
    "inspect": "inspect",
    "plot": "plot",
    "report": "report",
    "rules": "propagate.rules",
    "words": "words",
    "zoo": "zoo",
}

__all__ = sorted([*_HOMES, *_MODULES])  # noqa: PLE0605  # a sorted list is a list


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"pellucid.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"pellucid.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pellucid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_MODULES])
