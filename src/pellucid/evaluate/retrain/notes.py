"""What a user should know before believing the curves of a run."""

from collections.abc import Sequence
from typing import Any

from pellucid.evaluate.retrain.curves import Row, varied
from pellucid.evaluate.retrain.plan import Plan

LABEL = (
    "The true label is explained: the pattern of what is removed may tell new models the label, so "
    "that accuracy stays high whatever a method found; leak=True measures that, and "
    "target='predicted' tells less."
)
PREDICTED = (
    "The predicted class is explained, which is the label of {:.1%} of the samples to train on: "
    "the pattern of what is removed may tell new models the label; leak=True measures that."
)
BLUR = (
    "Removed features are blurred, and not gone: this favors methods whose maps are grainy, for "
    "what is between their pixels can still be seen."
)
CONSTANT = "{}: {} maps are the same everywhere; their features go in random order."
ALONE = "One seed says nothing of how far accuracies vary by chance; take at least three."
ALIKE = (
    "Every seed gave the same accuracies: nothing is drawn in these trainings, or not by the seed. "
    "How far accuracies vary by chance is not known; other splits of the data would tell."
)
FEW = "The test set has {} samples: its accuracies are exact to {:.1%} at best."
# An accuracy of one half is then known to one percentage point.
ENOUGH = 2500


def notes_of(
    plan: Plan, maps: Sequence[dict[str, Any]], rows: Sequence[Row], right: float
) -> tuple[str, ...]:
    """The known traps of the protocol, where this run steps into them."""
    found = [LABEL if plan.target == "label" else PREDICTED.format(right)]
    fill = plan.removal.fill.given
    if fill is not None and fill.kind in ("blur", "inpaint"):
        found.append(BLUR)
    found += [CONSTANT.format(row["rival"], row["constant"]) for row in maps if row.get("constant")]
    if len(plan.seeds) == 1:
        found.append(ALONE)
    if not varied(rows):
        found.append(ALIKE)
    count = len(plan.data.test)
    if count < ENOUGH:
        found.append(FEW.format(count, 0.5 / count**0.5))
    return tuple(found)
