"""How good is an explanation? Metrics that judge explanations of any method and any modality."""

from pellucid.evaluate.audit import Audit, audit
from pellucid.evaluate.board import Leaderboard
from pellucid.evaluate.difference import Difference, diff, moved
from pellucid.evaluate.faithfulness import (
    ABPC,
    AOPC,
    ROAD,
    Deletion,
    FaithfulnessCorrelation,
    Infidelity,
    Insertion,
    Monotonicity,
    MonotonicityCorrelation,
    Selectivity,
    SensitivityN,
)
from pellucid.evaluate.leaderboard import leaderboard
from pellucid.evaluate.measure import measure
from pellucid.evaluate.measurement import Curve, Measurement
from pellucid.evaluate.metric import Found, Metric, metrics, named_metric, register_metric
from pellucid.evaluate.random_ranking import RandomRanking
from pellucid.evaluate.samples import Samples
from pellucid.evaluate.trial import Trial

__all__ = [
    "ABPC",
    "AOPC",
    "ROAD",
    "Audit",
    "Curve",
    "Deletion",
    "Difference",
    "FaithfulnessCorrelation",
    "Found",
    "Infidelity",
    "Insertion",
    "Leaderboard",
    "Measurement",
    "Metric",
    "Monotonicity",
    "MonotonicityCorrelation",
    "RandomRanking",
    "Samples",
    "Selectivity",
    "SensitivityN",
    "Trial",
    "audit",
    "diff",
    "leaderboard",
    "measure",
    "metrics",
    "moved",
    "named_metric",
    "register_metric",
]
