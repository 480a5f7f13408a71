"""Diagnoses: why an explanation looks the way it does, measured for a model and an input."""

from pellucid.diagnose.noise import NoiseDiagnosis, diagnose_noise

__all__ = ["NoiseDiagnosis", "diagnose_noise"]
