"""Which family an operation without weights belongs to, and the rule it gets by default.

sum         linear in its signals: addition, mean, average pooling, upsampling
affine      times and plus constants, by channel: batch norm that is not folded
scale       times or divided by a constant, or divided by a signal, which receives nothing
activation  an elementwise nonlinear function of one signal, also one shifted by a number: 1 + tanh,
            or by its own maximum
route       moves elements without changing them, or chooses one of several: a maximum, `where`
product     elementwise product of two signals
matmul      product of two signals that sums over an axis: attention, a kernel that is a signal
softmax     softmax and log-softmax
norm        layer, group, instance, RMS norm, batch norm with the statistics of the batch; also the
            centring and the shift of one that is written out
reduction   norm, variance or product of many elements
"""

from pellucid.propagate.rules.factors import FUSED, anchors, carrying, centres, shifts
from pellucid.propagate.rules.homogeneous import DEGREES, Homogeneous
from pellucid.propagate.rules.norms import NormEpsilon, is_plain
from pellucid.propagate.rules.products import MULTILINEAR, Gate, factors
from pellucid.propagate.rules.rule import SignalRule
from pellucid.propagate.rules.signals import DUELS, WEIGHED, Affine, Elementwise, Route, Sum
from pellucid.propagate.rules.softmax import Softmax
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
# Operations of no kind -> their family.
# fmt: off
OF_NAMES = {
    "_softmax": "softmax", "_safe_softmax": "softmax", "_log_softmax": "softmax",
    "native_dropout": "scale", "div": "scale", "mul": "product",
    "scatter_add": "sum", "embedding": "route",
    "clamp": "route", "clamp_min": "route", "clamp_max": "route", "cummax": "route",
    "cummin": "route", "mode": "route", "diagonal_scatter": "route",
    **dict.fromkeys(["i0", "special_i0e", "special_i1", "special_i1e", "polygamma"], "activation"),
    **dict.fromkeys(WEIGHED, "sum"),
    **dict.fromkeys(DUELS, "route"),
    **dict.fromkeys(DEGREES, "reduction"), "prod": "reduction",
}
# Functions of two elements; of one signal, where the other is a constant.
OF_TWO = {*DUELS, "atan2", "fmod", "remainder", "copysign", "hypot", "logaddexp", "logaddexp2"}
OF_REDUCTIONS = {"sum": "sum", "mean": "sum", "amax": "route", "amin": "route"}
# Activations that numbers are added to inside of others: 1 + tanh(x), log(1 + exp(x)).
SMOOTH = {"sigmoid", "tanh", "exp", "exp2", "expm1", "erf", "erfc", "sin", "cos", "atan", "pow"}
# fmt: on

# Family -> the rule that a composite need not name.
DEFAULTS: dict[str, SignalRule] = {
    "sum": Sum(),
    "affine": Affine(),
    "scale": Elementwise(),
    "activation": Elementwise(),
    "route": Route(),
    "product": Gate(),
    "matmul": Gate(),
    "softmax": Softmax(),
    "norm": NormEpsilon(),
    "reduction": Homogeneous(),
}


def family(operation: Operation) -> str | None:
    """The family of an operation; `None` of one that no rule is known for."""
    name = operation.name
    if any(value.dtype.is_complex for value in carrying(operation)):
        return "route" if kind(operation) == "route" else None
    if name in FUSED and (name != "native_batch_norm" or is_training_norm(operation)):
        return "norm" if is_plain(operation) else None
    if name in MULTILINEAR:
        return "sum" if len(factors(operation)) < 2 else "matmul"
    if name in OF_TWO and len(carrying(operation)) == 1:
        return "activation"
    if anchors(operation) or _is_shifted_activation(operation):
        return "activation"
    if centres(operation) or shifts(operation):
        return "norm"
    if name == "scatter_reduce":
        return OF_REDUCTIONS.get(operation.argument(4, ""))
    return OF_KINDS.get(kind(operation)) or OF_NAMES.get(name)


def _is_shifted_activation(operation: Operation) -> bool:
    """Whether a number is added to an activation that is a part of another one."""
    if operation.name not in ("add", "sub", "rsub") or len(carrying(operation)) != 1:
        return False
    if len(operation.slots) != 1:
        others = [value for value in operation.slots if not value.carries]
        if len(others) != 1 or others[0].depends or others[0].shape.numel() != 1:
            return False
    (value,) = carrying(operation)
    made = value.producer
    while made is not None and kind(made) == "scale":
        made = carrying(made)[0].producer
    return made is not None and made.name in SMOOTH
