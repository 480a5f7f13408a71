"""Does an explanation name what the model uses? What is asked by removing parts of the inputs."""

from pellucid.evaluate.faithfulness.correlation import (
    FaithfulnessCorrelation,
    MonotonicityCorrelation,
    SensitivityN,
)
from pellucid.evaluate.faithfulness.infidelity import Infidelity
from pellucid.evaluate.faithfulness.road import ROAD
from pellucid.evaluate.faithfulness.selectivity import (
    ABPC,
    AOPC,
    Deletion,
    Insertion,
    Monotonicity,
    Selectivity,
)

__all__ = [
    "ABPC",
    "AOPC",
    "ROAD",
    "Deletion",
    "FaithfulnessCorrelation",
    "Infidelity",
    "Insertion",
    "Monotonicity",
    "MonotonicityCorrelation",
    "Selectivity",
    "SensitivityN",
]
