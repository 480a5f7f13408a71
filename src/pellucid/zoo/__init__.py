"""Ready models with real weights, each with its preprocessing, and the way back to a picture.

    entry = pellucid.zoo.load("efficientnet_lite0")
    entry.model(entry.preprocess("photo.png"))

Weights come from packages, never from the network, and are never unpickled.
"""

from pellucid.zoo.entry import Entry, load, names, register
from pellucid.zoo.factory import find
from pellucid.zoo.photo import open_photo
from pellucid.zoo.preprocessing import Preprocessing

__all__ = ["Entry", "Preprocessing", "find", "load", "names", "open_photo", "register"]
