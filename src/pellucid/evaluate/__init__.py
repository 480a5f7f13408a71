"""How good is an explanation? Metrics that judge explanations of any method and any modality."""

from pellucid.evaluate import ground_truth
from pellucid.evaluate.audit import Audit, audit
from pellucid.evaluate.complexity import (
    CompressedSize,
    EffectiveFeatures,
    Entropy,
    Incompleteness,
    Sparseness,
)
from pellucid.evaluate.difference import Difference, diff, moved
from pellucid.evaluate.evidence import evidence
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
from pellucid.evaluate.leaderboard import Leaderboard, leaderboard
from pellucid.evaluate.localization import (
    Boxes,
    BoxIoU,
    EnergyInside,
    MaskAUC,
    MaskIoU,
    MaskPrecision,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
)
from pellucid.evaluate.measure import measure
from pellucid.evaluate.measurement import Curve, Measurement
from pellucid.evaluate.metric import Found, Metric, metrics, named_metric, register_metric
from pellucid.evaluate.random_ranking import RandomRanking
from pellucid.evaluate.randomization import (
    EfficientRandomization,
    LabelRandomization,
    ModelRandomization,
)
from pellucid.evaluate.retrain import EstimatorFit, Examples, RetrainCurves, Split, Trainer, roar
from pellucid.evaluate.robustness import (
    AverageSensitivity,
    LocalLipschitz,
    MaxSensitivity,
    ShiftSensitivity,
)
from pellucid.evaluate.sensitivity import ClassSensitivity, ObjectSensitivity
from pellucid.evaluate.similarity import Similarity
from pellucid.evaluate.trial import Trial
from pellucid.run.samples import Samples

__all__ = [
    "ABPC",
    "AOPC",
    "ROAD",
    "Audit",
    "AverageSensitivity",
    "BoxIoU",
    "Boxes",
    "ClassSensitivity",
    "CompressedSize",
    "Curve",
    "Deletion",
    "Difference",
    "EffectiveFeatures",
    "EfficientRandomization",
    "EnergyInside",
    "Entropy",
    "EstimatorFit",
    "Examples",
    "FaithfulnessCorrelation",
    "Found",
    "Incompleteness",
    "Infidelity",
    "Insertion",
    "LabelRandomization",
    "Leaderboard",
    "LocalLipschitz",
    "MaskAUC",
    "MaskIoU",
    "MaskPrecision",
    "MaxSensitivity",
    "Measurement",
    "Metric",
    "ModelRandomization",
    "Monotonicity",
    "MonotonicityCorrelation",
    "ObjectSensitivity",
    "PointingGame",
    "RandomRanking",
    "RelevanceMass",
    "RelevanceRank",
    "RetrainCurves",
    "Samples",
    "Selectivity",
    "SensitivityN",
    "ShiftSensitivity",
    "Similarity",
    "Sparseness",
    "Split",
    "TopKIntersection",
    "Trainer",
    "Trial",
    "audit",
    "diff",
    "evidence",
    "ground_truth",
    "leaderboard",
    "measure",
    "metrics",
    "moved",
    "named_metric",
    "register_metric",
    "roar",
]
