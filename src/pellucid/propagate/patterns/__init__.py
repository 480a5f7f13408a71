"""What a network's weights detect, learned from data, and the two methods that walk it back.

affine.py    an operation with weights and its bias, wherever that is added
neurons.py   an operation as neurons: what its weights read, and what they answer
moments.py   running means and covariances, and the patterns that they give
places.py    where a tape has weights, sums, rectifiers and constant factors
patterns.py  what was fitted, and which operation of a tape it belongs to
quality.py   how much of what a neuron says a pattern leaves behind
fit.py       one pass over a data set
file.py      patterns as files
methods.py   PatternNet and PatternAttribution
"""

from pellucid.propagate.patterns.fit import fit_patterns
from pellucid.propagate.patterns.methods import PatternAttribution, PatternNet
from pellucid.propagate.patterns.patterns import Patterns

__all__ = ["PatternAttribution", "PatternNet", "Patterns", "fit_patterns"]
