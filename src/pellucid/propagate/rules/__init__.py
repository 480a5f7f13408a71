"""Rules: how one operation shares the relevance at its output among its inputs.

sharing.py     what a rule returns, and the divisions all are made of
rule.py        the two kinds of rules
weighted.py    rules for operations with weights: by contribution, by weight, evenly
signed.py      those that tell positive from negative contributions
box.py         the one for inputs that lie in a box
positive.py    the one of sums that goes with z+
signals.py     rules for sums, activations and what only moves
products.py    rules for products of two signals
factors.py     which factor is a gate or a scale
norms.py       rules for norms
softmax.py     rules for softmax that is no gate
homogeneous.py rules by the derivative: norms as features, and what is unknown
families.py    which family an operation belongs to, and its rule where a composite names none
registered.py  rules that users add

A rule for an operation with weights is a dataclass that takes a `Linear` and a signal; one for
any other takes the operation and the signals at its outputs. What a bias, a stabilizer or the
rule itself keeps is booked beside the signals.
"""

from pellucid.propagate.rules.box import ZBox
from pellucid.propagate.rules.homogeneous import GradientTimesInput, Homogeneous
from pellucid.propagate.rules.norms import NormEpsilon, NormIdentity
from pellucid.propagate.rules.positive import SumPlus
from pellucid.propagate.rules.products import Gate, Uniform
from pellucid.propagate.rules.registered import register_rule
from pellucid.propagate.rules.rule import Rule, SignalRule
from pellucid.propagate.rules.sharing import Share, stabilize
from pellucid.propagate.rules.signals import Affine, Elementwise, Route, Sum
from pellucid.propagate.rules.signed import AlphaBeta, Gamma, ZPlus
from pellucid.propagate.rules.softmax import Softmax, TaylorSoftmax
from pellucid.propagate.rules.weighted import Epsilon, Flat, Pass, WSquare, Zero

__all__ = [
    "Affine",
    "AlphaBeta",
    "Elementwise",
    "Epsilon",
    "Flat",
    "Gamma",
    "Gate",
    "GradientTimesInput",
    "Homogeneous",
    "NormEpsilon",
    "NormIdentity",
    "Pass",
    "Route",
    "Rule",
    "Share",
    "SignalRule",
    "Softmax",
    "Sum",
    "SumPlus",
    "TaylorSoftmax",
    "Uniform",
    "WSquare",
    "ZBox",
    "ZPlus",
    "Zero",
    "register_rule",
    "stabilize",
]
