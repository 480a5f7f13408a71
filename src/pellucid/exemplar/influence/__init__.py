"""Which training examples a network leans on: influence functions and their relatives."""

from pellucid.exemplar.influence.ekfac import EKFAC
from pellucid.exemplar.influence.exact import Exact, Newton
from pellucid.exemplar.influence.influence import influence, self_influence
from pellucid.exemplar.influence.iterative import CG, LiSSA
from pellucid.exemplar.influence.result import Convergence, Influence, SelfInfluence
from pellucid.exemplar.influence.simple import Checkpoint, Representer, TracIn

__all__ = [
    "CG",
    "EKFAC",
    "Checkpoint",
    "Convergence",
    "Exact",
    "Influence",
    "LiSSA",
    "Newton",
    "Representer",
    "SelfInfluence",
    "TracIn",
    "influence",
    "self_influence",
]
