"""Which elements of an input count as one player: pixels, patches, words, columns."""

from pellucid.features.features import Features, FeaturesLike
from pellucid.features.players import NOBODY, Players

__all__ = ["NOBODY", "Features", "FeaturesLike", "Players"]
