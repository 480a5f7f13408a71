"""Data made here of which it is known what is important, each with a small model.

    truth = pl.evaluate.ground_truth.pasted_digits()
    fitted = truth.fit()
    found = pl.explain(fitted.model, fitted.test.inputs, "lrp", target=fitted.test.labels)
    pl.evaluate.measure(fitted.model, found, "relevance_mass", masks=fitted.test.masks)

Nothing is downloaded; every draw is decided by `seed`.
"""

from pellucid.evaluate.ground_truth.digits import blocks, pasted_digits, planted_tag, two_digits
from pellucid.evaluate.ground_truth.sequences import gold_words, motifs
from pellucid.evaluate.ground_truth.shapes import shapes
from pellucid.evaluate.ground_truth.tables import distractors, interactions
from pellucid.evaluate.ground_truth.truth import Fitted, Truth

__all__ = [
    "Fitted",
    "Truth",
    "blocks",
    "distractors",
    "gold_words",
    "interactions",
    "motifs",
    "pasted_digits",
    "planted_tag",
    "shapes",
    "two_digits",
]
