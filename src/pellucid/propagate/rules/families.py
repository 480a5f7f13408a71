"""Which family an operation without weights belongs to, and the rule it gets by default.

sum         linear in its signals: addition, mean, average pooling, upsampling
affine      times and plus constants, by channel: batch norm that is not folded
scale       times or divided by a constant
activation  an elementwise nonlinear function of one signal
route       moves elements without changing them
"""

from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.signals import Affine, Elementwise, Route, Sum
from pellucid.tape.adjoints import is_training_norm, kind
from pellucid.tape.operations import Operation

# Kind of an operation on the tape -> its family.
OF_KINDS = {
    "linear": "sum",
    "affine": "affine",
    "scale": "scale",
    "pass": "activation",
    "route": "route",
}
# Family -> the rule that a composite need not name.
DEFAULTS: dict[str, SignalRule] = {
    "sum": Sum(),
    "affine": Affine(),
    "scale": Elementwise(),
    "activation": Elementwise(),
    "route": Route(),
}


def family(operation: Operation) -> str | None:
    """The family of an operation; `None` of one that no rule is known for."""
    found = kind(operation)
    if found == "affine" and is_training_norm(operation):
        return None
    return OF_KINDS.get(found)
