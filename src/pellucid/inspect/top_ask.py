"""What can be asked of a search for top examples."""

from dataclasses import replace
from typing import Any

from pellucid.errors import InputError, show
from pellucid.inspect.top_search import Ask, score_target
from pellucid.method import Method, named
from pellucid.propagate.lrp import LRP
from pellucid.target import Target, TargetLike


def layer_of(layer: Any, channels: Any, classes: Any, patches: bool) -> str:
    """The layer that is looked at, empty for the classes of the output."""
    if classes is not None and (layer is not None or channels is not None):
        raise InputError(
            "Top examples must be of channels of a layer, or of classes",
            found="both",
            hint="Ask for each in turn.",
        )
    if layer is None:
        if channels is not None or classes is None:
            raise InputError("Top examples must be of a `layer`, or of `classes`", found="neither")
        if patches:
            raise InputError(
                "Patches must be of units of a layer", found="classes, which see all of an image"
            )
        return ""
    if not isinstance(layer, str) or not layer:
        raise InputError("`layer` must be the path of a layer", got=layer)
    return layer


def method_of(method: Any, ask: Ask) -> Method | None:
    """The method of the maps; by relevance, also of what is measured."""
    by_relevance = ask.by == "relevance" and bool(ask.layer)
    if by_relevance:
        made = None if method is None else named("lrp" if method == "auto" else method)
        if not isinstance(made, LRP):
            raise InputError(
                "`method` must be LRP for examples by relevance, which passes single channels",
                found=show(made),
                hint='Take by="activation", or method=pellucid.LRP(...).',
            )
        return replace(made, at=None)
    if ask.layer and ":" in ask.layer:
        raise InputError(
            "`layer` must be the path of a module for examples by activation",
            got=ask.layer,
            hint='An operation of the tape can be named with by="relevance".',
        )
    default = "deconvnet" if ask.layer else "lrp"
    return None if method is None else named(default if method == "auto" else method)


def target_of(target: TargetLike, ask: Ask) -> TargetLike:
    """What is explained by relevance; of classes, where their scores are."""
    if not ask.layer:
        return score_target(target)
    if len(Target.of(target).classes) > 1:
        raise InputError("`target` must be one for all samples of a data set, or None", got=target)
    return target
