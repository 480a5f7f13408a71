"""How a gradient passes each operation, and what kind of operation it is."""

from pellucid.tape.adjoints import elementwise, moving, norms, weighted  # each enters its rows
from pellucid.tape.adjoints.convolution import FEW, transposed
from pellucid.tape.adjoints.norms import is_training_norm, norm_affine
from pellucid.tape.adjoints.table import (
    CONVOLUTIONS,
    ROWS,
    Kind,
    Row,
    Signals,
    adjoint,
    declare,
    kind,
    row,
    sum_to,
)

__all__ = [
    "CONVOLUTIONS",
    "FEW",
    "ROWS",
    "Kind",
    "Row",
    "Signals",
    "adjoint",
    "declare",
    "elementwise",
    "is_training_norm",
    "kind",
    "moving",
    "norm_affine",
    "norms",
    "row",
    "sum_to",
    "transposed",
    "weighted",
]
