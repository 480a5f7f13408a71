"""Rules: how one operation shares the relevance at its output among its inputs.

sharing.py     what a rule returns, and the divisions all are made of
rule.py        the two kinds of rules
weighted.py    rules for operations with weights
signals.py     rules for sums, activations and what only moves
families.py    which family an operation belongs to, and its rule where a composite names none
registered.py  rules that users add

A rule for an operation with weights is a dataclass that takes a `Linear` and a signal; one for
any other takes the operation and the signals at its outputs. What a bias, a stabilizer or the
rule itself keeps is booked beside the signals.
"""

from pellucid.propagate.rules.registered import register_rule
from pellucid.propagate.rules.rule import Rule, SignalRule
from pellucid.propagate.rules.sharing import Share, stabilize
from pellucid.propagate.rules.weighted import Epsilon, Flat, Pass, ZPlus

__all__ = [
    "Epsilon",
    "Flat",
    "Pass",
    "Rule",
    "Share",
    "SignalRule",
    "ZPlus",
    "register_rule",
    "stabilize",
]
