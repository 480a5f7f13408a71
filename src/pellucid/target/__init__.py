"""Which number of a model's output is explained."""

from pellucid.target.target import Outcome, Target, TargetLike

__all__ = ["Outcome", "Target", "TargetLike"]
