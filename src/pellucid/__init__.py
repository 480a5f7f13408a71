"""pellucid makes visible what a trained model knows: why it decided so, and how far to trust that.

Everything is loaded when it is first used, so that `import pellucid` and the command's help cost
next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid import cam, errors, plot, report, words, zoo
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
    from pellucid.gradient.integrated import IntegratedGradients, InteriorGradient
    from pellucid.gradient.saliency import GradientXInput, Saliency
    from pellucid.gradient.shap import GradientSHAP
    from pellucid.gradient.smooth import SmoothGrad
    from pellucid.gradient.taylor import SimpleTaylor
    from pellucid.method import Method, compare, explain, methods, register
    from pellucid.propagate import rules
    from pellucid.propagate.composites import Composite
    from pellucid.propagate.concepts import rank_channels, top_examples
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
    "Explanation": "explanation",
    "GradCAM": "cam",
    "GradCAMPlusPlus": "cam",
    "GradientSHAP": "gradient.shap",
    "GradientXInput": "gradient.saliency",
    "GuidedGradCAM": "cam",
    "GuidedBackprop": "propagate.rectified",
    "IntegratedGradients": "gradient.integrated",
    "InteriorGradient": "gradient.integrated",
    "LRP": "propagate.lrp",
    "LayerCAM": "cam",
    "Method": "method",
    "PatternAttribution": "propagate.patterns",
    "PatternNet": "propagate.patterns",
    "Patterns": "propagate.patterns",
    "Saliency": "gradient.saliency",
    "ScoreCAM": "cam",
    "SimpleTaylor": "gradient.taylor",
    "SmoothGrad": "gradient.smooth",
    "Tape": "tape.record",
    "Target": "target",
    "Where": "propagate.where",
    "compare": "method",
    "diagnose_noise": "diagnose",
    "explain": "method",
    "fit_patterns": "propagate.patterns",
    "load": "archive",
    "methods": "method",
    "rank_channels": "propagate.concepts",
    "record": "tape.record",
    "register": "method",
    "register_rule": "propagate.rules",
    "top_examples": "propagate.concepts",
}
_MODULES = {
    "cam": "cam",
    "errors": "errors",
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
