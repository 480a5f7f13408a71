"""The evidence box: what speaks for one explanation of one sample, in words."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.evaluate.evidence import CHANCE, FLIPPING, RADIUS, SANITY, STABILITY, evidence
from pellucid.explanation import Explanation
from pellucid.plot.color import MINUS
from pellucid.report import wording

if TYPE_CHECKING:
    from pellucid.report.document import Section


def with_evidence(model: Callable[..., Any], section: "Section", **options: Any) -> "Section":
    """A section whose explanations were judged: see `pellucid.evaluate.evidence`."""
    return replace(section, explanations=evidence(model, list(section.explanations), **options))


def judged(explanation: Explanation, *, row: int = 0) -> list[tuple[str, str]]:
    """What the evidence of one sample says, with a term for each kind of it.

    >>> from types import SimpleNamespace as Found
    >>> import torch
    >>> judged(Found(evidence={"top_layer_randomized": torch.tensor([0.25])}))
    [('Sanity check', 'similarity 0.25 to the map with a random top layer; 1 if it ignores that')]
    """
    found = explanation.evidence
    kinds = [
        ("Flipping", FLIPPING, _flipping),
        ("Sanity check", SANITY, _sanity),
        ("Stability", STABILITY, _stability),
    ]
    return [
        (term, say(explanation, float(found[name][row]), row))
        for term, name, say in kinds
        if name in found
    ]


def _flipping(explanation: Explanation, area: float, row: int) -> str:
    if not math.isfinite(area):
        return "not defined: there is nothing to remove"
    if CHANCE not in explanation.evidence:
        return f"area {_short(area)} beside random order"
    chance = explanation.evidence[CHANCE][row]
    below = int((chance < area).sum())
    low, high = (float(chance.quantile(q)) for q in (0.025, 0.975))
    return (
        f"removed in its order, the score falls faster than in {below} of {len(chance)} random "
        f"orders; area {_short(area)} beside chance, 95 % of random ones {_short(low)} to "
        f"{_short(high)}"
    )


def _sanity(explanation: Explanation, similarity: float, row: int) -> str:
    if not math.isfinite(similarity):
        return "not defined: one of the maps is the same everywhere"
    said = f"similarity {_short(similarity)} to the map with a random top layer"
    return f"{said}; 1 if it ignores that"


def _stability(explanation: Explanation, moved: float, row: int) -> str:
    if not math.isfinite(moved):
        return "not defined: all values are zero"
    return (
        f"moves by {wording.percent(moved)} of its size at most where the input moves by "
        f"{wording.percent(RADIUS)} of its range"
    )


def _short(value: float) -> str:
    return f"{value:.2g}".replace("-", MINUS)
