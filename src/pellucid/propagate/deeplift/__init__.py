"""DeepLIFT and DeepSHAP: differences from a reference, carried back by multipliers.

pairs         two recordings, operation by operation
written       activations and norms that are written as several operations
activation    Rescale and RevealCancel, at a function of one element
parts         the positive and the negative part of a difference
winners       maxima
ranks         what puts elements in order
halves        half precision
integral      anything else that couples elements
multipliers   which of them passes an operation
"""

from pellucid.propagate.deeplift.methods import DeepLIFT, DeepSHAP

__all__ = ["DeepLIFT", "DeepSHAP"]
