"""Which elements of an input count as one player: pixels, patches, words, columns."""

from pellucid.features.features import Features, FeaturesLike
from pellucid.features.players import NOBODY, Players
from pellucid.features.tree import Tree

__all__ = ["NOBODY", "Features", "FeaturesLike", "Players", "Tree"]
