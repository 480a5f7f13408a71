"""Examples that explain: those a model leans on, those that stand for many, those that differ."""

# ruff: noqa: F401  # what is imported for the type checker alone is public

from typing import TYPE_CHECKING

from pellucid.lazy import lazily

if TYPE_CHECKING:
    from pellucid.exemplar.counterfactual import Constraints, Counterfactuals, counterfactual
    from pellucid.exemplar.growing import Growth, grow
    from pellucid.exemplar.influence import (
        CG,
        EKFAC,
        Checkpoint,
        Exact,
        Influence,
        LiSSA,
        Newton,
        Representer,
        SelfInfluence,
        TracIn,
        self_influence,
    )
    from pellucid.exemplar.influence.influence import influence
    from pellucid.exemplar.labelling import Picks, choose_to_label
    from pellucid.exemplar.neighbours import Neighbours, neighbours
    from pellucid.exemplar.prototypes import Prototypes, prototypes

# Public name -> the module of this room it lives in; the type checker reads the imports above.
__all__ = lazily(__name__, {  # noqa: PLE0605  # a sorted list is a list
    "Constraints": "counterfactual",
    "Counterfactuals": "counterfactual",
    "CG": "influence",
    "Checkpoint": "influence",
    "EKFAC": "influence",
    "Exact": "influence",
    "Growth": "growing",
    "Influence": "influence",
    "LiSSA": "influence",
    "Neighbours": "neighbours",
    "Newton": "influence",
    "Picks": "labelling",
    "Prototypes": "prototypes",
    "Representer": "influence",
    "SelfInfluence": "influence",
    "TracIn": "influence",
    "choose_to_label": "labelling",
    "counterfactual": "counterfactual",
    "grow": "growing",
    "influence": "influence",
    "neighbours": "neighbours",
    "prototypes": "prototypes",
    "self_influence": "influence",
})  # fmt: skip
